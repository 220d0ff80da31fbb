import { type Clock, sleep } from "../core/time/clock.ts";
import type { FervoError } from "../core/errors.ts";
import type { Observer } from "../core/observer.ts";
import type { Consumer } from "./consumer/consumer.ts";
import type { Schedule } from "./schedule/schedule.ts";

export interface WorkerOptions {
  /** How long jobs may go on after `stop`, milliseconds. */
  readonly shutdownTimeoutMs: number;
}

export const DEFAULT_WORKER_OPTIONS: WorkerOptions = { shutdownTimeoutMs: 30_000 };

export type WorkerState = "running" | "quiet" | "stopping";

export interface RunResult {
  /** Jobs that could not be put back; they run again when their lease ends. */
  readonly orphaned: number;
  /** Why consumers could not run jobs, when the worker ended without them: only until empty. */
  readonly faults: readonly FervoError[];
  /** States of jobs that a broker could not count, such as `delayed`: some jobs may be left; only until empty. */
  readonly uncounted: readonly string[];
}

/** A broker that cannot count its jobs counts as empty when no job has come for this long, milliseconds. */
export const DEFAULT_SETTLE_MS = 5_000;

/** How often to look whether all queues are empty, milliseconds. */
const EMPTY_CHECK_MS = 100;

export interface Working {
  readonly consumers: readonly Consumer[];
  readonly schedules: readonly Schedule[];
}

/**
 * Starts, quiets and stops all consumers and schedules.
 *
 * 1. Runs until it is stopped, or until there is nothing left to do.
 * 2. Quiet: takes no more jobs and stays until it is stopped.
 * 3. Replaces some of them while the others go on.
 * 4. Stops in order: no more receives, then time to finish, then the remaining jobs are aborted and put back.
 */
export class Worker {
  /** The current ones, and those that are being replaced. */
  readonly #consumers: Set<Consumer>;
  readonly #schedules: Set<Schedule>;
  /** The ones that run; empty before `run`. */
  readonly #running = new Map<Consumer | Schedule, Promise<void>>();
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #onQuiet: () => void;
  readonly #deadline = new AbortController();
  readonly #ended = new AbortController();
  readonly #stopping = Promise.withResolvers<void>();
  #options: WorkerOptions;
  #replacement: Promise<void> | undefined;
  #faults: readonly FervoError[] = [];
  #uncounted: readonly string[] = [];
  /** Of replaced consumers. */
  #orphaned = 0;
  #isStopping = false;
  #isQuiet = false;

  /** @param deps.onQuiet Called when the worker takes no more jobs, possibly several times. */
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
    this.#consumers = new Set(deps.consumers);
    this.#schedules = new Set(deps.schedules);
    this.#clock = deps.clock;
    this.#observe = deps.observe;
    this.#onQuiet = deps.onQuiet ?? (() => {});
    this.#options = options;
  }

  /**
   * Works until `stop`.
   *
   * @param options.untilEmpty Also end when no queue has a job left, not even a delayed one; queues of consumers that cannot
   * run jobs (`lastingFault`) do not count, and schedules push no jobs.
   * @param options.settleMs A broker that cannot count its jobs counts as empty when no job has come for this long.
   */
  async run(options: { untilEmpty: boolean; settleMs?: number }): Promise<RunResult> {
    const { signal } = this.#deadline;
    signal.addEventListener("abort", () => this.#consumers.forEach((consumer) => void consumer.stopNow()));
    if (options.untilEmpty) {
      this.#schedules.clear();
      void this.#stopWhenEmpty(options.settleMs ?? DEFAULT_SETTLE_MS);
    }
    for (const one of [...this.#schedules, ...this.#consumers]) this.#start(one);
    await this.#ends(() => [...this.#consumers]);
    if (this.#isQuiet) await this.#stopping.promise;
    for (const schedule of this.#schedules) schedule.quiet();
    await this.#ends(() => [...this.#running.keys()]);
    this.#ended.abort();
    const orphaned = [...this.#consumers].reduce((sum, consumer) => sum + consumer.orphaned, this.#orphaned);
    this.#observe({ type: "stopped", orphaned });
    return { orphaned, faults: this.#faults, uncounted: this.#uncounted };
  }

  /** `running`; `quiet`, it takes no jobs until it is stopped; or `stopping`, it is about to end. */
  get state(): WorkerState {
    if (this.#isStopping || this.#ended.signal.aborted) return "stopping";
    return this.#isQuiet ? "quiet" : "running";
  }

  /** The current ones, and those that are being replaced. */
  get consumers(): readonly Consumer[] {
    return [...this.#consumers];
  }

  get schedules(): readonly Schedule[] {
    return [...this.#schedules];
  }

  /** Deliveries in flight, also of consumers that are being replaced. */
  get inFlight(): number {
    return [...this.#consumers].reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /**
   * Replaces some of them while it is `running`. The old ones take no more jobs; their running jobs may go on until the
   * shutdown timeout, and are then put back. The new ones begin only when the old ones have ended, so that there are never more
   * running jobs than before or after. If the worker is told meanwhile to take no more jobs, none of the new ones begins. One
   * call at a time.
   *
   * It waits for a broker that is unavailable, unless that broker is removed too: the broker may have no reason to hand out the
   * jobs again while this process lives.
   *
   * @param going Some of the current ones.
   * @param coming Makes their replacements, when it is time.
   * @param losesBroker Whether the broker of a consumer is removed, too.
   */
  async replace(
    going: Working,
    coming: () => Working,
    losesBroker: (consumer: Consumer) => boolean,
  ): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#replacement = promise;
    const leaving = [...going.schedules, ...going.consumers];
    for (const one of leaving) one.quiet();
    const timer = this.#clock.setTimer(() => {
      for (const consumer of going.consumers) {
        void (losesBroker(consumer) ? consumer.stopNow() : consumer.cutOff());
      }
    }, this.#options.shutdownTimeoutMs);
    await Promise.all(leaving.map((one) => this.#running.get(one)));
    timer.cancel();
    for (const consumer of going.consumers) {
      this.#orphaned += consumer.orphaned;
      this.#consumers.delete(consumer);
    }
    for (const schedule of going.schedules) this.#schedules.delete(schedule);
    if (this.state === "running") {
      const { consumers, schedules } = coming();
      for (const consumer of consumers) this.#consumers.add(consumer);
      for (const schedule of schedules) this.#schedules.add(schedule);
      for (const one of [...schedules, ...consumers]) this.#start(one);
    }
    this.#replacement = undefined;
    resolve();
  }

  /** They apply from now on. */
  setOptions(options: WorkerOptions): void {
    this.#options = options;
  }

  /** Takes no more jobs; running jobs may finish. `stop` is still needed to end. Idempotent. */
  quiet(): void {
    this.#isQuiet = true;
    this.#takeNoMore();
  }

  /** Calls `stop` unless it was called, for callers that may come twice. */
  drain(): void {
    if (!this.#isStopping) this.stop();
  }

  /**
   * The first call takes no more jobs and gives running jobs until the shutdown timeout; a second call ends now. `run` resolves
   * when it is done.
   */
  stop(): void {
    if (this.#ended.signal.aborted) return;
    if (this.#isStopping) return this.#deadline.abort();
    this.#isStopping = true;
    this.#stopping.resolve();
    this.#takeNoMore();
    this.#observe({ type: "draining", inFlight: this.inFlight });
    const timer = this.#clock.setTimer(() => this.#deadline.abort(), this.#options.shutdownTimeoutMs);
    this.#ended.signal.addEventListener("abort", () => timer.cancel());
  }

  #start(one: Consumer | Schedule): void {
    this.#running.set(one, one.run().then(() => void this.#running.delete(one)));
  }

  /** Waits until none of them runs, and none is being replaced. */
  async #ends(all: () => readonly (Consumer | Schedule)[]): Promise<void> {
    for (;;) {
      const running = all().flatMap((one) => this.#running.get(one) ?? []);
      if (running.length === 0 && this.#replacement === undefined) return;
      await Promise.all([...running, this.#replacement]);
    }
  }

  #takeNoMore(): void {
    for (const one of [...this.#consumers, ...this.#schedules]) one.quiet();
    this.#onQuiet();
  }

  async #stopWhenEmpty(settleMs: number): Promise<void> {
    while (!this.#isStopping && !this.#ended.signal.aborted) {
      const consumers = [...this.#consumers];
      // A consumer that cannot run jobs leaves them to a person, and is not waited for.
      const working = consumers.filter((consumer) => consumer.lastingFault === undefined);
      // A consumer whose broker is unavailable may not be empty; it reports that itself, and is asked again.
      const emptied = await Promise.all(
        working.map((consumer) => consumer.emptied(settleMs).catch(() => undefined)),
      );
      if (
        emptied.every((one) => one !== undefined) && consumers.every((consumer) => consumer.inFlight === 0)
      ) {
        this.#faults = consumers.flatMap((consumer) => consumer.lastingFault ?? []);
        this.#uncounted = [...new Set(emptied.flat())];
        // It may have been stopped meanwhile, and a second stop would end at once.
        if (!this.#isStopping) this.stop();
        return;
      }
      await sleep(this.#clock, EMPTY_CHECK_MS, this.#ended.signal);
    }
  }
}
