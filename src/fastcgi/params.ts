/**
 * FastCGI name-value pairs (specification 1.0, section 3.4): each length takes one byte up to 127, else four with the top bit
 * set, then the name's and the value's bytes.
 *
 * php-fpm parses each PARAMS record by itself (main/fastcgi.c, fcgi_get_params), so a pair never spans two records. A pair that
 * does not fit one record is refused here by name, because FPM would silently drop the connection.
 */
import { writeText } from "../core/text/bytes.ts";
import { FastCgiError } from "./errors.ts";
import { FULL_CONTENT_BYTES, HEADER_BYTES, RecordType, writeHeader } from "./record.ts";

/**
 * Builds the PARAMS stream of one request, framed in records, without the empty record that ends it.
 *
 * It is reused: `reset` starts the next request in the same memory.
 */
export class ParamsWriter {
  #requestId: number;
  #buffer = new Uint8Array(1024);
  #length = 0;
  #recordStart = -1;

  constructor(requestId: number) {
    this.#requestId = requestId;
  }

  reset(requestId: number = this.#requestId): void {
    this.#requestId = requestId;
    this.#length = 0;
    this.#recordStart = -1;
  }

  /**
   * Adds a pair.
   *
   * @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when it does not fit one record, with its name.
   */
  add(name: string, value: string): void {
    // UTF-8 needs at most 3 bytes a UTF-16 unit; the exact lengths are known after encoding.
    this.#reserve(8 + 3 * (name.length + value.length));
    const pairStart = this.#openRecord();
    const lengthBytes = (name.length > 42 ? 4 : 1) + (value.length > 42 ? 4 : 1);
    let end = writeText(this.#buffer, name, pairStart + lengthBytes);
    const nameBytes = end - pairStart - lengthBytes;
    end = writeText(this.#buffer, value, end);
    const valueBytes = end - pairStart - lengthBytes - nameBytes;
    let at = this.#writeLength(pairStart, nameBytes, name.length > 42);
    at = this.#writeLength(at, valueBytes, value.length > 42);

    this.#length = end;
    this.#closePair(name, pairStart);
  }

  /** Adds already encoded pairs, which must fit one record. */
  addEncoded(pairs: EncodedParams): void {
    // An empty PARAMS record would end the stream.
    if (pairs.bytes.length === 0) return;
    this.#reserve(pairs.bytes.length);
    const pairStart = this.#openRecord();
    this.#buffer.set(pairs.bytes, pairStart);
    this.#length = pairStart + pairs.bytes.length;
    this.#closePair(pairs.firstName, pairStart);
  }

  /** The records so far; valid until the next call. */
  bytes(): Uint8Array {
    this.#finishRecord();
    return this.#buffer.subarray(0, this.#length);
  }

  /** Where the next pair goes; starts a record when none is open. */
  #openRecord(): number {
    if (this.#recordStart < 0) {
      this.#recordStart = this.#length;
      this.#length += HEADER_BYTES;
    }
    return this.#length;
  }

  /** Moves the latest pair to a record of its own when the open one has become too long. */
  #closePair(name: string, pairStart: number): void {
    const pairBytes = this.#length - pairStart;
    if (pairBytes > FULL_CONTENT_BYTES) {
      this.#length = pairStart;
      throw new FastCgiError(
        "FASTCGI_PARAM_TOO_LARGE",
        `Cannot send the param "${name}": it takes ${pairBytes} bytes with its name, ` +
          `and at most ${FULL_CONTENT_BYTES} fit one record`,
        { details: { param: name, bytes: pairBytes } },
      );
    }
    if (this.#length - this.#recordStart - HEADER_BYTES <= FULL_CONTENT_BYTES) return;
    this.#reserve(HEADER_BYTES);
    this.#buffer.copyWithin(pairStart + HEADER_BYTES, pairStart, this.#length);
    this.#length = pairStart;
    this.#finishRecord();
    this.#openRecord();
    this.#length += pairBytes;
  }

  #finishRecord(): void {
    if (this.#recordStart < 0) return;
    const contentBytes = this.#length - this.#recordStart - HEADER_BYTES;
    writeHeader(this.#buffer, this.#recordStart, RecordType.params, this.#requestId, contentBytes);
    this.#recordStart = -1;
  }

  #writeLength(at: number, bytes: number, long: boolean): number {
    if (!long) {
      this.#buffer[at] = bytes;
      return at + 1;
    }
    this.#buffer[at] = 0x80 | (bytes >>> 24);
    this.#buffer[at + 1] = bytes >>> 16;
    this.#buffer[at + 2] = bytes >>> 8;
    this.#buffer[at + 3] = bytes;
    return at + 4;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + 2 * HEADER_BYTES + bytes;
    if (needed <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#buffer.length));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
  }
}

/** Pairs encoded once and sent with every request. */
export interface EncodedParams {
  readonly bytes: Uint8Array;
  /** For the error message. */
  readonly firstName: string;
}

/**
 * Encodes pairs that stay the same from request to request.
 *
 * @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when they do not fit one record together.
 */
export function encodeParams(pairs: Readonly<Record<string, string>>): EncodedParams {
  const writer = new ParamsWriter(0);
  let lastName = "";
  for (const [name, value] of Object.entries(pairs)) {
    writer.add(name, value);
    lastName = name;
  }
  const records = writer.bytes();
  if (records.length > HEADER_BYTES + FULL_CONTENT_BYTES) {
    throw new FastCgiError(
      "FASTCGI_PARAM_TOO_LARGE",
      `Cannot send the params up to "${lastName}": together they take more than ` +
        `${FULL_CONTENT_BYTES} bytes, the most that fit one record`,
    );
  }
  return { bytes: records.slice(HEADER_BYTES), firstName: Object.keys(pairs)[0] ?? "" };
}
