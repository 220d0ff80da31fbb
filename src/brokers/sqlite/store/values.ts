/**
 * Values that others have written into the table. SQLite stores any value in a column: a text in a number column, bytes that
 * are not UTF-8 in a text column, whole numbers beyond JavaScript's exact range. Such a value must not break more than its own
 * row.
 */

/** A text for people is read up to this length, bytes. */
export const MAX_TEXT_BYTES = 16 * 1024 * 1024;

const utf8 = new TextDecoder();

/** Whether a row could not be read because of a whole number beyond 2^53: it must be read with `setReadBigInts`. */
export function isOutOfRange(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === "ERR_OUT_OF_RANGE";
}

/** The whole number of a column, rounded down; undefined when JavaScript cannot have it exactly. */
export function wholeNumber(value: unknown): number | undefined {
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number") return undefined;
  const whole = Math.floor(number);
  return Number.isSafeInteger(whole) ? whole : undefined;
}

/** The nearest number to a column's value; NaN without one. For people. */
export function nearestNumber(value: unknown): number {
  if (typeof value === "bigint") return Number(value);
  return typeof value === "number" ? value : NaN;
}

/** A row's id from its text; null, which no row has, for any other text. */
export function rowId(id: string): bigint | null {
  if (!/^-?\d{1,19}$/.test(id)) return null;
  const value = BigInt(id);
  return BigInt.asIntN(64, value) === value ? value : null;
}

/** Reads a column as bytes: text would end at its first NUL. */
export function asBytes(column: string): string {
  return `CAST(${column} AS BLOB)`;
}

/** The text of a column that was read {@link asBytes}; invalid UTF-8 becomes U+FFFD. */
export function textOf(value: unknown): string {
  return utf8.decode(value as Uint8Array);
}

/** A short form of a value for a sentence. */
export function shown(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
