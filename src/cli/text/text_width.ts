/** Characters without a column: marks on others, joiners, and formatting characters. */
const NO_COLUMN = /[\p{Mn}\p{Me}\p{Cf}]/u;
/** Characters of East Asian width W or F (Unicode Standard Annex 11), by blocks, and pictures: two columns. */
const TWO_COLUMNS =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18d08}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}\p{Emoji_Presentation}]/u;
const ASCII = /^[\x20-\x7e]*$/;

/** The most code units of a column, so that endless marks are cut, too. */
const UNITS_PER_COLUMN = 8;

/** The columns of a text on a terminal. It must have no controls; see {@link visible}. */
export function textWidth(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const char of text) width += charWidth(char);
  return width;
}

/** The text, or as much of its beginning as fits with `end` into this many columns. */
export function cutText(text: string, columns: number, end = "…"): string {
  const room = columns - textWidth(end);
  const most = UNITS_PER_COLUMN * columns;
  let [width, length, fitting] = [0, 0, 0];
  for (const char of text) {
    width += charWidth(char);
    length += char.length;
    if (width > columns || length > most) return text.slice(0, fitting) + end;
    if (width <= room) fitting = length;
  }
  return text;
}

function charWidth(char: string): number {
  if (char <= "~") return 1;
  if (NO_COLUMN.test(char)) return 0;
  return TWO_COLUMNS.test(char) ? 2 : 1;
}
