/** A page says whom it is for; a long one begins with its contents, in which every chapter is. */
import assert from "node:assert/strict";
import { contents } from "../../scripts/docs/markdown.ts";

const DOCS = new URL("../../docs/", import.meta.url);
/** What is longer is searched, not read. */
const LONG_LINES = 200;

function contentsOf(text: string): string[] {
  const chapters = text.replaceAll(/^```[\s\S]*?^```$/gm, "").matchAll(/^## (.+)$/gm);
  return contents([...chapters].map(([, heading]) => heading!)).split("\n");
}

/** From docs/, those of all folders below. */
function documentsIn(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, DOCS))].flatMap(({ name, isDirectory }) =>
    isDirectory ? documentsIn(`${folder}${name}/`) : name.endsWith(".md") ? [`${folder}${name}`] : []
  );
}

Deno.test("Every long document in docs/ begins with its contents: each chapter, in order", () => {
  const long = documentsIn("").map((name) => ({ name, text: Deno.readTextFileSync(new URL(name, DOCS)) }))
    .filter(({ text }) => text.split("\n").length > LONG_LINES);
  assert.ok(long.some(({ name }) => name === "reference/config.md"));
  for (const { name, text } of long) {
    const head = text.split(/^## /m, 1)[0]!;
    const found = head.split("\n").filter((line) => line.startsWith("- ["));
    assert.deepEqual(found, contentsOf(text), `docs/${name}`);
  }
});

Deno.test("Every page of docs/ begins with whom it is for", () => {
  // Decisions are for whoever asks why.
  const pages = documentsIn("").filter((name) => !name.startsWith("adr/"));
  assert.ok(pages.length > 20, `${pages.length}`);
  const others = pages.filter((name) => {
    const text = Deno.readTextFileSync(new URL(name, DOCS)).replaceAll(/<!--[^]*?-->\n/g, "");
    return !/^# .+\n+For \S/.test(text);
  });
  assert.deepEqual(others, []);
});
