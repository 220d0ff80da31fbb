import { type Clock, sleep } from "../core/time/clock.ts";

/** Where bytes go, as `Deno.stderr`: may take fewer than it is given, and as long as it likes. */
export interface ByteSink {
  write(bytes: Uint8Array): Promise<number>;
}

export interface LineWriterOptions {
  /** How much may wait for a reader that stands still, in UTF-16 units. */
  readonly maxLength: number;
}

/**
 * How often lines are written, milliseconds: a line after a silence at once, those that follow together. A write of its
 * own, which another thread makes, costs four times the CPU of one that blocks; one for many lines costs less.
 */
const WRITE_EVERY_MS = 10;
/** A write that takes longer has met a reader that stands still, milliseconds. */
const STALLED_AFTER_MS = 1_000;

const utf8 = new TextEncoder();

/**
 * Writes lines in their order, and never makes its caller wait: a terminal with Ctrl-S, a pager that was stopped, or a log
 * collector that hangs must not hold up whoever has something to say.
 *
 * 1. Gathers the lines that come while a write is under way, and writes them together.
 * 2. Drops lines for which there is no room, counts them, and has it told at their place once the reader is back.
 * 3. Counts what could not be written (the reader has gone, the disk is full) as dropped, too, and goes on trying.
 * 4. At the end waits for a reader, but not for one that stands still.
 */
export class LineWriter {
  readonly #clock: Clock;
  readonly #sink: ByteSink;
  readonly #maxLength: number;
  #waiting = "";
  #waitingLines = 0;
  #dropped = 0;
  /** Of them, those that nobody has been told of. */
  #untold = 0;
  #tellDropped: ((lines: number) => void) | undefined;
  #failure: unknown;
  /** Writes until nothing waits. */
  #writing: Promise<void> | undefined;
  /** When the write under way began, monotonic milliseconds. */
  #beganMs: number | undefined;
  /** Aborted by those who cannot wait for the next write. */
  #hurry = new AbortController();
  #isGivenUp = false;

  constructor(deps: { clock: Clock; sink: ByteSink }, options: LineWriterOptions) {
    this.#clock = deps.clock;
    this.#sink = deps.sink;
    this.#maxLength = options.maxLength;
  }

  /** Lines that nobody will read. */
  get dropped(): number {
    return this.#dropped;
  }

  /** What the last write failed with; undefined when it went well. */
  get failure(): unknown {
    return this.#failure;
  }

  /** The reader takes nothing any more. */
  get isStalled(): boolean {
    return this.#isGivenUp ||
      (this.#beganMs !== undefined && this.#clock.monotonicMs() - this.#beganMs > STALLED_AFTER_MS);
  }

  /** @param tell Writes a line which says that this many were dropped before it. */
  onDropped(tell: (lines: number) => void): void {
    this.#tellDropped = tell;
  }

  /**
   * Writes soon.
   *
   * @param lines How many these are, should they be dropped; 0 for what nobody will miss.
   */
  write(text: string, lines = 1): void {
    const isFull = this.#waiting !== "" && this.#waiting.length + text.length > this.#maxLength;
    if (isFull || this.#isGivenUp) return this.#drop(lines);
    this.#waiting += text;
    this.#waitingLines += lines;
    this.#writing ??= this.#writeAll();
  }

  /** Resolves when all has been written, or has failed to be. */
  async drained(): Promise<void> {
    this.#hurry.abort();
    while (this.#writing !== undefined) await this.#writing;
    this.#hurry = new AbortController();
  }

  /** The same, for this time at most: a reader that has not taken all by then is given up, and what it is told later is dropped. */
  async flush(limitMs: number): Promise<void> {
    if (this.#isGivenUp) return;
    const ended = new AbortController();
    const drained = this.drained().then(() => true);
    const late = sleep(this.#clock, limitMs, ended.signal).then(() => false);
    if (!await Promise.race([drained, late])) this.#isGivenUp = true;
    ended.abort();
  }

  async #writeAll(): Promise<void> {
    // What the rest of this turn has to say is written with it.
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
      // Nothing waits now, so that it has room; and it stands behind the last line before the gap.
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
