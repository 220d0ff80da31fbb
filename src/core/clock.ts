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

/** The machine's clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(callback, delayMs) {
    const id = setTimeout(callback, Math.min(Math.max(delayMs, 0), MAX_TIMER_MS));
    return { cancel: () => clearTimeout(id) };
  },
};

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
