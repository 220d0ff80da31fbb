import type { Clock } from "../../core/time/clock.ts";

/**
 * What should have ended this long ago never will, milliseconds. It covers what a broker that hangs may take until its
 * broker gives it up.
 */
export const STALL_MS = 120_000;

/** Where a loop waits: it can be woken, and it can be told from one that is stuck. */
export class Loop {
  readonly #clock: Clock;
  #wake: (() => void) | undefined;
  #what = "";
  #sinceMs = 0;
  #limitMs = () => Infinity;

  constructor(deps: { clock: Clock }) {
    this.#clock = deps.clock;
  }

  /**
   * Waits until `promise` has ended, and returns what it gives.
   *
   * @param what For what, as the end of a sentence, e.g. `its receive`.
   * @param limitMs How long that may take, milliseconds.
   */
  async ends<T>(what: string, limitMs: number, promise: Promise<T>): Promise<T> {
    this.#begin(what, () => limitMs);
    try {
      return await promise;
    } finally {
      this.#limitMs = () => Infinity;
    }
  }

  /**
   * Waits until it is woken, however long that takes.
   *
   * @param what As above.
   * @param isDue Whether it should have been woken.
   */
  async woken(what: string, isDue: () => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#begin(what, () => isDue() ? 0 : Infinity);
    this.#wake = resolve;
    await promise;
    this.#limitMs = () => Infinity;
  }

  /** Ends the wait to be woken, if there is one. */
  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** What it is stuck in, as the end of a sentence; undefined when it is not. */
  get stall(): string | undefined {
    const waitedMs = this.#clock.monotonicMs() - this.#sinceMs;
    const limitMs = this.#limitMs();
    if (waitedMs <= limitMs + STALL_MS) return undefined;
    return `${this.#what} has gone on for ${seconds(waitedMs)} and should have ended after ${
      seconds(limitMs)
    }`;
  }

  #begin(what: string, limitMs: () => number): void {
    this.#what = what;
    this.#limitMs = limitMs;
    this.#sinceMs = this.#clock.monotonicMs();
  }
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}
