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

/** A receive that finds nothing ends after this long: no wait should be endless. */
const RECEIVE_WAIT_MS = 30_000;

export interface ReceiverDeps {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly observe: Observer;
  /** Numbers in [0, 1). */
  readonly random: () => number;
  /** What the application says of whole queues. */
  readonly queuePauses: QueuePauses;
  /** Where it waits, so that a wait without end shows. */
  readonly stalls: StallDetector;
  /** As {@link SubscribeOptions.onLost}. */
  readonly onLost: (gone: readonly Delivery[]) => void;
  /** How many jobs there is room for now, and for how many bytes. */
  readonly demand: () => number;
  readonly roomBytes: () => number;
  /** Is given what has come. */
  readonly give: (deliveries: readonly Delivery[]) => void;
}

export interface ReceiverOptions {
  /** The consumer's name. */
  readonly name: string;
  readonly queues: readonly WeightedQueue[];
  readonly order: "strict" | "weighted";
  /** The longest pause between two looks whether the broker is back, milliseconds. */
  readonly pauseMaxMs: number;
}

/**
 * How a consumer receives: from its subscription, without the queues that are paused, as much as there is room for, whatever
 * becomes of the broker, until it is quiet.
 */
export class Receiver {
  readonly queues: readonly string[];
  /** When the broker answered last, epoch milliseconds. */
  receivedAtMs: number | undefined;
  readonly #deps: ReceiverDeps;
  readonly #nextOrder: () => readonly string[];
  readonly #paused: PausedQueues;
  readonly #receiving: BrokerState;
  readonly #backoff: Backoff;
  readonly #quiet = new AbortController();
  /** Ends a receive: what may be received has changed. */
  #attention = new AbortController();
  #subscription: Subscription | undefined;
  #unwatch = () => {};
  /** Since when nothing has come and nothing was settled, monotonic milliseconds. */
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

  /** Begins; how many deliveries there is room for, see {@link SubscribeOptions.capacity}. */
  open(capacity: number): void {
    const { broker, onLost, queuePauses } = this.#deps;
    this.#unwatch = queuePauses.watch(() => this.#receiveAnew());
    this.#subscription = broker.subscribe({ queues: this.queues, capacity, onLost });
  }

  resize(capacity: number): void {
    this.#subscription?.resize(capacity);
  }

  /** Whether a queue is not paused. */
  get hasQueue(): boolean {
    const { queuePauses } = this.#deps;
    return this.#paused.unpaused(this.queues).some((queue) => queuePauses.limit(queue) > 0);
  }

  /** As {@link ConsumerStats.heldBack}. */
  get heldBack(): { readonly queue: string; readonly forMs: number }[] {
    return this.#deps.queuePauses.list().filter(({ queue }) => this.queues.includes(queue));
  }

  /** Whether it has been told to receive no more. */
  get isQuiet(): boolean {
    return this.#quiet.signal.aborted;
  }

  /** Gives what it receives, until it is quiet and nothing is sent to us any more. Never rejects. */
  async run(): Promise<void> {
    const { give } = this.#deps;
    for (let room = await this.#room(); room > 0; room = await this.#room()) give(await this.#receive(room));
    this.#paused.close();
    this.#unwatch();
    await this.#subscription?.stop().catch((thrown) => void this.#receiving.failed(thrown));
  }

  /** Waits until there is room, and returns for how many jobs; 0 when it is time to end. */
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
    return queues.length === 0 ? [] : await this.#take({ queues, max, maxBytes, waitMs: RECEIVE_WAIT_MS });
  }

  #take(request: ReceiveRequest): Promise<readonly Delivery[]> {
    return this.#subscription!.receive(request, this.#attention.signal);
  }

  #receiveAnew(): void {
    this.#attention.abort();
    if (!this.isQuiet) this.#attention = new AbortController();
    this.#deps.stalls.wake();
  }

  /** Something was received, or settled. */
  busy(): void {
    const { broker: { admin, capabilities }, clock } = this.#deps;
    // Said for each job, and asked for where nobody counts: the clock is not read for nothing.
    if (admin.depth === undefined || capabilities.counts === "none") this.#idleSinceMs = clock.monotonicMs();
  }

  /**
   * Whether the broker has no job left, not even a delayed one. Where it cannot count all of them, it is taken for empty when
   * nothing has come for this long, milliseconds.
   *
   * @returns Which states it could not count; undefined while there are jobs, or nobody can know.
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

  /** Receives no more; what is under way ends. Idempotent. */
  quiet(): void {
    this.#quiet.abort();
    this.#attention.abort();
    this.#deps.stalls.wake();
  }

  /** After the last settle. Never rejects. */
  async close(): Promise<void> {
    try {
      await this.#subscription?.[Symbol.asyncDispose]();
    } catch (thrown) {
      this.#receiving.failed(thrown);
    }
  }
}
