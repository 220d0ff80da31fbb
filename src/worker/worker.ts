import { type Clock, sleep } from "../core/clock.ts";
import type { FervoError } from "../core/errors.ts";
import type { Observer } from "../core/observer.ts";
import type { Consumer } from "./consumer.ts";
import type { Schedule } from "./schedule.ts";

export interface WorkerOptions {
  /** How long jobs may go on after `stop`, milliseconds. */
  readonly shutdownTimeoutMs: number;
}

export const DEFAULT_WORKER_OPTIONS: WorkerOptions = { shutdownTimeoutMs: 30_000 };

export type WorkerState = "running" | "quiet" | "stopping";

/** How a run ended. */
export interface RunResult {
  /** Jobs that could not be put back; they run again when their lease ends. */
  readonly orphaned: number;
  /** Why consumers stopped by themselves. */
  readonly faults: readonly FervoError[];
}

/** How often to look whether all queues are empty, milliseconds. */
const EMPTY_CHECK_MS = 100;

/**
 * Starts, quiets and stops all consumers, and the schedules.
 *
 * 1. Runs until it is stopped, or until every consumer has stopped by itself.
 * 2. Quiet, takes no more jobs and stays, until it is stopped.
 * 3. Stops in order: no more receives, then time to finish, then what is left is put back and aborted.
 */
export class Worker {
  readonly #consumers: readonly Consumer[];
  readonly #schedules: readonly Schedule[];
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #onQuiet: () => void;
  readonly #options: WorkerOptions;
  readonly #deadline = new AbortController();
  readonly #ended = new AbortController();
  readonly #stopping = Promise.withResolvers<void>();
  #isStopping = false;
  #isQuiet = false;

  /** @param deps.onQuiet Called when the worker takes no more jobs; several times, maybe. */
  constructor(
    deps: {
      consumers: readonly Consumer[];
      schedules?: readonly Schedule[];
      clock: Clock;
      observe: Observer;
      onQuiet?: () => void;
    },
    options: WorkerOptions,
  ) {
    this.#consumers = deps.consumers;
    this.#schedules = deps.schedules ?? [];
    this.#clock = deps.clock;
    this.#observe = deps.observe;
    this.#onQuiet = deps.onQuiet ?? (() => {});
    this.#options = options;
  }

  /**
   * Works until `stop`, or until all consumers have ended.
   *
   * @param options.untilEmpty End also when no queue has a job left, not even a delayed one; the schedules push none then.
   */
  async run(options: { untilEmpty: boolean }): Promise<RunResult> {
    const { signal } = this.#deadline;
    signal.addEventListener("abort", () => this.#consumers.forEach((consumer) => void consumer.stopNow()));
    if (options.untilEmpty) void this.#stopWhenEmpty();
    const schedules = options.untilEmpty ? [] : this.#schedules;
    const scheduling = Promise.all(schedules.map((schedule) => schedule.run()));
    await Promise.all(this.#consumers.map((consumer) => consumer.run()));
    if (this.#isQuiet) await this.#stopping.promise;
    for (const schedule of schedules) schedule.quiet();
    await scheduling;
    this.#ended.abort();
    const orphaned = this.#consumers.reduce((sum, consumer) => sum + consumer.orphaned, 0);
    this.#observe({ type: "stopped", orphaned });
    return { orphaned, faults: this.#consumers.flatMap((consumer) => consumer.fault ?? []) };
  }

  /** Whether it takes jobs (`running`), takes none until it is stopped (`quiet`), or is about to end (`stopping`). */
  get state(): WorkerState {
    if (this.#isStopping || this.#ended.signal.aborted) return "stopping";
    return this.#isQuiet ? "quiet" : "running";
  }

  /** Takes no more jobs; those that run may finish. `stop` is still needed to end. Idempotent. */
  quiet(): void {
    this.#isQuiet = true;
    this.#takeNoMore();
  }

  /** The first `stop`, and never the second one: for whoever may say it twice. */
  drain(): void {
    if (!this.#isStopping) this.stop();
  }

  /**
   * The first call takes no more jobs and gives those that run until the shutdown timeout; a second one ends now.
   * `run` resolves when it is done.
   */
  stop(): void {
    if (this.#ended.signal.aborted) return;
    if (this.#isStopping) return this.#deadline.abort();
    this.#isStopping = true;
    this.#stopping.resolve();
    this.#takeNoMore();
    this.#observe({
      type: "draining",
      inFlight: this.#consumers.reduce((sum, { inFlight }) => sum + inFlight, 0),
    });
    const timer = this.#clock.setTimer(() => this.#deadline.abort(), this.#options.shutdownTimeoutMs);
    this.#ended.signal.addEventListener("abort", () => timer.cancel());
  }

  #takeNoMore(): void {
    for (const one of [...this.#consumers, ...this.#schedules]) one.quiet();
    this.#onQuiet();
  }

  async #stopWhenEmpty(): Promise<void> {
    while (!this.#isStopping && !this.#ended.signal.aborted) {
      // One that has stopped by itself leaves its jobs to a person, and is not waited for.
      const working = this.#consumers.filter((consumer) => consumer.fault === undefined);
      // A consumer whose broker is away is not known to be empty; it says so itself, and is asked again.
      const isEmpty = await Promise.all(
        working.map((consumer) => consumer.inFlight === 0 && consumer.isEmpty().catch(() => false)),
      );
      if (isEmpty.every(Boolean) && working.every((consumer) => consumer.inFlight === 0)) {
        // It may have been stopped meanwhile, and a second stop would mean: now.
        if (!this.#isStopping) this.stop();
        return;
      }
      await sleep(this.#clock, EMPTY_CHECK_MS, this.#ended.signal);
    }
  }
}
