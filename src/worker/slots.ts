import type { Clock, Timer } from "../core/clock.ts";
import { JobError } from "../core/errors.ts";
import type { Executor } from "../executors/executor.ts";
import type { Held } from "./held.ts";
import { STALL_MS } from "./loop.ts";

/** What a slot runs: a job, or several in one request. */
export interface Run {
  /** In the order in which they run. */
  readonly jobs: readonly Held[];
  /** Ends it. */
  readonly abort: AbortController;
  /** Since when it is in its slot, monotonic milliseconds. */
  readonly startedMs: number;
  /** When the job that runs now has begun, monotonic milliseconds. */
  beganMs: number;
}

/** The slots of a consumer that are in use, and the time limit of what they run. */
export class Slots {
  readonly #clock: Clock;
  readonly #slots: number;
  readonly #timeoutMs: number;
  readonly #abortMs: number;
  readonly #runs = new Set<Run>();
  #timer: Timer | undefined;

  /**
   * @param options.concurrency How many there are.
   * @param options.timeoutMs How long one job may take; then its run is aborted with JOB_TIMEOUT.
   */
  constructor(
    deps: { clock: Clock; executor: Pick<Executor, "abortMs"> },
    options: { concurrency: number; timeoutMs: number },
  ) {
    this.#clock = deps.clock;
    this.#abortMs = deps.executor.abortMs ?? 0;
    this.#slots = options.concurrency;
    this.#timeoutMs = options.timeoutMs;
  }

  /** How many are in use. */
  get busy(): number {
    return this.#runs.size;
  }

  /** In the order in which they began. */
  get runs(): readonly Run[] {
    return [...this.#runs];
  }

  /** Why none will ever be free again, as the end of a sentence; undefined when some are, or will be. */
  get stall(): string | undefined {
    if (this.#runs.size < this.#slots) return undefined;
    const latestMs = this.#clock.monotonicMs() - this.#timeoutMs - this.#abortMs - STALL_MS;
    if (this.runs.some(({ beganMs }) => beganMs > latestMs)) return undefined;
    return `all its slots (${this.#slots}) run jobs that do not end, though their time is up and they were aborted`;
  }

  begin(jobs: readonly Held[]): Run {
    const nowMs = this.#clock.monotonicMs();
    const run = { jobs, abort: new AbortController(), startedMs: nowMs, beganMs: nowMs };
    this.#runs.add(run);
    this.#timer ??= this.#timeOutAfter(this.#timeoutMs);
    return run;
  }

  /** The next job of the run begins. */
  next(run: Run): void {
    run.beganMs = this.#clock.monotonicMs();
  }

  end(run: Run): void {
    this.#runs.delete(run);
  }

  /** Forgets its timer. */
  close(): void {
    this.#timer?.cancel();
  }

  /** All jobs have the same time, so that nobody's is up before the timer: one serves all. */
  #timeOutAfter(delayMs: number): Timer {
    return this.#clock.setTimer(() => {
      this.#timer = undefined;
      const nowMs = this.#clock.monotonicMs();
      let nextMs = Infinity;
      for (const run of this.#runs) {
        const leftMs = run.beganMs + this.#timeoutMs - nowMs;
        if (leftMs > 0) nextMs = Math.min(nextMs, leftMs);
        else this.#timeOut(run);
      }
      if (nextMs < Infinity) this.#timer = this.#timeOutAfter(nextMs);
    }, delayMs);
  }

  #timeOut(run: Run): void {
    run.abort.abort(
      new JobError("JOB_TIMEOUT", `The job took longer than timeout_ms = ${this.#timeoutMs} allows`),
    );
  }
}
