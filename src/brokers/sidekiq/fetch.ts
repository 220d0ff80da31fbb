import type { Buffer } from "node:buffer";
import type { Delivery } from "../../core/delivery.ts";
import type { ReceiveRequest } from "../../core/broker.ts";
import type { RedisConnection } from "../../redis/connection.ts";
import type { RedisDelivery, RedisSettler } from "./delivery.ts";
import type { RedisShared } from "./shared.ts";
import type { RedisHeartbeat } from "./heartbeat.ts";
import type { RedisRecovery } from "./recovery.ts";
import type { RedisSchedule } from "./schedule/schedule.ts";
import { TAKE } from "./scripts/scripts.ts";
import type { RedisStrays } from "./strays.ts";
import { QueueWait, type Waiter } from "./wait.ts";

/** At most this many queues have a waiting connection; the others are looked at again after each wait. */
const MAX_WAITS = 16;
const LOOK_AGAIN_MS = 1_000;

interface FetchDeps {
  readonly shared: RedisShared;
  readonly settler: RedisSettler;
  readonly schedule: RedisSchedule;
  readonly heartbeat: RedisHeartbeat;
  readonly recovery: RedisRecovery;
  readonly strays: RedisStrays;
  /** Opens another connection, for a wait. */
  readonly connect: () => RedisConnection;
}

/** The limits of a take: {@link ReceiveRequest}. */
type Limits = Required<Pick<ReceiveRequest, "max" | "maxBytes">>;

/** For each queue that was looked at, the number of taken jobs, and the jobs. */
type Taken = (Buffer | number)[];

/**
 * Takes jobs.
 *
 * 1. Takes the requested number in one step of Redis, one queue after the other, each job into the in-flight list.
 * 2. Without jobs, waits without polling ({@link QueueWait}), and never too long.
 * 3. After a lost answer to a command that may have taken jobs, marks the queues as uncertain ({@link RedisStrays}).
 */
export class RedisFetch {
  readonly #deps: FetchDeps;
  readonly #waits = new Map<string, QueueWait>();
  readonly #keysOf = new WeakMap<readonly string[], string[]>();
  readonly #closing = new AbortController();
  readonly #receiving = new Set<Promise<unknown>>();

  constructor(deps: FetchDeps) {
    this.#deps = deps;
  }

  receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]> {
    const receiving = this.#receive(request, signal).finally(() => this.#receiving.delete(receiving));
    this.#receiving.add(receiving);
    return receiving;
  }

  /** Ends the waits; resolves when every receive has ended. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled([...this.#receiving]);
    for (const wait of this.#waits.values()) wait.close();
  }

  async #receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]> {
    const { queues, max, maxBytes = Number.MAX_SAFE_INTEGER, waitMs } = request;
    const limits = { max, maxBytes };
    const { schedule, recovery, heartbeat, shared, strays } = this.#deps;
    const untilMs = shared.clock.monotonicMs() + waitMs;
    const isOver = () => signal.aborted || this.#closing.signal.aborted;
    if (this.#closing.signal.aborted) return [];
    schedule.start();
    recovery.start();
    if (!isOver() && !heartbeat.hasAnnounced(queues)) await heartbeat.announce(queues);
    while (!isOver()) {
      if (strays.hasUncertain) await strays.clearAll(queues);
      if (schedule.isDue) await schedule.promote();
      if (isOver()) break;
      const taken = await this.#take(queues, limits);
      if (taken === undefined) {
        // This process counted as dead: the others must see it alive before it takes jobs.
        await heartbeat.beat();
        continue;
      }
      if (taken.length > 0) return taken;
      const leftMs = untilMs - shared.clock.monotonicMs();
      if (leftMs <= 0 || isOver()) break;
      const isPartial = queues.length > MAX_WAITS;
      const arrived = await this.#wait(
        queues,
        limits,
        { ms: isPartial ? Math.min(leftMs, LOOK_AGAIN_MS) : leftMs, signal },
      );
      if (arrived.length > 0) return arrived;
    }
    return [];
  }

  /** Undefined when nothing was taken, because this process counts as dead. */
  async #take(queues: readonly string[], limits: Limits): Promise<RedisDelivery[] | undefined> {
    const { settler } = this.#deps;
    while (settler.looking !== undefined) await settler.looking;
    settler.taking++;
    try {
      const reply = await this.#askFor(queues, limits);
      return reply === null ? undefined : await this.#holdAll(queues, reply);
    } finally {
      settler.taking--;
    }
  }

  async #askFor(queues: readonly string[], { max, maxBytes }: Limits): Promise<Taken | null> {
    const { shared: { connection }, strays } = this.#deps;
    try {
      return await connection.run<Taken | null>(TAKE, this.#keys(queues), [String(max), String(maxBytes)]);
    } catch (error) {
      for (const queue of queues) strays.markUncertain(queue);
      throw error;
    }
  }

  async #holdAll(queues: readonly string[], reply: Taken): Promise<RedisDelivery[]> {
    const { settler } = this.#deps;
    const taken: RedisDelivery[] = [];
    let at = 0;
    let foreign: string | undefined;
    for (const queue of queues) {
      if (at >= reply.length) break;
      const count = reply[at++] as number;
      if (count < 0) foreign ??= queue;
      for (let i = 0; i < count; i++) taken.push(settler.hold(queue, reply[at++] as Buffer));
    }
    // The other queues are served all the same; without jobs in them, the foreign key is reported.
    if (foreign !== undefined && taken.length === 0) await this.#tellForeign(foreign);
    return taken;
  }

  /** Rejects with Redis's answer about a queue with a foreign key. */
  async #tellForeign(queue: string): Promise<void> {
    const { shared: { connection, keys }, settler } = this.#deps;
    for (const key of [keys.queue(queue), settler.inflightKey(queue)]) {
      await connection.send(["LLEN", key], [key]);
    }
  }

  /** The keys for TAKE. */
  #keys(queues: readonly string[]): readonly string[] {
    let keys = this.#keysOf.get(queues);
    if (keys === undefined) {
      const { shared, settler } = this.#deps;
      keys = [shared.keys.process(shared.identity)];
      for (const queue of queues) keys.push(shared.keys.queue(queue), settler.inflightKey(queue));
      this.#keysOf.set(queues, keys);
    }
    return keys;
  }

  /** Waits for a job until the time is over; takes what arrives until the end of the wait, within the limits. */
  async #wait(
    queues: readonly string[],
    { max, maxBytes }: Limits,
    { ms, signal }: { ms: number; signal: AbortSignal },
  ): Promise<RedisDelivery[]> {
    const { shared, settler } = this.#deps;
    const arrived: RedisDelivery[] = [];
    let bytes = 0;
    const over = Promise.withResolvers<void>();
    const waiter: Waiter = {
      offer: (queue, raw) => {
        if (arrived.length >= max || bytes >= maxBytes) return false;
        bytes += raw.length;
        arrived.push(settler.hold(queue, raw));
        over.resolve();
        return true;
      },
      fail: over.reject,
    };
    const end = () => over.resolve();
    const signals = [signal, this.#closing.signal];
    const timer = shared.clock.setTimer(end, ms);
    for (const one of signals) one.addEventListener("abort", end);
    const waits = queues.slice(0, MAX_WAITS).map((queue) => this.#waitOn(queue));
    for (const wait of waits) wait.join(waiter);
    const failure = await over.promise.then(() => undefined, (error) => ({ error }));
    timer.cancel();
    for (const one of signals) one.removeEventListener("abort", end);
    await Promise.all(waits.map((wait) => wait.leave(waiter)));
    // Arrived jobs come first, also when one wait failed and others went on; the failure shows again at the next receive.
    if (failure !== undefined && arrived.length === 0) throw failure.error;
    return arrived;
  }

  /** Whether a wait may take a job of this queue at any moment. */
  isArmed(queue: string): boolean {
    return this.#waits.get(queue)?.isArmed === true;
  }

  #waitOn(queue: string): QueueWait {
    let wait = this.#waits.get(queue);
    if (wait === undefined) {
      const { shared, settler, heartbeat, strays, connect } = this.#deps;
      wait = new QueueWait({
        shared,
        settler,
        queue,
        connection: connect(),
        isFresh: () => heartbeat.isFresh,
        beat: () => heartbeat.beat(),
        strays,
      });
      this.#waits.set(queue, wait);
    }
    return wait;
  }
}
