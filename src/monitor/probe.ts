import { type Clock, sleep } from "../core/time/clock.ts";

/** The longest wait for an answer, milliseconds. */
export const PROBE_LIMIT_MS = 2_000;
/** How long an answer is reused, milliseconds. */
const KEEP_MS = 1_000;

/**
 * A question to another server, for any number of callers.
 *
 * 1. Asks once at a time: during a question nobody asks again, however long it takes.
 * 2. No caller waits longer than the limit.
 * 3. Reuses an answer for a while.
 */
export class Probe<T> {
  readonly #clock: Clock;
  readonly #question: () => Promise<T>;
  #answer: { readonly value: T; readonly untilMs: number } | undefined;
  /** Ends with the answer, or with undefined at the limit; undefined without a question. */
  #asking: Promise<T | undefined> | undefined;

  /** @param question Must not reject. */
  constructor({ clock }: { clock: Clock }, question: () => Promise<T>) {
    this.#clock = clock;
    this.#question = question;
  }

  /** The answer; undefined when it is late. */
  get(): Promise<T | undefined> {
    if (this.#asking !== undefined) return this.#asking;
    if (this.#answer !== undefined && this.#clock.monotonicMs() < this.#answer.untilMs) {
      return Promise.resolve(this.#answer.value);
    }
    return this.#asking = this.#ask();
  }

  async #ask(): Promise<T | undefined> {
    const answered = new AbortController();
    const answer = this.#question().then((value) => {
      this.#answer = { value, untilMs: this.#clock.monotonicMs() + KEEP_MS };
      this.#asking = undefined;
      answered.abort();
      return value;
    });
    const limit = sleep(this.#clock, PROBE_LIMIT_MS, answered.signal);
    return await Promise.race([answer, limit.then(() => answered.signal.aborted ? answer : undefined)]);
  }
}
