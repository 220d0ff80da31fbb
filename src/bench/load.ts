import { type Clock, sleep } from "../core/time/clock.ts";
import { FervoError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import type { Outcome } from "../core/outcome.ts";
import type { Executor } from "../executors/executor.ts";

export interface LoadOptions {
  /** How many to run. */
  readonly jobs: number;
  /** How many run at the same time at most. */
  readonly concurrency: number;
  /** The queue's name for PHP. */
  readonly queue: string;
  readonly payload: Uint8Array;
  /** A job that takes longer fails, milliseconds. */
  readonly timeoutMs: number;
  /**
   * Jobs a second that start whether or not earlier ones have ended (an open loop). Undefined: each starts when the previous
   * one has ended (a closed loop).
   */
  readonly ratePerS: number | undefined;
  /** The first job's id is this number; see {@link benchJob}. */
  readonly firstId: number;
}

/** The measurements of one {@link Load}. Times are milliseconds; the samples are in the order in which jobs ended. */
export interface LoadResult {
  /** Ended jobs, failed ones included. */
  readonly jobs: number;
  readonly failed: number;
  /** From the start to the end of the last job. */
  readonly elapsedMs: number;
  /** For successful jobs: when they started (or should have, at a fixed rate), from the load's start. */
  readonly startMs: Float64Array;
  /** For the same jobs: how long they took from then on. */
  readonly runMs: Float64Array;
  /** For all jobs, at a fixed rate: how late they started; empty in a closed loop. */
  readonly lateMs: Float64Array;
  /** Failures by text, in the order of their first appearance. */
  readonly failures: ReadonlyMap<string, { readonly error: FervoError; readonly count: number }>;
  /** Whether it was completed. */
  readonly isComplete: boolean;
}

/** Further different failures are counted with the last one: a reason with a job's id is never the same. */
const MAX_FAILURE_TEXTS = 10;

/** How often timeouts are checked, milliseconds: a timeout is late by at most this much. */
const TIMEOUT_TICK_MS = 250;

/** A place in which jobs run one after the other. */
class Slot {
  controller = new AbortController();
  /** When its job started; NaN between jobs. */
  startedMs = NaN;
}

/**
 * Gives an executor jobs and measures the time of each.
 *
 * 1. Runs exactly the requested number, at most `concurrency` at the same time, each with its own id.
 * 2. In a closed loop a slot starts its next job when the previous job has ended. In an open loop each job has its time, from
 *    which its run time counts: if it starts late, because others took too long, it shows what a user would have waited (this
 *    avoids "coordinated omission"). It may start up to a millisecond early, and counts from then.
 * 3. Costs little: samples go into preallocated arrays, a signal belongs to a slot and not to a job, one timer checks all
 *    timeouts.
 * 4. Ends early when it is stopped, and with an error when no job can run at all; running jobs do not count then.
 */
export class Load {
  readonly #executor: BenchExecutor;
  readonly #clock: Clock;
  readonly #options: LoadOptions;
  readonly #slots: readonly Slot[];
  readonly #startMs: Float64Array;
  readonly #runMs: Float64Array;
  readonly #lateMs: Float64Array;
  readonly #failures = new Map<string, { readonly error: FervoError; count: number }>();
  /** Ends all waits and running jobs. */
  readonly #over = new AbortController();
  #next = 0;
  #late = 0;
  #good = 0;
  #failed = 0;
  #fault: FervoError | undefined;

  constructor(deps: { executor: BenchExecutor; clock: Clock }, options: LoadOptions) {
    this.#executor = deps.executor;
    this.#clock = deps.clock;
    this.#options = options;
    const slots = Math.min(options.concurrency, options.jobs);
    this.#slots = Array.from({ length: slots }, () => new Slot());
    this.#startMs = new Float64Array(options.jobs);
    this.#runMs = new Float64Array(options.jobs);
    this.#lateMs = new Float64Array(options.ratePerS === undefined ? 0 : options.jobs);
  }

  /** Jobs that have ended. */
  get ended(): number {
    return this.#good + this.#failed;
  }

  /**
   * Runs the load. Once.
   *
   * @param stop Ends it early.
   * @throws {FervoError} FPM_MISCONFIGURED, PROCESS_MISCONFIGURED or FASTCGI_CONNECT_FAILED at the first job that shows
   * that no job can run.
   */
  async run(stop: AbortSignal): Promise<LoadResult> {
    const end = () => this.#end();
    stop.addEventListener("abort", end);
    if (stop.aborted) end();
    const t0 = this.#clock.monotonicMs();
    let timer = this.#clock.setTimer(
      function tick(this: Load) {
        this.#endLateJobs();
        timer = this.#clock.setTimer(tick.bind(this), TIMEOUT_TICK_MS);
      }.bind(this),
      TIMEOUT_TICK_MS,
    );
    try {
      await Promise.all(this.#slots.map((slot) => this.#runSlot(slot, t0)));
    } finally {
      timer.cancel();
      stop.removeEventListener("abort", end);
    }
    if (this.#fault !== undefined) throw this.#fault;
    return {
      jobs: this.ended,
      failed: this.#failed,
      elapsedMs: this.#clock.monotonicMs() - t0,
      startMs: this.#startMs.subarray(0, this.#good),
      runMs: this.#runMs.subarray(0, this.#good),
      lateMs: this.#lateMs.subarray(0, this.#late),
      failures: this.#failures,
      isComplete: this.ended === this.#options.jobs,
    };
  }

  async #runSlot(slot: Slot, t0: number): Promise<void> {
    const { jobs, ratePerS, firstId } = this.#options;
    const clock = this.#clock;
    const over = this.#over.signal;
    const intervalMs = ratePerS === undefined ? 0 : 1_000 / ratePerS;
    while (this.#next < jobs && !over.aborted) {
      const index = this.#next++;
      let startMs = clock.monotonicMs();
      if (ratePerS !== undefined) {
        const intendedMs = t0 + index * intervalMs;
        startMs = await this.#waitUntil(intendedMs);
        if (over.aborted) return;
        this.#lateMs[this.#late++] = Math.max(startMs - intendedMs, 0);
        slot.startedMs = startMs;
        startMs = Math.min(startMs, intendedMs);
      } else {
        slot.startedMs = startMs;
      }
      const job = benchJob(firstId + index, this.#options, clock.nowMs());
      const outcome = await this.#executor.execute(job, slot.controller.signal);
      const endMs = clock.monotonicMs();
      slot.startedMs = NaN;
      if (over.aborted) return;
      if (slot.controller.signal.aborted) slot.controller = new AbortController();
      if (outcome.kind === "ack") {
        this.#startMs[this.#good] = startMs - t0;
        this.#runMs[this.#good++] = endMs - startMs;
      } else {
        this.#countFailure(outcome);
      }
    }
  }

  /** Returns the time then. Timers count whole milliseconds and fire late: it may be less than one too early. */
  async #waitUntil(atMs: number): Promise<number> {
    let nowMs = this.#clock.monotonicMs();
    while (atMs - nowMs >= 1 && !this.#over.signal.aborted) {
      await sleep(this.#clock, Math.floor(atMs - nowMs), this.#over.signal);
      nowMs = this.#clock.monotonicMs();
    }
    return nowMs;
  }

  #countFailure(outcome: Exclude<Outcome, { kind: "ack" }>): void {
    this.#failed++;
    const { error } = outcome;
    const { code, message } = error;
    const isHopeless = outcome.kind === "release" && outcome.reason === "misconfigured";
    if (isHopeless || code === "FASTCGI_CONNECT_FAILED") {
      this.#fault ??= error;
      return this.#end();
    }
    const isNew = !this.#failures.has(message);
    const key = isNew && this.#failures.size >= MAX_FAILURE_TEXTS
      ? [...this.#failures.keys()].at(-1)!
      : message;
    const failure = this.#failures.get(key);
    if (failure === undefined) this.#failures.set(key, { error, count: 1 });
    else failure.count++;
  }

  #endLateJobs(): void {
    const latestMs = this.#clock.monotonicMs() - this.#options.timeoutMs;
    for (const slot of this.#slots) {
      if (!(slot.startedMs < latestMs)) continue;
      const text = `The job took longer than ${this.#options.timeoutMs} ms`;
      slot.controller.abort(new FervoError("JOB_TIMEOUT", text));
    }
  }

  #end(): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort();
    const error = new FervoError("SHUTDOWN", "The benchmark was stopped");
    for (const slot of this.#slots) slot.controller.abort(error);
  }
}

/** Runs the jobs of a benchmark, which ends if it cannot. */
export type BenchExecutor = Omit<Executor, "probe">;

/** The ids of jobs are numbers from here on: all of equal length, and so all requests. */
export const FIRST_JOB_ID = 1_000_000;

/** A job of the benchmark. */
export function benchJob(
  id: number,
  { queue, payload, timeoutMs }: Pick<LoadOptions, "queue" | "payload" | "timeoutMs">,
  nowMs: number,
): Job {
  return {
    id: String(id),
    queue,
    payload,
    attempt: 1,
    // As by default: the last attempt has a connection of its own.
    maxAttempts: 5,
    enqueuedAtMs: nowMs,
    deadlineMs: nowMs + timeoutMs,
  };
}
