/** A pending timer. */
export interface Timer {
  /** Forgets the timer; harmless when it has fired. */
  cancel(): void;
}

/** Time, injected so that no test waits for it. */
export interface Clock {
  /** UTC, epoch milliseconds: for anything that is stored or told to others. */
  nowMs(): number;
  /** Monotonic milliseconds with fractions: for measuring durations. */
  monotonicMs(): number;
  /** Calls `callback` once, no earlier than in `delayMs` milliseconds. */
  setTimer(callback: () => void, delayMs: number): Timer;
}

/** The longest delay that a timer of the runtime can hold, in milliseconds (about 24.8 days). */
export const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(callback, delayMs) {
    const id = setTimeout(callback, Math.min(Math.max(delayMs, 0), MAX_TIMER_MS));
    return { cancel: () => clearTimeout(id) };
  },
};

/** The two clocks may differ by less than this, milliseconds: they are not read in one step. */
const PARTED_MS = 250;

/**
 * Notices that the time of day was set: it then differs from the monotonic clock. It also does when the machine was suspended,
 * which stops only the monotonic clock. A time server that only slows or speeds up the time changes both alike.
 */
export class ClockWatch {
  readonly #clock: Clock;
  /** How far the time of day is ahead of the monotonic clock, milliseconds. */
  #aheadMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#aheadMs = clock.nowMs() - clock.monotonicMs();
  }

  /** How far the time of day was set since the last call that noticed it, milliseconds; 0 when it was not. */
  stepMs(): number {
    const beforeMs = this.#clock.monotonicMs();
    const aheadMs = this.#clock.nowMs() - beforeMs;
    const stepMs = aheadMs - this.#aheadMs;
    if (Math.abs(stepMs) < PARTED_MS) return 0;
    // The process may have stood still between the two calls.
    if (this.#clock.monotonicMs() - beforeMs >= PARTED_MS / 2) return 0;
    this.#aheadMs = aheadMs;
    return stepMs;
  }
}

/** Resolves after `delayMs` milliseconds or when `signal` aborts, whichever comes first; never rejects. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = () => {
      timer.cancel();
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const timer = clock.setTimer(finish, delayMs);
    signal?.addEventListener("abort", finish);
  });
}
