/** Memory kept between uses, bytes. */
const KEPT_BYTES = 65_536;

const EMPTY = new Uint8Array(0);

/** Bytes in the order of their arrival. A large buffer is freed when it is cleared. */
export class ByteStore {
  #buffer = EMPTY;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(length, 2 * this.#buffer.length, 1_024));
      grown.set(this.bytes());
      this.#buffer = grown;
    }
    this.#buffer.set(piece, this.#length);
    this.#length = length;
  }

  /** Drops all but the last `length` bytes. */
  keepLast(length: number): void {
    this.#buffer.copyWithin(0, this.#length - length, this.#length);
    this.#length = length;
  }

  /** Valid until the next change. */
  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
    if (this.#buffer.length > KEPT_BYTES) this.#buffer = EMPTY;
  }
}
