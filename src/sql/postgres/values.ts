import { Buffer } from "node:buffer";

/**
 * Types of columns as a `SqlValue` has them, by their numbers in pg_type. A column of any other type is a text. It replaces the
 * library's own: dates of JavaScript lose microseconds, and JSON is not this worker's to parse.
 */
export const TYPES = {
  // int2, int4, oid, float4, float8, numeric
  number: { to: 0, from: [21, 23, 26, 700, 701, 1700], serialize: String, parse: Number },
  // int8
  bigint: { to: 20, from: [20], serialize: String, parse: wholeNumber },
  // bool
  boolean: { to: 16, from: [16], serialize: String, parse: (text: string) => text === "t" ? 1 : 0 },
  // json, jsonb
  json: { to: 114, from: [114, 3802], serialize: String, parse: String },
  // date, timestamp, timestamptz
  date: { to: 1184, from: [1082, 1114, 1184], serialize: String, parse: String },
  // bytea
  bytea: { to: 17, from: [17], serialize: writeBytes, parse: readBytes },
};

function wholeNumber(text: string): number | bigint {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

/** In the "hex" form; a text is the caller's own form. */
function writeBytes(value: Uint8Array | string): string {
  if (typeof value === "string") return value;
  return `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}`;
}

function readBytes(text: string): Uint8Array {
  const bytes = Buffer.from(text.slice(2), "hex");
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
