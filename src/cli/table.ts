import Table from "cli-table3";

const NO_BORDERS = Object.fromEntries(
  [
    "top",
    "top-mid",
    "top-left",
    "top-right",
    "bottom",
    "bottom-mid",
    "bottom-left",
    "bottom-right",
    "left",
    "left-mid",
    "mid",
    "mid-mid",
    "right",
    "right-mid",
  ].map((name) => [name, ""]),
);

/**
 * Columns under a head line, as `ps` and `docker ps` print them.
 *
 * @param figures How many columns of figures there are at the right, where they come as texts; numbers are known as such.
 */
export function table(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  figures = 0,
): string {
  const columns = new Table({
    head: [...head],
    chars: { ...NO_BORDERS, middle: "  " },
    colAligns: head.map((_, i) =>
      typeof rows[0]?.[i] === "number" || i >= head.length - figures ? "right" : "left"
    ),
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  columns.push(...rows.map((row) => [...row]));
  return `${columns.toString().replaceAll(/ +$/gm, "")}\n`;
}
