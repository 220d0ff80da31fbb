/** A sentence that ends and another that begins. */
const END = /(?<=[.!?:][)"”]?) +(?=[("“`*[]*[A-Z`])/;
/** What is shorter is a heading, a value or a name. */
const LEAST_WORDS = 4;

/**
 * The sentences of a page as its reader meets them: of paragraphs, of the points of a list, and of the cells of a table. Code blocks,
 * headings and comments have none.
 */
export function sentencesOf(markdown: string): string[] {
  const text = markdown.replaceAll(/^( *)```[^]*?^\1```$/gm, "\n").replaceAll(/<!--[^]*?-->/g, "");
  return text.split(/\n{2,}|\n(?= *(?:[-*]|\d+\.) |\|)/).flatMap(partsOf)
    .flatMap((part) => part.split(END)).map((sentence) => sentence.trim())
    .filter((sentence) =>
      sentence.split(" ").length >= LEAST_WORDS && !/^(`[^`]*`|\*\*[^*]*\*\*)$/.test(sentence)
    );
}

/** The texts of a paragraph, a point or a row of a table. */
function partsOf(block: string): string[] {
  const line = block.trim().replaceAll(/\s+/g, " ");
  if (line.startsWith("#") || /^- \[[^\]]*\]\(#[^)]*\)$/.test(line)) return [];
  if (!line.startsWith("|")) return [line.replace(/^(?:[-*]|\d+\.) /, "")];
  return line.split(/(?<!\\)\|/).map((cell) => cell.trim()).filter((cell) => !/^-*$/.test(cell));
}
