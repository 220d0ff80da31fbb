import type { Buffer } from "node:buffer";
import type { Delivery } from "../core/delivery.ts";
import type { ReceiveRequest } from "../core/driver.ts";
import type { RedisConnection } from "./redis_connection.ts";
import type { RedisDelivery, RedisSettler, RedisShared } from "./redis_delivery.ts";
import type { RedisHeartbeat } from "./redis_heartbeat.ts";
import type { RedisPauses } from "./redis_pauses.ts";
import type { RedisSchedule } from "./redis_schedule.ts";
import { TAKE } from "./redis_scripts.ts";
import { QueueWait, type Waiter } from "./redis_wait.ts";

/** At most so many queues are waited on, with a connection each; of others a wait ends in time to look again. */
const MAX_WAITS = 16;
const LOOK_AGAIN_MS = 1_000;

interface FetchDeps {
  readonly shared: RedisShared;
  readonly settler: RedisSettler;
  readonly schedule: RedisSchedule;
  readonly heartbeat: RedisHeartbeat;
  readonly pauses: RedisPauses;
  /** A further connection, for a wait. */
  readonly connect: () => RedisConnection;
}

/**
 * Takes jobs.
 *
 * 1. Takes as many as were asked for in one step of Redis, a queue after the other, each into the in-flight list.
 * 2. Waits without asking again and again when there are none ({@link QueueWait}), never longer than it should.
 * 3. Finds jobs again that were taken by a command whose answer was lost, and puts them back.
 */
export class RedisFetch {
  readonly #deps: FetchDeps;
  readonly #waits = new Map<string, QueueWait>();
  /** Queues whose in-flight list may hold jobs that nobody holds. */
  readonly #doubtful = new Map<string, Promise<void> | undefined>();
  readonly #keysOf = new WeakMap<readonly string[], string[]>();
  readonly #closing = new AbortController();
  readonly #receiving = new Set<Promise<unknown>>();

  constructor(deps: FetchDeps) {
    this.#deps = deps;
  }

  receive(request: ReceiveRequest): Promise<Delivery[]> {
    const receiving = this.#receive(request).finally(() => this.#receiving.delete(receiving));
    this.#receiving.add(receiving);
    return receiving;
  }

  /** Ends the waits, and resolves when every receive has. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled([...this.#receiving]);
    for (const wait of this.#waits.values()) wait.close();
  }

  async #receive({ queues: wanted, max, waitMs, signal }: ReceiveRequest): Promise<Delivery[]> {
    const { schedule, heartbeat, pauses, shared } = this.#deps;
    const untilMs = shared.clock.monotonicMs() + waitMs;
    const isOver = () => signal.aborted || this.#closing.signal.aborted;
    if (!isOver() && !heartbeat.hasAnnounced(wanted)) await heartbeat.announce(wanted);
    if (!isOver() && !pauses.isKnown) await pauses.know();
    while (!isOver()) {
      const queues = pauses.open(wanted);
      const pausesVersion = pauses.version;
      if (this.#doubtful.size > 0) await this.#clearDoubts(wanted);
      if (schedule.isDue) await schedule.promote();
      if (isOver()) break;
      const taken = queues.length === 0 ? [] : await this.#take(queues, max);
      if (taken === undefined) {
        // This process counted as dead: it has to be alive for others before it takes jobs.
        await heartbeat.beat();
        continue;
      }
      if (taken.length > 0) return taken;
      const leftMs = untilMs - shared.clock.monotonicMs();
      if (leftMs <= 0 || isOver()) break;
      const isPartial = queues.length > MAX_WAITS;
      const arrived = await this.#wait(
        queues,
        max,
        { ms: isPartial ? Math.min(leftMs, LOOK_AGAIN_MS) : leftMs, pausesVersion, signal },
      );
      if (arrived.length > 0) return arrived;
    }
    return [];
  }

  /** Undefined when nothing was given, for this process counts as dead. */
  async #take(queues: readonly string[], max: number): Promise<RedisDelivery[] | undefined> {
    const { shared, settler } = this.#deps;
    let reply: (Buffer | number)[] | null;
    try {
      reply = await shared.connection.run<(Buffer | number)[] | null>(TAKE, this.#keys(queues), [
        String(max),
      ]);
    } catch (error) {
      for (const queue of queues) this.#doubt(queue);
      throw error;
    }
    if (reply === null) return undefined;
    const taken: RedisDelivery[] = [];
    let at = 0;
    let foreign: string | undefined;
    for (const queue of queues) {
      if (at >= reply.length) break;
      const count = reply[at++] as number;
      if (count < 0) foreign ??= queue;
      for (let i = 0; i < count; i++) taken.push(settler.hold(queue, reply[at++] as Buffer));
    }
    // The others are served all the same; when they have nothing, it is told why this one has not.
    if (foreign !== undefined && taken.length === 0) await this.#tellForeign(foreign);
    return taken;
  }

  /** Rejects with what Redis says of a queue one of whose keys is another program's. */
  async #tellForeign(queue: string): Promise<void> {
    const { shared: { connection, keys }, settler } = this.#deps;
    for (const key of [keys.queue(queue), settler.inflightKey(queue)]) {
      await connection.send(["LLEN", key], [key]);
    }
  }

  /** The keys that TAKE wants. */
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

  /** Waits until there is a job, the pauses have changed, or the time is over; what arrives up to the end of the wait, up to `max`. */
  async #wait(
    queues: readonly string[],
    max: number,
    { ms, pausesVersion, signal }: { ms: number; pausesVersion: number; signal: AbortSignal },
  ): Promise<RedisDelivery[]> {
    const { shared, settler, pauses } = this.#deps;
    const arrived: RedisDelivery[] = [];
    const over = Promise.withResolvers<void>();
    const waiter: Waiter = {
      offer: (queue, raw) => {
        if (arrived.length >= max) return false;
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
    using _change = pauses.onChange(end);
    if (pauses.version !== pausesVersion) end();
    const waits = queues.slice(0, MAX_WAITS).map((queue) => this.#waitOn(queue));
    try {
      for (const wait of waits) wait.join(waiter);
      await over.promise;
    } catch (error) {
      // What has arrived is told first; the failure shows again at the next receive.
      if (arrived.length === 0) throw error;
    } finally {
      timer.cancel();
      for (const one of signals) one.removeEventListener("abort", end);
      await Promise.all(waits.map((wait) => wait.leave(waiter)));
    }
    return arrived;
  }

  #waitOn(queue: string): QueueWait {
    let wait = this.#waits.get(queue);
    if (wait === undefined) {
      const { shared, settler, heartbeat, connect } = this.#deps;
      wait = new QueueWait({
        shared,
        settler,
        queue,
        connection: connect(),
        isFresh: () => heartbeat.isFresh,
        beat: () => heartbeat.beat(),
        onDoubt: () => this.#doubt(queue),
        clearDoubt: () => this.#clearDoubt(queue),
      });
      this.#waits.set(queue, wait);
    }
    return wait;
  }

  #doubt(queue: string): void {
    if (!this.#doubtful.has(queue)) this.#doubtful.set(queue, undefined);
  }

  async #clearDoubts(queues: readonly string[]): Promise<void> {
    for (const queue of queues) {
      // A job may be on its way from there; the wait looks itself before it goes on.
      if (this.#waits.get(queue)?.isArmed !== true) await this.#clearDoubt(queue);
    }
  }

  /** Puts back what is held by nobody, if there may be something. */
  async #clearDoubt(queue: string): Promise<void> {
    if (!this.#doubtful.has(queue)) return;
    let clearing = this.#doubtful.get(queue);
    if (clearing === undefined) {
      clearing = this.#deps.settler.putBackStrays(queue).then(
        () => void this.#doubtful.delete(queue),
        (error) => {
          this.#doubtful.set(queue, undefined);
          throw error;
        },
      );
      this.#doubtful.set(queue, clearing);
    }
    await clearing;
  }
}
