import { Backoff } from "../core/backoff.ts";
import { BrokerState } from "../core/broker_state.ts";
import { type Clock, sleep } from "../core/clock.ts";
import type { Driver, ScheduleBook } from "../core/driver.ts";
import type { Observer } from "../core/observer.ts";
import type { Dialect } from "../dialects/dialect.ts";
import { type NewJob, newJob } from "./new_job.ts";
import { createRule, type ScheduleRule, type ScheduleRuleOptions } from "./schedule_rule.ts";

/**
 * What becomes of the times at which no worker was there: `skip`, nothing; `one`, one job for all of them; `all`, a job
 * for each of the latest MAX_CATCH_UP.
 */
export type CatchUp = "skip" | "one" | "all";

export interface ScheduleOptions {
  /** Unique on its broker: workers whose schedules have the same name push the jobs together, each slot once. */
  readonly name: string;
  readonly rule: ScheduleRuleOptions;
  readonly catchUp: CatchUp;
  readonly queue: string;
  readonly payload: Uint8Array;
  /** Higher runs first within the queue. */
  readonly priority: number;
  /** Tries at most, instead of the consumer's. */
  readonly attempts: number | undefined;
}

export const DEFAULT_SCHEDULE_OPTIONS: Pick<ScheduleOptions, "catchUp" | "priority"> = {
  catchUp: "skip",
  priority: 0,
};

export interface ScheduleDeps {
  readonly driver: Driver;
  readonly dialect: Dialect;
  readonly clock: Clock;
  readonly observe: Observer;
  /** Numbers in [0, 1). */
  readonly random: () => number;
}

/** With `skip`, a job is pushed no later than this after its time, milliseconds. */
const LATE_MS = 60_000;
/** So many missed jobs are caught up at most; they are the latest. */
export const MAX_CATCH_UP = 1_000;
/** The longest wait at once, milliseconds: a timer stands still while the machine sleeps, and the time of day does not. */
const LONGEST_WAIT_MS = 10_000;
/** The longest pause between two looks whether the broker is back, milliseconds. */
const LONGEST_PAUSE_MS = 5_000;

/**
 * Pushes the jobs of one schedule when they are due.
 *
 * 1. Waits for the next time of its rule, and claims that slot in the broker together with the push: of all the workers
 *    that wake, one pushes.
 * 2. Catches up, or not, with what was due while no worker was there, or while the broker was away.
 * 3. Goes on for ever while the broker fails, and tells so once an outage.
 */
export class Schedule {
  readonly #book: ScheduleBook;
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #backoff: Backoff;
  readonly #options: ScheduleOptions;
  readonly #rule: ScheduleRule;
  readonly #newJob: () => NewJob;
  readonly #quiet = new AbortController();
  /** Up to when slots are claimed as far as is known here; undefined before the book was asked. */
  #claimedToMs: number | undefined;
  readonly #state: BrokerState;

  /** @param deps.driver One that keeps a schedule. */
  constructor({ driver, dialect, clock, observe, random }: ScheduleDeps, options: ScheduleOptions) {
    this.#book = driver.schedule!;
    this.#clock = clock;
    this.#observe = observe;
    this.#state = new BrokerState(observe, { during: "schedule", schedule: options.name });
    this.#backoff = new Backoff({ random }, { maxMs: LONGEST_PAUSE_MS });
    this.#options = options;
    this.#rule = createRule(options.rule);
    const { payload, priority, attempts } = options;
    this.#newJob = () => newJob(dialect, { payload, priority, attempts, nowMs: clock.nowMs() });
  }

  /** Works until it is quiet; never rejects. */
  async run(): Promise<void> {
    const { signal } = this.#quiet;
    while (!signal.aborted) {
      try {
        this.#claimedToMs ??= await this.#book.begin(this.#slot(this.#clock.nowMs()));
        await this.#pushDue();
        this.#state.worked();
        this.#backoff.reset();
      } catch (thrown) {
        this.#state.failed(thrown);
        await sleep(this.#clock, this.#backoff.nextMs(), signal);
        continue;
      }
      const nextMs = this.#rule.nextAfter(this.#claimedToMs);
      if (nextMs === undefined) return;
      await sleep(this.#clock, Math.min(nextMs - this.#clock.nowMs(), LONGEST_WAIT_MS), signal);
    }
  }

  /** Pushes nothing from now on. Idempotent. */
  quiet(): void {
    this.#quiet.abort();
  }

  /** Pushes what is due and not claimed. */
  async #pushDue(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const firstMs = this.#rule.nextAfter(this.#claimedToMs!);
    if (firstMs === undefined || firstMs > nowMs) return;
    const latest = this.#latestDue(firstMs, nowMs);
    const lastMs = latest.at(-1)!;
    if (this.#options.catchUp === "skip" && nowMs - lastMs > LATE_MS) {
      if (await this.#book.skip(this.#slot(lastMs))) this.#tellMissed(firstMs, lastMs);
      this.#claimedToMs = lastMs;
      return;
    }
    for (const dueMs of latest) {
      if (this.#quiet.signal.aborted) return;
      const isOurs = await this.#push(dueMs);
      if (isOurs && dueMs === latest[0] && firstMs < dueMs) {
        this.#tellMissed(firstMs, this.#rule.latestUntil(dueMs - 1, 1)[0]!);
      }
      this.#claimedToMs = dueMs;
    }
  }

  /** The due times from `firstMs` on that are worth a job, the earliest first; at least one. */
  #latestDue(firstMs: number, nowMs: number): number[] {
    const max = this.#options.catchUp === "all" ? MAX_CATCH_UP : 1;
    const due: number[] = [];
    for (let dueMs: number | undefined = firstMs; dueMs !== undefined && dueMs <= nowMs;) {
      due.push(dueMs);
      if (due.length > max) return this.#rule.latestUntil(nowMs, max);
      dueMs = this.#rule.nextAfter(dueMs);
    }
    return due;
  }

  /** Whether it was this worker's turn. */
  async #push(dueMs: number): Promise<boolean> {
    const { name, queue } = this.#options;
    const { message, options } = this.#newJob();
    const id = await this.#book.push(this.#slot(dueMs), queue, message, options);
    if (id === undefined) return false;
    this.#observe({ type: "job_scheduled", schedule: name, queue, id, dueMs });
    return true;
  }

  #slot(dueMs: number) {
    return { schedule: this.#options.name, rule: this.#rule.text, dueMs };
  }

  #tellMissed(fromMs: number, toMs: number): void {
    this.#observe({ type: "schedule_missed", schedule: this.#options.name, fromMs, toMs });
  }
}
