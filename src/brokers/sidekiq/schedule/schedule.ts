import type { Buffer } from "node:buffer";
import { JobError } from "../../../core/errors.ts";
import { RepeatedWork } from "../../background.ts";
import { isForItsKey } from "../../../redis/errors.ts";
import { hashOf, type RedisShared } from "../shared.ts";
import { dueOfScore, scoreOf } from "../score.ts";
import { PROMOTE, PROMOTE_TO_DEAD, READ_DUE } from "../scripts/scripts.ts";

/** How often to look for jobs that others have scheduled, milliseconds. */
const LOOK_EVERY_MS = 1_000;
/** Due jobs that are read at once. */
const BATCH_JOBS = 100;
const BATCH_BYTES = 8 * 2 ** 20;

/**
 * Moves jobs of the sets `retry` and `schedule` into their queues when they are due.
 *
 * 1. Looks once a second, and at the exact time of the next known due job.
 * 2. Works beside any number of other processes that do the same, ours or Ruby's: a job leaves its set and enters its queue in
 *    one step, for the fastest.
 * 3. Leaves a job whose queue key belongs to another program, reports it, and goes on with the others.
 *
 * A look without due jobs is two commands, each of constant cost.
 */
export class RedisSchedule {
  readonly #shared: RedisShared;
  readonly #promoting: RepeatedWork;
  #nextDueMs = -Infinity;
  /** Why a due job stays. */
  #stuck: unknown;

  constructor(shared: RedisShared) {
    this.#shared = shared;
    this.#promoting = new RepeatedWork(shared, {
      during: "schedule",
      work: () => this.#promote(),
      waitMs: () => this.#waitMs(),
    });
  }

  start(): void {
    if (this.#promoting.start()) this.#promoting.next(LOOK_EVERY_MS);
  }

  /** Whether a due job may still be in its set, as far as is known here. */
  get isDue(): boolean {
    return this.#promoting.isUnderWay || this.#hasDue;
  }

  get #hasDue(): boolean {
    return this.#nextDueMs <= this.#shared.clock.nowMs();
  }

  /** A job was scheduled for this time, epoch milliseconds. */
  expect(dueMs: number): void {
    if (dueMs >= this.#nextDueMs) return;
    this.#nextDueMs = dueMs;
    this.#promoting.next(this.#waitMs());
  }

  /** Moves all jobs that are due now. Never rejects: failures are reported, and repeated within a second. */
  async promote(): Promise<void> {
    const { isUnderWay } = this.#promoting;
    await this.#promoting.run();
    // A running look may have been too early.
    if (isUnderWay && this.#hasDue) await this.#promoting.run();
  }

  /** Stops, and waits for the current look. */
  async close(): Promise<void> {
    await this.#promoting.close();
  }

  #waitMs(): number {
    return Math.min(this.#nextDueMs - this.#shared.clock.nowMs(), LOOK_EVERY_MS);
  }

  async #promote(): Promise<void> {
    this.#stuck = undefined;
    await this.#promoteAll();
    if (this.#stuck !== undefined) throw this.#stuck;
  }

  async #promoteAll(): Promise<void> {
    const { keys, clock } = this.#shared;
    this.#nextDueMs = Infinity;
    try {
      const dueMs = await Promise.all([keys.retry, keys.schedule].map((set) => this.#promoteSet(set)));
      // Another one may have been expected in between.
      this.#nextDueMs = Math.min(this.#nextDueMs, ...dueMs);
    } catch (error) {
      this.#nextDueMs = clock.nowMs() + LOOK_EVERY_MS;
      throw error;
    }
  }

  /** Returns when the next job of the set is due, epoch milliseconds; Infinity without one. */
  async #promoteSet(set: string): Promise<number> {
    const { connection, clock } = this.#shared;
    const [, first] = await connection.send<Buffer[]>(["ZRANGE", set, "0", "0", "WITHSCORES"], [set]);
    const dueMs = first === undefined ? Infinity : dueOfScore(first);
    if (dueMs > clock.nowMs()) return dueMs;
    for (let stuck = 0;;) {
      const nowMs = clock.nowMs();
      const limits = [String(stuck), String(BATCH_JOBS), String(BATCH_BYTES)];
      const [due, next] = await connection.run<[Buffer[], Buffer | null]>(READ_DUE, [set], [
        scoreOf(nowMs),
        ...limits,
      ]);
      if (due.length === 0) return next === null ? Infinity : Math.max(dueOfScore(next), nowMs + 1);
      const isMoved = await Promise.all(due.map((member) => this.#promoteJob(set, member, nowMs)));
      const stays = isMoved.filter((moved) => !moved).length;
      stuck += stays;
      // There may be very many: receives take jobs in between.
      if (this.#promoting.isClosed || stays < due.length && due.length === BATCH_JOBS) return nowMs;
    }
  }

  /** False when the job stays, because its queue key refuses it: the others do not wait for it. */
  async #promoteJob(set: string, member: Buffer, nowMs: number): Promise<boolean> {
    try {
      await this.#moveJob(set, member, nowMs);
      return true;
    } catch (error) {
      if (!isForItsKey(error)) throw error;
      this.#stuck ??= error;
      return false;
    }
  }

  async #moveJob(set: string, member: Buffer, nowMs: number): Promise<void> {
    const { connection, keys, jobs } = this.#shared;
    let placed;
    try {
      placed = jobs.enqueued(member, nowMs);
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
      const letter = jobs.unreadable(member, { id: hashOf(member), queue: undefined, error, nowMs });
      await connection.run(PROMOTE_TO_DEAD, [set, keys.dead], [member, scoreOf(nowMs), letter]);
      return;
    }
    const { raw, queue } = placed;
    await connection.run(PROMOTE, [set, keys.queue(queue), keys.queues], [member, queue, raw]);
  }
}
