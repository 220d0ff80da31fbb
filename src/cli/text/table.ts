import { visible } from "../../core/text/visible.ts";
import { cutText, textWidth } from "./text_width.ts";

/** What a cell may take, columns: enough for any id that is not made to be long. */
const CELL_COLUMNS = 100;
const BETWEEN = "  ";

/**
 * Columns under a head line, as `ps` and `docker ps` print them. A cell that would take more than 100 columns is cut.
 *
 * @param figures How many columns of figures there are at the right, where they come as texts; numbers are known as such.
 */
export function table(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  figures = 0,
): string {
  const lines = [
    head,
    ...rows.map((row) =>
      row.map((cell) => typeof cell === "number" ? String(cell) : cutText(visible(cell), CELL_COLUMNS))
    ),
  ];
  const columns = head.map((_, index) => ({
    width: lines.reduce((width, line) => Math.max(width, textWidth(line[index]!)), 0),
    isRight: typeof rows[0]?.[index] === "number" || index >= head.length - figures,
  }));
  const text = lines.map((line) =>
    columns.map(({ width, isRight }, index) => {
      const cell = line[index]!;
      const space = " ".repeat(width - textWidth(cell));
      return isRight ? space + cell : cell + space;
    }).join(BETWEEN).trimEnd()
  );
  return `${text.join("\n")}\n`;
}
