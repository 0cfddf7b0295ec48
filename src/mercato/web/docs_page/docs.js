"use strict";
// Shows /openapi.json. Text is only ever set as text, never as markup.

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEEPEST = 6;
let spec;

const byId = (id) => document.getElementById(id);

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== ""));
  return element;
}

// Words between backticks are code, as in the description's own format.
function prose(text) {
  return (text || "").split("`").map((each, index) => index % 2 ? make("code", {}, each) : each);
}

function resolved(part) {
  let found = part;
  while (found && found.$ref) {
    found = found.$ref.slice(2).split("/").reduce((node, key) => node[key.replace(/~1/g, "/")], spec);
  }
  return found || {};
}

const named = (part) => (part && part.$ref ? part.$ref.split("/").pop() : "");

// Schemas

function typeOf(schema) {
  if (schema.$ref) {
    const target = resolved(schema);
    return target.enum ? typeOf(target) : named(schema);
  }
  if (schema.anyOf || schema.oneOf) return (schema.anyOf || schema.oneOf).map(typeOf).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items || {})}`;
  if (schema.type === "object" && schema.additionalProperties) {
    return `object of ${typeOf(schema.additionalProperties)}`;
  }
  return [schema.type || "anything", schema.format && `(${schema.format})`].filter(Boolean).join(" ");
}

function limitsOf(schema) {
  const words = {
    minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<", minLength: "at least",
    maxLength: "at most", minItems: "at least", maxItems: "at most", pattern: "matches", default: "default",
  };
  const units = { minLength: " characters", maxLength: " characters", minItems: " items", maxItems: " items" };
  const choices = [schema, ...(schema.anyOf || [])];
  return choices
    .flatMap((each) => Object.keys(words).filter((name) => each[name] !== undefined)
      .map((name) => `${words[name]} ${name === "pattern" ? each[name] : JSON.stringify(each[name])}${units[name] || ""}`))
    .filter((each, index, all) => all.indexOf(each) === index)
    .join(", ");
}

function objectIn(schema, depth) {
  if (depth > DEEPEST) return null;
  const found = resolved(schema);
  if (found.properties) return found;
  if (found.type === "array" && found.items) return objectIn(found.items, depth + 1);
  if (found.allOf) {
    const parts = found.allOf.map((each) => objectIn(each, depth + 1)).filter(Boolean);
    return parts[0] || null;
  }
  for (const each of found.anyOf || []) {
    const inner = objectIn(each, depth + 1);
    if (inner) return inner;
  }
  return null;
}

function fieldsOf(schema, depth = 0, within = []) {
  const found = objectIn(schema, depth);
  if (!found || within.includes(found)) return null;
  const required = found.required || [];
  const items = Object.entries(found.properties).map(([name, part]) => {
    const words = (resolved(part).description || part.description || "").split("\n")[0];
    const limits = limitsOf(part.$ref ? {} : part);
    return make("li", {},
      make("code", {}, name), " ", make("span", { class: "soft" }, typeOf(part)), " ",
      required.includes(name) ? make("span", { class: "must" }, "required ") : null,
      limits ? make("span", { class: "soft" }, `${limits} `) : null,
      words ? make("span", {}, words) : null,
      depth < DEEPEST ? fieldsOf(part, depth + 1, [...within, found]) : null);
  });
  return make("ul", { class: "fields" }, items);
}

// JSON is shown with its own digits: 19.90 stays 19.90.
function indented(text) {
  let out = "", depth = 0, quoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (quoted) {
      out += char;
      if (char === "\\") out += text[++at] || "";
      else if (char === '"') quoted = false;
      continue;
    }
    if (char === '"') { quoted = true; out += char; }
    else if (char === "{" || char === "[") {
      const closes = text.slice(at + 1).match(/^\s*[}\]]/);
      if (closes) { out += char + closes[0].trim(); at += closes[0].length; }
      else out += `${char}\n${"  ".repeat(++depth)}`;
    }
    else if (char === "}" || char === "]") out += `\n${"  ".repeat(--depth)}${char}`;
    else if (char === ",") out += `,\n${"  ".repeat(depth)}`;
    else if (char === ":") out += ": ";
    else if (!/\s/.test(char)) out += char;
  }
  return out;
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

// One operation

function parametersOf(operation) {
  const rows = (operation.parameters || []).map(resolved);
  if (!rows.length) return null;
  return [
    make("h3", {}, "Parameters"),
    make("table", {},
      make("thead", {}, make("tr", {}, ["Name", "In", "Type", "What it is"].map((each) => make("th", { scope: "col" }, each)))),
      make("tbody", {}, rows.map((each) => make("tr", {},
        make("td", {}, make("code", {}, each.name), each.required ? make("span", { class: "must" }, " required") : null),
        make("td", {}, each.in),
        make("td", {}, typeOf(each.schema || {}), make("div", { class: "soft" }, limitsOf(each.schema || {}))),
        make("td", {}, each.description || (each.schema || {}).description || ""))))),
  ];
}

function contentOf(content) {
  return Object.entries(content || {}).map(([kind, { schema, example, examples }]) => [
    make("div", { class: "soft" }, `${kind} ${named(schema)}`),
    schema ? fieldsOf(schema) : null,
    example !== undefined ? [make("div", { class: "soft" }, "Example"), make("pre", { tabindex: "0" }, shown(example))] : null,
    Object.entries(examples || {}).map(([name, each]) => [
      make("div", { class: "soft" }, `${name}: ${each.summary || ""}`),
      make("pre", { tabindex: "0" }, shown(each.value)),
    ]),
  ]);
}

function responsesOf(operation) {
  return [
    make("h3", {}, "Answers"),
    Object.entries(operation.responses).map(([status, part]) => {
      const response = resolved(part);
      const heading = make("summary", {},
        make("code", { class: status < "400" ? "ok" : "bad" }, status), " ", response.description);
      const details = make("details", { class: "response" }, heading);
      details.addEventListener("toggle", () => {
        if (details.childElementCount > 1) return;
        const headers = Object.keys(response.headers || {}).join(", ");
        details.append(make("div", {},
          headers ? make("p", { class: "soft" }, `Headers: ${headers}`) : null, contentOf(response.content)));
      });
      return details;
    }),
  ];
}

function securityOf(operation) {
  const ways = (operation.security || []).map((way) =>
    Object.entries(way).map(([name, scopes]) => (scopes.length ? `${name} (${scopes.join(", ")})` : name)).join(" + ") || "no token");
  return ways.length ? make("p", { class: "soft" }, `Takes: ${ways.join(", or ")}.`) : null;
}

// Trying it

function tryIt(method, path, operation) {
  const inputs = (operation.parameters || []).map(resolved).filter((each) => each.name !== "X-Tenant-Id").map((each) => {
    const id = `${operation.operationId}-${each.in}-${each.name}`;
    const input = make("input", { id, autocomplete: "off", spellcheck: "false", required: each.required, placeholder: typeOf(each.schema || {}) });
    return { parameter: each, id, input };
  });
  const [kind, content] = Object.entries((operation.requestBody || {}).content || {})[0] || [];
  const bodyId = `${operation.operationId}-body`;
  const body = kind ? make("textarea", { id: bodyId, spellcheck: "false" }) : null;
  if (body) body.value = content.example === undefined ? "" : shown(content.example);
  const answer = make("div", { class: "wide", role: "status" });
  const form = make("form", {
    class: "try",
    onsubmit: (event) => {
      event.preventDefault();
      send(method, path, inputs, kind, body, answer);
    },
  },
  inputs.map(({ parameter, id, input }) => [make("label", { for: id }, parameter.name), input]),
  body ? [make("label", { for: bodyId }, "body"), body] : null,
  make("div", { class: "wide" }, make("button", {}, `Send ${method.toUpperCase()}`)), answer);
  return [make("h3", {}, "Try it"), form];
}

async function send(method, path, inputs, kind, body, answer) {
  const query = new URLSearchParams();
  const headers = new Headers();
  let target = path;
  for (const { parameter, input } of inputs) {
    if (input.value === "") continue;
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (parameter.in === "query") query.append(parameter.name, input.value);
    else headers.set(parameter.name, input.value);
  }
  const token = byId("token").value.trim();
  const store = byId("store").value.trim();
  if (token) headers.set("Authorization", `Bearer ${token}`);
  if (store) headers.set("X-Tenant-Id", store);
  if (body && body.value) headers.set("Content-Type", kind);
  if (query.size) target += `?${query}`;
  answer.replaceChildren("Waiting …");
  const began = performance.now();
  try {
    const response = await fetch(target, { method: method.toUpperCase(), headers, body: body && body.value ? body.value : undefined, credentials: "omit", cache: "no-store" });
    const text = await response.text();
    const took = Math.round(performance.now() - began);
    const json = (response.headers.get("content-type") || "").includes("json");
    answer.replaceChildren(
      make("p", {}, make("strong", { class: response.ok ? "ok" : "bad" }, `${response.status} ${response.statusText}`), ` in ${took} ms`),
      make("pre", { tabindex: "0" }, [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n")),
      text ? make("pre", { tabindex: "0" }, json ? indented(text) : text) : "");
  } catch (error) {
    answer.replaceChildren(make("p", { class: "bad" }, `No answer: ${error.message}`));
  }
}

// The page

function operationOf(method, path, operation) {
  const words = [method, path, operation.operationId, operation.summary, operation.description, ...Object.values(operation.responses).map((each) => named(each)), ...Object.keys(operation.responses)];
  const summary = make("summary", {},
    make("span", { class: `method ${method}` }, method), make("span", { class: "path" }, path),
    make("span", { class: "soft" }, operation.summary));
  const details = make("details", { class: "op", id: operation.operationId, "data-words": words.join(" ").toLowerCase() }, summary);
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    const parts = [
      operation.description ? make("p", { class: "about" }, prose(operation.description)) : null,
      make("p", { class: "soft" }, "Operation ", make("code", {}, operation.operationId)),
      securityOf(operation), parametersOf(operation),
      operation.requestBody ? [make("h3", {}, operation.requestBody.required ? "Body" : "Body (optional)"), contentOf(operation.requestBody.content)] : null,
      responsesOf(operation), tryIt(method, path, operation),
    ];
    details.append(make("div", {}, parts));
  });
  return details;
}

function show() {
  const { title, version, description } = spec.info;
  document.title = `${title} API`;
  byId("title").replaceChildren(`${title} API `, make("small", {}, version));
  const operations = Object.entries(spec.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => methods[method]).map((method) => ({ path, method, operation: methods[method] })));
  const sections = [], places = [];
  for (const tag of spec.tags) {
    const own = operations.filter(({ operation }) => operation.tags.includes(tag.name));
    const heading = tag.name.replace(/_/g, " ");
    sections.push(make("section", {}, make("h2", { id: `tag-${tag.name}` }, heading), make("p", { class: "soft" }, prose(tag.description)),
      own.map(({ path, method, operation }) => operationOf(method, path, operation))));
    places.push(make("section", {}, make("h2", {}, heading), make("ul", {}, own.map(({ method, operation }) =>
      make("li", { "data-of": operation.operationId }, make("a", { href: `#${operation.operationId}` },
        make("span", { class: `method ${method}` }, method), make("span", {}, operation.summary)))))));
  }
  byId("main").replaceChildren(make("p", { class: "about" }, prose(description)),
    make("p", {}, make("a", { href: "/openapi.json" }, "openapi.json"), ` (OpenAPI ${spec.openapi})`),
    make("p", { id: "state", role: "status", class: "soft" }), ...sections);
  byId("nav").replaceChildren(...places);
}

function find() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const each of document.querySelectorAll("details.op")) {
    each.hidden = !words.every((word) => each.dataset.words.includes(word));
    found += each.hidden ? 0 : 1;
    document.querySelector(`[data-of="${each.id}"]`).hidden = each.hidden;
  }
  for (const section of document.querySelectorAll("main > section, nav > section")) {
    section.hidden = !section.querySelector("details.op:not([hidden]), li:not([hidden])");
  }
  byId("state").textContent = words.length ? `${found} found.` : "";
}

function open() {
  const target = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
  if (!target || target.tagName !== "DETAILS") return;
  target.hidden = false;
  target.open = true;
  target.scrollIntoView();
}

async function start() {
  try {
    const response = await fetch("/openapi.json");
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    spec = await response.json();
    show();
  } catch (error) {
    byId("state").textContent = `The description cannot be read: ${error.message}`;
    return;
  }
  byId("find").addEventListener("input", find);
  window.addEventListener("hashchange", open);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      byId("find").focus();
    }
  });
  open();
}

start();
