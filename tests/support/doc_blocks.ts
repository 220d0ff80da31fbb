/** The code blocks of the documentation, so that tests can hold it to what it shows. */
const ROOT = new URL("../../", import.meta.url).pathname;

/** Where documentation is: files, and folders with all that they have. */
const PLACES = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "UPGRADE.md",
  "docs",
  "php/bundle/README.md",
  "php/bundle/docs",
  "examples/symfony",
  "examples/plain-php",
];

/** Folders below these with documents of others. */
const FOREIGN = ["vendor", "node_modules"];

/** A fenced code block. */
export interface DocBlock {
  /** From the root of the repository. */
  readonly file: string;
  /** Of its first fence, from 1. */
  readonly line: number;
  /** As at the fence; "" for none. */
  readonly language: string;
  /** Without the indentation of a list that it stands in; each line with its end. */
  readonly text: string;
}

/** All of them, in order. */
export function docBlocks(): DocBlock[] {
  return docFiles().flatMap((file) => blocksOf(file, Deno.readTextFileSync(`${ROOT}${file}`)));
}

/** Where a block is, for messages. */
export function placeOf({ file, line }: DocBlock): string {
  return `${file}:${line}`;
}

function docFiles(): string[] {
  return PLACES.flatMap((place) => Deno.statSync(`${ROOT}${place}`).isFile ? [place] : documentsIn(place));
}

function documentsIn(folder: string): string[] {
  const entries = [...Deno.readDirSync(`${ROOT}${folder}`)].filter(({ name }) => !FOREIGN.includes(name))
    .sort((a, b) => a.name < b.name ? -1 : 1);
  return entries.flatMap(({ name, isDirectory }) =>
    isDirectory ? documentsIn(`${folder}/${name}`) : name.endsWith(".md") ? [`${folder}/${name}`] : []
  );
}

function blocksOf(file: string, document: string): DocBlock[] {
  const fences = /^( *)```(\S*)\n([^]*?)^ *```$/gm;
  return [...document.matchAll(fences)].map(({ index, 1: indent = "", 2: language = "", 3: text = "" }) => ({
    file,
    line: document.slice(0, index).split("\n").length,
    language,
    text: text.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  }));
}
