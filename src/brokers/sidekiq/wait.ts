import type { Buffer } from "node:buffer";
import type { RedisConnection } from "../../redis/connection.ts";
import type { RedisSettler } from "./delivery.ts";
import type { RedisShared } from "./shared.ts";
import { PUT_BACK } from "./scripts/scripts.ts";
import type { RedisStrays } from "./strays.ts";

/** Redis ends a wait without a job after this time, seconds: so a dead connection is noticed. */
export const BLOCK_S = 5;

/** A receive that waits for jobs of a queue. */
export interface Waiter {
  /** Offers a job; false without room for it. */
  offer(queue: string, raw: Buffer): boolean;
  /** The broker failed. */
  fail(error: unknown): void;
}

interface QueueWaitDeps {
  readonly shared: RedisShared;
  readonly settler: RedisSettler;
  readonly queue: string;
  /** A waiting command blocks all commands after it, so the wait has its own connection. */
  readonly connection: RedisConnection;
  /** Whether others certainly see this process alive. */
  readonly isFresh: () => boolean;
  readonly beat: () => Promise<void>;
  readonly strays: RedisStrays;
}

/**
 * The wait for a job of one queue, on its own connection.
 *
 * 1. Waits while somebody wants a job, and no longer: no job is taken for nobody.
 * 2. Takes the job into the in-flight list in the same step, so that it is never only in this process's memory.
 * 3. Gives it to the longest waiter with room, or puts it back.
 *
 * It uses `BLMOVE`, which waits on one list: hence one wait for each queue. To end it early, another connection sends `CLIENT
 * UNBLOCK`; a job that comes at that moment is offered like any other.
 */
export class QueueWait {
  readonly #deps: QueueWaitDeps;
  readonly #waiters = new Set<Waiter>();
  /** They want no further wait, but take what comes until the current one has ended. */
  readonly #leaving = new Set<Waiter>();
  #running: Promise<void> | undefined;
  /** While Redis may move a job at any moment. */
  #armed: Promise<void> | undefined;

  constructor(deps: QueueWaitDeps) {
    this.#deps = deps;
  }

  /** Whether Redis may move a job at any moment. */
  get isArmed(): boolean {
    return this.#armed !== undefined;
  }

  join(waiter: Waiter): void {
    this.#waiters.add(waiter);
    this.#running ??= this.#run();
  }

  /** Resolves when no job can come any more for this waiter. */
  async leave(waiter: Waiter): Promise<void> {
    this.#waiters.delete(waiter);
    if (this.#waiters.size > 0) return;
    this.#leaving.add(waiter);
    // A waiter that joins meanwhile continues the same wait.
    while (this.#armed !== undefined && this.#waiters.size === 0) await this.#unblock(this.#armed);
    this.#leaving.delete(waiter);
  }

  close(): void {
    this.#deps.connection.close();
  }

  async #run(): Promise<void> {
    const { connection, queue, isFresh, beat, strays } = this.#deps;
    try {
      while (this.#waiters.size > 0) {
        await strays.clear(queue);
        if (!isFresh()) await beat();
        await connection.open();
        if (this.#waiters.size === 0) break;
        // During a search for strays no job may be on its way.
        if (strays.isUncertain(queue)) continue;
        this.#armed = this.#waitOnce();
        try {
          await this.#armed;
        } finally {
          this.#armed = undefined;
        }
      }
    } catch (error) {
      strays.markUncertain(queue);
      const waiters = [...this.#waiters];
      this.#waiters.clear();
      for (const waiter of waiters) waiter.fail(error);
    } finally {
      // In the step that saw no waiters: a waiter that joins later starts a new wait.
      this.#running = undefined;
    }
  }

  async #waitOnce(): Promise<void> {
    const { connection, shared, settler, queue, isFresh, strays } = this.#deps;
    const places = [shared.keys.queue(queue), settler.inflightKey(queue)];
    const raw = await connection.send<Buffer | null>(
      ["BLMOVE", places[0]!, places[1]!, "RIGHT", "LEFT", String(BLOCK_S)],
      places,
    );
    if (raw === null) return;
    // After a standstill of this machine others may have taken the job back.
    if (!isFresh()) return strays.markUncertain(queue);
    for (const waiter of [...this.#waiters, ...this.#leaving]) {
      if (waiter.offer(queue, raw)) return;
    }
    await shared.connection.run(PUT_BACK, places.toReversed(), [raw]);
  }

  /** Tries to end the current wait. */
  async #unblock(armed: Promise<void>): Promise<void> {
    const { connection, shared } = this.#deps;
    const ended = armed.catch(() => {});
    try {
      const id = String(connection.clientId ?? 0);
      // 0: its command has not reached Redis yet, or has ended.
      if (await shared.connection.send(["CLIENT", "UNBLOCK", id]) === 1) return await ended;
    } catch {
      // Nobody can be asked to end it: it ends with its connection.
      connection.drop();
    }
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 1))]);
  }
}
