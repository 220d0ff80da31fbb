import { type Clock, sleep } from "../../core/time/clock.ts";
import { HeadAndTail } from "../../core/text/head_and_tail.ts";

/**
 * Reads what a process writes.
 *
 * 1. Reads from the start, so that the process never waits for it.
 * 2. Keeps its beginning and its end, `maxBytes` bytes in all, in memory of its own.
 * 3. Stops when it is told to, as others may hold the stream open.
 */
export class OutputReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #kept: HeadAndTail;
  readonly #ended = new AbortController();

  constructor(stream: ReadableStream<Uint8Array>, maxBytes: number) {
    this.#reader = stream.getReader();
    this.#kept = new HeadAndTail(maxBytes);
    void this.#read();
  }

  /** Reads on until the stream ends, for `graceMs` milliseconds at most, and returns the text that is kept. */
  async end(clock: Clock, graceMs: number): Promise<string> {
    await sleep(clock, graceMs, this.#ended.signal);
    await this.#reader.cancel().catch(() => {});
    return this.#kept.text();
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await this.#reader.read();
        if (done) break;
        this.#kept.append(value);
      }
    } catch {
      // What came before is all there is.
    }
    this.#ended.abort();
  }
}
