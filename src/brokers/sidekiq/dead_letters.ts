import type { Buffer } from "node:buffer";
import { noPlace } from "../../core/admin.ts";
import type { DeadGroups, DeadLetter, DeadLetters } from "../../core/admin.ts";
import { JobError } from "../../core/errors.ts";
import type { Calls } from "../calls.ts";
import { DeadGrouping, GROUPED_BYTES, GROUPED_LETTERS } from "../dead_grouping.ts";
import { hashOf, type RedisShared } from "./shared.ts";
import { isForItsKey } from "../../redis/errors.ts";
import { isScore, timeOfScore } from "./score.ts";
import { PROMOTE, READ_SET_BEHIND } from "./scripts/scripts.ts";

/** Members that are read at once. */
const PAGE = 200;
const PAGE_BYTES = 8 * 2 ** 20;

/** A member of the dead set. */
interface Member {
  /** As Redis writes it. */
  readonly score: string;
  readonly raw: Buffer;
  readonly letter: DeadLetter;
}

/**
 * The dead set, ordered by score. Sidekiq keeps the youngest 10,000 letters of 180 days there.
 *
 * A letter's id is the job's own, or the SHA-1 of the bytes of an unreadable message. To find a letter, the set is read.
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
      for await (const { letter } of o.after === undefined ? this.#members() : this.#behind(o.after)) {
        if (letters.length >= o.limit) break;
        const isOfQueue = o.queue === undefined || letter.queue === o.queue;
        if (isOfQueue && (o.matches?.(letter) ?? true)) letters.push(letter);
      }
      return letters;
    });
  }

  groups({ queue }: Parameters<NonNullable<DeadLetters["groups"]>>[0]): Promise<DeadGroups> {
    return this.#calls.run(async () => {
      const grouping = new DeadGrouping();
      let [letters, bytes] = [0, 0];
      for await (const { letter, raw } of this.#members()) {
        if (++letters > GROUPED_LETTERS || bytes > GROUPED_BYTES) return grouping.result(false);
        bytes += raw.length;
        if (queue === undefined || letter.queue === queue) grouping.add(letter);
      }
      return grouping.result(true);
    });
  }

  get(id: string): Promise<DeadLetter | undefined> {
    return this.#calls.run(async () => {
      for await (const { letter } of this.#members()) if (letter.id === id) return letter;
      return undefined;
    });
  }

  find(ids: readonly string[]): Promise<DeadLetter[]> {
    const wanted = new Set(ids);
    return this.#calls.run(async () => {
      const letters: DeadLetter[] = [];
      for await (const { letter } of this.#members()) if (wanted.has(letter.id)) letters.push(letter);
      return letters;
    });
  }

  /** An unreadable message goes back to its queue unchanged; without a known queue it stays, as a foreign entry. */
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
          // The others do not wait for a letter whose queue key belongs to another program.
          if (!isForItsKey(error)) throw error;
          failure ??= error;
          return 0;
        });
      let last: Member | undefined;
      while (left > 0) {
        const page = await this.#page(last && ["behind", last]);
        if (page.length === 0) break;
        const isChosen = ({ letter }: Member) => wanted === undefined || wanted.has(letter.id);
        const counts = await Promise.all(page.map((one) => isChosen(one) ? applied(one.raw) : 0));
        changed += counts.reduce((sum, count) => sum + count, 0);
        last = page.at(-1)!;
        left -= page.length;
      }
      if (failure !== undefined) throw failure;
      return changed;
    });
  }

  /** All members, the most recent first; or from the first with that score. */
  async *#members(score?: string): AsyncGenerator<Member> {
    let page = await this.#page(score === undefined ? undefined : ["at", { score }]);
    while (page.length > 0) {
      yield* page;
      page = await this.#page(["behind", page.at(-1)!]);
    }
  }

  /** The members after a place. If the member of the place is gone, all members with its score are returned. */
  async *#behind(place: string): AsyncGenerator<Member> {
    const [, score] = /^([^\s:]+):[0-9a-f]{40}$/.exec(place) ?? [];
    if (score === undefined || !isScore(score)) throw noPlace(place);
    let before: Member[] | undefined = [];
    for await (const member of this.#members(score)) {
      if (before !== undefined && member.score === score) {
        if (member.letter.place === place) before = undefined;
        else before.push(member);
        continue;
      }
      if (before !== undefined) yield* before;
      before = undefined;
      yield member;
    }
    if (before !== undefined) yield* before;
  }

  /** Members from a place: the first of a score, or the one after a member; none at the end. */
  async #page(
    from?: ["at", { score: string }] | ["behind", Pick<Member, "score" | "raw">],
  ): Promise<Member[]> {
    const { connection, keys } = this.#shared;
    const [how, place] = from ?? ["at", { score: "" }];
    const part = [String(PAGE), String(PAGE_BYTES), place.score, how, "raw" in place ? place.raw : ""];
    const read = await connection.run<Buffer[]>(READ_SET_BEHIND, [keys.dead], part);
    const members: Member[] = [];
    for (let i = 0; i < read.length; i += 2) {
      const [raw, score] = [read[i]!, read[i + 1]!.toString()];
      members.push({ raw, score, letter: this.#letter(raw, score) });
    }
    return members;
  }

  #letter(raw: Buffer, score: string): DeadLetter {
    const hash = hashOf(raw);
    const diedAtMs = timeOfScore(score);
    const common = { place: `${score}:${hash}`, ...(diedAtMs !== undefined && { diedAtMs }) };
    try {
      const { payload, id, queue, attempts, createdAtMs, enqueuedAtMs, error } = this.#shared.jobs.letter(
        raw,
      );
      const pushedAtMs = createdAtMs ?? enqueuedAtMs ?? diedAtMs;
      return {
        ...common,
        id: id ?? hash,
        queue: queue ?? "default",
        payload,
        attempts: attempts ?? 1,
        ...(pushedAtMs !== undefined && { enqueuedAtMs: pushedAtMs }),
        error: error ?? { code: "JOB_FAILED", message: "No error was recorded" },
      };
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
      const { code, message } = error;
      return {
        ...common,
        id: hash,
        queue: "",
        payload: raw,
        attempts: 1,
        ...(diedAtMs !== undefined && { enqueuedAtMs: diedAtMs }),
        error: { code, message },
      };
    }
  }
}
