import type { Clock, Timer } from "../core/time/clock.ts";

/**
 * Notices that a statement takes too long. It looks twice within the time, so that a statement costs only a note, and gives up
 * after up to one and a half of the time.
 */
export class Watchdog {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #onHang: () => void;
  #running = 0;
  #timer: Timer | undefined;
  /** Looks since the last statement ended. */
  #looks = 0;

  /** @param onHang Called when no statement has ended within the limit, although one runs. */
  constructor(clock: Clock, limitMs: number, onHang: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#onHang = onHang;
  }

  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#running++;
    this.#look();
    try {
      return await work();
    } finally {
      this.#running--;
      this.#looks = 0;
    }
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #look(): void {
    this.#timer ??= this.#clock.setTimer(() => {
      this.#timer = undefined;
      if (this.#running === 0) return;
      // Before: it may begin anew.
      if (++this.#looks > 2) {
        this.#looks = 0;
        this.#onHang();
      }
      this.#look();
    }, this.#limitMs / 2);
  }
}
