import type { Delivery } from "../../core/delivery.ts";
import { FervoError } from "../../core/errors.ts";
import type { Observer } from "../../core/observer.ts";
import type { SlotLimit } from "../../core/slot_limit.ts";
import { demand, type DemandFacts } from "./demand.ts";
import { Dispatch } from "./dispatch.ts";
import { InFlight } from "./in_flight.ts";
import { StallDetector } from "./stall_detector.ts";
import type { ConsumerDeps, ConsumerOptions } from "./options.ts";
import { Gate } from "./pause.ts";
import { QueuePauses } from "../queue_pauses.ts";
import { RateLimit } from "./rate_limit.ts";
import { Receiver } from "./receive/receiver.ts";
import { Slots } from "./slots.ts";
import type { ConsumerSnapshot, ConsumerStats } from "./stats.ts";

export { type ConsumerDeps, type ConsumerOptions, DEFAULT_CONSUMER_OPTIONS } from "./options.ts";

/**
 * Takes jobs from a list of queues and runs them in slots.
 *
 * 1. Asks the broker for as many deliveries as there are free slots. While jobs are short, it prefetches one more for each
 *    slot, so that no slot waits for the broker ({@link Receiver}, {@link demand}).
 * 2. Runs each in a slot: decode, execute, settle ({@link Dispatch}). With a batch size, a slot takes the jobs that are there,
 *    and never waits for more.
 * 3. Ends jobs that time out ({@link Slots}), and renews leases meanwhile ({@link InFlight}).
 * 4. Backs off while the executor cannot run jobs, or the broker is unavailable, and notices by itself when that is over.
 * 5. Stops in order: quiet (no more receives), drained (all settled), else it aborts running jobs and puts them back.
 *
 * A slot is free as soon as its settle is handed to the broker, so that the settle and the next receive can share a transaction
 * or a round trip. There are at most as many lagging settles as slots.
 */
export class Consumer {
  readonly #observe: Observer;
  readonly #options: ConsumerOptions;
  readonly #limit: SlotLimit;
  readonly #problem: FervoError | undefined;
  readonly #slots: Slots;
  readonly #receiver: Receiver;
  readonly #dispatch: Dispatch;
  readonly #gate: Gate;
  readonly #rateLimit: RateLimit | undefined;
  readonly #inFlight: InFlight;
  readonly #stalls: StallDetector;
  /** Re-read at each demand. */
  readonly #facts: DemandFacts;
  #cutting: Promise<void> | undefined;

  constructor(deps: ConsumerDeps, options: ConsumerOptions) {
    const { executor, broker: { format: { framework } } } = deps;
    if ((options.batchSize > 1 || framework !== undefined) && executor.executeBatch === undefined) {
      throw new TypeError("The executor runs no batches");
    }
    if (framework?.isToldFailures === true && executor.tellFailure === undefined) {
      throw new TypeError("The executor cannot report failures to a framework");
    }
    this.#observe = deps.observe;
    this.#problem = deps.problem;
    this.#options = options;
    this.#limit = deps.limit ?? { slots: options.concurrency };
    this.#slots = new Slots(deps, { limit: this.#limit, timeoutMs: options.timeoutMs });
    this.#stalls = new StallDetector(deps);
    const onLost = (gone: readonly Delivery[]) => this.#dispatch.lost(gone);
    this.#inFlight = new InFlight(
      {
        ...deps,
        onLost,
        onRelease: () => this.#rateLimit?.giveBack(),
        onChange: () => {
          this.#receiver.busy();
          this.#stalls.wake();
        },
      },
      options,
    );
    const queuePauses = deps.queuePauses ?? new QueuePauses(deps, { broker: "" });
    this.#rateLimit = options.rateLimit &&
      new RateLimit({ clock: deps.clock, onChange: () => this.#stalls.wake() }, options.rateLimit);
    this.#receiver = new Receiver({
      ...deps,
      queuePauses,
      stalls: this.#stalls,
      onLost,
      demand: () => this.#demand(),
      roomBytes: () => this.#inFlight.roomBytes,
      give: (deliveries) => this.#dispatch.give(deliveries),
    }, options);
    this.#gate = new Gate(
      { ...deps, isIdle: () => this.#slots.busy === 0, onChange: () => this.#dispatch.startKept() },
      { name: options.name, maxPauseMs: options.pauseMaxMs },
    );
    const parts = {
      limit: this.#limit,
      queuePauses,
      slots: this.#slots,
      gate: this.#gate,
      inFlight: this.#inFlight,
      stalls: this.#stalls,
      rateLimit: this.#rateLimit,
    };
    this.#dispatch = new Dispatch({ ...deps, ...parts }, options);
    this.#facts = this.#demandFacts();
  }

  get name(): string {
    return this.#options.name;
  }

  get stats(): ConsumerStats {
    return {
      slots: this.#limit.slots,
      busySlots: this.#slots.busy,
      inFlight: this.#inFlight.size,
      hasRoom: !this.#receiver.isQuiet && this.#demand() > 0,
      isPaused: !this.#gate.isOpen,
      heldBack: this.#receiver.heldBack,
      receivedAtMs: this.#receiver.receivedAtMs,
    };
  }

  /** The same, with each job. */
  snapshot(): ConsumerSnapshot {
    return {
      ...this.stats,
      gate: this.#gate.state,
      ahead: this.#dispatch.waiting,
      inUse: this.#slots.snapshot(),
    };
  }

  get busySlots(): number {
    return this.#slots.busy;
  }

  /** Since the start: jobs that ran, and the time that slots were in use for them, milliseconds. */
  get ran(): { readonly jobs: number; readonly ms: number } {
    return this.#dispatch.ran;
  }

  /** Why it makes no progress though it should, as the end of a sentence; undefined when it is well. */
  get stall(): string | undefined {
    return this.#stalls.stall ?? this.#slots.stall;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Deliveries that could not be settled before the end; they run again when their lease ends. */
  get orphaned(): number {
    return this.#inFlight.orphaned;
  }

  /**
   * Why it cannot run jobs, where a person may have to act: FPM_MISCONFIGURED, PROCESS_MISCONFIGURED. It tries again by itself.
   */
  get fault(): FervoError | undefined {
    return this.#gate.fault;
  }

  /** The same, after so many failures that waiting does not help. */
  get lastingFault(): FervoError | undefined {
    return this.#gate.isLasting ? this.fault : undefined;
  }

  /**
   * Whether nothing is left to do now: no job in flight, and none in the broker ({@link Receiver.emptied}).
   *
   * @throws {FervoError} QUEUE_UNAVAILABLE
   */
  async emptied(settleMs: number): Promise<readonly string[] | undefined> {
    // Jobs may be there that cannot be taken now.
    if (!this.#gate.isOpen || this.#receiver.heldBack.length > 0) this.#receiver.busy();
    const uncounted = await this.#receiver.emptied(settleMs);
    return this.#inFlight.size === 0 ? uncounted : undefined;
  }

  /** Works until it is quiet and every job in flight is settled; never rejects. */
  async run(): Promise<void> {
    this.#observe({ type: "consumer_started", consumer: this.name, queues: this.#receiver.queues });
    if (this.#problem !== undefined) this.#gate.unable(this.#problem);
    this.#receiver.open(this.#dispatch.capacity);
    this.#dispatch.open();
    await this.#receiver.run();
    const isDone = () => this.#inFlight.size === 0;
    while (!isDone()) await this.#stalls.untilWoken("wait for the last jobs", isDone);
    for (const part of [this.#dispatch, this.#gate, this.#rateLimit, this.#inFlight, this.#slots]) {
      part?.close();
    }
    await this.#receiver.close();
    this.#observe({ type: "consumer_stopped", consumer: this.name });
  }

  /** The cause of its fault may be corrected: it probes at once. */
  probeNow(): void {
    this.#gate.probeNow();
  }

  /** The number of slots may have grown. */
  limitChanged(): void {
    this.#receiver.resize(this.#dispatch.capacity);
    this.#stalls.wake();
  }

  /** Takes no more jobs. Idempotent. */
  quiet(): void {
    this.#receiver.quiet();
    this.#dispatch.quiet();
  }

  /** Ends now: as {@link cutOff}, and failed settles are not made again. Never rejects. */
  stopNow(): Promise<void> {
    this.#inFlight.giveUp();
    return this.cutOff();
  }

  /**
   * Ends as soon as the broker has taken everything: aborts running jobs, and puts each back when it has ended, so that its
   * next run does not overlap. A job that does not end in time is put back all the same. Until then its lease is renewed, so a
   * worker that is killed meanwhile loses none. Never rejects. Idempotent.
   */
  cutOff(): Promise<void> {
    return this.#cutting ??= this.#cutOff();
  }

  async #cutOff(): Promise<void> {
    this.quiet();
    await this.#dispatch.cutOff();
  }

  #demandFacts(): DemandFacts {
    const [gate, slots, receiver, inFlight, dispatch] = [
      this.#gate,
      this.#slots,
      this.#receiver,
      this.#inFlight,
      this.#dispatch,
    ];
    const [limit, rateLimit, { batchSize }] = [this.#limit, this.#rateLimit, this.#options];
    return {
      batchSize,
      get usableSlots() {
        return gate.limit(limit.slots);
      },
      get busySlots() {
        return slots.busy;
      },
      get slots() {
        return limit.slots;
      },
      get isOpen() {
        return gate.isOpen;
      },
      get hasQueue() {
        return receiver.hasQueue;
      },
      get inFlight() {
        return inFlight.size - dispatch.aside;
      },
      get aheadRoom() {
        return dispatch.aheadRoom;
      },
      get allowance() {
        return dispatch.allowance;
      },
      get roomBytes() {
        return inFlight.roomBytes;
      },
      rateRoom: () => rateLimit?.room() ?? Infinity,
    };
  }

  #demand(): number {
    return demand(this.#facts);
  }
}
