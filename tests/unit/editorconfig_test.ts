/**
 * .editorconfig and the files agree. The gate holds the same files to what the formatters do (`deno fmt --check`,
 * php/bundle/tests/check), so an editor that reads .editorconfig writes what the formatters leave alone.
 */
import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url);
const CONFIG = Deno.readTextFileSync(new URL(".editorconfig", ROOT));

/** Folders that hold files of ours, and what is generated or downloaded inside of them. */
const PLACES = [
  "",
  ".ci/",
  ".github/",
  "benchmarks/",
  "docs/",
  "examples/",
  "php/",
  "scripts/",
  "src/",
  "tests/",
];
const NOT_OURS =
  /(?:^|\/)(?:vendor|var|\.cache|\.phpunit\.cache|composer\.lock)$|^benchmarks\/results$|\.sqlite(?:-\w+)?$/;
/** Where a line is indented to fit the one above it, or as the authors of a licence have written it. */
const FREELY_INDENTED = /\.(?:md|pl|txt)$|^THIRD-PARTY-NOTICES$/;

interface Section {
  readonly matches: (name: string) => boolean;
  readonly rules: Readonly<Record<string, string>>;
}

/** The sections of the file, of the two forms that it uses: `*` and `*.{a,b}`. */
function sectionsOf(config: string): Section[] {
  return config.split(/^(?=\[)/m).slice(1).map((text) => {
    const [head, ...lines] = text.split("\n");
    const endings = /^\[\*\.\{(.+)\}\]$/.exec(head!)?.[1]?.split(",");
    assert.ok(head === "[*]" || endings !== undefined, `this test cannot read ${head}`);
    const rules = lines.filter((line) => line.includes("=")).map((line) =>
      line.split(" = ") as [string, string]
    );
    return {
      matches: (name) => endings?.some((ending) => name.endsWith(`.${ending}`)) ?? true,
      rules: Object.fromEntries(rules),
    };
  });
}

const SECTIONS = sectionsOf(CONFIG);

function rulesFor(name: string): Readonly<Record<string, string>> {
  return Object.assign({}, ...SECTIONS.filter(({ matches }) => matches(name)).map(({ rules }) => rules));
}

/** What of a file is not as .editorconfig says. */
function problemsOf(name: string, text: string): string[] {
  const { indent_size } = rulesFor(name);
  const problems: string[] = [];
  if (text.includes("\r")) problems.push("has a carriage return");
  if (text !== "" && !text.endsWith("\n")) problems.push("does not end with a line end");
  for (const [index, line] of text.split("\n").entries()) {
    if (/[ \t]$/.test(line)) problems.push(`line ${index + 1} ends with white space`);
    if (/^ *\t/.test(line)) problems.push(`line ${index + 1} is indented with a tab`);
  }
  const step = smallestIndent(text);
  if (!FREELY_INDENTED.test(name) && step !== undefined && step % Number(indent_size) !== 0) {
    problems.push(`is indented by ${step}, which is no multiple of ${indent_size}`);
  }
  return problems;
}

/** Of all lines but those of comments, which begin with a blank and a star. Deeper ones may be texts of other languages. */
function smallestIndent(text: string): number | undefined {
  const indents = [...text.matchAll(/^( +)[^\s*]/gm)].map(([, indent]) => indent!.length);
  return indents.length === 0 ? undefined : Math.min(...indents);
}

function* ourFiles(folder: string, isDeep: boolean): Generator<string> {
  for (const { name, isDirectory, isFile } of Deno.readDirSync(new URL(folder, ROOT))) {
    const path = `${folder}${name}`;
    if (NOT_OURS.test(path)) continue;
    if (isFile) yield path;
    else if (isDirectory && isDeep) yield* ourFiles(`${path}/`, true);
  }
}

Deno.test(".editorconfig says how every file is indented and ends", () => {
  const wanted = { charset: "utf-8", end_of_line: "lf", indent_style: "space" };
  for (const { rules } of SECTIONS.slice(0, 1)) assert.deepEqual({ ...rules, ...wanted }, rules);
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  const seen = new Map<string, number>();
  for (const path of PLACES.flatMap((place) => [...ourFiles(place, place !== "")])) {
    const text = utf8.decode(Deno.readFileSync(new URL(path, ROOT)));
    assert.deepEqual(problemsOf(path, text), [], path);
    const ending = path.split(".").at(-1)!;
    const { indent_size } = rulesFor(path);
    const steps = text.match(new RegExp(`^ {${indent_size}}\\S`, "gm"))?.length ?? 0;
    seen.set(ending, (seen.get(ending) ?? 0) + steps);
  }
  for (const ending of ["ts", "json", "yml", "php", "twig", "neon"]) {
    assert.ok(seen.get(ending)! > 0, `no file ending with .${ending} has an indented line`);
  }
});

Deno.test("problemsOf() finds what an editor without .editorconfig leaves behind", () => {
  for (
    const [name, text] of [
      ["a.ts", "x\r\n"],
      ["a.ts", "x"],
      ["a.ts", "x \n"],
      ["a.ts", "\tx\n"],
      ["a.ts", "   x\n"],
      ["a.php", "  x\n"],
    ] as const
  ) {
    assert.equal(problemsOf(name, text).length, 1, JSON.stringify(text));
  }
  assert.deepEqual(problemsOf("a.ts", "  x\n   * y\n"), []);
});
