import type { SqlValue } from "../value.ts";

/** Longer values travel as parameters: in a text they take twice the room, characters or bytes. */
const MAX_LENGTH = 1_024;

const utf8 = new TextEncoder();

/** Whether the values can be written into a text: numbers and short texts, no bytes. */
export function areShort(values: readonly SqlValue[]): boolean {
  return values.every((value) =>
    value === null || typeof value === "bigint" || Number.isSafeInteger(value) ||
    (typeof value === "string" && value.length <= MAX_LENGTH)
  );
}

/**
 * A statement with its values in the text. Only digits and letters come from values: a text is written in hexadecimal, so that
 * no character of it means anything.
 *
 * @param text With a `?` for each value, and no other.
 */
export function withLiterals(text: string, values: readonly SqlValue[]): string {
  const parts = text.split("?");
  return parts.map((part, i) => i === 0 ? part : literalOf(values[i - 1]!) + part).join("");
}

function literalOf(value: SqlValue): string {
  if (value === null) return "NULL";
  // An empty hexadecimal literal is no text on all servers.
  if (value === "") return "''";
  return typeof value === "string" ? `_utf8mb4 X'${utf8.encode(value).toHex()}'` : String(value);
}
