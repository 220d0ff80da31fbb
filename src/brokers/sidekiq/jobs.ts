import { Buffer } from "node:buffer";
import {
  type JobPage,
  type JobState,
  LISTED_PAYLOAD_BYTES,
  type ListedJob,
  noJobPlace,
} from "../../core/admin.ts";
import { JobError } from "../../core/errors.ts";
import { isScore, timeOfScore } from "./score.ts";
import { READ_SET_FROM, READ_TAIL } from "./scripts/page_scripts.ts";
import { hashOf, type RedisShared } from "./shared.ts";

/** The sets of delayed jobs are for all queues: a page reads no more members and bytes of them than these. */
const SCANNED = 1_000;
const PAGE_BYTES = 8 * 2 ** 20;

interface Filling {
  readonly jobs: ListedJob[];
  readonly limit: number;
  /** As {@link JobPage.next}. */
  next?: string;
}

/**
 * Pages of waiting and running jobs. The place of the next page is
 *
 * - in a queue: the number of jobs before it, from the end at which they are taken;
 * - of delayed jobs: the set, a score, and the number of members with that score before it; first `schedule`, then `retry`;
 * - of running jobs: the number of jobs before it, and the process that has them.
 */
export class RedisJobs {
  readonly #shared: RedisShared;

  constructor(shared: RedisShared) {
    this.#shared = shared;
  }

  async page(
    queue: string,
    state: JobState,
    { limit, after }: { readonly limit: number; readonly after?: string | undefined },
  ): Promise<JobPage> {
    const page: Filling = { jobs: [], limit };
    if (state === "ready") await this.#ready(page, queue, after);
    else if (state === "delayed") await this.#delayed(page, queue, after);
    else await this.#reserved(page, queue, after);
    const { jobs, next } = page;
    return { jobs, ...(next !== undefined && { next }) };
  }

  async #ready(page: Filling, queue: string, after = "0"): Promise<void> {
    const [, from] = partsOf(after, /^(\d{1,15})$/);
    const { jobs, next } = await this.#tail(this.#shared.keys.queue(queue), Number(from), page.limit);
    for (const raw of jobs) {
      const facts = this.#facts(raw);
      page.jobs.push(toJob(raw, facts, facts.enqueuedAtMs));
    }
    if (next !== undefined) page.next = String(next);
  }

  async #reserved(page: Filling, queue: string, after = "0:"): Promise<void> {
    const { connection, keys } = this.#shared;
    const [, from, first] = partsOf(after, /^(\d{1,15}):(\S*)$/);
    const owners = (await connection.send<Buffer[]>(["SMEMBERS", keys.owners], [keys.owners])).map(String);
    for (const owner of owners.filter((owner) => owner >= first!).sort()) {
      const before = owner === first ? Number(from) : 0;
      const room = page.limit - page.jobs.length;
      const { jobs, next } = await this.#tail(keys.inflight(owner, queue), before, room);
      for (const raw of jobs) {
        const { attempts, ...facts } = this.#facts(raw);
        page.jobs.push(toJob(raw, { ...facts, ...(attempts !== undefined && { attempts: attempts + 1 }) }));
      }
      if (next === undefined) continue;
      page.next = `${next}:${owner}`;
      return;
    }
  }

  /** A part of a list, and where it continues, unless that was its end. */
  async #tail(list: string, from: number, limit: number): Promise<{ jobs: Buffer[]; next?: number }> {
    const part = [from, limit, PAGE_BYTES].map(String);
    const jobs = await this.#shared.connection.run<Buffer[]>(READ_TAIL, [list], part);
    const isEnd = jobs.length < limit && bytesOf(jobs) < PAGE_BYTES;
    return isEnd ? { jobs } : { jobs, next: from + jobs.length };
  }

  async #delayed(page: Filling, queue: string, after = "schedule:-inf:0"): Promise<void> {
    const { connection, keys } = this.#shared;
    let [, set, score, before] = partsOf(after, /^(schedule|retry):([^\s:]+):(\d{1,15})$/) as string[];
    if (!isScore(score!)) throw noJobPlace(after);
    for (let left = SCANNED; left > 0;) {
      const part = [score!, before!, String(left), String(PAGE_BYTES)];
      const key = keys[set as "schedule" | "retry"];
      const read = await connection.run<Buffer[]>(READ_SET_FROM, [key], part);
      for (let i = 0; i < read.length && page.jobs.length < page.limit; i += 2) {
        const [raw, at] = [read[i]!, String(read[i + 1])];
        before = String(at === score ? Number(before) + 1 : 1);
        score = at;
        const facts = this.#facts(raw);
        if ((facts.queue ?? "default") === queue) page.jobs.push(toJob(raw, facts, timeOfScore(at)));
      }
      const isFull = page.jobs.length === page.limit || bytesOf(read) >= PAGE_BYTES;
      left -= read.length / 2;
      if (!isFull && left > 0) {
        if (set === "retry") return;
        [set, score, before] = ["retry", "-inf", "0"];
        continue;
      }
      page.next = `${set}:${score}:${before}`;
      return;
    }
  }

  /** The facts of a message; none of an unreadable one. */
  #facts(raw: Buffer): Facts {
    try {
      return this.#shared.jobs.letter(raw);
    } catch (error) {
      if (error instanceof JobError) return { queue: "" };
      throw error;
    }
  }
}

type Facts = Partial<ReturnType<RedisShared["jobs"]["letter"]>>;

function toJob(raw: Buffer, facts: Facts, readyAtMs?: number): ListedJob {
  const enqueuedAtMs = facts.createdAtMs ?? facts.enqueuedAtMs;
  return {
    id: facts.id ?? hashOf(raw),
    payload: Buffer.from(raw.subarray(0, LISTED_PAYLOAD_BYTES)),
    payloadBytes: raw.length,
    ...(facts.attempts !== undefined && { attempts: facts.attempts }),
    ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
    ...(readyAtMs !== undefined && { readyAtMs }),
  };
}

/** @throws {FervoError} for an invalid place */
function partsOf(text: string, form: RegExp): readonly string[] {
  const parts = form.exec(text);
  if (parts === null) throw noJobPlace(text);
  return parts;
}

function bytesOf(read: readonly Buffer[]): number {
  return read.reduce((sum, { length }) => sum + length, 0);
}
