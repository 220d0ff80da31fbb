/**
 * Redis's wire format, RESP 2: https://redis.io/docs/latest/develop/reference/protocol-spec/
 *
 * ```
 * *2\r\n$4\r\nLLEN\r\n$4\r\nlist\r\n      a command: an array of bulk strings, each with its length in bytes
 * :12\r\n                                 an integer
 * +OK\r\n                                 a simple string
 * -WRONGTYPE Operation against …\r\n      a refusal
 * $3\r\nabc\r\n   $-1\r\n                 a bulk string, and none
 * *2\r\n:1\r\n$1\r\na\r\n   *-1\r\n       an array, and none
 * ```
 */
import { Buffer } from "node:buffer";
import { type ByteWriter, joined } from "../core/text/bytes.ts";

/** An answer of Redis; bulk strings are bytes. */
export type Reply = Buffer | string | number | null | Reply[];

/** A part of a command. */
export type Argument = string | Uint8Array;

/** Redis refused a command. */
export class RedisRefusal extends Error {
  override name = "RedisRefusal";
}

/** Adds a command to the output; the text between bytes is written at once. */
export function writeCommand(out: ByteWriter, args: readonly Argument[]): void {
  let text = `*${args.length}\r\n`;
  for (const arg of args) {
    if (typeof arg === "string") {
      text += `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`;
      continue;
    }
    out.text(`${text}$${arg.length}\r\n`);
    out.bytes(arg);
    text = "\r\n";
  }
  out.text(text);
}

/** An incomplete array. */
interface OpenArray {
  readonly items: Reply[];
  readonly length: number;
}

/** The longest line is a refusal; a script's refusal can quote the script. */
const MAX_LINE_BYTES = 65_536;
/** Redis's default of `proto-max-bulk-len`. */
const MAX_BULK_BYTES = 512 * 2 ** 20;
const MAX_ARRAY_LENGTH = 2 ** 20;
const MAX_DEPTH = 8;
const CR = 13;
const LF = 10;
const EMPTY = new Uint8Array(0);

/**
 * Cuts Redis's answers into replies.
 *
 * 1. Takes the stream in pieces cut anywhere, and keeps only copies.
 * 2. Reads each byte once, however many pieces a long reply comes in.
 * 3. Throws at bytes that Redis would not send, and cannot be used after that.
 */
export class ReplyParser {
  /** The unread rest, and the length from which another look is worth it. */
  #rest: Uint8Array[] = [];
  #restBytes = 0;
  #neededBytes = 0;
  #input: Uint8Array = EMPTY;
  #at = 0;
  readonly #open: OpenArray[] = [];

  /**
   * The replies that this piece completes, in order; a refusal inside an array is an item of it.
   *
   * @throws {Error} when it is not RESP 2
   */
  push(piece: Uint8Array): (Reply | RedisRefusal)[] {
    if (this.#restBytes > 0) {
      this.#rest.push(new Uint8Array(piece));
      this.#restBytes += piece.length;
      if (this.#restBytes < this.#neededBytes) return [];
      this.#input = joined(this.#rest);
    } else {
      this.#input = piece;
    }
    this.#at = 0;
    const replies: (Reply | RedisRefusal)[] = [];
    for (let value = this.#read(); value !== undefined; value = this.#read()) {
      const reply = this.#close(value);
      if (reply !== undefined) replies.push(reply);
    }
    this.#rest = this.#at < this.#input.length ? [new Uint8Array(this.#input.subarray(this.#at))] : [];
    this.#restBytes = this.#input.length - this.#at;
    this.#input = EMPTY;
    return replies;
  }

  /** One value that is not an array, or an empty array; undefined when it is incomplete. */
  #read(): Reply | RedisRefusal | undefined {
    for (;;) {
      const end = this.#lineEnd();
      if (end < 0) return undefined;
      const start = this.#at + 1;
      switch (this.#input[this.#at]) {
        case 0x2b: // +
          return this.#take(this.#text(start, end), end + 2);
        case 0x2d: // -
          return this.#take(new RedisRefusal(this.#text(start, end)), end + 2);
        case 0x3a: // :
          return this.#take(this.#number(start, end), end + 2);
        case 0x24: { // $
          const length = this.#number(start, end);
          if (length === -1) return this.#take(null, end + 2);
          if (length < 0 || length > MAX_BULK_BYTES) throw this.#malformed(start - 1, end);
          const from = end + 2, to = from + length;
          if (to + 2 > this.#input.length) {
            this.#neededBytes = to + 2 - this.#at;
            return undefined;
          }
          if (this.#input[to] !== CR || this.#input[to + 1] !== LF) throw this.#malformed(start - 1, end);
          return this.#take(Buffer.from(this.#input.subarray(from, to)), to + 2);
        }
        case 0x2a: { // *
          const length = this.#number(start, end);
          if (length === -1) return this.#take(null, end + 2);
          if (length < 0 || length > MAX_ARRAY_LENGTH || this.#open.length >= MAX_DEPTH) {
            throw this.#malformed(start - 1, end);
          }
          this.#at = end + 2;
          if (length === 0) return [];
          this.#open.push({ items: [], length });
          break;
        }
        default:
          throw this.#malformed(start - 1, end);
      }
    }
  }

  /** Puts a value into its place; returns it, or the array that it completed, if that is a reply. */
  #close(value: Reply | RedisRefusal): Reply | RedisRefusal | undefined {
    let closed = value;
    for (let open = this.#open.at(-1); open !== undefined; open = this.#open.at(-1)) {
      open.items.push(closed as Reply);
      if (open.items.length < open.length) return undefined;
      closed = open.items;
      this.#open.pop();
    }
    return closed;
  }

  #take<T>(value: T, next: number): T {
    this.#at = next;
    return value;
  }

  /** The end of the line, before its CRLF; negative when the line is incomplete. */
  #lineEnd(): number {
    const end = this.#input.indexOf(CR, this.#at);
    if (end >= 0 && end + 1 < this.#input.length) {
      if (this.#input[end + 1] !== LF) throw this.#malformed(this.#at, end);
      return end;
    }
    if (this.#input.length - this.#at > MAX_LINE_BYTES) throw this.#malformed(this.#at, this.#input.length);
    this.#neededBytes = 0;
    return -1;
  }

  #text(start: number, end: number): string {
    return Buffer.from(this.#input.buffer, this.#input.byteOffset + start, end - start).toString();
  }

  #number(start: number, end: number): number {
    const isNegative = this.#input[start] === 0x2d;
    let value = 0;
    for (let at = isNegative ? start + 1 : start; at < end; at++) {
      const digit = this.#input[at]! - 0x30;
      if (digit < 0 || digit > 9) throw this.#malformed(start - 1, end);
      value = 10 * value + digit;
    }
    return isNegative ? -value : value;
  }

  #malformed(start: number, end: number): Error {
    return new Error(`it says "${this.#text(start, Math.min(end, start + 40))}"`);
  }
}
