import { type Clock, sleep } from "../core/time/clock.ts";

export interface ProbeDeps<T> {
  readonly clock: Clock;
  /** Must not reject. */
  readonly ask: () => Promise<T>;
}

export interface ProbeOptions {
  /** How long somebody waits for an answer, milliseconds. */
  readonly limitMs: number;
  /** How long an answer is good, milliseconds. */
  readonly keepMs: number;
}

/**
 * A question to another server, for any number of people who ask at the same time.
 *
 * 1. Is asked once at a time: while an answer is awaited nobody asks again, however long it takes.
 * 2. Nobody waits for longer than the limit.
 * 3. An answer is kept for a while.
 */
export class Probe<T> {
  readonly #deps: ProbeDeps<T>;
  readonly #options: ProbeOptions;
  #answer: { readonly value: T; readonly untilMs: number } | undefined;
  /** Ends with the answer, or with undefined at the limit; undefined when nothing is asked. */
  #asking: Promise<T | undefined> | undefined;

  constructor(deps: ProbeDeps<T>, options: ProbeOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** The answer; undefined when it does not come in time. */
  get(): Promise<T | undefined> {
    if (this.#asking !== undefined) return this.#asking;
    if (this.#answer !== undefined && this.#deps.clock.monotonicMs() < this.#answer.untilMs) {
      return Promise.resolve(this.#answer.value);
    }
    return this.#asking = this.#ask();
  }

  async #ask(): Promise<T | undefined> {
    const { clock, ask } = this.#deps;
    const answered = new AbortController();
    const answer = ask().then((value) => {
      this.#answer = { value, untilMs: clock.monotonicMs() + this.#options.keepMs };
      this.#asking = undefined;
      answered.abort();
      return value;
    });
    const limit = sleep(clock, this.#options.limitMs, answered.signal);
    return await Promise.race([answer, limit.then(() => answered.signal.aborted ? answer : undefined)]);
  }
}
