/**
 * FastCGI records (specification 1.0, section 3.3). Every message in both directions is one:
 *
 * ```
 *  0        1        2        3        4        5        6        7        8
 * +--------+--------+-----------------+-----------------+--------+--------+---------+---------+
 * |version |  type  |   request id    | content length  |padding |reserved| content | padding |
 * |  = 1   |        |   big endian    |   big endian    | length |        |         |         |
 * +--------+--------+-----------------+-----------------+--------+--------+---------+---------+
 * ```
 */
import { FastCgiError } from "./errors.ts";

export const RecordType = {
  beginRequest: 1,
  abortRequest: 2,
  endRequest: 3,
  params: 4,
  stdin: 5,
  stdout: 6,
  stderr: 7,
  getValues: 9,
  getValuesResult: 10,
  unknownType: 11,
} as const;

export const HEADER_BYTES = 8;

/** The most content one record can hold. */
export const MAX_CONTENT_BYTES = 65_535;

/**
 * The most content that we put into one record: the largest multiple of 8 that fits, as php-src does (main/fastcgi.c,
 * fcgi_write), so no record needs padding to keep the next one aligned.
 */
export const FULL_CONTENT_BYTES = 65_528;

/** Role and flags of BEGIN_REQUEST (section 5.1). */
export const ROLE_RESPONDER = 1;
export const FLAG_KEEP_CONNECTION = 1;

/** protocolStatus of END_REQUEST (section 5.5). php-fpm sends only `requestComplete`. */
export const ProtocolStatus = {
  requestComplete: 0,
  cannotMultiplex: 1,
  overloaded: 2,
  unknownRole: 3,
} as const;

/** Writes a record's header at `offset`; the caller puts `contentBytes` of content after it. No padding. */
export function writeHeader(
  target: Uint8Array,
  offset: number,
  type: number,
  requestId: number,
  contentBytes: number,
): void {
  target[offset] = 1;
  target[offset + 1] = type;
  target[offset + 2] = requestId >>> 8;
  target[offset + 3] = requestId & 0xff;
  target[offset + 4] = contentBytes >>> 8;
  target[offset + 5] = contentBytes & 0xff;
  target[offset + 6] = 0;
  target[offset + 7] = 0;
}

/** A whole record in bytes of its own. For tests and rare messages; the request path writes into one buffer. */
export function encodeRecord(
  type: number,
  requestId: number,
  content: Uint8Array = new Uint8Array(0),
): Uint8Array {
  if (content.length > MAX_CONTENT_BYTES) {
    throw new RangeError(`A record holds at most ${MAX_CONTENT_BYTES} bytes, not ${content.length}`);
  }
  const record = new Uint8Array(HEADER_BYTES + content.length);
  writeHeader(record, 0, type, requestId, content.length);
  record.set(content, HEADER_BYTES);
  return record;
}

/** Receives the records of a parser. */
export interface RecordSink {
  /** A piece of a record's content, in order; a record may come in several. Valid only during the call. */
  content(type: number, requestId: number, piece: Uint8Array): void;
  /** The record's content is complete. `contentBytes` is its whole length. */
  recordEnd(type: number, requestId: number, contentBytes: number): void;
}

/**
 * Splits a byte stream into records, wherever the stream is cut.
 *
 * 1. Keeps at most the 8 bytes of an unfinished header; content passes through uncopied.
 * 2. Never reads past what it was given, whatever the lengths in the headers say.
 * 3. Refuses a stream that is not FastCGI at its first wrong byte.
 */
export class RecordParser {
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerBytes = 0;
  #type = 0;
  #requestId = 0;
  #contentBytes = 0;
  #contentLeft = 0;
  #paddingLeft = 0;
  #inRecord = false;

  /**
   * Reads the next bytes of the stream.
   *
   * @throws {FastCgiError} FASTCGI_PROTOCOL when a record has another version than 1.
   */
  parse(chunk: Uint8Array, sink: RecordSink): void {
    let at = 0;
    while (at < chunk.length) {
      if (!this.#inRecord) {
        at = this.#readHeader(chunk, at);
        if (!this.#inRecord) return;
      }
      if (this.#contentLeft > 0) {
        const end = Math.min(at + this.#contentLeft, chunk.length);
        if (end > at) sink.content(this.#type, this.#requestId, chunk.subarray(at, end));
        this.#contentLeft -= end - at;
        at = end;
        if (this.#contentLeft > 0) return;
      }
      const skipped = Math.min(this.#paddingLeft, chunk.length - at);
      this.#paddingLeft -= skipped;
      at += skipped;
      if (this.#paddingLeft > 0) return;
      this.#inRecord = false;
      sink.recordEnd(this.#type, this.#requestId, this.#contentBytes);
    }
  }

  /** Takes header bytes from `at` on; when the header is whole, enters the record. Returns where it stopped. */
  #readHeader(chunk: Uint8Array, at: number): number {
    const header = this.#header;
    while (this.#headerBytes < HEADER_BYTES && at < chunk.length) {
      header[this.#headerBytes++] = chunk[at++]!;
    }
    if (header[0] !== 1) {
      throw new FastCgiError(
        "FASTCGI_PROTOCOL",
        `Cannot read the answer: it is not FastCGI, a record of version "${header[0]}" came instead of 1`,
      );
    }
    if (this.#headerBytes < HEADER_BYTES) return at;
    this.#headerBytes = 0;
    this.#type = header[1]!;
    this.#requestId = (header[2]! << 8) | header[3]!;
    this.#contentBytes = this.#contentLeft = (header[4]! << 8) | header[5]!;
    this.#paddingLeft = header[6]!;
    this.#inRecord = true;
    return at;
  }
}
