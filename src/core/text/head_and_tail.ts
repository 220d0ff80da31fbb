import { ByteStore } from "./byte_store.ts";
import { joined } from "./bytes.ts";

const lenientUtf8 = new TextDecoder();

/**
 * The two ends of a text of any length: the beginning, which often has the cause, and the end, which is what ended the program.
 * Each gets half of `maxBytes` bytes.
 *
 * 1. Keeps the whole text if it is no longer than `maxBytes`.
 * 2. Says how much is left out of a longer one, and cuts no character in two.
 * 3. Takes no memory for an empty text.
 */
export class HeadAndTail {
  readonly #headBytes: number;
  readonly #tailBytes: number;
  readonly #head = new ByteStore();
  readonly #tail = new ByteStore();
  /** Bytes that arrived, kept or not. */
  #length = 0;

  constructor(maxBytes: number) {
    this.#headBytes = Math.ceil(maxBytes / 2);
    this.#tailBytes = Math.floor(maxBytes / 2);
  }

  get isCut(): boolean {
    return this.#length > this.#headBytes + this.#tailBytes;
  }

  append(piece: Uint8Array): void {
    this.#length += piece.length;
    const room = this.#headBytes - this.#head.length;
    if (room > 0) this.#head.append(piece.subarray(0, room));
    if (piece.length > room) this.#keepEnd(piece.subarray(room));
  }

  /** The kept text, as UTF-8 if it is valid, without trailing line ends. */
  text(): string {
    if (this.#length === 0 || this.#headBytes === 0) return "";
    const tail = this.#tail.bytes();
    const last = tail.subarray(Math.max(tail.length - this.#tailBytes, 0));
    if (!this.isCut) return lenientUtf8.decode(joined([this.#head.bytes(), last])).trimEnd();
    const [begin, end] = [withoutCutEnd(this.#head.bytes()), withoutCutBegin(last)];
    const leftOut = `… ${this.#length - begin.length - end.length} bytes left out …`;
    const parts = [lenientUtf8.decode(begin), leftOut, lenientUtf8.decode(end)];
    return parts.filter((part) => part !== "").join("\n").trimEnd();
  }

  clear(): void {
    this.#head.clear();
    this.#tail.clear();
    this.#length = 0;
  }

  /** Moves bytes only now and then, however short the pieces are. */
  #keepEnd(piece: Uint8Array): void {
    if (this.#tailBytes === 0) return;
    this.#tail.append(piece.subarray(Math.max(piece.length - this.#tailBytes, 0)));
    if (this.#tail.length > 2 * this.#tailBytes) this.#tail.keepLast(this.#tailBytes);
  }
}

/** Without an incomplete character at the end. */
function withoutCutEnd(bytes: Uint8Array): Uint8Array {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back]!;
    if (isContinuation(byte)) continue;
    return back < charBytes(byte) ? bytes.subarray(0, bytes.length - back) : bytes;
  }
  return bytes;
}

/** Without the rest of a character at the beginning. */
function withoutCutBegin(bytes: Uint8Array): Uint8Array {
  let at = 0;
  while (at < 3 && at < bytes.length && isContinuation(bytes[at]!)) at++;
  return bytes.subarray(at);
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

/** The length in UTF-8 of a character that begins with this byte. */
function charBytes(first: number): number {
  if (first < 0xc0 || first >= 0xf8) return 1;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}
