import { joined } from "../core/bytes.ts";
import { type Clock, sleep } from "../core/clock.ts";

const lenientUtf8 = new TextDecoder();

/**
 * Reads a process's STDERR and keeps its end, for a fatal error is the last that PHP writes.
 *
 * 1. Reads from the start, so that the process never waits for it.
 * 2. Keeps the last `maxBytes` bytes, in memory of its own.
 * 3. Stops when it is told to, as others may hold the stream open.
 */
export class StderrTail {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #maxBytes: number;
  readonly #ended = new AbortController();
  readonly #chunks: Uint8Array[] = [];
  #length = 0;

  constructor(stream: ReadableStream<Uint8Array>, maxBytes: number) {
    this.#reader = stream.getReader();
    this.#maxBytes = maxBytes;
    void this.#read();
  }

  /** Reads on until the stream ends, for `graceMs` milliseconds at most, and returns the text that is kept. */
  async end(clock: Clock, graceMs: number): Promise<string> {
    await sleep(clock, graceMs, this.#ended.signal);
    await this.#reader.cancel().catch(() => {});
    const bytes = joined(this.#chunks);
    return lenientUtf8.decode(bytes.subarray(Math.max(bytes.length - this.#maxBytes, 0))).trimEnd();
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await this.#reader.read();
        if (done) break;
        this.#keep(value);
      }
    } catch {
      // What came before is all there is.
    }
    this.#ended.abort();
  }

  #keep(chunk: Uint8Array): void {
    // A copy: what comes is a view of a buffer of 64 KiB, however few bytes it has.
    this.#chunks.push(chunk.slice());
    this.#length += chunk.length;
    for (
      let first = this.#chunks[0];
      first !== undefined && this.#length - first.length >= this.#maxBytes;
      first = this.#chunks[0]
    ) {
      this.#chunks.shift();
      this.#length -= first.length;
    }
  }
}
