import { aliveIn, UNKNOWN_DEPTH } from "../../../core/admin.ts";
import type { Broker, ReceiveRequest, Subscription } from "../../../core/broker.ts";
import { BrokerState } from "../../../core/broker_state.ts";
import type { Delivery } from "../../../core/delivery.ts";
import type { Observer } from "../../../core/observer.ts";
import { Backoff } from "../../../core/time/backoff.ts";
import { type Clock, sleep } from "../../../core/time/clock.ts";
import type { QueuePauses } from "../../queue_pauses.ts";
import type { StallDetector } from "../stall_detector.ts";
import { PausedQueues } from "./paused_queues.ts";
import { queueOrder, type WeightedQueue } from "./queue_order.ts";

/** A receive without jobs ends after this long: no wait should be endless. */
const RECEIVE_WAIT_MS = 30_000;
/** The same after a failed receive. */
const RECOVERY_WAIT_MS = 1_000;

export interface ReceiverDeps {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly observe: Observer;
  readonly random: () => number;
  /** The queues that the application holds back. */
  readonly queuePauses: QueuePauses;
  /** The loop waits here, so that a wait without end shows. */
  readonly stalls: StallDetector;
  /** As {@link SubscribeOptions.onLost}. */
  readonly onLost: (gone: readonly Delivery[]) => void;
  /** Room for jobs now, in jobs and in bytes. */
  readonly demand: () => number;
  readonly roomBytes: () => number;
  /** Called with received deliveries. */
  readonly give: (deliveries: readonly Delivery[]) => void;
}

export interface ReceiverOptions {
  /** The consumer's name. */
  readonly name: string;
  readonly queues: readonly WeightedQueue[];
  readonly order: "strict" | "weighted";
  /** The longest pause between two attempts to reach the broker, milliseconds. */
  readonly pauseMaxMs: number;
}

/**
 * Receives from the consumer's subscription until it is quiet: no paused queues, no more than there is room for, and on through
 * outages of the broker.
 */
export class Receiver {
  readonly queues: readonly string[];
  /** When the broker last answered, epoch milliseconds. */
  receivedAtMs: number | undefined;
  readonly #deps: ReceiverDeps;
  readonly #nextOrder: () => readonly string[];
  readonly #paused: PausedQueues;
  readonly #receiving: BrokerState;
  readonly #backoff: Backoff;
  readonly #quiet = new AbortController();
  /** Ends a receive when the queues that may be taken from have changed. */
  #attention = new AbortController();
  #subscription: Subscription | undefined;
  #unwatch = () => {};
  /** Since when nothing was received and nothing settled, monotonic milliseconds. */
  #idleSinceMs: number;

  constructor(deps: ReceiverDeps, options: ReceiverOptions) {
    this.#deps = deps;
    this.queues = options.queues.map(({ name }) => name);
    this.#nextOrder = queueOrder(options.queues, options.order, deps.random);
    this.#receiving = new BrokerState(deps.observe, { consumer: options.name, during: "receive" });
    this.#backoff = new Backoff(deps, { maxMs: options.pauseMaxMs });
    this.#idleSinceMs = deps.clock.monotonicMs();
    const { broker: { admin: { pauses } } } = deps;
    this.#paused = new PausedQueues({ ...deps, pauses, onChange: () => this.#receiveAnew() }, {
      name: options.name,
      queues: this.queues,
    });
  }

  /** Begins. See {@link SubscribeOptions.capacity}. */
  open(capacity: number): void {
    const { broker, onLost, queuePauses } = this.#deps;
    this.#unwatch = queuePauses.watch(() => this.#receiveAnew());
    this.#subscription = broker.subscribe({ queues: this.queues, capacity, onLost });
  }

  resize(capacity: number): void {
    this.#subscription?.resize(capacity);
  }

  /** Whether a queue may be taken from. */
  get hasQueue(): boolean {
    const { queuePauses } = this.#deps;
    return this.#paused.unpaused(this.queues).some((queue) => queuePauses.limit(queue) > 0);
  }

  /** As {@link ConsumerStats.heldBack}. */
  get heldBack(): { readonly queue: string; readonly forMs: number }[] {
    return this.#deps.queuePauses.list().filter(({ queue }) => this.queues.includes(queue));
  }

  get isQuiet(): boolean {
    return this.#quiet.signal.aborted;
  }

  /** Receives and gives until it is quiet and the broker sends nothing more. Never rejects. */
  async run(): Promise<void> {
    const { give } = this.#deps;
    for (let room = await this.#room(); room > 0; room = await this.#room()) give(await this.#receive(room));
    this.#paused.close();
    this.#unwatch();
    await this.#subscription?.stop().catch((thrown) => void this.#receiving.failed(thrown));
  }

  /** Waits for room, and returns for how many jobs; 0 when it is time to end. */
  async #room(): Promise<number> {
    const { demand, stalls } = this.#deps;
    while (!this.isQuiet) {
      const room = demand();
      if (room > 0) return room;
      await stalls.untilWoken("wait for a free slot", () => demand() > 0);
    }
    return 0;
  }

  /** Waits for jobs, or for the end of a pause after the broker failed. Never rejects. */
  async #receive(max: number): Promise<readonly Delivery[]> {
    const { clock, stalls, roomBytes } = this.#deps;
    try {
      const deliveries = await stalls.during("receive", RECEIVE_WAIT_MS, this.#tryReceive(max, roomBytes()));
      this.receivedAtMs = clock.nowMs();
      this.#backoff.reset();
      this.#receiving.worked();
      if (deliveries.length > 0) this.busy();
      return deliveries;
    } catch (thrown) {
      this.#receiving.failed(thrown);
      const pauseMs = this.#backoff.nextMs();
      await stalls.during("pause", pauseMs, sleep(clock, pauseMs, this.#quiet.signal));
      return [];
    }
  }

  async #tryReceive(max: number, maxBytes: number): Promise<readonly Delivery[]> {
    await this.#paused.load();
    const { queuePauses } = this.#deps;
    const unpaused = this.#paused.unpaused(this.#nextOrder());
    const due = unpaused.find((queue) => queuePauses.limit(queue) === 1);
    if (due !== undefined) {
      queuePauses.begin(due);
      const probe = await this.#take({ queues: [due], max: 1, maxBytes, waitMs: 0 });
      if (probe.length > 0) return probe;
      queuePauses.passed(due);
    }
    const queues = queuePauses.open(unpaused);
    // The answer tells that the broker works again, also without jobs.
    const waitMs = this.#receiving.isFailing ? RECOVERY_WAIT_MS : RECEIVE_WAIT_MS;
    return queues.length === 0 ? [] : await this.#take({ queues, max, maxBytes, waitMs });
  }

  #take(request: ReceiveRequest): Promise<readonly Delivery[]> {
    return this.#subscription!.receive(request, this.#attention.signal);
  }

  #receiveAnew(): void {
    this.#attention.abort();
    if (!this.isQuiet) this.#attention = new AbortController();
    this.#deps.stalls.wake();
  }

  /** A delivery was received or settled. */
  busy(): void {
    const { broker: { admin, capabilities }, clock } = this.#deps;
    // Called for each job, and needed only where the broker cannot count: else the clock is not read.
    if (admin.depth === undefined || capabilities.counts === "none") this.#idleSinceMs = clock.monotonicMs();
  }

  /**
   * Whether the broker has no job left, not even a delayed one. A broker that cannot count all jobs counts as empty when no job
   * has come for this long, milliseconds.
   *
   * @returns The states that it could not count; undefined while there are jobs, or it is unknown.
   * @throws {FervoError} QUEUE_UNAVAILABLE
   */
  async emptied(settleMs: number): Promise<readonly string[] | undefined> {
    const { broker, clock } = this.#deps;
    const uncounted = new Set<string>();
    for (const queue of this.queues) {
      const depth = await broker.admin.depth?.(queue) ?? UNKNOWN_DEPTH;
      if (aliveIn(depth) > 0) return undefined;
      for (const state of ["ready", "delayed", "reserved"] as const) {
        if (depth[state] === undefined) uncounted.add(state);
      }
    }
    const hasSettled = !this.#receiving.isFailing && clock.monotonicMs() - this.#idleSinceMs >= settleMs;
    return uncounted.size === 0 || hasSettled ? [...uncounted] : undefined;
  }

  /** Receives no more; a running receive ends. Idempotent. */
  quiet(): void {
    this.#quiet.abort();
    this.#attention.abort();
    this.#deps.stalls.wake();
  }

  /** Called after the last settle. Never rejects. */
  async close(): Promise<void> {
    try {
      await this.#subscription?.[Symbol.asyncDispose]();
    } catch (thrown) {
      this.#receiving.failed(thrown);
    }
  }
}
