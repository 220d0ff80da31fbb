import type { Clock, Timer } from "../../core/time/clock.ts";

export interface RateLimitOptions {
  /** Jobs in each period; as many may start at once after a quiet period. At least 1. */
  readonly jobs: number;
  readonly periodMs: number;
}

/** A token bucket: it has at most `jobs` tokens, and gains as many in each period, one after the other. */
export class RateLimit {
  readonly #clock: Clock;
  readonly #options: RateLimitOptions;
  readonly #onChange: () => void;
  #tokens: number;
  #filledMs: number;
  #timer: Timer | undefined;

  /** @param deps.onChange Called when a job may start again. */
  constructor(deps: { clock: Clock; onChange: () => void }, options: RateLimitOptions) {
    this.#clock = deps.clock;
    this.#onChange = deps.onChange;
    this.#options = options;
    this.#tokens = options.jobs;
    this.#filledMs = deps.clock.monotonicMs();
  }

  /** How many jobs may start now. */
  room(): number {
    this.#fill();
    if (this.#tokens >= 1) return Math.floor(this.#tokens);
    const { jobs, periodMs } = this.#options;
    this.#timer ??= this.#clock.setTimer(() => {
      this.#timer = undefined;
      this.#onChange();
    }, Math.ceil((1 - this.#tokens) * periodMs / jobs));
    return 0;
  }

  /** This many jobs start. */
  take(jobs: number): void {
    this.#fill();
    this.#tokens -= jobs;
  }

  /** A job that was about to start did not: another one may. */
  giveBack(): void {
    this.#fill();
    if (++this.#tokens >= 2) return;
    this.close();
    this.#onChange();
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #fill(): void {
    const { jobs, periodMs } = this.#options;
    const nowMs = this.#clock.monotonicMs();
    this.#tokens = Math.min(this.#tokens + (nowMs - this.#filledMs) * jobs / periodMs, jobs);
    this.#filledMs = nowMs;
  }
}
