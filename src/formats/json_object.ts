import { Buffer } from "node:buffer";
import { joined } from "../core/text/bytes.ts";
import { exactText } from "../core/text/payload.ts";

/** The place of a field in the bytes. */
interface Field {
  readonly name: string;
  /** The beginning of its name, and both ends of its value. */
  readonly start: number;
  readonly valueStart: number;
  readonly end: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/**
 * A JSON object that is parsed as a whole and changed field by field. Everything else keeps its bytes: unknown fields, their
 * order, the spelling of numbers and texts.
 *
 * Of a name that comes twice the last one counts, as in all common parsers.
 */
export class JsonObject {
  readonly #bytes: Uint8Array;
  readonly #values: Readonly<Record<string, unknown>>;

  private constructor(bytes: Uint8Array, values: Readonly<Record<string, unknown>>) {
    this.#bytes = bytes;
    this.#values = values;
  }

  /** @throws {SyntaxError} when the bytes are not a JSON object in UTF-8 */
  static parse(bytes: Uint8Array): JsonObject {
    let values: unknown;
    try {
      values = JSON.parse(exactText(bytes));
    } catch {
      throw new SyntaxError("it is not JSON in UTF-8");
    }
    if (typeof values === "object" && values !== null && !Array.isArray(values)) {
      return new JsonObject(bytes, values as Record<string, unknown>);
    }
    throw new SyntaxError("it is not a JSON object");
  }

  /** The original bytes. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#values, name);
  }

  /** A field's value; undefined without the field. */
  get(name: string): unknown {
    const value = this.#values[name];
    // Inherited values are functions, which JSON does not have. To ask for an own property takes longer.
    return typeof value === "function" ? undefined : value;
  }

  /** A field's value if it is a text. */
  string(name: string): string | undefined {
    const value = this.get(name);
    return typeof value === "string" ? value : undefined;
  }

  /** A field's value if it is a finite number: JSON has larger ones. */
  number(name: string): number | undefined {
    const value = this.get(name);
    return typeof value === "number" && Number.isFinite(value) ? value : undefined;
  }

  /** Whether a field's value is written as an integer: 5.0 and 5e0 are not, though they are equal. */
  isInteger(name: string): boolean {
    const value = this.get(name);
    if (typeof value !== "number") return false;
    // Only a possible float is worth another parse.
    if (Number.isInteger(value) && !mayBeFloat(this.#bytes, name)) return true;
    return /^-?\d+$/.test(this.source(name)!);
  }

  /** A field's value as written; undefined without the field. */
  source(name: string): string | undefined {
    const field = fieldsOf(this.#bytes).findLast((field) => field.name === name);
    return field && exactText(this.#bytes.subarray(field.valueStart, field.end));
  }

  /**
   * The bytes with changed fields. An existing field keeps its place, a new one comes last.
   *
   * @param changes By name: the value as JSON text, or undefined to remove the field.
   */
  with(changes: Readonly<Record<string, string | undefined>>): Uint8Array {
    const bytes = this.#bytes;
    const fields = fieldsOf(bytes);
    const last = new Map(fields.map((field) => [field.name, field]));
    const opening = fields[0]?.start ?? bytes.indexOf(OPEN_BRACE) + 1;
    const parts: (Uint8Array | string)[] = [bytes.subarray(0, opening)];
    const added = Object.entries(changes).filter(([name, value]) => value !== undefined && !last.has(name));
    let isEmpty = true;
    let end = opening;
    for (const field of fields) {
      const value = changes[field.name];
      const isChanged = Object.hasOwn(changes, field.name);
      if (!isChanged || value !== undefined) {
        // The text before a field separates it from the previous one; the first remaining field needs none.
        if (!isEmpty) parts.push(bytes.subarray(end, field.start));
        if (isChanged && last.get(field.name) === field) {
          parts.push(bytes.subarray(field.start, field.valueStart), value!);
        } else parts.push(bytes.subarray(field.start, field.end));
        isEmpty = false;
      }
      end = field.end;
    }
    for (const [name, value] of added) {
      parts.push(`${isEmpty ? "" : ","}${JSON.stringify(name)}:${value}`);
      isEmpty = false;
    }
    parts.push(bytes.subarray(end));
    return concat(parts);
  }
}

/** The top-level fields of a valid JSON object. */
function fieldsOf(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  let at = nextOf(bytes, bytes.indexOf(OPEN_BRACE) + 1);
  while (bytes[at] === QUOTE) {
    const start = at;
    const nameEnd = textEnd(bytes, start);
    // After the colon.
    const valueStart = nextOf(bytes, nextOf(bytes, nameEnd) + 1);
    const end = valueEnd(bytes, valueStart);
    fields.push({ name: JSON.parse(exactText(bytes.subarray(start, nameEnd))), start, valueStart, end });
    at = nextOf(bytes, end);
    if (bytes[at] === COMMA) at = nextOf(bytes, at + 1);
  }
  return fields;
}

/** The next byte that is not white space. */
function nextOf(bytes: Uint8Array, at: number): number {
  while (bytes[at]! <= 0x20) at++;
  return at;
}

/** The end of a text in quotes. */
function textEnd(bytes: Uint8Array, start: number): number {
  let at = start + 1;
  while (bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at + 1;
}

function valueEnd(bytes: Uint8Array, start: number): number {
  let at = start;
  let depth = 0;
  do {
    const byte = bytes[at];
    if (byte === QUOTE) at = textEnd(bytes, at);
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth++;
      at++;
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      depth--;
      at++;
    } else if (depth > 0) at++;
    else return wordEnd(bytes, at);
  } while (depth > 0);
  return at;
}

/** The end of a number, `true`, `false` or `null`. */
function wordEnd(bytes: Uint8Array, start: number): number {
  let at = start;
  while (bytes[at]! > 0x20 && bytes[at] !== COMMA && bytes[at] !== CLOSE_BRACE) at++;
  return at;
}

function concat(parts: readonly (Uint8Array | string)[]): Uint8Array {
  const encoder = new TextEncoder();
  return joined(parts.map((part) => typeof part === "string" ? encoder.encode(part) : part));
}

/** False when each number with this name, anywhere in the bytes, is certainly an integer. */
function mayBeFloat(bytes: Uint8Array, name: string): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const quoted = `"${name}"`;
  for (let at = buffer.indexOf(quoted); at >= 0; at = buffer.indexOf(quoted, at + 1)) {
    const valueStart = nextOf(bytes, nextOf(bytes, at + quoted.length) + 1);
    if (/^-?\d+[.eE]/.test(buffer.toString("latin1", valueStart, valueStart + 32))) return true;
  }
  return false;
}
