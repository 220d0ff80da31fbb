import { Backoff } from "../../core/time/backoff.ts";
import { BrokerState } from "../../core/broker_state.ts";
import { type Clock, sleep } from "../../core/time/clock.ts";
import type { Delivery } from "../../core/delivery.ts";
import type { Broker } from "../../core/broker.ts";
import { FervoError } from "../../core/errors.ts";
import { isUnreadable, type Unreadable } from "../../core/format.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { Tracer } from "../../core/trace.ts";
import type { Executor } from "../../executors/executor.ts";
import type { ConsumerDeps, ConsumerOptions } from "./options.ts";
import type { ConsumerSnapshot, ConsumerStats } from "./stats.ts";
import { type Held, HeldDeliveries } from "./held.ts";
import { jobOf, withTrace } from "./job_of.ts";
import { LookAhead } from "./look_ahead.ts";
import { Loop } from "./loop.ts";
import { Gate } from "./pause.ts";
import { RateLimit } from "./rate_limit.ts";
import { queueOrder } from "./queue_order.ts";
import type { SlotLimit } from "../../core/slot_limit.ts";
import { type Slot, Slots } from "./slots.ts";

export { type ConsumerDeps, type ConsumerOptions, DEFAULT_CONSUMER_OPTIONS } from "./options.ts";

/** A receive that finds nothing ends after so long: no wait should be endless. */
const RECEIVE_WAIT_MS = 30_000;

/**
 * Takes jobs from a list of queues and runs them in slots.
 *
 * 1. Asks the broker for as many deliveries as it has free slots, and while jobs are short for one more each, so that a
 *    slot does not wait for the broker ({@link LookAhead}).
 * 2. Runs each in a slot: decode, execute, settle. With a batch size, a slot takes what is there, and never waits for more.
 * 3. Ends jobs whose time is up ({@link Slots}); leases are renewed meanwhile ({@link HeldDeliveries}).
 * 4. Pauses while the executor cannot run jobs, or the broker is away, and finds out by itself when that is over.
 * 5. Stops in order: quiet (no more receives), drained (all settled), else abort what runs, and put it back then.
 *
 * A slot is free as soon as its settle is handed to the broker, so that the settle and the next receive can share a
 * transaction or a round trip. Settles that lag are bounded: at most as many as there are slots.
 */
export class Consumer {
  readonly #broker: Broker;
  readonly #executor: Executor;
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #random: () => number;
  readonly #options: ConsumerOptions;
  readonly #limit: SlotLimit;
  readonly #tracer: Tracer | undefined;
  readonly #problem: FervoError | undefined;
  readonly #slots: Slots;
  readonly #nextOrder: () => readonly string[];
  readonly #gate: Gate;
  readonly #rateLimit: RateLimit | undefined;
  readonly #quiet = new AbortController();
  readonly #cut = new AbortController();
  readonly #held: HeldDeliveries;
  readonly #ahead: LookAhead<Held>;
  readonly #loop: Loop;
  readonly #ran = { jobs: 0, ms: 0 };
  #receivedAtMs: number | undefined;
  #cutting: Promise<void> | undefined;

  constructor(deps: ConsumerDeps, options: ConsumerOptions) {
    if (options.batchSize > 1 && deps.executor.executeBatch === undefined) {
      throw new TypeError("The executor runs no batches");
    }
    this.#broker = deps.broker;
    this.#executor = deps.executor;
    this.#clock = deps.clock;
    this.#observe = deps.observe;
    this.#random = deps.random;
    this.#tracer = deps.tracer;
    this.#problem = deps.problem;
    this.#options = options;
    this.#nextOrder = queueOrder(options.queues, options.order, deps.random);
    this.#limit = deps.limit ?? { slots: options.concurrency };
    this.#slots = new Slots(deps, { limit: this.#limit, timeoutMs: options.timeoutMs });
    this.#loop = new Loop(deps);
    this.#held = new HeldDeliveries(
      {
        ...deps,
        onRelease: () => this.#rateLimit?.giveBack(),
        onChange: () => this.#loop.wake(),
      },
      options,
    );
    this.#ahead = new LookAhead<Held>({ clock: deps.clock, onStale: (held) => this.#held.putBack(held) }, {
      limit: this.#limit,
      perSlot: options.batchSize,
    });
    this.#rateLimit = options.rateLimit &&
      new RateLimit({ clock: deps.clock, onChange: () => this.#loop.wake() }, options.rateLimit);
    this.#gate = new Gate(
      { ...deps, isIdle: () => this.#slots.busy === 0, onChange: () => this.#loop.wake() },
      { name: options.name, maxPauseMs: options.pauseMaxMs },
    );
  }

  get name(): string {
    return this.#options.name;
  }

  get stats(): ConsumerStats {
    return {
      slots: this.#limit.slots,
      busySlots: this.#slots.busy,
      inFlight: this.#held.size,
      hasRoom: !this.#quiet.signal.aborted && this.#roomNow() > 0,
      isPaused: !this.#gate.isOpen,
      receivedAtMs: this.#receivedAtMs,
    };
  }

  /** The same, to the job. */
  snapshot(): ConsumerSnapshot {
    return { ...this.stats, gate: this.#gate.state, ahead: this.#ahead.size, inUse: this.#slots.snapshot() };
  }

  /** Slots in use. */
  get busySlots(): number {
    return this.#slots.busy;
  }

  /** Since the start: jobs that have run, and how long slots were in use for them, milliseconds. */
  get ran(): { readonly jobs: number; readonly ms: number } {
    return this.#ran;
  }

  /** Why it makes no progress though it should, as the end of a sentence; undefined when all is well. */
  get stall(): string | undefined {
    return this.#loop.stall ?? this.#slots.stall;
  }

  /** Deliveries taken and not settled. */
  get inFlight(): number {
    return this.#held.size;
  }

  /** Deliveries that could not be settled before the end; they run again when their lease ends. */
  get orphaned(): number {
    return this.#held.orphaned;
  }

  /**
   * Why it can run no jobs, where a person may have to mend that: FPM_MISCONFIGURED, PROCESS_MISCONFIGURED. It tries again
   * by itself.
   */
  get fault(): FervoError | undefined {
    return this.#gate.fault;
  }

  /** The same, once it has tried so often that waiting is of no use to whoever wants to see an end. */
  get lastingFault(): FervoError | undefined {
    return this.#gate.isLasting ? this.fault : undefined;
  }

  /** Whether nothing is left to do now: no job held, none in the broker, not even a delayed one. */
  async isEmpty(): Promise<boolean> {
    for (const { name } of this.#options.queues) {
      const { ready, delayed, reserved } = await this.#broker.depth(name);
      if (ready + delayed + reserved > 0) return false;
    }
    return this.#held.size === 0;
  }

  /** Works until it is quiet and every job it holds is settled; never rejects. */
  async run(): Promise<void> {
    const { name, queues } = this.#options;
    this.#observe({ type: "consumer_started", consumer: name, queues: queues.map((queue) => queue.name) });
    if (this.#problem !== undefined) this.#gate.unable(this.#problem);
    const receiving = new BrokerState(this.#observe, { consumer: name, during: "receive" });
    const brokerBackoff = new Backoff({ random: this.#random }, { maxMs: this.#options.pauseMaxMs });
    for (let room = await this.#room(); room > 0; room = await this.#room()) {
      try {
        const deliveries = await this.#loop.ends("its receive", RECEIVE_WAIT_MS, this.#receive(room));
        this.#receivedAtMs = this.#clock.nowMs();
        brokerBackoff.reset();
        receiving.worked();
        this.#rateLimit?.take(deliveries.length);
        this.#give(deliveries.map((delivery) => this.#held.add(delivery)));
      } catch (thrown) {
        receiving.failed(thrown);
        const pauseMs = brokerBackoff.nextMs();
        await this.#loop.ends("its pause", pauseMs, sleep(this.#clock, pauseMs, this.#quiet.signal));
      }
    }
    const isDone = () => this.#held.size === 0;
    while (!isDone()) await this.#loop.woken("the wait for its last jobs", isDone);
    for (const part of [this.#gate, this.#rateLimit, this.#held, this.#slots]) part?.close();
    this.#observe({ type: "consumer_stopped", consumer: name });
  }

  /** Somebody may have mended what keeps it from running jobs: it looks at once. */
  probeNow(): void {
    this.#gate.probeNow();
  }

  /** There may be more slots than before. */
  limitChanged(): void {
    this.#loop.wake();
  }

  /** Takes no more jobs. Idempotent. */
  quiet(): void {
    this.#quiet.abort();
    this.#held.putBack(this.#ahead.takeAll());
    this.#loop.wake();
  }

  /** Ends now, without what the broker does not take: as {@link cutOff}, and settles are not tried again. Never rejects. */
  stopNow(): Promise<void> {
    this.#held.giveUp();
    return this.cutOff();
  }

  /**
   * Ends as soon as the broker has taken all that is held: aborts what still runs, and puts it back when that has ended, so
   * that its next run does not begin beside it. What does not end in time is put back all the same. Until then it is held
   * with its lease, and a worker that is killed meanwhile loses none. Never rejects. Idempotent.
   */
  cutOff(): Promise<void> {
    return this.#cutting ??= this.#cutOff();
  }

  async #cutOff(): Promise<void> {
    this.quiet();
    const error = new FervoError("SHUTDOWN", "The worker shuts down");
    this.#cut.abort(error);
    const late = await this.#slots.abortAll(error);
    const outcome: Outcome = { kind: "release", reason: "shutdown", error, mayRunOn: true };
    await Promise.all(late.map((held) => held.isSettling || this.#held.settle(held, outcome)));
  }

  #receive(max: number): Promise<Delivery[]> {
    const [{ signal }, queues, maxBytes] = [this.#quiet, this.#nextOrder(), this.#held.roomBytes];
    return this.#broker.receive({ queues, max, maxBytes, waitMs: RECEIVE_WAIT_MS, signal });
  }

  /** Waits until there are free slots, and returns how many jobs they take; 0 when it is time to end. */
  async #room(): Promise<number> {
    while (!this.#quiet.signal.aborted) {
      const room = this.#roomNow();
      if (room > 0) return room;
      await this.#loop.woken("its wait for a free slot", () => this.#roomNow() > 0);
    }
    return 0;
  }

  #roomNow(): number {
    const [{ batchSize }, { slots }] = [this.#options, this.#limit];
    const free = this.#gate.limit(slots) - this.#slots.busy;
    const room = Math.min(
      // To find out whether the executor is back, one job will do.
      this.#gate.isOpen ? free * batchSize + this.#ahead.room : free,
      2 * slots * batchSize + this.#ahead.allowance - this.#held.size,
    );
    return room > 0 && this.#held.roomBytes > 0 ? Math.min(room, this.#rateLimit?.room() ?? room) : 0;
  }

  /** Gives jobs to the free slots in equal shares; what they cannot take waits for the next that is free. */
  #give(jobs: readonly Held[]): void {
    const { batchSize } = this.#options;
    let at = 0;
    for (let free = this.#limit.slots - this.#slots.busy; free > 0 && at < jobs.length; free--) {
      const share = Math.min(Math.ceil((jobs.length - at) / free), batchSize);
      this.#start(jobs.slice(at, at += share));
    }
    if (at === jobs.length) return;
    const left = jobs.slice(at);
    if (this.#quiet.signal.aborted) this.#held.putBack(left);
    else this.#ahead.add(left);
  }

  /** Begins jobs in a slot that is free. */
  #start(jobs: readonly Held[]): void {
    if (jobs.length > 0) {
      void (this.#options.batchSize === 1 ? this.#processJob(jobs) : this.#processBatch(jobs));
    }
  }

  /** One job through its slot. */
  async #processJob(jobs: readonly Held[]): Promise<void> {
    const slot = this.#slots.begin(jobs);
    const held = jobs[0]!;
    const outcome = await this.#runJob(slot, held);
    const endedMs = this.#leave(slot);
    if (!held.isSettling) await this.#held.settle(held, outcome, endedMs);
  }

  /** Several jobs through one slot; those that were not begun go back. */
  async #processBatch(jobs: readonly Held[]): Promise<void> {
    const slot = this.#slots.begin(jobs);
    await this.#runBatch(slot);
    this.#leave(slot);
    this.#held.putBack(jobs);
  }

  /** The slot is free: for what was taken ahead, else for what the next receive brings. Returns when it became so. */
  #leave(slot: Slot): number {
    const endedMs = this.#clock.monotonicMs();
    const ms = endedMs - slot.startedMs;
    this.#ran.jobs += slot.jobs.length;
    this.#ran.ms += ms;
    this.#ahead.ran(ms);
    this.#slots.end(slot);
    if (this.#slots.busy < this.#gate.limit(this.#limit.slots)) {
      this.#start(this.#ahead.take(this.#options.batchSize));
    }
    this.#loop.wake();
    return endedMs;
  }

  async #runJob(slot: Slot, held: Held): Promise<Outcome> {
    // It was received just when the worker was told to end now.
    if (this.#cut.signal.aborted) {
      return { kind: "release", reason: "shutdown", error: this.#cut.signal.reason };
    }
    const job = this.#jobOf(held);
    if (isUnreadable(job)) return this.#notRun(job);
    this.#began(slot, held, job);
    const outcome = await this.#executor.execute(job, slot.abort.signal, slot).catch(outcomeOfFault);
    // What was cut off is over; its outcome must not begin a pause after the end.
    if (!held.isSettling) this.#heed(outcome);
    return outcome;
  }

  /** Settles each job as soon as its outcome has come. */
  async #runBatch(slot: Slot): Promise<void> {
    if (this.#cut.signal.aborted) return;
    const ready: { held: Held; job: Job }[] = [];
    for (const held of slot.jobs) {
      const job = this.#jobOf(held);
      if (isUnreadable(job)) void this.#held.settle(held, this.#notRun(job));
      else ready.push({ held, job });
    }
    let at = 0;
    const begin = () => {
      const next = ready[at];
      if (next !== undefined && !next.held.isSettling) this.#began(slot, next.held, next.job);
    };
    const end = (outcome: Outcome) => {
      const { held } = ready[at++]!;
      // What was cut off is over.
      if (held.isSettling) return;
      this.#heed(outcome);
      void this.#held.settle(held, outcome);
    };
    if (ready.length === 0) return;
    begin();
    const jobs = ready.map(({ job }) => job);
    const onOutcome = (outcome: Outcome) => {
      end(outcome);
      this.#slots.next(slot);
      begin();
    };
    const batch = { jobs, timeoutMs: this.#options.timeoutMs, onOutcome };
    const last = await this.#executor.executeBatch!(batch, slot.abort.signal, slot).catch(outcomeOfFault);
    if (last === undefined || at === ready.length) return;
    // Each goes to the front of its queue.
    if (last.kind === "release") this.#held.putBack(ready.slice(at + 1).map(({ held }) => held));
    end(last);
  }

  /** What becomes of a delivery without a job that could be run. */
  #notRun({ error, concerns }: Unreadable): Outcome {
    if (concerns === "message") return { kind: "bury", error };
    this.#heed(outcomeOfFault(error));
    return outcomeOfFault(error);
  }

  #jobOf(held: Held): Job | Unreadable {
    const [{ timeoutMs }, nowMs] = [this.#options, this.#clock.nowMs()];
    const job = jobOf(held.delivery, { maxAttempts: held.maxAttempts, timeoutMs, nowMs });
    if (isUnreadable(job)) return job;
    ({ id: held.id, maxAttempts: held.maxAttempts, retryUntilMs: held.retryUntilMs } = job);
    if (this.#tracer === undefined) return job;
    held.trace = this.#tracer(job.traceparent);
    return withTrace(job, held.trace);
  }

  #began(slot: Slot, held: Held, { queue, id, attempt, ignored }: Job): void {
    held.startedMs = slot.beganMs;
    const event = { type: "job_started", consumer: this.#options.name, queue, id, attempt } as const;
    this.#observe(ignored === undefined ? event : { ...event, ignored });
  }

  /** What an outcome says of the executor, rather than of its job. */
  #heed(outcome: Outcome): void {
    if (outcome.kind !== "release") return this.#gate.available();
    if (outcome.reason === "shutdown") return;
    this.#gate.unable(outcome.error);
    this.#held.putBack(this.#ahead.takeAll());
  }
}
