import { setImmediate } from "node:timers";
import type { Clock, Timer } from "../../src/core/time/clock.ts";

interface PendingTimer {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/**
 * A clock that only moves when it is told to. The same calls fire the same timers in the same order: by due time, and
 * those due together in the order in which they were set.
 */
export class FakeClock implements Clock {
  #startMs: number;
  readonly #timers = new Set<PendingTimer>();
  #elapsedMs = 0;
  #order = 0;

  /** @param startMs What `nowMs` says at first; `monotonicMs` begins at 0, so that nobody can take one for the other. */
  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs;
  }

  nowMs(): number {
    return this.#startMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const timer = { atMs: this.#elapsedMs + Math.max(delayMs, 0), order: this.#order++, callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** Timers that have neither fired nor been cancelled. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /**
   * Moves on by `ms` milliseconds and fires what becomes due on the way, also timers that are set on the way. Before the
   * first timer, after each one and at the end, all promise chains run as far as they get without real input or output.
   */
  async advance(ms: number): Promise<void> {
    const targetMs = this.#elapsedMs + ms;
    await settlePromises();
    for (let next = this.#earliest(); next !== undefined && next.atMs <= targetMs; next = this.#earliest()) {
      this.#timers.delete(next);
      this.#elapsedMs = Math.max(this.#elapsedMs, next.atMs);
      next.callback();
      await settlePromises();
    }
    this.#elapsedMs = targetMs;
    await settlePromises();
  }

  /** Moves the time on and fires nothing, as on a machine that was busy: for what is measured, not waited for. */
  jump(ms: number): void {
    this.#elapsedMs += ms;
  }

  /** Sets the time of day alone, as a person or a time server does, or as it is when the machine wakes up. */
  setTimeOfDay(nowMs: number): void {
    this.#startMs = nowMs - this.#elapsedMs;
  }

  #earliest(): PendingTimer | undefined {
    let earliest: PendingTimer | undefined;
    for (const timer of this.#timers) {
      if (earliest === undefined || timer.atMs < earliest.atMs) earliest = timer;
      else if (timer.atMs === earliest.atMs && timer.order < earliest.order) earliest = timer;
    }
    return earliest;
  }
}

/** Resolves when all promise chains that can run have run: a macrotask begins only when no microtask is left. */
export function settlePromises(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  // A timer would wait for a millisecond each time. Twice, for what waits for an immediate itself.
  setImmediate(() => setImmediate(resolve));
  return promise;
}
