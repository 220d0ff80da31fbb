/**
 * Writes THIRD-PARTY-NOTICES: every licence of what the program contains. `deno task notices`
 *
 * The npm packages are those that the bundle has code of. The parts of the runtime are listed here; its Rust crates are read from the
 * executable by `fervo-worker licenses`, as they are others with each runtime.
 */
import { bundledPackages, type LockedPackage, packageFolder, ROOT } from "./bundled_packages.ts";

/** What the runtime contains beside Rust crates, as far as it is known. */
const RUNTIME: readonly { title: string; license: string; source: string; file?: string }[] = [
  { title: "Deno", license: "MIT", source: "https://github.com/denoland/deno", file: "Deno.txt" },
  { title: "V8", license: "BSD-3-Clause", source: "https://chromium.googlesource.com/v8/v8", file: "V8.txt" },
  {
    title: "ICU",
    license: "Unicode-3.0",
    source: "https://github.com/unicode-org/icu",
    file: "Unicode-3.0.txt",
  },
  { title: "Abseil", license: "Apache-2.0", source: "https://github.com/abseil/abseil-cpp" },
  {
    title: "libc++ and libc++abi",
    license: "Apache-2.0 WITH LLVM-exception",
    source: "https://github.com/llvm/llvm-project",
  },
  { title: "SQLite", license: "blessing", source: "https://sqlite.org" },
];

/** Packages without a licence file: the text that their licence field names. */
const TEXTS: Readonly<Record<string, string>> = {
  "@assemblyscript/loader": "Apache-2.0.txt",
  postgres: "Unlicense.txt",
};
/** Sources whose first comment is a further licence of the package. */
const LICENSE_COMMENTS: Readonly<Record<string, string>> = { pako: "lib/zlib/zstream.js" };
const LICENSE_FILE = /^(?:licen[cs]e|copying|notice)/i;

const LINE = "=".repeat(80);

const HEAD = `Third-party notices of fervo-worker

fervo-worker itself is under the MIT licence: see LICENSE. The program contains the software below. Each notice begins with the name
and the licence, as SPDX writes it. \`deno task notices\` writes this file; \`fervo-worker licenses\` prints it, and the Rust crates of the
runtime.
`;

/** The text of THIRD-PARTY-NOTICES. */
export async function notices(): Promise<string> {
  const packages = [];
  for (const each of await bundledPackages()) packages.push(await packageNotice(each));
  const runtime = [];
  for (const part of RUNTIME) runtime.push(await runtimeNotice(part));
  return [HEAD, ...packages, ...runtime].join("\n");
}

async function packageNotice(each: LockedPackage): Promise<string> {
  const { name, version } = each;
  const folder = await packageFolder(each);
  const manifest = JSON.parse(await Deno.readTextFile(`${folder}/package.json`));
  const files = [...Deno.readDirSync(folder)].filter((entry) => entry.isFile && LICENSE_FILE.test(entry.name))
    .map((entry) => entry.name).sort();
  const paths = files.map((file) => `${folder}/${file}`);
  const standard = TEXTS[name];
  if (paths.length === 0 && standard === undefined) throw new Error(`${name}@${version} has no licence file`);
  if (standard !== undefined) paths.push(licenseFile(standard));
  const author = files.length === 0 ? `Author: ${authorOf(manifest)}\n` : "";
  const license = String(manifest.license).replace(/^\((.*)\)$/, "$1");
  const source = LICENSE_COMMENTS[name];
  const comment = source === undefined ? "" : `\n${await firstComment(`${folder}/${source}`)}`;
  return notice(`${name} ${version}`, license, `npm package\n${author}`, await texts(paths) + comment);
}

function authorOf({ author }: { author?: string | { name?: string } }): string {
  return typeof author === "string" ? author : author?.name ?? "unknown";
}

async function runtimeNotice({ title, license, source, file }: typeof RUNTIME[number]): Promise<string> {
  const text = file === undefined
    ? "The text of this licence comes with the source.\n"
    : await texts([licenseFile(file)]);
  return notice(title, license, `part of the runtime, ${source}\n`, text);
}

function licenseFile(name: string): string {
  return `${ROOT}packaging/licenses/${name}`;
}

async function texts(paths: readonly string[]): Promise<string> {
  const all = [];
  for (const path of paths) all.push(plainLines(await Deno.readTextFile(path)));
  return all.join("\n");
}

async function firstComment(path: string): Promise<string> {
  const comment = /(?:^\/\/.*\n)+/m.exec(await Deno.readTextFile(path));
  if (comment === null) throw new Error(`${path} has no comment`);
  return comment[0].replaceAll(/^\/\/ ?/gm, "");
}

function notice(title: string, license: string, origin: string, text: string): string {
  return `${LINE}\n${title}\nLicence: ${license}\nOrigin: ${origin}\n${text}`;
}

/** Without what a terminal would obey, and without blanks at the ends. */
function plainLines(text: string): string {
  const lines = text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").replaceAll("\f", "").split("\n");
  return `${lines.map((line) => line.trimEnd()).join("\n").replace(/^\n+|\n+$/g, "")}\n`;
}

if (import.meta.main) await Deno.writeTextFile(`${ROOT}THIRD-PARTY-NOTICES`, await notices());
