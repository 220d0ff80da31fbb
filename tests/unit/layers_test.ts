/** The house rules of src/: who may import whom, and what belongs nowhere. See docs/architecture.md. */
import assert from "node:assert/strict";
import { BROKER_TYPES } from "../../src/brokers/mod.ts";

const ROOT = new URL("../../", import.meta.url);

/** The layer of each folder of src/, and of a file that lies in src/ itself. */
const LAYERS: Readonly<Record<string, number>> = {
  core: 0,
  net: 1,
  system: 1,
  formats: 1,
  fastcgi: 2,
  redis: 2,
  sql: 2,
  brokers: 3,
  fpm: 3,
  telemetry: 3,
  executors: 4,
  worker: 4,
  monitor: 5,
  http: 6,
  control: 5,
  bench: 5,
  doctor: 5,
  service: 5,
  config: 6,
  app: 7,
  cli: 8,
};

/** What may be imported within a layer: contracts. */
const EXCEPTIONS: readonly { readonly from: string; readonly to: string }[] = [
  { from: "worker", to: "src/executors/executor.ts" },
];

/** Where brokers are named; elsewhere all are alike. */
const BROKER_PLACES = /^src\/(?:brokers|redis|sql|formats)\//;
/** Names of folders that are also words for other things. */
const COMMON_WORDS: ReadonlySet<string> = new Set(["rows"]);
/** Names of brokers, of their folders and formats; as the end of a file's name, one is none. */
const BROKER_NAMES = new RegExp(
  `(?<!\\.)\\b(?:${
    [
      ...BROKER_TYPES.map(({ driver }) => driver),
      ...foldersOf("src/brokers/").filter((name) => !COMMON_WORDS.has(name)),
    ]
      .join("|")
  })\\b`,
  "i",
);

const MAX_LINES = 350;
const MAX_FILES = 16;
const EMPTY_NAMES = /^(?:utils?|helpers?|types|managers?)$/;

/** Comments, texts and regular expressions: what has to be told from code. */
const TOKEN =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`|(?<=(?:[(,=:[!&|?{};]|\breturn|=>)\s*)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*/g;

function withoutComments(code: string): string {
  return code.replace(TOKEN, (token) => /^\/[/*]/.test(token) ? " " : token);
}

/** Without comments and without the insides of texts. */
function bareCode(code: string): string {
  return code.replace(TOKEN, (token) => /^\/[/*]/.test(token) ? " " : token[0] === "/" ? "/x/" : '""');
}

/** Every module that a file imports, re-exports or imports at run time. Throws at an import that it cannot read. */
function importsOf(path: string, code: string): string[] {
  const text = withoutComments(code);
  const names = String.raw`(?:type\s+)?(?:[\w$]+\s*,\s*)?(?:\*(?:\s+as\s+[\w$]+)?|[\w$]+|\{[^{}]*\})`;
  const statics = text.matchAll(new RegExp(`^(?:import|export)\\s+(?:${names}\\s*from\\s*)?"([^"]+)"`, "gm"));
  const dynamics = text.matchAll(/\bimport\(\s*"([^"]+)"/g);
  const found = [...statics, ...dynamics].map((match) => match[1]!);

  // Whatever else says "import" in the code is one that this parser does not understand.
  const words = bareCode(code).matchAll(/(?<![.\w$])import\b(?!\.meta)|\bfrom\s*""/g);
  const imports = [...words].filter(([word]) => word === "import").length;
  const reexports = [...text.matchAll(/^export\b[^;"]*\bfrom\s*"/gm)].length;
  if (found.length !== imports + reexports) {
    throw new Error(`${path}: read ${found.length} of ${imports + reexports} imports`);
  }
  return found;
}

/** The path of an import of our own, from the root; undefined for packages. */
function resolve(path: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return new URL(specifier, new URL(path, "file:///")).pathname.slice(1);
}

function folderOf(path: string): string {
  return path.split("/")[1]!;
}

/** The broker whose folder a file is in. */
function brokerOf(path: string): string | undefined {
  return /^src\/brokers\/([^/]+)\//.exec(path)?.[1];
}

/** Files of which each imports the next one, and the last one the first; undefined when there are none. */
function circleIn(imports: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): string[] | undefined => {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const next of imports.get(path) ?? []) {
      const circle = visit(next, [...way, path]);
      if (circle !== undefined) return circle;
    }
    done.add(path);
    return undefined;
  };
  for (const path of imports.keys()) {
    const circle = visit(path, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

/** What is wrong with one file of src/. */
function problemsOf(path: string, code: string): string[] {
  const problems: string[] = [];
  const folder = folderOf(path);
  const layer = LAYERS[folder];
  if (layer === undefined) problems.push(`${path}: the folder "${folder}" has no layer`);

  for (const specifier of importsOf(path, code)) {
    if (folder === "core" && specifier.startsWith("node:")) {
      problems.push(`${path}: core imports "${specifier}"`);
    }
    const target = resolve(path, specifier);
    if (target === undefined || layer === undefined) continue;
    if (!target.startsWith("src/")) {
      if (folder !== "cli" && folder !== "app") {
        problems.push(`${path}: imports "${target}" from outside src`);
      }
      continue;
    }
    const isException = EXCEPTIONS.some(({ from, to }) => from === folder && to === target);
    const isOwn = folderOf(target) === folder;
    const [broker, targetBroker] = [brokerOf(path), brokerOf(target)];
    if (broker !== undefined && targetBroker !== undefined && targetBroker !== broker) {
      problems.push(`${path}: the broker "${broker}" must not import "${target}"`);
    }
    const targetLayer = LAYERS[folderOf(target)];
    if (!isOwn && !isException && !(targetLayer !== undefined && targetLayer < layer)) {
      problems.push(`${path}: "${folder}" must not import "${target}"`);
    }
  }

  const named = BROKER_PLACES.test(path) ? undefined : BROKER_NAMES.exec(code)?.[0];
  if (named !== undefined) problems.push(`${path}: names a broker, "${named}"`);

  const bare = bareCode(code);
  if (/\bconsole\s*[.[]/.test(bare)) problems.push(`${path}: uses console`);
  if (/\bDeno\s*\.\s*exit\b/.test(bare)) problems.push(`${path}: uses Deno.exit; that is for main.ts alone`);
  if (folder === "core" && /\bDeno\s*[.[]/.test(bare)) problems.push(`${path}: core uses Deno's API`);

  const lines = code.trimEnd().split("\n").length;
  if (lines > MAX_LINES) problems.push(`${path}: ${lines} lines, more than ${MAX_LINES}`);
  const name = path.split("/").at(-1)!.replace(/\.ts$/, "");
  if (name.split(/[._]/).some((part) => EMPTY_NAMES.test(part))) {
    problems.push(`${path}: the name says nothing`);
  }
  return problems;
}

function* sourceFiles(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(new URL(folder, ROOT))) {
    if (entry.isDirectory) yield* sourceFiles(`${folder}${entry.name}/`);
    else if (entry.name.endsWith(".ts")) yield `${folder}${entry.name}`;
  }
}

function foldersOf(folder: string): string[] {
  const entries = [...Deno.readDirSync(new URL(folder, ROOT))];
  return entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(new URL(path, ROOT)) !== undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

const read = (path: string) => Deno.readTextFileSync(new URL(path, ROOT));

Deno.test("src keeps to its layers: imports go down, core is pure, no file is long or has an empty name", () => {
  const files = [...sourceFiles("src/")];
  assert.deepEqual(files.flatMap((path) => problemsOf(path, read(path))), []);
  for (const path of ["src/core/job.ts", "src/fastcgi/pool.ts", "src/cli/main.ts", "src/app/assembly.ts"]) {
    assert.ok(files.includes(path), `${path} was not looked at`);
  }
});

Deno.test("src has no folder with many files, and no circle of imports", () => {
  const files = [...sourceFiles("src/")];
  const folders = Object.groupBy(files, (path) => path.slice(0, path.lastIndexOf("/")));
  for (const [folder, inside] of Object.entries(folders)) {
    assert.ok(inside!.length <= MAX_FILES, `${folder} has ${inside!.length} files, more than ${MAX_FILES}`);
  }
  const imports = new Map(
    files.map((path) => [path, importsOf(path, read(path)).flatMap((name) => resolve(path, name) ?? [])]),
  );
  assert.equal(circleIn(imports)?.join(" -> "), undefined);
});

/** Pages about the source, and how many lines each may have: one that takes long is not read. */
const SOURCE_PAGES: Readonly<Record<string, number>> = {
  "docs/internals.md": 60,
  "docs/architecture.md": 120,
  "CONTRIBUTING.md": 200,
  "SECURITY.md": 60,
  "UPGRADE.md": 80,
};

for (const [page, mostLines] of Object.entries(SOURCE_PAGES)) {
  Deno.test(`${page} names files and folders that are there, in ${mostLines} lines at most`, () => {
    const text = read(page);
    const names = text.matchAll(/`((?:src|tests|scripts|php|packaging|benchmarks)\/[\w./-]+)`/g);
    const missing = [...names].map(([, path]) => path!).filter((path) =>
      !path.includes("NAME") && !exists(path)
    );
    assert.deepEqual(missing, []);
    // The folder of a bare name stands before it, in words or with another file.
    const bare = [...text.matchAll(/`([\w/]+\.ts)`/g)].map(([, path]) => path!);
    const files = ["src/", "tests/", "scripts/"].flatMap((folder) => [...sourceFiles(folder)]).concat(
      "main.ts",
    );
    assert.deepEqual(
      bare.filter((path) => !path.includes("NAME") && !files.some((file) => `/${file}`.endsWith(`/${path}`))),
      [],
    );
    assert.ok(text.trimEnd().split("\n").length <= mostLines);
  });
}

Deno.test("circleIn() finds a circle, however long, and none where files only share what they import", () => {
  const graph = (edges: Record<string, string[]>) => new Map(Object.entries(edges));
  assert.deepEqual(circleIn(graph({ a: ["b"], b: ["c"], c: ["a"] })), ["a", "b", "c", "a"]);
  assert.deepEqual(circleIn(graph({ x: ["a"], a: ["a"] })), ["a", "a"]);
  assert.equal(circleIn(graph({ a: ["b", "c"], b: ["d"], c: ["d"], d: ["package"] })), undefined);
});

Deno.test("main.ts uses no console and is where the only Deno.exit is", () => {
  const bare = bareCode(read("main.ts"));
  assert.doesNotMatch(bare, /\bconsole\b/);
  assert.equal([...bare.matchAll(/\bDeno\.exit\b/g)].length, 1);
});

Deno.test("importsOf() reads every form of an import, and none out of comments and texts", () => {
  const code = `
    // import { a } from "./comment.ts";
    /* export * from "./comment.ts"; */
    const pattern = /["'/*]/.exec(text), text = \`import "./text.ts" \${x}\`;
    const said = "import { a } from './text.ts'";
`.trim() + `
import "./a.ts";
import b from "./b.ts";
import * as c from "./c.ts";
import { d } from "./d.ts";
import type { e } from "./e.ts";
import f, { type g } from "./f.ts";
import {
  h,
  i as j,
} from "./h.ts";
import k from "../k.toml" with { type: "text" };
export * from "./l.ts";
export * as m from "./m.ts";
export { n } from "./n.ts";
export type { o } from "npm:o";
export const p = "import";
export function q() { return import("./q.ts"); }
type R = typeof import("./r.ts");
const here = import.meta.url;
`;
  assert.deepEqual(
    importsOf("src/x.ts", code),
    [..."abcdefh"].map((name) => `./${name}.ts`)
      .concat("../k.toml", "./l.ts", "./m.ts", "./n.ts", "npm:o", "./q.ts", "./r.ts"),
  );
});

Deno.test("importsOf() refuses an import whose module is only known at run time", () => {
  assert.throws(() => importsOf("src/x.ts", "const x = await import(name);\n"), /read 0 of 1 imports/);
});

const FORBIDDEN: readonly [path: string, code: string][] = [
  ["src/core/a.ts", 'import { x } from "../fastcgi/pool.ts";'],
  ["src/core/a.ts", 'import type { x } from "../worker/worker.ts";'],
  ["src/core/a.ts", 'import { readFile } from "node:fs";'],
  ["src/core/a.ts", "export const pid = Deno.pid;"],
  ["src/fastcgi/a.ts", 'import type { x } from "../brokers/mod.ts";'],
  ["src/net/a.ts", 'import { x } from "../fastcgi/connect.ts";'],
  ["src/formats/a.ts", 'export { x } from "../fastcgi/record.ts";'],
  ["src/worker/a.ts", 'import { x } from "../executors/fastcgi.ts";'],
  ["src/brokers/sqlite/a.ts", 'import { x } from "../sidekiq/keys.ts";'],
  ["src/executors/a.ts", 'import { x } from "../worker/pause.ts";'],
  ["src/telemetry/a.ts", 'const x = await import("../config/load.ts");'],
  ["src/http/a.ts", 'import { x } from "../config/config.ts";'],
  ["src/config/a.ts", 'import { x } from "../app/app.ts";'],
  ["src/app/a.ts", 'import { x } from "../cli/io.ts";'],
  ["src/monitor/a.ts", 'import x from "../../deno.json" with { type: "json" };'],
  ["src/extra/a.ts", "export const x = 1;"],
  ["src/cli/a.ts", 'console.log("hello");'],
  ["src/cli/a.ts", "Deno.exit(1);"],
  ["src/cli/a.ts", "\n".repeat(MAX_LINES) + "export const x = 1;"],
  ["src/cli/string_utils.ts", "export const x = 1;"],
  ["src/cli/helpers.ts", "export const x = 1;"],
  ["src/worker/a.ts", "// As in Redis."],
  ["src/config/a.ts", 'const driver = "beanstalkd";'],
];

for (const [path, code] of FORBIDDEN) {
  Deno.test(`problemsOf() finds what is wrong with ${path}: ${code.trim()}`, () => {
    assert.equal(problemsOf(path, code).length, 1);
  });
}

const ALLOWED: readonly [path: string, code: string][] = [
  ["src/core/a.ts", 'import { x } from "./b.ts"; // Deno.pid, console.log'],
  ["src/worker/a.ts", 'import type { Executor } from "../executors/executor.ts";'],
  ["src/config/a.ts", 'import { x } from "../worker/consumer.ts";'],
  ["src/cli/a.ts", 'import x from "../../deno.json" with { type: "json" };'],
  ["src/cli/a.ts", 'export const hint = "Deno.exit and console.log";'],
  ["src/cli/a.ts", "\n".repeat(MAX_LINES - 1) + "export const x = 1;"],
  ["src/cli/typescript.ts", "export const x = 1;"],
  ["src/cli/a.ts", 'const path = "/var/lib/queue.sqlite";'],
  ["src/brokers/mod.ts", "// sqlite, redis"],
];

for (const [path, code] of ALLOWED) {
  Deno.test(`problemsOf() finds nothing wrong with ${path}: ${code.trim()}`, () => {
    assert.deepEqual(problemsOf(path, code), []);
  });
}
