import { type Clock, systemClock, type Timer } from "../../src/core/time/clock.ts";

interface PendingTimer {
  readonly atMs: number;
  readonly callback: () => void;
  timer: Timer;
}

/** The machine's clock, that can be moved ahead: what was due in between fires at once. */
export class MovableClock implements Clock {
  readonly #timers = new Set<PendingTimer>();
  #aheadMs = 0;
  #setByMs = 0;

  nowMs(): number {
    return Math.floor(systemClock.nowMs() + this.#aheadMs + this.#setByMs);
  }

  monotonicMs(): number {
    return systemClock.monotonicMs() + this.#aheadMs;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const pending = { atMs: this.monotonicMs() + delayMs, callback } as PendingTimer;
    this.#timers.add(pending);
    this.#arm(pending);
    return {
      cancel: () => {
        this.#timers.delete(pending);
        pending.timer.cancel();
      },
    };
  }

  moveAhead(ms: number): void {
    this.#aheadMs += ms;
    for (const pending of this.#timers) {
      pending.timer.cancel();
      this.#arm(pending);
    }
  }

  /** Sets the time of day alone, forward or back, as a person or a time server does. */
  setTimeOfDay(byMs: number): void {
    this.#setByMs += byMs;
  }

  #arm(pending: PendingTimer): void {
    pending.timer = systemClock.setTimer(() => {
      this.#timers.delete(pending);
      pending.callback();
    }, pending.atMs - this.monotonicMs());
  }
}
