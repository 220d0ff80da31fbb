import type { Clock } from "../../core/time/clock.ts";

/** The waits between two looks at the table without notifications: short after a change, as more may follow; milliseconds. */
const STEPS_MS = [5, 10, 20, 40, 80, 160, 320, 640];
/** How often a waiting receive looks at the table, milliseconds: notifications can be lost, and rows changed by hand. */
const LOOK_EVERY_MS = 1_000;

/** Ends the waits of receives: at a notification of the server, at a change of our own, and in time for the next look. */
export class Wakeups {
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  #count = 0;
  /** Whether the server tells of new rows. */
  isListening = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The current moment. Take it before a look, so that a wake-up after the look ends the wait. */
  mark(): number {
    return this.#count;
  }

  /** There may be something to take. */
  announce(): void {
    this.#count++;
    for (const wake of this.#waiting) wake();
  }

  /**
   * Resolves at a wake-up after `mark`, after `timeoutMs`, at the latest in time for the next look, or when `signal` aborts.
   *
   * @param step How many waits have ended without a job before this one.
   */
  wait(
    mark: number,
    { timeoutMs, step }: { timeoutMs: number; step: number },
    signal: AbortSignal,
  ): Promise<void> {
    if (signal.aborted || mark !== this.#count) return Promise.resolve();
    const lookMs = this.isListening ? LOOK_EVERY_MS : STEPS_MS[step] ?? LOOK_EVERY_MS;
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        this.#waiting.delete(end);
        signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = this.#clock.setTimer(end, Math.min(timeoutMs, lookMs));
      this.#waiting.add(end);
      signal.addEventListener("abort", end);
    });
  }
}
