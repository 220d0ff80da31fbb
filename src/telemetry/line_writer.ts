import { type Clock, sleep } from "../core/time/clock.ts";

/** The destination of bytes, such as `Deno.stderr`: a write may take fewer than given, and any time. */
export interface ByteSink {
  write(bytes: Uint8Array): Promise<number>;
}

export interface LineWriterOptions {
  /** How much may wait for a reader that stands still, in UTF-16 units. */
  readonly maxLength: number;
}

/**
 * How often lines are written, milliseconds: a line after a silence at once, later ones together. An asynchronous write, which
 * another thread makes, costs four times the CPU of a blocking one; one write for many lines costs less.
 */
const WRITE_EVERY_MS = 10;
/** After a write of this length the reader counts as standing still, milliseconds. */
const STALLED_AFTER_MS = 1_000;

const utf8 = new TextEncoder();

/**
 * Writes lines in order, and never makes its caller wait: a terminal with Ctrl-S, a stopped pager, or a hanging log collector
 * must not block the worker.
 *
 * 1. Gathers the lines that come during a write, and writes them together.
 * 2. Drops lines without room, counts them, and reports the number at their place when the reader is back.
 * 3. Counts lines that could not be written (the reader is gone, the disk is full) as dropped, too, and goes on.
 * 4. At the end waits for a reader, but not for one that stands still.
 */
export class LineWriter {
  readonly #clock: Clock;
  readonly #sink: ByteSink;
  readonly #maxLength: number;
  #waiting = "";
  #waitingLines = 0;
  #dropped = 0;
  /** Dropped lines that are not reported yet. */
  #untold = 0;
  #tellDropped: ((lines: number) => void) | undefined;
  #failure: unknown;
  /** Writes until nothing waits. */
  #writing: Promise<void> | undefined;
  /** When the current write began, monotonic milliseconds. */
  #beganMs: number | undefined;
  /** Aborted by callers that cannot wait for the next write. */
  #hurry = new AbortController();
  #isGivenUp = false;

  constructor(deps: { clock: Clock; sink: ByteSink }, options: LineWriterOptions) {
    this.#clock = deps.clock;
    this.#sink = deps.sink;
    this.#maxLength = options.maxLength;
  }

  /** Dropped lines. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The failure of the last write; undefined after a success. */
  get failure(): unknown {
    return this.#failure;
  }

  /** The reader stands still. */
  get isStalled(): boolean {
    return this.#isGivenUp ||
      (this.#beganMs !== undefined && this.#clock.monotonicMs() - this.#beganMs > STALLED_AFTER_MS);
  }

  /** @param tell Writes a line that reports this many dropped lines before it. */
  onDropped(tell: (lines: number) => void): void {
    this.#tellDropped = tell;
  }

  /**
   * Writes soon.
   *
   * @param lines How many lines these are if they are dropped; 0 for unimportant ones.
   */
  write(text: string, lines = 1): void {
    const isFull = this.#waiting !== "" && this.#waiting.length + text.length > this.#maxLength;
    if (isFull || this.#isGivenUp) return this.#drop(lines);
    this.#waiting += text;
    this.#waitingLines += lines;
    this.#writing ??= this.#writeAll();
  }

  /** Resolves when everything is written, or has failed. */
  async drained(): Promise<void> {
    this.#hurry.abort();
    while (this.#writing !== undefined) await this.#writing;
    this.#hurry = new AbortController();
  }

  /** The same, for at most this time: a reader that has not taken everything by then is given up, and later lines are dropped. */
  async flush(limitMs: number): Promise<void> {
    if (this.#isGivenUp) return;
    const ended = new AbortController();
    const drained = this.drained().then(() => true);
    const late = sleep(this.#clock, limitMs, ended.signal).then(() => false);
    if (!await Promise.race([drained, late])) this.#isGivenUp = true;
    ended.abort();
  }

  async #writeAll(): Promise<void> {
    // The other lines of this turn join the write.
    await undefined;
    while (this.#waiting !== "" && !this.#isGivenUp) {
      await this.#writeWaiting();
      await sleep(this.#clock, WRITE_EVERY_MS, this.#hurry.signal);
    }
    this.#writing = undefined;
  }

  async #writeWaiting(): Promise<void> {
    let text = this.#takeWaiting();
    const lines = this.#waitingLines;
    this.#waitingLines = 0;
    const untold = this.#untold;
    if (untold > 0 && this.#tellDropped !== undefined) {
      this.#untold = 0;
      // Nothing waits now, so there is room; and it stands after the last line before the gap.
      this.#tellDropped(untold);
      text += this.#takeWaiting();
      this.#waitingLines = 0;
    }
    try {
      this.#beganMs = this.#clock.monotonicMs();
      const bytes = utf8.encode(text);
      for (let at = 0; at < bytes.length;) at += await this.#sink.write(bytes.subarray(at));
      this.#failure = undefined;
    } catch (error) {
      this.#failure = error;
      this.#untold += untold;
      this.#drop(lines);
    } finally {
      this.#beganMs = undefined;
    }
  }

  #takeWaiting(): string {
    const text = this.#waiting;
    this.#waiting = "";
    return text;
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#untold += lines;
  }
}
