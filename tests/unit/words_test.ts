/** One thing has one name: the words that docs/glossary.md does not use are in no text that a person reads. */
import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url).pathname;
/** What is read: the source with its comments, the help and all texts in it, and the documentation. */
const PLACES = [
  "src",
  "docs",
  "packaging",
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "UPGRADE.md",
  "config.example.toml",
  "php/runner/README.md",
  "php/runner/CHANGELOG.md",
  "php/bundle/README.md",
  "php/bundle/CHANGELOG.md",
  "php/bundle/UPGRADE.md",
  "php/bundle/docs",
];
/** What is said instead; what is not said. */
const WORDS: readonly (readonly [say: string, not: RegExp])[] = [
  ["format", /\bdialects?\b/gi],
  ["heartbeat", /\bsigns? of life\b/gi],
  // The verb stays: "the worker tries again".
  [
    "attempt",
    /\btries\b(?! (?:again|to)\b)|\b(?:a|the|each|one|last|first|next|this|that|every|former|lost) try\b/gi,
  ],
  ["prefetch", /\blook[-_ ]?ahead\b|\btak(?:es?|en|ing) ahead\b/gi],
  ["in flight", /\bHeld(?:[A-Z]\w*)?\b/g],
  ["unavailable", /\b(?:is|are|was|were|be|been) away\b/gi],
  ["check", /\bthe doctor\b/gi],
  ["foreign request", /\bstrange\b/gi],
  ["observation", /(?<!at first )\bsights?\b/gi],
  // "So many that …" has a consequence, and is good English.
  ["this many, or the number", /\bso many\b(?! (?:\w+ )?that\b)/gi],
  ["for this long, or the number", /\bso long\b(?! as\b)/gi],
  ["a noun", /\bthose (?:that|who) (?:have|has)\b/gi],
];

/** Where one of these words is right all the same, and why. A place is a file, or a folder with all of its files. */
const EXCEPTIONS: readonly { readonly place: string; readonly text: string; readonly why: string }[] = [
  { place: "UPGRADE.md", text: "`dialect = ", why: "the option's name before it was renamed" },
  {
    place: "src/config/problems.ts",
    text: "brokers.dialect",
    why: "the option's name before it was renamed",
  },
  { place: "src/sql/", text: "dialect", why: "the SQL of a server" },
  { place: "src/brokers/rows/", text: "dialect", why: "the SQL of a server" },
];

function filesIn(path: string): string[] {
  if (Deno.statSync(`${ROOT}${path}`).isFile) return [path];
  return [...Deno.readDirSync(`${ROOT}${path}`)].flatMap(({ name }) => filesIn(`${path}/${name}`));
}

/** The text in one line, for a sentence goes on in the next line of a comment. */
function textOf(file: string): string {
  const text = Deno.readTextFileSync(`${ROOT}${file}`);
  // The glossary itself names them, in its last chapter.
  const read = file === "docs/glossary.md" ? text.slice(0, text.indexOf("## Words that are not used")) : text;
  return read.replaceAll(/\n[ \t]*(?:\*|\/\/|#|;|\.\\")?[ \t]*/g, " ");
}

/** @returns Where the text says what is not said. */
function findingsIn(text: string): string[] {
  return WORDS.flatMap(([say, not]) =>
    [...text.matchAll(not)].map(({ 0: word, index }) => {
      const around = text.slice(Math.max(0, index - 40), index + word.length + 30);
      return `"${word}", say "${say}": …${around}…`;
    })
  );
}

Deno.test("The words that the glossary does not use are in no text", () => {
  const files = PLACES.flatMap(filesIn);
  assert.ok(files.length > 300, `${files.length}`);
  const used = new Set<unknown>();
  const findings = files.flatMap((file) => {
    const exceptions = EXCEPTIONS.filter(({ place }) => file.startsWith(place));
    const text = exceptions.reduce((left, exception) => {
      if (left.includes(exception.text)) used.add(exception);
      return left.replaceAll(exception.text, "");
    }, textOf(file));
    return findingsIn(text).map((finding) => `${file}: ${finding}`);
  });
  assert.deepEqual(findings, []);
  assert.deepEqual(
    EXCEPTIONS.filter((exception) => !used.has(exception)),
    [],
    "exceptions that nothing needs",
  );
});

Deno.test("Each word that is not used is found, also where a line ends within it", () => {
  for (
    const text of [
      "of this dialect",
      "a sign of life",
      "after ten tries",
      "the last try",
      "the look-ahead",
      "jobs taken ahead",
      "class HeldDeliveries {",
      "php-fpm is away",
      "what the doctor finds",
      "strange requests",
      "the sight of a pool",
      "so many jobs",
      "after so long a time",
      "those that have jobs",
    ]
  ) assert.equal(findingsIn(text).length, 1, text);
  for (
    const text of ["it tries again", "so many that none is left", "at first sight", "so long as it runs"]
  ) {
    assert.deepEqual(findingsIn(text), [], text);
  }
});

Deno.test("The glossary names each word that is said instead", () => {
  const glossary = Deno.readTextFileSync(`${ROOT}docs/glossary.md`);
  for (const [say] of WORDS) assert.ok(glossary.includes(say.split(",")[0]!), say);
});
