import { Backoff } from "../../core/time/backoff.ts";
import { BrokerState } from "../../core/broker_state.ts";
import { type Clock, sleep } from "../../core/time/clock.ts";
import type { ScheduleBook, ScheduleSlot } from "../../core/admin.ts";
import type { Broker } from "../../core/broker.ts";
import type { PushOptions } from "../../core/format.ts";
import type { Observer } from "../../core/observer.ts";
import { type ClaimedAhead, claimedAhead, type ClaimResult, SKEW_MS } from "../../core/schedule_claims.ts";
import { createRule, type ScheduleRule, type ScheduleRuleOptions } from "./schedule_rule.ts";

/**
 * What happens to due times without a running worker: `skip`, nothing; `one`, one job for all of them; `all`, one job for each
 * of the latest MAX_CATCH_UP.
 */
export type CatchUp = "skip" | "one" | "all";

export interface ScheduleOptions {
  /** Unique on its broker: workers with schedules of the same name push the jobs together, each slot once. */
  readonly name: string;
  readonly rule: ScheduleRuleOptions;
  readonly catchUp: CatchUp;
  readonly queue: string;
  readonly payload: Uint8Array;
  /** Higher runs first within the queue. */
  readonly priority: number;
  /** Attempts at most, instead of the consumer's. */
  readonly attempts: number | undefined;
}

export const DEFAULT_SCHEDULE_OPTIONS: Pick<ScheduleOptions, "catchUp" | "priority"> = {
  catchUp: "skip",
  priority: 0,
};

export interface ScheduleDeps {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly observe: Observer;
  readonly random: () => number;
}

/** With `skip`, a job is pushed at most this long after its due time, milliseconds. */
const LATE_MS = 60_000;
/** At most this many missed jobs are caught up; they are the latest. */
export const MAX_CATCH_UP = 1_000;
/** The longest single wait, milliseconds: a timer stands still while the machine sleeps, and the time of day does not. */
const LONGEST_WAIT_MS = 10_000;
/** The longest pause between two attempts to reach the broker, milliseconds. */
const LONGEST_PAUSE_MS = 5_000;
/** A running worker claims a slot within this time after it is due, even on a busy machine, milliseconds. */
const CLAIM_TAKES_MS = 1_000;

/** The state of a schedule. Times in epoch milliseconds. */
export interface ScheduleState {
  /** When its next job is due; undefined when none is, it is unknown, or the schedule is quiet. */
  readonly nextDueMs: number | undefined;
  /** Future claims by this worker's clock, as in the event `schedule_ahead`. */
  readonly ahead: ClaimedAhead | undefined;
}

/**
 * Pushes the jobs of one schedule when they are due.
 *
 * 1. Waits for the next time of its rule, and claims that slot in the broker together with the push: of all workers that wake,
 *    one pushes.
 * 2. Catches up, or not, with times that were due without a running worker, or while the broker was unavailable.
 * 3. Never gives up while the broker fails, and reports each outage once.
 * 4. Pushes nothing while another worker may extend claims in the future; when none does, sets them aside and goes on
 *    (schedule_claims.ts).
 */
export class Schedule {
  readonly #book: ScheduleBook;
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #backoff: Backoff;
  readonly #options: ScheduleOptions;
  readonly #rule: ScheduleRule;
  readonly #job: { readonly payload: Uint8Array; readonly options: Omit<PushOptions, "delayMs"> };
  readonly #quiet = new AbortController();
  /** The known end of the claims; undefined before the book was read. */
  #claimedToMs: number | undefined;
  #ahead: ClaimedAhead | undefined;
  /** Since when it watches whether future claims are extended, monotonic milliseconds. */
  #watchedFromMs = -Infinity;
  /** When another worker would have extended them, monotonic milliseconds. */
  #watchedToMs = Infinity;
  readonly #state: BrokerState;

  /** @param deps.broker One that stores schedules. */
  constructor({ broker, clock, observe, random }: ScheduleDeps, options: ScheduleOptions) {
    this.#book = broker.admin.schedule!;
    this.#clock = clock;
    this.#observe = observe;
    this.#state = new BrokerState(observe, { during: "schedule", schedule: options.name });
    this.#backoff = new Backoff({ random }, { maxMs: LONGEST_PAUSE_MS });
    this.#options = options;
    this.#rule = createRule(options.rule);
    const { payload, priority, attempts } = options;
    this.#job = { payload, options: { priority, ...(attempts !== undefined && { maxAttempts: attempts }) } };
  }

  get name(): string {
    return this.#options.name;
  }

  /** Its state, as far as it is known here. */
  get state(): ScheduleState {
    // Nothing is pushed while the claims are unknown, nor when it is quiet.
    const fromMs = this.#quiet.signal.aborted ? undefined : this.#claimedToMs;
    return { nextDueMs: fromMs === undefined ? undefined : this.#rule.nextAfter(fromMs), ahead: this.#ahead };
  }

  /** Works until it is quiet; never rejects. */
  async run(): Promise<void> {
    const { signal } = this.#quiet;
    while (!signal.aborted) {
      try {
        if (!this.#knowsClaims()) await this.#begin();
        await this.#pushDue();
        this.#state.worked();
        this.#backoff.reset();
      } catch (thrown) {
        this.#state.failed(thrown);
        await sleep(this.#clock, this.#backoff.nextMs(), signal);
        continue;
      }
      const waitMs = this.#waitMs();
      if (waitMs === undefined) return;
      await sleep(this.#clock, Math.min(waitMs, LONGEST_WAIT_MS), signal);
    }
  }

  /** Pushes nothing from now on. Idempotent. */
  quiet(): void {
    this.#quiet.abort();
  }

  /** Whether all claims are known here, except for new ones of other workers. */
  #knowsClaims(): boolean {
    if (this.#claimedToMs === undefined || this.#ahead !== undefined) return false;
    // This worker's clock may have been ahead, and was set.
    return this.#claimedToMs <= this.#clock.nowMs() + SKEW_MS;
  }

  /** How long there is nothing to do, milliseconds; undefined for ever. */
  #waitMs(): number | undefined {
    if (this.#ahead?.state === "watched") return this.#watchedToMs - this.#clock.monotonicMs();
    if (this.#claimedToMs === undefined) return 0;
    const nextMs = this.#rule.nextAfter(this.#claimedToMs);
    return nextMs === undefined ? undefined : nextMs - this.#clock.nowMs();
  }

  /** Reads the claims. */
  async #begin(): Promise<void> {
    const { name } = this.#options;
    for (;;) {
      const [nowMs, monotonicMs] = [this.#clock.nowMs(), this.#clock.monotonicMs()];
      const waitedMs = this.#ahead?.state === "watched" ? monotonicMs - this.#watchedFromMs : 0;
      const beginning = {
        schedule: name,
        rule: this.#rule.text,
        nowMs,
        sinceMs: Math.floor(nowMs - waitedMs),
      };
      const claims = await this.#book.begin(beginning);
      const before = this.#ahead;
      const ahead = claimedAhead(claims, nowMs);
      this.#tellAhead(ahead);
      if (ahead?.state !== "watched") {
        this.#claimedToMs = claims.claimedToMs;
        return;
      }
      this.#claimedToMs = undefined;
      if (before?.state !== "watched") this.#watchedFromMs = monotonicMs;
      if (before?.state !== "watched" || ahead.untilMs !== before.untilMs) {
        this.#watchedToMs = monotonicMs + this.#claimTakesMs(ahead.untilMs);
      }
      if (monotonicMs < this.#watchedToMs) return;
      await this.#book.setAside(name, { untilMs: ahead.untilMs, nowMs });
    }
  }

  /** How long a worker that ran until then takes to claim the next slot, milliseconds. */
  #claimTakesMs(untilMs: number): number {
    const nextMs = this.#rule.nextAfter(untilMs) ?? Infinity;
    return Math.min(nextMs - untilMs + CLAIM_TAKES_MS, SKEW_MS);
  }

  /** Reports each state once: while it lasts, only the time may change. */
  #tellAhead(ahead: ClaimedAhead | undefined): void {
    const before = this.#ahead;
    this.#ahead = ahead;
    if (ahead?.state === before?.state) return;
    this.#observe({ type: "schedule_ahead", schedule: this.#options.name, ahead });
  }

  /** Pushes the due and unclaimed slots. */
  async #pushDue(): Promise<void> {
    if (this.#claimedToMs === undefined) return;
    const nowMs = this.#clock.nowMs();
    const firstMs = this.#rule.nextAfter(this.#claimedToMs);
    if (firstMs === undefined || firstMs > nowMs) return;
    const latest = this.#latestDue(firstMs, nowMs);
    const lastMs = latest.at(-1)!;
    if (this.#options.catchUp === "skip" && nowMs - lastMs > LATE_MS) {
      const result = await this.#book.skip(this.#slot(lastMs, firstMs));
      if (result === "ours") this.#tellMissed(firstMs, lastMs);
      this.#claimedToMs = result === "doubtful" ? undefined : lastMs;
      return;
    }
    for (const dueMs of latest) {
      if (this.#quiet.signal.aborted) return;
      const result = await this.#push(dueMs, this.#rule.nextAfter(this.#claimedToMs)!);
      if (result === "doubtful") {
        this.#claimedToMs = undefined;
        return;
      }
      if (result === "ours" && dueMs === latest[0] && firstMs < dueMs) {
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

  async #push(dueMs: number, firstMs: number): Promise<ClaimResult> {
    const { name, queue } = this.#options;
    const { payload, options } = this.#job;
    const { result, id } = await this.#book.push(this.#slot(dueMs, firstMs), queue, payload, options);
    if (id !== undefined) this.#observe({ type: "job_scheduled", schedule: name, queue, id, dueMs });
    return result;
  }

  /** @param firstMs The first unclaimed one. */
  #slot(dueMs: number, firstMs: number): ScheduleSlot {
    const nowMs = this.#clock.nowMs();
    return { schedule: this.#options.name, rule: this.#rule.text, dueMs, firstMs, nowMs };
  }

  #tellMissed(fromMs: number, toMs: number): void {
    this.#observe({ type: "schedule_missed", schedule: this.#options.name, fromMs, toMs });
  }
}
