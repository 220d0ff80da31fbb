const utf8 = new TextEncoder();

/** All pieces in one array; a single piece is returned as it is. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** The encoder is faster for longer texts, the loop for shorter ones. */
const LOOP_LENGTH = 64;

/**
 * Writes a text as UTF-8, which needs at most 3 bytes a UTF-16 unit; returns the end. Most texts are short and ASCII, and a
 * plain loop is faster for them than the encoder.
 */
export function writeText(buffer: Uint8Array, text: string, at: number): number {
  if (text.length <= LOOP_LENGTH) {
    let i = 0;
    for (; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 0x7f) break;
      buffer[at + i] = unit;
    }
    if (i === text.length) return at + i;
  }
  return at + utf8.encodeInto(text, buffer.subarray(at)).written;
}

/** Memory kept between uses, bytes. */
const KEPT_BYTES = 65_536;

/** Gathers bytes to be written together. */
export class ByteWriter {
  #buffer = new Uint8Array(4_096);
  #spare = new Uint8Array(4_096);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  text(text: string): void {
    this.#reserve(3 * text.length);
    this.#length = writeText(this.#buffer, text, this.#length);
  }

  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Returns the bytes and starts again; they are valid until the next call. */
  take(): Uint8Array {
    const taken = this.#buffer.subarray(0, this.#length);
    const kept = this.#buffer.length > KEPT_BYTES ? new Uint8Array(KEPT_BYTES) : this.#buffer;
    this.#buffer = this.#spare;
    this.#spare = kept;
    this.#length = 0;
    return taken;
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(this.#length + bytes, 2 * this.#buffer.length));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
  }
}
