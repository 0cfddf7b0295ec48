/* Bundles the page into src/mercato/gateway/graphql_http/graphiql: gzip'ed parts under names that tell their content.

   GraphiQL 4, not 5: its editor is CodeMirror, which needs no eval, no workers and a third of the bytes of Monaco. */

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { constants, gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
/* Packages without a licence file of their own, and another from the same repository or hand that has it. */
const SAME_OWNER = {
  "@graphiql/plugin-doc-explorer": "graphiql",
  "@graphiql/plugin-history": "graphiql",
  "react-compiler-runtime": "react",
  "react-remove-scroll-bar": "react-remove-scroll",
  "toggle-selection": "copy-to-clipboard",
};
const target = resolve(here, "../../src/mercato/gateway/graphql_http/graphiql");

/* The fonts in it are two thirds of the style; the page uses the system's own. */
const withoutFonts = {
  name: "without-fonts",
  setup(bundle) {
    bundle.onLoad({ filter: /graphiql\/dist\/style\.css$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(/@font-face\s*\{[^}]*\}/g, ""),
      loader: "css",
    }));
  },
};

/* Icons are called after their functions, whose names do not outlive the minifying. */
const namedIcons = {
  name: "named-icons",
  setup(bundle) {
    bundle.onLoad({ filter: /@graphiql\/react\/dist\/icons\/index\.js$/ }, ({ path }) => {
      const contents = readFileSync(path, "utf8")
        .replaceAll(/= generateIcon\((\w+)\)/g, '= generateIcon($1, "$1")')
        .replace("function generateIcon(RawComponent)", "function generateIcon(RawComponent, called)")
        .replaceAll("RawComponent.name", "called");
      return { contents, loader: "js" };
    });
  },
};

const { outputFiles, metafile } = await build({
  absWorkingDir: here,
  entryPoints: { graphiql: "src/main.jsx" },
  outdir: "out",
  write: false,
  bundle: true,
  minify: true,
  metafile: true,
  format: "iife",
  target: "es2022",
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"' },
  legalComments: "none",
  banner: { js: "/* Licences: NOTICES.txt, beside this file */", css: "/* Licences: NOTICES.txt, beside this file */" },
  plugins: [withoutFonts, namedIcons],
});

mkdirSync(target, { recursive: true });
for (const name of readdirSync(target)) rmSync(join(target, name));

const names = {};
for (const { path, contents } of outputFiles) {
  const [stem, kind] = path.split("/").pop().split(".");
  const hash = createHash("sha256").update(contents).digest("hex").slice(0, 12);
  names[kind] = `${stem}-${hash}.${kind}`;
  write(`${names[kind]}.gz`, gzipSync(contents, { level: constants.Z_BEST_COMPRESSION }), contents.length);
}
write("index.html", readFileSync(join(here, "src/index.html"), "utf8").replace("{js}", names.js).replace("{css}", names.css));
write("NOTICES.txt", notices());

function write(name, contents, whole) {
  writeFileSync(join(target, name), contents);
  console.log(`${name}: ${contents.length} bytes${whole ? ` of ${whole}` : ""}`);
}

/* Of every package that something in the bundle comes from: its name, version, licence and the licence's text. */
function notices() {
  const packages = new Set();
  for (const output of Object.values(metafile.outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
      const found = input.match(/^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//);
      if (found && bytesInOutput > 0) packages.add(found[1]);
    }
  }
  const texts = new Map();
  for (const folder of packages) {
    const { name, version, license } = JSON.parse(readFileSync(join(here, folder, "package.json"), "utf8"));
    const text = licenceIn(folder, license);
    texts.set(text, (texts.get(text) ?? new Set()).add(`${name} ${version} (${license})`));
  }
  const line = "-".repeat(80);
  const told = [...texts].map(([text, titles]) => `${line}\n${[...titles].sort().join("\n")}\n${line}\n${text}`);
  return ["The page at /graphql holds, bundled together, what these packages consist of.", ...told.sort()].join("\n\n") + "\n";
}

function licenceIn(folder, license) {
  const file = readdirSync(join(here, folder)).find((name) => /^licen[cs]e/i.test(name));
  if (file) return readFileSync(join(here, folder, file), "utf8").trim();
  const other = SAME_OWNER[folder.replace(/^.*node_modules\//, "")];
  if (other) return licenceIn(join("node_modules", other), license);
  throw new Error(`${folder} has no licence file, and its package.json says ${license}`);
}
