import type { Buffer } from "node:buffer";
import type { Census, QueueDepth } from "../../core/admin.ts";
import { JobError } from "../../core/errors.ts";
import type { RedisShared } from "./shared.ts";
import { isForItsKey } from "../../redis/errors.ts";
import { READ_NEXT, READ_SET, TRIM } from "./scripts/scripts.ts";

/** To count the jobs of a queue, at most this many members of a sorted set are read, and this many at once. */
const MAX_COUNTED = 10_000;
const PAGE = 1_000;
/** And at most this many bytes of a set, and this many at once. */
const MAX_BYTES = 64 * 2 ** 20;
const PAGE_BYTES = 8 * 2 ** 20;

/** This many jobs of a queue are deleted in one step. */
const PURGED_TOGETHER = 10_000;

/** A longer job is not read to see how long it has been ready. */
const MAX_NEXT_BYTES = 2 ** 20;

/**
 * Counts jobs, for people and their tools.
 *
 * The jobs of a queue in the sets `schedule`, `retry` and `dead` can only be counted by reading members. At most 10,000 members
 * and 64 MiB of a set are read; the rest of a longer set is assumed to have the same share of the queue.
 */
export class RedisDepth {
  readonly #shared: RedisShared;
  #counting: Promise<readonly ReadonlyMap<string, number>[]> | undefined;

  constructor(shared: RedisShared) {
    this.#shared = shared;
  }

  async of(queue: string): Promise<QueueDepth> {
    // Before the others begin: else nobody would handle their failures.
    const owners = await this.#owners();
    const [ready, sets, reserved] = await Promise.all([
      this.#length(this.#shared.keys.queue(queue)),
      this.#sets(),
      this.#reserved(queue, owners),
    ]);
    const [scheduled, retried, dead] = sets.map((jobs) => jobs.get(queue) ?? 0);
    return { ready, delayed: scheduled! + retried!, reserved, dead: dead! };
  }

  /** In parts, so that Redis serves others in between. The newest jobs, and new ones, are at the left end. */
  async purge(queue: string): Promise<number> {
    const { connection, keys } = this.#shared;
    const list = keys.queue(queue);
    let purged = 0;
    for (let left = await this.#length(list); left > 0;) {
      const part = await connection.run<number>(TRIM, [list], [String(Math.min(left, PURGED_TOGETHER))]);
      if (part === 0) break;
      purged += part;
      left -= part;
    }
    return purged;
  }

  async latencyMs(queue: string): Promise<number | undefined> {
    const { connection, keys, jobs, clock } = this.#shared;
    try {
      const raw = await connection.run<Buffer | null>(READ_NEXT, [keys.queue(queue)], [
        String(MAX_NEXT_BYTES),
      ]);
      const sinceMs = raw === null ? undefined : jobs.letter(raw).enqueuedAtMs;
      return sinceMs === undefined ? undefined : Math.max(clock.nowMs() - sinceMs, 0);
    } catch (error) {
      if (error instanceof JobError || isForItsKey(error)) return undefined;
      throw error;
    }
  }

  async census(queues: readonly string[]): Promise<Census> {
    const { connection, keys, identity } = this.#shared;
    const taken = await connection.send<Buffer[]>(["SMEMBERS", keys.queuesOf(identity)], [
      keys.queuesOf(identity),
    ]);
    const [ready, inFlight] = await Promise.all([
      Promise.all(queues.map(async (queue) => [queue, await this.#length(keys.queue(queue))] as const)),
      Promise.all(taken.map((queue) => this.#length(keys.inflight(identity, String(queue))))),
    ]);
    return { ready: new Map(ready), inFlight: inFlight.reduce((sum, length) => sum + length, 0) };
  }

  /** Names of all queues with jobs, sorted. */
  async queues(): Promise<string[]> {
    const { connection, keys } = this.#shared;
    const names = new Set((await this.#sets()).flatMap((jobs) => [...jobs.keys()]));
    const owners = await this.#owners();
    const known = await connection.send<Buffer[]>(["SMEMBERS", keys.queues], [keys.queues]);
    for (const name of known.map(String)) {
      if (names.has(name)) continue;
      if (await this.#length(keys.queue(name)) + await this.#reserved(name, owners) > 0) names.add(name);
    }
    return [...names].sort();
  }

  /** Processes that may have jobs in flight. */
  async #owners(): Promise<string[]> {
    const { connection, keys } = this.#shared;
    return (await connection.send<Buffer[]>(["SMEMBERS", keys.owners], [keys.owners])).map(String);
  }

  async #reserved(queue: string, owners: readonly string[]): Promise<number> {
    const { keys } = this.#shared;
    const lengths = await Promise.all(owners.map((owner) => this.#length(keys.inflight(owner, queue))));
    return lengths.reduce((sum, length) => sum + length, 0);
  }

  /** The jobs of the three sets by queue. Callers in the same turn share the answer, which is read after it. */
  #sets(): Promise<readonly ReadonlyMap<string, number>[]> {
    return this.#counting ??= Promise.resolve().then(() => {
      this.#counting = undefined;
      const { keys } = this.#shared;
      return Promise.all([keys.schedule, keys.retry, keys.dead].map((set) => this.#jobsByQueue(set)));
    });
  }

  /** 0 for a key that belongs to another program, or is not allowed: the other keys are counted all the same. */
  async #length(list: string): Promise<number> {
    try {
      return await this.#shared.connection.send<number>(["LLEN", list], [list]);
    } catch (error) {
      if (isForItsKey(error)) return 0;
      throw error;
    }
  }

  async #jobsByQueue(set: string): Promise<Map<string, number>> {
    const { connection, jobs } = this.#shared;
    const counts = new Map<string, number>();
    let counted = 0;
    for (let bytes = 0; counted < MAX_COUNTED && bytes < MAX_BYTES;) {
      const part = ["ZRANGE", String(counted), String(PAGE), String(PAGE_BYTES)];
      const members = (await connection.run<Buffer[]>(READ_SET, [set], part)).filter((_, i) => i % 2 === 0);
      if (members.length === 0) return counts;
      for (const member of members) {
        const queue = queueOf(jobs, member);
        if (queue !== undefined) counts.set(queue, (counts.get(queue) ?? 0) + 1);
        bytes += member.length;
      }
      counted += members.length;
    }
    const all = await connection.send<number>(["ZCARD", set], [set]);
    for (const [queue, count] of counts) counts.set(queue, Math.round(count * all / counted));
    return counts;
  }
}

/** Undefined for an unreadable message without a known queue. */
function queueOf(jobs: RedisShared["jobs"], raw: Buffer): string | undefined {
  try {
    return (jobs.letter(raw).queue ?? "default") || undefined;
  } catch (error) {
    if (error instanceof JobError) return undefined;
    throw error;
  }
}
