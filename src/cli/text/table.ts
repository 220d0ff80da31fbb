import { visible } from "../../core/text/visible.ts";
import { cutText, textWidth } from "./text_width.ts";

/** The widest cell, columns: enough for any usual id. */
const CELL_COLUMNS = 100;
const BETWEEN = "  ";

/**
 * Columns below a head line, as `ps` and `docker ps` print them. A cell wider than 100 columns is cut.
 *
 * @param figures The number of columns of figures at the right that come as texts; numbers are recognized.
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
