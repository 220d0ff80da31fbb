import type { Buffer } from "node:buffer";
import type { DeadLetter, DeadLetters } from "../core/driver.ts";
import { JobError } from "../core/errors.ts";
import type { Calls } from "./redis_calls.ts";
import { hashOf, type RedisShared } from "./redis_delivery.ts";
import { isForItsKey } from "./redis_errors.ts";
import { timeOfScore } from "./redis_score.ts";
import { PROMOTE, READ_SET } from "./redis_scripts.ts";

/** Members that are read at once. */
const PAGE = 200;
const PAGE_BYTES = 8 * 2 ** 20;

/** A member of the dead set. */
interface Member {
  readonly raw: Buffer;
  readonly letter: DeadLetter;
}

/**
 * The dead set. Sidekiq keeps the youngest 10,000 of 180 days there; the order is that of their scores.
 *
 * A letter's id is the job's own, or the SHA-1 of the bytes of a message that is no job. A letter is found by going through the set.
 */
export class RedisDeadLetters implements DeadLetters {
  readonly #shared: RedisShared;
  readonly #calls: Calls;

  constructor(shared: RedisShared, calls: Calls) {
    this.#shared = shared;
    this.#calls = calls;
  }

  list(o: Parameters<DeadLetters["list"]>[0]): Promise<DeadLetter[]> {
    return this.#calls.run(async () => {
      const letters: DeadLetter[] = [];
      let isBehind = o.afterId === undefined;
      for await (const { letter } of this.#members()) {
        if (letters.length >= o.limit) break;
        const isOfQueue = o.queue === undefined || letter.queue === o.queue;
        if (isBehind && isOfQueue && (o.matches?.(letter) ?? true)) letters.push(letter);
        if (letter.id === o.afterId) isBehind = true;
      }
      return letters;
    });
  }

  get(id: string): Promise<DeadLetter | undefined> {
    return this.#calls.run(async () => {
      for await (const { letter } of this.#members()) if (letter.id === id) return letter;
      return undefined;
    });
  }

  /** What is no job goes back to its queue as it was; where that is not known it stays, as what others have filed. */
  retry(ids: readonly string[] | "all"): Promise<number> {
    return this.#change(ids, async (raw) => {
      const { connection, keys, clock, jobs } = this.#shared;
      try {
        const { raw: revived, queue } = jobs.revived(raw, clock.nowMs());
        const places = [keys.dead, keys.queue(queue), keys.queues];
        return await connection.run<number>(PROMOTE, places, [raw, queue, revived]);
      } catch (error) {
        if (error instanceof JobError) return 0;
        throw error;
      }
    });
  }

  remove(ids: readonly string[] | "all"): Promise<number> {
    const { connection, keys } = this.#shared;
    return this.#change(ids, (raw) => connection.send<number>(["ZREM", keys.dead, raw], [keys.dead]));
  }

  /** @param apply Answers 1 when it has changed the member, 0 when it stays. */
  #change(ids: readonly string[] | "all", apply: (raw: Buffer) => Promise<number>): Promise<number> {
    return this.#calls.run(async () => {
      const wanted = ids === "all" ? undefined : new Set(ids);
      if (wanted?.size === 0) return 0;
      const { connection, keys } = this.#shared;
      // No more than there are now: a worker may bury them again meanwhile.
      let left = await connection.send<number>(["ZCARD", keys.dead], [keys.dead]);
      let changed = 0;
      let failure: unknown;
      const applied = (raw: Buffer) =>
        apply(raw).catch((error) => {
          // The others do not wait for one whose queue's key is another program's.
          if (!isForItsKey(error)) throw error;
          failure ??= error;
          return 0;
        });
      for (let from = 0; left > 0;) {
        const page = await this.#page(from);
        if (page.length === 0) break;
        const isChosen = ({ letter }: Member) => wanted === undefined || wanted.has(letter.id);
        const counts = await Promise.all(page.map((one) => isChosen(one) ? applied(one.raw) : 0));
        const here = counts.reduce((sum, count) => sum + count, 0);
        changed += here;
        // What is changed has left the set.
        from += page.length - here;
        left -= page.length;
      }
      if (failure !== undefined) throw failure;
      return changed;
    });
  }

  /** All members, the most recent first. */
  async *#members(): AsyncGenerator<Member> {
    for (let from = 0;;) {
      const page = await this.#page(from);
      if (page.length === 0) return;
      yield* page;
      from += page.length;
    }
  }

  /** Members from this place on; none at the end. */
  async #page(from: number): Promise<Member[]> {
    const { connection, keys } = this.#shared;
    const part = ["ZREVRANGE", String(from), String(PAGE), String(PAGE_BYTES)];
    const read = await connection.run<Buffer[]>(READ_SET, [keys.dead], part);
    const members: Member[] = [];
    for (let i = 0; i < read.length; i += 2) {
      members.push({ raw: read[i]!, letter: this.#letter(read[i]!, timeOfScore(read[i + 1]!)) });
    }
    return members;
  }

  #letter(raw: Buffer, diedAtMs: number | undefined): DeadLetter {
    const died = diedAtMs !== undefined && { diedAtMs };
    try {
      const { payload, id, queue, tries, createdAtMs, enqueuedAtMs, error } = this.#shared.jobs.letter(raw);
      const pushedAtMs = createdAtMs ?? enqueuedAtMs ?? diedAtMs;
      return {
        id: id ?? hashOf(raw),
        queue: queue ?? "default",
        payload,
        attempts: tries ?? 1,
        ...(pushedAtMs !== undefined && { enqueuedAtMs: pushedAtMs }),
        ...died,
        error: error ?? { code: "JOB_FAILED", message: "No error was recorded" },
      };
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
      const { code, message } = error;
      return {
        id: hashOf(raw),
        queue: "",
        payload: raw,
        attempts: 1,
        ...(diedAtMs !== undefined && { enqueuedAtMs: diedAtMs }),
        ...died,
        error: { code, message },
      };
    }
  }
}
