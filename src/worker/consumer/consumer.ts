import type { Delivery } from "../../core/delivery.ts";
import { FervoError } from "../../core/errors.ts";
import type { Observer } from "../../core/observer.ts";
import { type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { SlotLimit } from "../../core/slot_limit.ts";
import type { Clock } from "../../core/time/clock.ts";
import { demand } from "./demand.ts";
import { type Held, HeldDeliveries } from "./held.ts";
import { LookAhead } from "./look_ahead.ts";
import { Loop } from "./loop.ts";
import type { ConsumerDeps, ConsumerOptions } from "./options.ts";
import { Gate } from "./pause.ts";
import { RateLimit } from "./rate_limit.ts";
import { Receiver } from "./receiver.ts";
import { type Ended, SlotRunner } from "./slot_runner.ts";
import { type Slot, Slots } from "./slots.ts";
import type { ConsumerSnapshot, ConsumerStats } from "./stats.ts";

export { type ConsumerDeps, type ConsumerOptions, DEFAULT_CONSUMER_OPTIONS } from "./options.ts";

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
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #options: ConsumerOptions;
  readonly #limit: SlotLimit;
  readonly #problem: FervoError | undefined;
  readonly #slots: Slots;
  readonly #receiver: Receiver;
  readonly #runner: SlotRunner;
  readonly #gate: Gate;
  readonly #rateLimit: RateLimit | undefined;
  readonly #quiet = new AbortController();
  readonly #cut = new AbortController();
  readonly #held: HeldDeliveries;
  readonly #ahead: LookAhead<Held>;
  /** Whether a job that is given back would have an attempt counted: then it is kept here, and offered again. */
  readonly #isKeeper: boolean;
  readonly #kept: Held[] = [];
  readonly #loop: Loop;
  readonly #ran = { jobs: 0, ms: 0 };
  #cutting: Promise<void> | undefined;

  constructor(deps: ConsumerDeps, options: ConsumerOptions) {
    if (options.batchSize > 1 && deps.executor.executeBatch === undefined) {
      throw new TypeError("The executor runs no batches");
    }
    this.#clock = deps.clock;
    this.#observe = deps.observe;
    this.#problem = deps.problem;
    this.#options = options;
    this.#isKeeper = deps.broker.capabilities.release === "counted";
    this.#limit = deps.limit ?? { slots: options.concurrency };
    this.#slots = new Slots(deps, { limit: this.#limit, timeoutMs: options.timeoutMs });
    this.#loop = new Loop(deps);
    this.#held = new HeldDeliveries(
      {
        ...deps,
        onRelease: () => this.#rateLimit?.giveBack(),
        onChange: () => {
          this.#receiver.busy();
          this.#loop.wake();
        },
      },
      options,
    );
    const onLost = (gone: readonly Delivery[]) => this.#lost(gone);
    this.#receiver = new Receiver({ ...deps, loop: this.#loop, onLost }, options);
    this.#ahead = new LookAhead<Held>({ clock: deps.clock, onStale: (held) => this.#held.putBack(held) }, {
      limit: this.#limit,
      perSlot: options.batchSize,
    });
    this.#rateLimit = options.rateLimit &&
      new RateLimit({ clock: deps.clock, onChange: () => this.#loop.wake() }, options.rateLimit);
    this.#gate = new Gate(
      { ...deps, isIdle: () => this.#slots.busy === 0, onChange: () => this.#startKept() },
      { name: options.name, maxPauseMs: options.pauseMaxMs },
    );
    this.#runner = new SlotRunner({
      ...deps,
      tracer: deps.tracer,
      slots: this.#slots,
      settle: (held, outcome) => this.#settle(held, outcome),
      refuse: (held, { error, concerns }) => {
        if (concerns === "message") void this.#held.settle(held, { kind: "bury", error });
        else this.#settle(held, outcomeOfFault(error));
      },
      cut: this.#cut.signal,
    }, options);
  }

  get name(): string {
    return this.#options.name;
  }

  get stats(): ConsumerStats {
    return {
      slots: this.#limit.slots,
      busySlots: this.#slots.busy,
      inFlight: this.#held.size,
      hasRoom: !this.#quiet.signal.aborted && this.#demand() > 0,
      isPaused: !this.#gate.isOpen,
      receivedAtMs: this.#receiver.receivedAtMs,
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

  /**
   * Whether nothing is left to do now: no job held, and none in the broker ({@link Receiver.emptied}).
   *
   * @throws {FervoError} QUEUE_UNAVAILABLE
   */
  async emptied(settleMs: number): Promise<readonly string[] | undefined> {
    const uncounted = await this.#receiver.emptied(settleMs);
    return this.#held.size === 0 ? uncounted : undefined;
  }

  /** Works until it is quiet and every job it holds is settled; never rejects. */
  async run(): Promise<void> {
    this.#observe({ type: "consumer_started", consumer: this.name, queues: this.#receiver.queues });
    if (this.#problem !== undefined) this.#gate.unable(this.#problem);
    this.#receiver.open(this.#capacity);
    for (let room = await this.#room(); room > 0; room = await this.#room()) {
      const deliveries = await this.#receiver.receive(room, this.#held.roomBytes);
      this.#rateLimit?.take(deliveries.length);
      this.#give(deliveries.map((delivery) => this.#held.add(delivery)));
    }
    await this.#receiver.stop();
    const isDone = () => this.#held.size === 0;
    while (!isDone()) await this.#loop.woken("the wait for its last jobs", isDone);
    for (const part of [this.#gate, this.#rateLimit, this.#held, this.#slots]) part?.close();
    await this.#receiver.close();
    this.#observe({ type: "consumer_stopped", consumer: this.name });
  }

  /** Somebody may have mended what keeps it from running jobs: it looks at once. */
  probeNow(): void {
    this.#gate.probeNow();
  }

  /** There may be more slots than before. */
  limitChanged(): void {
    this.#receiver.resize(this.#capacity);
    this.#loop.wake();
  }

  /** Takes no more jobs. Idempotent. */
  quiet(): void {
    this.#quiet.abort();
    this.#receiver.quiet();
    this.#held.putBack(this.#ahead.takeAll());
    this.#held.putBack(this.#kept.splice(0));
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

  /** How many deliveries a broker that sends jobs by itself may send: what slots run, and as many again where that costs no attempt. */
  get #capacity(): number {
    return this.#limit.slots * this.#options.batchSize * (this.#isKeeper ? 1 : 2);
  }

  /** Waits until there are free slots, and returns how many jobs they take; 0 when it is time to end. */
  async #room(): Promise<number> {
    while (!this.#quiet.signal.aborted) {
      const room = this.#demand();
      if (room > 0) return room;
      await this.#loop.woken("its wait for a free slot", () => this.#demand() > 0);
    }
    return 0;
  }

  #demand(): number {
    const [{ batchSize }, { slots }] = [this.#options, this.#limit];
    return demand({
      usableSlots: this.#gate.limit(slots),
      busySlots: this.#slots.busy,
      slots,
      batchSize,
      isOpen: this.#gate.isOpen,
      hasQueue: this.#receiver.hasQueue,
      inFlight: this.#held.size,
      aheadRoom: this.#isKeeper ? 0 : this.#ahead.room,
      allowance: this.#isKeeper ? 0 : this.#ahead.allowance,
      roomBytes: this.#held.roomBytes,
      rateRoom: () => this.#rateLimit?.room() ?? Infinity,
    });
  }

  /** Gives jobs to the free slots in equal shares; what they cannot take waits for the next that is free. */
  #give(jobs: readonly Held[]): void {
    const { batchSize } = this.#options;
    let at = 0;
    for (let free = this.#limit.slots - this.#slots.busy; free > 0 && at < jobs.length; free--) {
      const share = Math.min(Math.ceil((jobs.length - at) / free), batchSize);
      void this.#start(jobs.slice(at, at += share));
    }
    if (at === jobs.length) return;
    const left = jobs.slice(at);
    if (this.#quiet.signal.aborted) this.#held.putBack(left);
    else this.#ahead.add(left);
  }

  /** Runs jobs in a slot that is free; those that were not begun go back. */
  async #start(jobs: readonly Held[]): Promise<void> {
    const slot = this.#slots.begin(jobs);
    const last = await this.#runner.run(slot);
    if (last !== undefined) this.#heed(last);
    const endedMs = this.#leave(slot);
    const others = jobs.filter((held) => held !== last?.held);
    // Each goes to the front of its queue.
    if (last?.outcome.kind === "release") this.#putBack(others);
    if (last !== undefined) this.#end(last, endedMs);
    this.#putBack(others);
  }

  /** What was not begun is begun by whoever has room for it; here, where it would cost an attempt to give it back. */
  #putBack(jobs: readonly Held[]): void {
    if (!this.#isKeeper || this.#quiet.signal.aborted) return this.#held.putBack(jobs);
    this.#kept.push(...jobs.filter(({ isSettling }) => !isSettling));
    this.#startKept();
  }

  #startKept(): void {
    while (this.#kept.length > 0 && this.#slots.busy < this.#gate.limit(this.#limit.slots)) {
      void this.#start(this.#kept.splice(0, this.#gate.isOpen ? this.#options.batchSize : 1));
    }
    this.#loop.wake();
  }

  /** The slot is free: for what was taken ahead, else for what the next receive brings. Returns when it became so. */
  #leave(slot: Slot): number {
    const endedMs = this.#clock.monotonicMs();
    const ms = endedMs - slot.startedMs;
    this.#ran.jobs += slot.jobs.length;
    this.#ran.ms += ms;
    this.#ahead.ran(ms);
    this.#slots.end(slot);
    this.#startKept();
    if (this.#slots.busy < this.#gate.limit(this.#limit.slots)) {
      const next = this.#ahead.take(this.#options.batchSize);
      if (next.length > 0) void this.#start(next);
    }
    return endedMs;
  }

  #settle(held: Held, outcome: Outcome): void {
    this.#heed({ held, outcome });
    this.#end({ held, outcome });
  }

  /** Settles what has not been settled, as what was cut off. */
  #end({ held, outcome }: Ended, endedMs?: number): void {
    if (held.isSettling) return;
    if (outcome.kind === "release" && outcome.reason !== "shutdown" && this.#isKeeper) {
      held.startedMs = undefined;
      this.#putBack([held]);
    } else void this.#held.settle(held, outcome, endedMs);
  }

  /** What an outcome says of the executor, rather than of its job. What was cut off must not begin a pause after the end. */
  #heed({ held, outcome }: Ended): void {
    if (held.isSettling) return;
    if (outcome.kind !== "release") return this.#gate.available();
    if (outcome.reason === "shutdown") return;
    this.#gate.unable(outcome.error);
    this.#held.putBack(this.#ahead.takeAll());
  }

  /** What waits for a slot and is ours no more is not begun: it runs elsewhere. */
  #lost(gone: readonly Delivery[]): void {
    this.#held.putBack(this.#ahead.takeThose((held) => gone.includes(held.delivery)));
  }
}
