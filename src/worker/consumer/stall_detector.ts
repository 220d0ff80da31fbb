import type { Clock } from "../../core/time/clock.ts";

/** A wait that lasts this much longer than it may never ends, milliseconds: longer than a broker takes to give up a hung server. */
export const STALL_MS = 120_000;

/** The waits of a consumer's loop: they can be woken, and a wait that never ends shows as a stall. */
export class StallDetector {
  readonly #clock: Clock;
  #wake: (() => void) | undefined;
  #what = "";
  #sinceMs = 0;
  #limitMs = () => Infinity;

  constructor(deps: { clock: Clock }) {
    this.#clock = deps.clock;
  }

  /**
   * Waits for `promise` and returns its value.
   *
   * @param what What the loop does meanwhile, e.g. `receive`.
   * @param limitMs How long that may take, milliseconds.
   */
  async during<T>(what: string, limitMs: number, promise: Promise<T>): Promise<T> {
    this.#begin(what, () => limitMs);
    try {
      return await promise;
    } finally {
      this.#limitMs = () => Infinity;
    }
  }

  /**
   * Waits until it is woken, without a limit.
   *
   * @param what As above.
   * @param isDue Whether it should have been woken.
   */
  async untilWoken(what: string, isDue: () => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#begin(what, () => isDue() ? 0 : Infinity);
    this.#wake = resolve;
    await promise;
    this.#limitMs = () => Infinity;
  }

  /** Ends {@link untilWoken}, if the loop is in it. */
  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** Why the loop is stuck, as the end of a sentence; undefined when it is not. */
  get stall(): string | undefined {
    const waitedMs = this.#clock.monotonicMs() - this.#sinceMs;
    const limitMs = this.#limitMs();
    if (waitedMs <= limitMs + STALL_MS) return undefined;
    return `its ${this.#what} has gone on for ${seconds(waitedMs)} and should have ended after ${
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
