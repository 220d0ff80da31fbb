import type { SqlRow } from "../../sql/driver.ts";
import type { SqlValue } from "../../sql/value.ts";

/** The id of a row, decimal. */
export function idOf(row: SqlRow): string {
  return String(row["id"]);
}

/** A payload or a body; undefined for NULL. Some tables and producers have bytes as a text. */
export function bytesOf(value: SqlValue | undefined): Uint8Array | undefined {
  if (value === null || value === undefined) return undefined;
  return value instanceof Uint8Array ? value : new TextEncoder().encode(String(value));
}
