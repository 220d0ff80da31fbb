import { type Clock, sleep } from "../../core/time/clock.ts";
import { HeadAndTail } from "../../core/text/head_and_tail.ts";

/**
 * Reads a process's output.
 *
 * 1. Reads from the start, so that the process never waits for it.
 * 2. Keeps the beginning and the end, `maxBytes` bytes in all, in memory of its own.
 * 3. Stops when it is told to, because others may keep the stream open.
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

  /** Reads until the stream ends, but at most for `graceMs` milliseconds, and returns the kept text. */
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
      // Nothing more will come.
    }
    this.#ended.abort();
  }
}
