/**
 * What others have written into the table. SQLite keeps in a column whatever it is given: a text in one of numbers, bytes that
 * are no UTF-8 in one of text, whole numbers beyond what JavaScript has exactly. One such value must not fail more than its
 * own row.
 */

/** More of a text that a person may have to read is not read, bytes. */
export const MAX_TEXT_BYTES = 16 * 1024 * 1024;

const utf8 = new TextDecoder();

/** Whether a row could not be read because a whole number in it is beyond 2^53: to be read with `setReadBigInts`. */
export function isOutOfRange(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === "ERR_OUT_OF_RANGE";
}

/** The whole number that a column holds, rounded down; undefined when it holds none that JavaScript has exactly. */
export function wholeNumber(value: unknown): number | undefined {
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number") return undefined;
  const whole = Math.floor(number);
  return Number.isSafeInteger(whole) ? whole : undefined;
}

/** What a column of numbers holds, as near as can be; NaN when it is none. For people. */
export function nearestNumber(value: unknown): number {
  if (typeof value === "bigint") return Number(value);
  return typeof value === "number" ? value : NaN;
}

/** The id as a row has it, by its text; null, which no row has, for any other text. */
export function rowId(id: string): bigint | null {
  if (!/^-?\d{1,19}$/.test(id)) return null;
  const value = BigInt(id);
  return BigInt.asIntN(64, value) === value ? value : null;
}

/** A text as a column is to be read for it: text would end at its first NUL. */
export function asBytes(column: string): string {
  return `CAST(${column} AS BLOB)`;
}

/** The text of a column that was read {@link asBytes}; what is no UTF-8 in it becomes U+FFFD. */
export function textOf(value: unknown): string {
  return utf8.decode(value as Uint8Array);
}

/** A value for a sentence, short. */
export function shown(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
