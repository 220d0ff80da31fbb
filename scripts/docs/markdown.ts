/*
 * Markdown as `deno fmt` leaves it, so that a generated page is the same before and after.
 */

/** The name of a heading's place, as it is made on the web. */
export function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-");
}

/** A list of links to the headings. */
export function contents(headings: readonly string[]): string {
  return headings.map((heading) => `- [${heading.replaceAll("`", "")}](#${anchorOf(heading)})`).join("\n");
}

/** A table; its columns are as wide as their widest cell. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => [...row[column]!].length)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell + " ".repeat(widths[column]! - [...cell].length)).join(" | ")} |`;
  const [first, ...others] = cells;
  return [line(first!), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...others.map(line)]
    .join("\n");
}

/** Paragraphs, with an empty line between. */
export function page(...parts: readonly string[]): string {
  return `${parts.join("\n\n")}\n`;
}

/** Documents of docs/, as links from docs/reference. */
export function linked(text: string): string {
  return text.replaceAll(/docs\/([\w./-]+\.md)/g, "[$1](../$1)");
}

/** Of a line of prose. */
const MAX_WIDTH = 120;

/** A paragraph in lines; code and links are not broken. */
export function wrapped(text: string): string {
  const words = text.match(/(?:`[^`]*`|\[[^\]]*\]\([^)]*\)|[^\s`[]|\[)+/g) ?? [];
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > MAX_WIDTH) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.join("\n");
}

/** Said at the top of a page that nobody should edit. */
export const GENERATED = "<!-- Made of the code by: deno task docs -->";
