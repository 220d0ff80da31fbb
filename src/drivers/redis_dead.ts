import type { Buffer } from "node:buffer";
import type { DeadLetter, DeadLetters } from "../core/driver.ts";
import { JobError } from "../core/errors.ts";
import type { Calls } from "./redis_calls.ts";
import { hashOf, type RedisShared } from "./redis_delivery.ts";
import { PROMOTE } from "./redis_scripts.ts";

/** Members that are read at once. */
const PAGE = 200;

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

  /** @param apply Answers 1 when it has changed the member, 0 when it was not there. */
  #change(ids: readonly string[] | "all", apply: (raw: Buffer) => Promise<number>): Promise<number> {
    return this.#calls.run(async () => {
      const wanted = ids === "all" ? undefined : new Set(ids);
      if (wanted?.size === 0) return 0;
      const members: Buffer[] = [];
      for await (const { raw, letter } of this.#members()) {
        if (wanted === undefined || wanted.has(letter.id)) members.push(raw);
      }
      const changed = await Promise.all(members.map(apply));
      return changed.reduce((sum, count) => sum + count, 0);
    });
  }

  /** All members, the most recent first. */
  async *#members(): AsyncGenerator<Member> {
    const { connection, keys } = this.#shared;
    for (let from = 0;; from += PAGE) {
      const page = await connection.send<Buffer[]>(
        ["ZREVRANGE", keys.dead, String(from), String(from + PAGE - 1), "WITHSCORES"],
        [keys.dead],
      );
      for (let i = 0; i < page.length; i += 2) {
        const raw = page[i]!;
        yield { raw, letter: this.#letter(raw, Math.round(Number(page[i + 1]) * 1_000)) };
      }
      if (page.length < 2 * PAGE) return;
    }
  }

  #letter(raw: Buffer, diedAtMs: number): DeadLetter {
    try {
      const { payload, id, queue, tries, createdAtMs, enqueuedAtMs, error } = this.#shared.jobs.letter(raw);
      return {
        id: id ?? hashOf(raw),
        queue: queue ?? "default",
        payload,
        attempts: tries ?? 1,
        enqueuedAtMs: createdAtMs ?? enqueuedAtMs ?? diedAtMs,
        diedAtMs,
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
        enqueuedAtMs: diedAtMs,
        diedAtMs,
        error: { code, message },
      };
    }
  }
}
