import type { Delivery } from "../../core/delivery.ts";
import { FervoError } from "../../core/errors.ts";
import { type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { SlotLimit } from "../../core/slot_limit.ts";
import type { Clock } from "../../core/time/clock.ts";
import type { QueuePauses } from "../queue_pauses.ts";
import type { InFlight, InFlightJob } from "./in_flight.ts";
import { Kept } from "./kept.ts";
import { Prefetch } from "./prefetch.ts";
import type { StallDetector } from "./stall_detector.ts";
import type { ConsumerDeps, ConsumerOptions } from "./options.ts";
import type { Gate } from "./pause.ts";
import { PostMortems } from "./post_mortem.ts";
import type { RateLimit } from "./rate_limit.ts";
import { SlotRunner } from "./slot_runner.ts";
import type { Slot, Slots } from "./slots.ts";

/** Where a release costs an attempt, a job that asks to run later is kept here for at most this long, milliseconds. */
const MAX_KEPT_MS = 60_000;
/** No further jobs are taken while this many are kept. */
const MAX_KEPT = 1_000;

export interface DispatchDeps extends ConsumerDeps {
  readonly limit: SlotLimit;
  readonly queuePauses: QueuePauses;
  readonly slots: Slots;
  readonly gate: Gate;
  readonly inFlight: InFlight;
  readonly stalls: StallDetector;
  readonly rateLimit: RateLimit | undefined;
}

/**
 * Gives received jobs to the slots of a consumer, and settles them.
 *
 * 1. Begins jobs while slots are free; others wait for the next slot ({@link Prefetch}).
 * 2. Gives back jobs that were not begun, or keeps them where a release costs an attempt ({@link Kept}).
 * 3. Learns from outcomes whether jobs can run, and which queues are held back.
 */
export class Dispatch {
  readonly #clock: Clock;
  readonly #options: ConsumerOptions;
  readonly #limit: SlotLimit;
  readonly #slots: Slots;
  readonly #gate: Gate;
  readonly #inFlight: InFlight;
  readonly #stalls: StallDetector;
  readonly #queuePauses: QueuePauses;
  readonly #rateLimit: RateLimit | undefined;
  readonly #runner: SlotRunner;
  readonly #prefetch: Prefetch<InFlightJob>;
  readonly #kept: Kept;
  /** Whether a release costs an attempt. */
  readonly #isKeeper: boolean;
  /** The same with a delay. */
  readonly #keepsPostponed: boolean;
  #unwatch = () => {};
  readonly #cut = new AbortController();
  #isQuiet = false;
  readonly #ran = { jobs: 0, ms: 0 };

  constructor(deps: DispatchDeps, options: ConsumerOptions) {
    const { clock, limit, slots, gate, inFlight, broker: { capabilities, format } } = deps;
    this.#clock = clock;
    this.#options = options;
    this.#limit = limit;
    this.#slots = slots;
    this.#gate = gate;
    this.#inFlight = inFlight;
    this.#stalls = deps.stalls;
    this.#queuePauses = deps.queuePauses;
    this.#rateLimit = deps.rateLimit;
    this.#isKeeper = capabilities.release === "counted";
    this.#keepsPostponed = capabilities.delayedRelease === "counted";
    this.#kept = new Kept({ clock, onDue: () => this.startKept() });
    this.#prefetch = new Prefetch<InFlightJob>({ clock, onStale: (stale) => this.#putBack(stale) }, {
      limit,
      perSlot: options.batchSize,
    });
    this.#runner = new SlotRunner({
      ...deps,
      tracer: deps.tracer,
      format,
      postMortems: new PostMortems({ ...deps, format, capabilities }, options),
      settle: (one, outcome, endedMs) => this.#settle(one, outcome, endedMs),
      refuse: (one, { error, concerns }) => {
        if (concerns === "message") void inFlight.settle(one, { kind: "bury", error });
        else this.#settle(one, outcomeOfFault(error));
      },
      cut: this.#cut.signal,
    }, options);
  }

  /** Since the start: jobs that ran, and the time that slots were in use for them, milliseconds. */
  get ran(): { readonly jobs: number; readonly ms: number } {
    return this.#ran;
  }

  get waiting(): number {
    return this.#prefetch.size;
  }

  /** Postponed deliveries, which do not limit the number of further ones. */
  get aside(): number {
    return Math.min(this.#kept.postponed, MAX_KEPT);
  }

  /**
   * How many deliveries a broker that sends jobs by itself may send: one for each job in a slot, and as many again where a
   * release costs no attempt.
   */
  get capacity(): number {
    return this.#limit.slots * this.#options.batchSize * (this.#isKeeper ? 1 : 2);
  }

  /** How many may be prefetched now. */
  get aheadRoom(): number {
    return this.#isKeeper ? 0 : this.#prefetch.room;
  }

  /** How many more may be in flight than slots need. */
  get allowance(): number {
    return this.#isKeeper ? 0 : this.#prefetch.allowance;
  }

  /** Follows changes of held-back queues until it is closed. */
  open(): void {
    this.#unwatch = this.#queuePauses.watch(() => this.#queuesChanged());
  }

  /** Gives jobs to the free slots in equal shares; the rest waits for the next free slot. */
  give(deliveries: readonly Delivery[]): void {
    this.#rateLimit?.take(deliveries.length);
    const jobs = deliveries.map((delivery) => this.#inFlight.add(delivery));
    const { batchSize } = this.#options;
    let at = 0;
    for (let free = this.#limit.slots - this.#slots.busy; free > 0 && at < jobs.length; free--) {
      const share = Math.min(Math.ceil((jobs.length - at) / free), batchSize);
      void this.#start(jobs.slice(at, at += share));
    }
    if (at === jobs.length) return;
    const left = jobs.slice(at);
    if (this.#isQuiet) this.#inFlight.putBack(left);
    else this.#prefetch.add(left);
  }

  /** Begins kept jobs while there are slots for them. */
  startKept(): void {
    while (!this.#kept.isEmpty && this.#slots.busy < this.#gate.limit(this.#limit.slots)) {
      const max = this.#gate.isOpen ? this.#options.batchSize : 1;
      const next = this.#kept.take(max, ({ delivery: { queue } }) => this.#queuePauses.begin(queue));
      if (next.length === 0) break;
      void this.#start(next);
    }
    this.#stalls.wake();
  }

  /** Waiting jobs that are no longer ours do not begin: they run elsewhere. */
  lost(gone: readonly Delivery[]): void {
    const isGone = ({ delivery }: InFlightJob) => gone.includes(delivery);
    for (const entry of this.#slots.inUse.flatMap(({ jobs }) => jobs)) entry.isLost ||= isGone(entry);
    this.#inFlight.putBack([...this.#prefetch.takeThose(isGone), ...this.#kept.takeThose(isGone)]);
  }

  /** Gives back all waiting jobs, from now on at once. Idempotent. */
  quiet(): void {
    this.#isQuiet = true;
    this.#inFlight.putBack(this.#prefetch.takeAll());
    this.#inFlight.putBack(this.#kept.takeAll());
  }

  /** Aborts running jobs and puts each back when it has ended; at last also jobs that do not end. Never rejects. */
  async cutOff(): Promise<void> {
    const error = new FervoError("SHUTDOWN", "The worker shuts down");
    this.#cut.abort(error);
    const late = await this.#slots.abortAll(error);
    const outcome: Outcome = { kind: "release", reason: "shutdown", error, mayRunOn: true };
    await Promise.all(late.map((entry) => entry.isSettling || this.#inFlight.settle(entry, outcome)));
  }

  close(): void {
    this.#unwatch();
  }

  /** Runs jobs in a free slot, and puts back the ones that did not begin. */
  async #start(jobs: readonly InFlightJob[]): Promise<void> {
    const slot = this.#slots.begin(jobs);
    const { ran, outcome, left } = await this.#runner.run(slot);
    if (outcome !== undefined) this.#updateGate(ran, outcome);
    const endedMs = this.#leave(slot);
    // Each goes to the front of its queue.
    if (outcome?.kind === "release") this.#putBack(left);
    if (outcome !== undefined) this.#end(ran, outcome, endedMs);
    if (outcome?.kind !== "release") this.#putBack(left);
  }

  /** Frees the slot for a prefetched job, or for the next receive. Returns when it became free. */
  #leave(slot: Slot): number {
    const endedMs = this.#clock.monotonicMs();
    const ms = endedMs - slot.startedMs;
    this.#ran.jobs += slot.jobs.length;
    this.#ran.ms += ms;
    this.#prefetch.ran(ms);
    this.#slots.end(slot);
    this.startKept();
    if (this.#slots.busy < this.#gate.limit(this.#limit.slots)) {
      const next = this.#prefetch.take(this.#options.batchSize);
      if (next.length > 0) void this.#start(next);
    }
    return endedMs;
  }

  /** Lets whoever has room begin the jobs: another worker, or this one where a release costs an attempt. */
  #putBack(jobs: readonly InFlightJob[]): void {
    if (jobs.length === 0) return;
    if (this.#isKeeper && !this.#isQuiet) this.#keep(jobs);
    else this.#inFlight.putBack(jobs);
  }

  #keep(jobs: readonly InFlightJob[], delayMs = 0): void {
    this.#kept.add(jobs, delayMs);
    this.startKept();
  }

  /** A waiting job begins only if its queue is not held back. */
  #queuesChanged(): void {
    this.#putBack(
      this.#prefetch.takeThose(({ delivery: { queue } }) => this.#queuePauses.limit(queue) < Infinity),
    );
    this.startKept();
  }

  #settle(entry: InFlightJob, outcome: Outcome, endedMs?: number): void {
    this.#updateGate([entry], outcome);
    this.#end([entry], outcome, endedMs);
  }

  /** Settles jobs unless they are being settled since a cut-off; or keeps them where a release costs an attempt. */
  #end(ran: readonly InFlightJob[], outcome: Outcome, endedMs?: number): void {
    const keptMs = this.#keptMs(outcome);
    for (const entry of ran) {
      if (entry.isSettling) continue;
      if (keptMs === undefined) void this.#inFlight.settle(entry, outcome, endedMs);
      else this.#keep([entry], keptMs);
    }
  }

  /** How long a job with this outcome is kept here before it begins again, milliseconds; undefined if it is settled. */
  #keptMs(outcome: Outcome): number | undefined {
    if (outcome.kind !== "release" || outcome.reason === "shutdown" || this.#isQuiet) return undefined;
    const { reason, delayMs = 0 } = outcome;
    const isKept = reason === "asked" ? this.#keepsPostponed && delayMs <= MAX_KEPT_MS : this.#isKeeper;
    return isKept ? delayMs : undefined;
  }

  /**
   * Applies what an outcome says about the executor, or about the whole queue. A job that was cut off must not close the gate
   * after the end.
   */
  #updateGate([first]: readonly InFlightJob[], outcome: Outcome): void {
    if (first === undefined || first.isSettling) return;
    const { delivery: { queue } } = first;
    const hasRun = outcome.kind !== "release" || outcome.reason === "asked";
    const error = outcome.kind === "ack" ? undefined : outcome.error;
    if (outcome.queuePauseMs !== undefined) this.#queuePauses.pause(queue, outcome.queuePauseMs, error);
    else if (hasRun) this.#queuePauses.passed(queue);
    if (hasRun) return this.#gate.available();
    if (outcome.reason === "shutdown") return;
    this.#gate.unable(outcome.error);
    this.#putBack(this.#prefetch.takeAll());
  }
}
