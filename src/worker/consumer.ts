import { Backoff } from "../core/backoff.ts";
import { type Clock, sleep, type Timer } from "../core/clock.ts";
import type { Delivery } from "../core/delivery.ts";
import type { Driver } from "../core/driver.ts";
import { brokerError, FervoError, JobError } from "../core/errors.ts";
import type { Observer } from "../core/observer.ts";
import type { Outcome } from "../core/outcome.ts";
import { DEFAULT_RETRY_POLICY, type RetryPolicy } from "../core/retry.ts";
import type { Dialect } from "../dialects/dialect.ts";
import type { Executor } from "../executors/executor.ts";
import { Gate } from "./pause.ts";
import { jobOf } from "./job_of.ts";
import { LookAhead } from "./look_ahead.ts";
import { RateLimit, type RateLimitOptions } from "./rate_limit.ts";
import { queueOrder, type WeightedQueue } from "./queue_order.ts";
import { type FinalOutcome, finalOutcome, settle } from "./settle.ts";

export interface ConsumerOptions {
  /** Names it in logs and metrics. */
  readonly name: string;
  readonly queues: readonly WeightedQueue[];
  readonly order: "strict" | "weighted";
  /** Jobs at the same time. */
  readonly concurrency: number;
  /** How long one try of a job may take, milliseconds. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  /** How many jobs may start in which time; undefined for as many as there are slots for. */
  readonly rateLimit: RateLimitOptions | undefined;
  /** The longest pause between two looks whether the executor or the broker is back, milliseconds. */
  readonly pauseMaxMs: number;
}

export const DEFAULT_CONSUMER_OPTIONS: Omit<ConsumerOptions, "name" | "queues"> = {
  order: "strict",
  concurrency: 4,
  timeoutMs: 60_000,
  retry: DEFAULT_RETRY_POLICY,
  rateLimit: undefined,
  pauseMaxMs: 1_000,
};

export interface ConsumerDeps {
  readonly driver: Driver;
  readonly dialect: Dialect;
  readonly executor: Executor;
  readonly clock: Clock;
  readonly observe: Observer;
  /** Numbers in [0, 1). */
  readonly random: () => number;
}

/** A receive that finds nothing ends after so long, for no reason but that no wait should be endless. */
const RECEIVE_WAIT_MS = 30_000;

/** A delivery that is not settled yet. */
interface Held {
  readonly delivery: Delivery;
  readonly abort: AbortController;
  /** When it got its slot; undefined while it waits for one. */
  startedMs: number | undefined;
  /** Names the job to observers; the message can have a name of its own for it. */
  id: string;
  /** Tries this job may have; the message can have its own limit. */
  maxAttempts: number;
  /** Its settle is under way or done: at shutdown there is nothing to release. */
  isSettling: boolean;
}

/**
 * Takes jobs from a list of queues and runs them in a fixed number of slots.
 *
 * 1. Asks the driver for as many deliveries as it has free slots, and while jobs are short for one more each, so that a
 *    slot does not wait for the broker ({@link LookAhead}).
 * 2. Runs each in a slot: decode, execute, settle.
 * 3. Renews leases while jobs run, and ends jobs whose time is up.
 * 4. Pauses while the executor or the broker is away, and finds out by itself when it is back.
 * 5. Stops in order: quiet (no more receives), drained (all settled), else release first and abort then.
 *
 * A slot is free as soon as its settle is handed to the driver, so that the settle and the next receive can share a
 * transaction or a round trip. Settles that lag are bounded: at most as many as there are slots.
 */
export class Consumer {
  readonly #driver: Driver;
  readonly #dialect: Dialect;
  readonly #executor: Executor;
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #random: () => number;
  readonly #options: ConsumerOptions;
  readonly #nextOrder: () => readonly string[];
  readonly #gate: Gate;
  readonly #rateLimit: RateLimit | undefined;
  readonly #quiet = new AbortController();
  readonly #now = new AbortController();
  /** In the order in which they were taken. */
  readonly #held = new Set<Held>();
  readonly #ahead: LookAhead<Held>;
  #running = 0;
  #wakeLoop: (() => void) | undefined;
  #renewal: Timer | undefined;
  #timeout: Timer | undefined;
  #orphaned = 0;
  #fault: FervoError | undefined;

  constructor(deps: ConsumerDeps, options: ConsumerOptions) {
    this.#driver = deps.driver;
    this.#dialect = deps.dialect;
    this.#executor = deps.executor;
    this.#clock = deps.clock;
    this.#observe = deps.observe;
    this.#random = deps.random;
    this.#options = options;
    this.#nextOrder = queueOrder(options.queues, options.order, deps.random);
    this.#ahead = new LookAhead<Held>({ clock: deps.clock, onStale: (held) => this.#putBack(held) }, {
      slots: options.concurrency,
    });
    this.#rateLimit = options.rateLimit &&
      new RateLimit({ clock: deps.clock, onChange: () => this.#wake() }, options.rateLimit);
    this.#gate = new Gate({ clock: deps.clock, random: deps.random, onChange: () => this.#wake() }, {
      maxPauseMs: options.pauseMaxMs,
    });
  }

  /** Deliveries taken and not settled. */
  get inFlight(): number {
    return this.#held.size;
  }

  /** Deliveries that could not be settled before the end; they run again when their lease ends. */
  get orphaned(): number {
    return this.#orphaned;
  }

  /** Why it stopped by itself, where it did: FPM_MISCONFIGURED, PROCESS_MISCONFIGURED. */
  get fault(): FervoError | undefined {
    return this.#fault;
  }

  /** Whether nothing is left to do now: no job held, none in the broker, not even a delayed one. */
  async isEmpty(): Promise<boolean> {
    for (const { name } of this.#options.queues) {
      const { ready, delayed, reserved } = await this.#driver.depth(name);
      if (ready + delayed + reserved > 0) return false;
    }
    return this.#held.size === 0;
  }

  /** Works until it is quiet and every job it holds is settled, or until it stops by itself; never rejects. */
  async run(): Promise<void> {
    const { name, queues } = this.#options;
    this.#observe({ type: "consumer_started", consumer: name, queues: queues.map((queue) => queue.name) });
    const brokerBackoff = new Backoff({ random: this.#random }, { maxMs: this.#options.pauseMaxMs });
    for (let room = await this.#room(); room > 0; room = await this.#room()) {
      try {
        const deliveries = await this.#driver.receive({
          queues: this.#nextOrder(),
          max: room,
          waitMs: RECEIVE_WAIT_MS,
          signal: this.#quiet.signal,
        });
        brokerBackoff.reset();
        this.#rateLimit?.take(deliveries.length);
        for (const delivery of deliveries) this.#hold(delivery);
      } catch (error) {
        this.#observe({
          type: "broker_failed",
          consumer: name,
          during: "receive",
          error: brokerError(error),
        });
        await sleep(this.#clock, brokerBackoff.nextMs(), this.#quiet.signal);
      }
    }
    while (this.#held.size > 0) await this.#change();
    this.#gate.close();
    this.#rateLimit?.close();
    for (const timer of [this.#renewal, this.#timeout]) timer?.cancel();
    const fault = this.#fault;
    this.#observe({ type: "consumer_stopped", consumer: name, ...(fault && { error: fault }) });
  }

  /** Takes no more jobs. Idempotent. */
  quiet(): void {
    this.#quiet.abort();
    this.#putBack(this.#ahead.takeAll());
    this.#wake();
  }

  /**
   * Ends now: puts back what still runs, first, and aborts it then, so that a job that is cut off is never lost.
   * Never rejects.
   */
  async stopNow(): Promise<void> {
    this.quiet();
    const error = new FervoError("SHUTDOWN", "The worker shuts down");
    this.#now.abort(error);
    await Promise.all(
      [...this.#held].toReversed().filter((held) => !held.isSettling).map(async (held) => {
        await this.#settle(held, { kind: "release", reason: "shutdown", error });
        held.abort.abort(error);
      }),
    );
  }

  /** Waits until there are free slots, and returns how many; 0 when it is time to end. */
  async #room(): Promise<number> {
    const { concurrency } = this.#options;
    for (;;) {
      if (this.#quiet.signal.aborted) return 0;
      const limit = this.#gate.limit(concurrency);
      const ahead = limit === concurrency ? this.#ahead.room : 0;
      const room = Math.min(
        limit - this.#running + ahead,
        2 * concurrency + this.#ahead.allowance - this.#held.size,
      );
      const allowed = room > 0 ? this.#rateLimit?.room() ?? room : 0;
      if (allowed > 0) return Math.min(room, allowed);
      await this.#change();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wakeLoop = resolve);
  }

  #wake(): void {
    this.#wakeLoop?.();
    this.#wakeLoop = undefined;
  }

  #hold(delivery: Delivery): void {
    const held: Held = {
      delivery,
      abort: new AbortController(),
      startedMs: undefined,
      id: delivery.id,
      maxAttempts: delivery.maxAttempts ?? this.#options.retry.attempts,
      isSettling: false,
    };
    this.#held.add(held);
    this.#renewal ??= this.#renewLater();
    if (this.#running < this.#options.concurrency) void this.#process(held);
    else if (this.#quiet.signal.aborted) this.#putBack([held]);
    else this.#ahead.add(held);
  }

  /** Puts back what no slot has taken; the last one first, for each goes to the front of its queue. */
  #putBack(all: readonly Held[]): void {
    const error = new FervoError("SHUTDOWN", "The job was not begun");
    for (const held of all.toReversed()) {
      void this.#settle(held, { kind: "release", reason: "shutdown", error });
    }
  }

  /** One job through its slot. */
  async #process(held: Held): Promise<void> {
    const startedMs = held.startedMs = this.#clock.monotonicMs();
    this.#running++;
    this.#timeout ??= this.#timeOutAfter(this.#options.timeoutMs);
    const outcome = await this.#runJob(held);
    this.#running--;
    this.#ahead.ran(this.#clock.monotonicMs() - startedMs);
    const next = this.#running < this.#gate.limit(this.#options.concurrency) ? this.#ahead.next() : undefined;
    if (next !== undefined) void this.#process(next);
    this.#wake();
    if (!held.isSettling) await this.#settle(held, outcome);
  }

  async #runJob(held: Held): Promise<Outcome> {
    // It was received just when the worker was told to end now.
    if (this.#now.signal.aborted) {
      return { kind: "release", reason: "shutdown", error: this.#now.signal.reason };
    }
    const limits = { maxAttempts: held.maxAttempts, timeoutMs: this.#options.timeoutMs };
    const job = jobOf(held.delivery, this.#dialect, { ...limits, nowMs: this.#clock.nowMs() });
    if (job instanceof FervoError) return { kind: "bury", error: job };
    held.id = job.id;
    held.maxAttempts = job.maxAttempts;
    this.#observe({
      type: "job_started",
      consumer: this.#options.name,
      queue: job.queue,
      id: job.id,
      attempt: job.attempt,
    });
    const outcome = await this.#executor.execute(job, held.abort.signal);
    // What stopNow has put back is over; its outcome must not begin a pause after the end.
    if (!held.isSettling) this.#heed(outcome);
    return outcome;
  }

  /** All jobs have the same time, so that the first held is the first whose time is up: one timer serves all. */
  #timeOutAfter(delayMs: number): Timer {
    return this.#clock.setTimer(() => {
      this.#timeout = undefined;
      const { timeoutMs } = this.#options;
      for (const held of this.#held) {
        if (held.startedMs === undefined) continue;
        const leftMs = held.startedMs + timeoutMs - this.#clock.monotonicMs();
        if (leftMs > 0) {
          this.#timeout = this.#timeOutAfter(leftMs);
          return;
        }
        held.abort.abort(
          new JobError("JOB_TIMEOUT", `The job took longer than timeout_ms = ${timeoutMs} allows`),
        );
      }
    }, delayMs);
  }

  /** What an outcome says of the executor, rather than of its job. */
  #heed(outcome: Outcome): void {
    const consumer = this.#options.name;
    if (outcome.kind !== "release") {
      if (this.#gate.available()) this.#observe({ type: "consumer_resumed", consumer });
    } else if (outcome.reason === "unavailable") {
      const forMs = this.#gate.unavailable();
      this.#putBack(this.#ahead.takeAll());
      if (forMs !== undefined) {
        this.#observe({ type: "consumer_paused", consumer, error: outcome.error, forMs });
      }
    } else if (outcome.reason === "misconfigured") {
      this.#fault ??= outcome.error;
      this.quiet();
    }
  }

  /** Settles; tries until the broker has taken it or the worker has to end. */
  async #settle(held: Held, outcome: Outcome): Promise<void> {
    held.isSettling = true;
    if (outcome.kind === "release") this.#rateLimit?.giveBack();
    const nowMs = this.#clock.monotonicMs();
    const runMs = nowMs - (held.startedMs ?? nowMs);
    const { readyAtMs } = held.delivery;
    const waitMs = readyAtMs === undefined ? undefined : Math.max(this.#clock.nowMs() - runMs - readyAtMs, 0);
    const done = finalOutcome(outcome, {
      attempt: held.delivery.attempt,
      maxAttempts: held.maxAttempts,
      retry: this.#options.retry,
      dialect: this.#dialect,
      random: this.#random,
    });
    const backoff = new Backoff({ random: this.#random }, { maxMs: this.#options.pauseMaxMs });
    while (!await this.#trySettle(held, done, { waitMs, runMs })) {
      if (this.#now.signal.aborted) {
        this.#orphaned++;
        break;
      }
      await sleep(this.#clock, backoff.nextMs(), this.#now.signal);
    }
    this.#held.delete(held);
    this.#wake();
  }

  /** False when the broker could not be reached. */
  async #trySettle(
    { delivery, id }: Held,
    outcome: FinalOutcome,
    times: { waitMs: number | undefined; runMs: number },
  ): Promise<boolean> {
    const consumer = this.#options.name;
    const { queue, attempt } = delivery;
    try {
      await settle(delivery, outcome);
      this.#observe({ type: "job_settled", consumer, queue, id, attempt, outcome, ...times });
      return true;
    } catch (thrown) {
      const error = brokerError(thrown);
      if (error.code === "LEASE_LOST") {
        this.#observe({ type: "lease_lost", consumer, queue, id, attempt });
        return true;
      }
      this.#observe({ type: "broker_failed", consumer, during: "settle", error });
      return false;
    }
  }

  /** Every third of a lease, as long as jobs are held. */
  #renewLater(): Timer | undefined {
    const { leaseMs } = this.#driver;
    return leaseMs === undefined ? undefined : this.#clock.setTimer(() => {
      this.#renewal = this.#held.size > 0 ? this.#renewLater() : undefined;
      for (const held of this.#held) void this.#renew(held);
    }, leaseMs / 3);
  }

  async #renew({ delivery }: Held): Promise<void> {
    try {
      await delivery.extend?.();
    } catch (thrown) {
      const error = brokerError(thrown);
      // A lost lease shows when the job is settled; there is nothing to do about it before.
      if (error.code === "LEASE_LOST") return;
      this.#observe({ type: "broker_failed", consumer: this.#options.name, during: "extend", error });
    }
  }
}
