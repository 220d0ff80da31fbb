import type { Clock } from "../../core/time/clock.ts";
import { noPlace } from "../../core/admin.ts";
import type { DeadLetter, DeadLetters } from "../../core/admin.ts";
import { QueueError } from "../../core/errors.ts";
import type { BeanstalkdConnection } from "./connection.ts";
import { isJobId, type JobStats, jobStatsOf, numberIn, putAtMs } from "./mapping.ts";
import { deleteJob, tryPut } from "./put.ts";
import { readList, readStats } from "./reply.ts";

/** This many ids are asked about before the answers are read. */
const IDS_TOGETHER = 1_000;
/** To learn the highest id, a job is put here and deleted at once; nobody watches this tube. */
const PROBE_TUBE = "fervo-worker.probe";
const NOT_KEPT = "beanstalkd stores no errors; see the worker's log";

/**
 * The buried jobs. beanstalkd shows only the first one of a tube. The others are looked up by their ids, from the newest down,
 * until as many are found as the tubes count.
 */
export class BeanstalkdDeadLetters implements DeadLetters {
  readonly #clock: Clock;
  readonly #call: <T>(run: (connection: BeanstalkdConnection) => Promise<T>) => Promise<T>;

  /** @param deps.call Calls a function with the connection that never waits. */
  constructor(
    deps: { clock: Clock; call: <T>(run: (connection: BeanstalkdConnection) => Promise<T>) => Promise<T> },
  ) {
    this.#clock = deps.clock;
    this.#call = deps.call;
  }

  /** By id, because the time of burial is unknown. Slow if very many jobs came after the oldest. */
  async list(o: Parameters<DeadLetters["list"]>[0]): Promise<DeadLetter[]> {
    if (o.after !== undefined && !isJobId(o.after)) throw noPlace(o.after);
    const below = o.after === undefined ? undefined : BigInt(o.after);
    return await this.#call(async (connection) => {
      const letters: DeadLetter[] = [];
      const queues = o.queue === undefined ? await tubesOf(connection) : [o.queue];
      for await (const id of buriedIds(connection, queues, below)) {
        if (letters.length >= o.limit) break;
        const letter = await this.#read(connection, id);
        if (letter !== undefined && (o.matches?.(letter) ?? true)) letters.push(letter);
      }
      return letters;
    });
  }

  get(id: string): Promise<DeadLetter | undefined> {
    return this.#call(async (connection) => isJobId(id) ? await this.#read(connection, id) : undefined);
  }

  find(ids: readonly string[]): Promise<DeadLetter[]> {
    return this.#call(async (connection) => {
      const letters: DeadLetter[] = [];
      for (const id of ids) {
        const letter = isJobId(id) ? await this.#read(connection, id) : undefined;
        if (letter !== undefined) letters.push(letter);
      }
      return letters;
    });
  }

  /** The ready job is a copy with a new id: a job's count of reservations cannot be reset. */
  retry(ids: readonly string[] | "all"): Promise<number> {
    return this.#change(ids, putAgain);
  }

  remove(ids: readonly string[] | "all"): Promise<number> {
    return this.#change(
      ids,
      async (connection, id) =>
        await buriedStats(connection, id) !== undefined && await deleteJob(connection, id),
    );
  }

  async #read(connection: BeanstalkdConnection, id: string): Promise<DeadLetter | undefined> {
    const [stats, found] = await Promise.all([
      buriedStats(connection, id),
      connection.send(`peek ${id}`, ["FOUND", "NOT_FOUND"]),
    ]);
    if (stats === undefined || found.word === "NOT_FOUND") return undefined;
    const enqueuedAtMs = putAtMs(stats, this.#clock.nowMs());
    return {
      id,
      place: id,
      queue: stats.tube,
      payload: found.body!,
      attempts: Math.max(stats.attempts, 0),
      ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
      error: { code: "JOB_FAILED", message: NOT_KEPT },
    };
  }

  #change(
    ids: readonly string[] | "all",
    change: (connection: BeanstalkdConnection, id: string) => Promise<boolean>,
  ): Promise<number> {
    return this.#call(async (connection) => {
      let count = 0;
      const changeOne = async (id: string) => {
        if (await change(connection, id)) count++;
      };
      if (ids !== "all") {
        for (const id of new Set(ids)) if (isJobId(id)) await changeOne(id);
      } else await this.#eachBuried(connection, changeOne);
      return count;
    });
  }

  /** The buried jobs of all tubes, each once, and no more than there are now: a worker may bury them again meanwhile. */
  async #eachBuried(connection: BeanstalkdConnection, use: (id: string) => Promise<void>): Promise<void> {
    for (const tube of await tubesOf(connection)) {
      for (let left = await buriedIn(connection, tube); left > 0; left--) {
        connection.use(tube);
        const first = await connection.send("peek-buried", ["FOUND", "NOT_FOUND"]);
        if (first.word === "NOT_FOUND") break;
        await use(first.args[0]!);
      }
    }
  }
}

/**
 * Makes a buried job ready with no attempt counted: puts a copy, then deletes the job, so that it is never missing. The job is
 * reserved first, so that another admin or worker that wants it at the same time finds nothing. If this process dies in
 * between, the job is ready again, perhaps with its copy.
 *
 * @returns False when it is no longer a dead letter.
 */
async function putAgain(connection: BeanstalkdConnection, id: string): Promise<boolean> {
  const stats = await buriedStats(connection, id);
  if (stats === undefined) return false;
  const reserved = await connection.send(`reserve-job ${id}`, ["RESERVED", "NOT_FOUND"]);
  if (reserved.word === "NOT_FOUND") return false;
  let copy: string;
  try {
    // A reservation of a long job brings no body.
    const body = reserved.body ?? (await connection.send(`peek ${id}`, ["FOUND"])).body!;
    copy = await putCopy(connection, id, stats, body);
  } catch (error) {
    // If the connection is lost, the job is ready again by that.
    await connection.send(`bury ${id} ${stats.pri}`, ["BURIED", "NOT_FOUND"]).catch(() => {});
    throw error;
  }
  // Its time to run ended meanwhile and made it ready: one of the two is enough.
  if (!await deleteJob(connection, id)) await deleteJob(connection, copy);
  return true;
}

/** Returns the copy's id. */
async function putCopy(
  connection: BeanstalkdConnection,
  id: string,
  stats: JobStats,
  body: Uint8Array,
): Promise<string> {
  const { word, id: copy } = await tryPut(connection, { ...stats, delayMs: 0 }, body);
  if (copy !== undefined) return copy;
  throw new QueueError(
    "QUEUE_UNAVAILABLE",
    `Cannot retry job "${id}": beanstalkd answers ${word} to a copy of the job; check its memory and its option -z`,
  );
}

/** Undefined for an unknown job, or one that is not buried. */
async function buriedStats(connection: BeanstalkdConnection, id: string): Promise<JobStats | undefined> {
  const reply = await connection.send(`stats-job ${id}`, ["OK", "NOT_FOUND"]);
  if (reply.word === "NOT_FOUND") return undefined;
  const stats = connection.read(reply, jobStatsOf);
  return stats.state === "buried" ? stats : undefined;
}

/**
 * The buried jobs of these tubes, from the newest down.
 *
 * @param below Only ids below this one. Without a known number of jobs, the search goes down to the first id.
 */
async function* buriedIds(
  connection: BeanstalkdConnection,
  tubes: readonly string[],
  below?: bigint,
): AsyncGenerator<string> {
  let left = 0;
  for (const tube of tubes) left += await buriedIn(connection, tube);
  if (left === 0) return;
  for (let id = await newestId(connection, below); id > 0n && left > 0; id -= BigInt(IDS_TOGETHER)) {
    const length = Number(id < IDS_TOGETHER ? id : IDS_TOGETHER);
    const ids = Array.from({ length }, (_, i) => String(id - BigInt(i)));
    const found = await Promise.all(ids.map((one) => buriedStats(connection, one)));
    for (const [i, stats] of found.entries()) {
      if (stats === undefined || !tubes.includes(stats.tube)) continue;
      left--;
      yield ids[i]!;
    }
  }
}

/** The id of a job that is put, unseen, and deleted; or the highest one below another. */
async function newestId(connection: BeanstalkdConnection, below: bigint | undefined): Promise<bigint> {
  connection.use(PROBE_TUBE);
  const { args } = await connection.send("put 0 3600 1 0", ["INSERTED", "BURIED"], {
    body: new Uint8Array(0),
  });
  await deleteJob(connection, args[0]!);
  const newest = BigInt(args[0]!);
  return below === undefined || below > newest ? newest : below - 1n;
}

async function buriedIn(connection: BeanstalkdConnection, tube: string): Promise<number> {
  return (await tubeStats(connection, tube))?.dead ?? 0;
}

/** The number of a tube's jobs in each state; undefined for an unknown tube. */
export async function tubeStats(connection: BeanstalkdConnection, tube: string) {
  const reply = await connection.send(`stats-tube ${tube}`, ["OK", "NOT_FOUND"]);
  if (reply.word === "NOT_FOUND") return undefined;
  const stats = connection.read(reply, ({ body }) => readStats(body!));
  const count = (state: string) => connection.read(reply, () => numberIn(stats, `current-jobs-${state}`));
  return {
    ready: count("ready"),
    delayed: count("delayed"),
    reserved: count("reserved"),
    dead: count("buried"),
  };
}

/** How long the next job of a tube has been in it, milliseconds; undefined without a ready job. */
export async function ageOfNext(connection: BeanstalkdConnection, tube: string): Promise<number | undefined> {
  connection.use(tube);
  const next = await connection.send("peek-ready", ["FOUND", "NOT_FOUND"]);
  if (next.word === "NOT_FOUND") return undefined;
  const reply = await connection.send(`stats-job ${next.args[0]}`, ["OK", "NOT_FOUND"]);
  if (reply.word === "NOT_FOUND") return undefined;
  return Math.max(connection.read(reply, jobStatsOf).ageMs, 0);
}

export async function tubesOf(connection: BeanstalkdConnection): Promise<string[]> {
  const reply = await connection.send("list-tubes", ["OK"]);
  return connection.read(reply, ({ body }) => readList(body!));
}
