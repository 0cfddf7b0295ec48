
"use strict";
const KEPT = "mercato-mailbox", EVERY_MS = 5000;
const $ = (selector) => document.querySelector(selector);
const [signIn, main, article, frame, source] = ["#sign-in", "main", "article", "iframe", "pre"].map($);
let session = JSON.parse(sessionStorage.getItem(KEPT) || "null");
let next = null, shown = null, asked = 0, grown = false;

function tell(where, words) { where.querySelector(".told").textContent = words; }

async function call(path, options = {}) {
  const headers = {"Content-Type": "application/json", "X-Tenant-Id": session.store};
  if (session.token) headers.Authorization = "Bearer " + session.token;
  const answer = await fetch(path, {...options, headers});
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  if (answer.status === 401 && session.token) leave("You were signed out. Please sign in again.");
  throw new Error((body.error && body.error.message) || "That did not work. Please try again.");
}

function leave(words) {
  session = null;
  sessionStorage.removeItem(KEPT);
  main.hidden = article.hidden = true;
  signIn.hidden = false;
  tell(signIn, words);
}

function enter() {
  signIn.hidden = true;
  main.hidden = false;
  $("#who").textContent = session.email;
  $("#acting").hidden = session.role !== "operator";
  $("#acting input").value = session.store;
  list();
}

signIn.addEventListener("submit", async (event) => {
  event.preventDefault();
  tell(signIn, "");
  const given = Object.fromEntries(new FormData(signIn));
  session = {store: given.store.trim()};
  try {
    const body = JSON.stringify({email: given.email, password: given.password});
    const {data} = await call("/api/v1/users/login", {method: "POST", body});
    session = {store: session.store, token: data.token, role: data.user.role, email: data.user.email};
    sessionStorage.setItem(KEPT, JSON.stringify(session));
    signIn.querySelector("[name=password]").value = "";
    enter();
  } catch (error) { session = null; tell(signIn, error.message); }
});

function item(mail) {
  const button = document.createElement("button"), line = document.createElement("span");
  button.type = "button";
  button.textContent = mail.subject;
  line.textContent = mail.recipient + ", " + new Date(mail.created_at).toLocaleString();
  button.append(line);
  button.dataset.id = mail.id;
  if (mail.id === shown) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => open(mail.id));
  const entry = document.createElement("li");
  entry.append(button);
  return entry;
}

async function list(after) {
  const mine = ++asked;
  try {
    const more = after ? "&after=" + encodeURIComponent(after) : "";
    const {data, meta} = await call("/api/v1/mailbox?limit=50&count=false" + more);
    if (mine !== asked) return;
    tell(main, "");
    const entries = data.map(item);
    grown = Boolean(after);
    if (after) $("#mails").append(...entries); else $("#mails").replaceChildren(...entries);
    next = meta.next_cursor || null;
    $("#more").hidden = !next;
    $("#none").hidden = $("#mails").childElementCount > 0;
  } catch (error) { if (session) tell(main, error.message); }
}

async function open(id) {
  shown = id;
  for (const each of document.querySelectorAll("#mails button")) {
    if (each.dataset.id === id) each.setAttribute("aria-current", "true"); else each.removeAttribute("aria-current");
  }
  try {
    const {data} = await call("/api/v1/mailbox/" + encodeURIComponent(id));
    if (shown !== id) return;
    article.hidden = false;
    article.querySelector("h2").textContent = data.subject;
    article.querySelector("dl").replaceChildren(...Object.entries(data.headers).flatMap(([name, value]) => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name;
      text.textContent = value;
      return [term, text];
    }));
    source.textContent = data.text;
    draw(data.html);
  } catch (error) { if (session) tell(main, error.message); }
}

/* The frame's own policy lets the mail run nothing and load nothing. */
function draw(html) {
  const inside = frame.contentDocument;
  if (!inside || inside.readyState !== "complete" || inside.title !== "Mail") {
    frame.addEventListener("load", () => draw(html), {once: true});
    return;
  }
  inside.documentElement.innerHTML = html;
  for (const link of inside.querySelectorAll("a")) { link.target = "_blank"; link.rel = "noopener noreferrer"; }
  inside.title = "Mail";
}

for (const choice of document.querySelectorAll("[data-show]")) {
  choice.addEventListener("click", () => {
    for (const each of document.querySelectorAll("[data-show]")) each.setAttribute("aria-pressed", String(each === choice));
    frame.hidden = choice.dataset.show !== "html";
    source.hidden = choice.dataset.show !== "text";
  });
}
$("#refresh").addEventListener("click", () => list());
$("#more").addEventListener("click", () => list(next));
$("#sign-out").addEventListener("click", () => leave(""));
$("#acting").addEventListener("change", (event) => {
  session.store = event.target.value.trim();
  sessionStorage.setItem(KEPT, JSON.stringify(session));
  shown = null;
  article.hidden = true;
  list();
});
/* New mails show by themselves, unless older ones are being looked at. */
setInterval(() => { if (session && !grown && !document.hidden) list(); }, EVERY_MS);
if (session) enter();
