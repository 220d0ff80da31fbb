import {
  type BrokerAdmin,
  type Census,
  CENSUS_LIMIT,
  type DeadLetters,
  type JobPage,
  type JobState,
  LISTED_PAYLOAD_BYTES,
  type ListedJob,
  noJobPlace,
  type Pauses,
  type QueueDepth,
  type ScheduleBook,
} from "../../../core/admin.ts";
import type { Finding } from "../../../core/finding.ts";
import type { SqlRow } from "../../../sql/driver.ts";
import { checkDatabase } from "../check/check.ts";
import type { CheckedLayout } from "../check/subject.ts";
import type { Layout } from "../layout.ts";
import type { RowsShared } from "../shared.ts";
import { FervoDeadLetters } from "./dead_letters.ts";
import type { JobTable } from "./job_table.ts";
import { FervoPauses } from "./pauses.ts";
import { FervoSchedule } from "./schedule.ts";
import { queuesIn } from "./queues.ts";
import type { FervoTables } from "./tables.ts";
import { bytesOf } from "../row_values.ts";

/** Jobs of a state are counted up to this number. */
export const COUNTED = 100_000;
/** Jobs that are deleted in one transaction. */
const PURGED_TOGETHER = 10_000;

interface AdminDeps {
  readonly layout: Layout;
  readonly tables: FervoTables;
  readonly table: JobTable;
  /** What `check` looks for. */
  readonly checked: CheckedLayout;
}

/** Questions of people and their tools, each by an index, and with counts that have an end. */
export class FervoAdmin implements BrokerAdmin {
  readonly dead: DeadLetters;
  readonly pauses: Pauses;
  readonly schedule: ScheduleBook;
  readonly #shared: RowsShared;
  readonly #jobs: string;
  readonly #owner: string;
  readonly #checked: CheckedLayout;

  constructor(shared: RowsShared, deps: AdminDeps) {
    this.#shared = shared;
    this.#jobs = deps.tables.jobs.quoted;
    this.#owner = deps.table.owner;
    this.#checked = deps.checked;
    this.dead = new FervoDeadLetters(shared, deps.table);
    this.pauses = new FervoPauses(shared, deps.tables);
    this.schedule = new FervoSchedule(shared, deps);
  }

  async queues(): Promise<string[]> {
    const found = await Promise.all(
      ["ready", "delayed", "reserved", "dead"].map((state) => queuesIn(this.#shared.side, this.#jobs, state)),
    );
    return [...new Set(found.flat())].sort();
  }

  async depth(queue: string): Promise<QueueDepth> {
    const states = ["ready", "delayed", "reserved", "dead"] as const;
    const counted = states.map((state) => `
      SELECT '${state}' AS state, count(*) AS jobs FROM (
        SELECT 1 AS one FROM ${this.#jobs} WHERE state = '${state}' AND queue = ? LIMIT ${COUNTED}) AS counted`);
    const { rows } = await this.#shared.side.run(counted.join(" UNION ALL "), states.map(() => queue));
    return Object.fromEntries(
      rows.map((row) => [row["state"], Number(row["jobs"])]),
    ) as unknown as QueueDepth;
  }

  async latencyMs(queue: string): Promise<number | undefined> {
    const { side } = this.#shared;
    const { rows } = await side.run(
      `SELECT ${side.dialect.nowMs} AS now_ms, due_at FROM ${this.#jobs}
       WHERE state = 'ready' AND queue = ? ORDER BY priority DESC, id LIMIT 1`,
      [queue],
    );
    return rows[0] && Math.max(Number(rows[0]["now_ms"]) - Number(rows[0]["due_at"]), 0);
  }

  async census(queues: readonly string[]): Promise<Census> {
    const { side } = this.#shared;
    const ready = queues.map(() => `
      SELECT ? AS queue, count(*) AS jobs FROM (
        SELECT * FROM (SELECT 1 AS one FROM ${this.#jobs} WHERE state = 'ready' AND queue = ? LIMIT ${CENSUS_LIMIT}) AS ready
        UNION ALL
        SELECT * FROM (${this.#due("delayed")}) AS due
        UNION ALL
        SELECT * FROM (${this.#due("reserved")}) AS ended
        LIMIT ${CENSUS_LIMIT}) AS counted`);
    const [counts, inFlight] = await Promise.all([
      queues.length === 0
        ? undefined
        : side.run(ready.join(" UNION ALL "), queues.flatMap((queue, i) => [i, queue, queue, queue])),
      // The index has the reserved jobs together: as many as all workers have slots.
      side.run(`SELECT count(*) AS jobs FROM ${this.#jobs} WHERE state = 'reserved' AND lease = ?`, [
        this.#owner,
      ]),
    ]);
    return {
      ready: new Map(counts?.rows.map((row) => [queues[Number(row["queue"])]!, Number(row["jobs"])])),
      inFlight: Number(inFlight.rows[0]!["jobs"]),
    };
  }

  async jobs(...[queue, state, page]: Parameters<NonNullable<BrokerAdmin["jobs"]>>): Promise<JobPage> {
    const { side } = this.#shared;
    const key = state === "ready" ? "priority" : "due_at";
    const place = page.after === undefined ? undefined : placeOf(page.after);
    const [after, order] = state === "ready"
      ? ["(priority < ? OR priority = ? AND id > ?)", "priority DESC, id"]
      : ["(due_at > ? OR due_at = ? AND id > ?)", "due_at, id"];
    const { rows } = await side.run(
      `SELECT id, COALESCE(${key}, 0) AS place, due_at, created_at, attempts,
         ${
        side.dialect.name === "postgres" ? "substring(payload FROM 1 FOR" : "substr(payload, 1,"
      } ${LISTED_PAYLOAD_BYTES}) AS payload,
         ${side.dialect.byteLength("payload")} AS bytes
       FROM ${this.#jobs} WHERE state = '${state}' AND queue = ?${place ? ` AND ${after}` : ""}
       ORDER BY ${order} LIMIT ${page.limit}`,
      place === undefined ? [queue] : [queue, place.key, place.key, place.id],
    );
    const last = rows.length < page.limit ? undefined : rows.at(-1);
    const jobs = rows.map((row) => toJob(row, state));
    return last === undefined ? { jobs } : { jobs, next: `${last["place"]}:${last["id"]}` };
  }

  /** In parts, so that others write in between. */
  async purge(queue: string): Promise<number> {
    const { side } = this.#shared;
    const ready = `FROM ${this.#jobs} WHERE state = 'ready' AND queue = ?`;
    const latest = (await side.run(`SELECT max(id) AS id ${ready}`, [queue])).rows[0]?.["id"] ?? null;
    if (latest === null) return 0;
    let purged = 0;
    for (let part = PURGED_TOGETHER; part === PURGED_TOGETHER;) {
      part = await side.transaction(async (session) => {
        const { rows } = await session.run(
          `SELECT id ${ready} AND id <= ? LIMIT ${PURGED_TOGETHER}${
            side.dialect.name === "sqlite" ? "" : " FOR UPDATE"
          }`,
          [queue, latest],
        );
        if (rows.length === 0) return 0;
        const { sql, values } = side.dialect.isOneOf("id", rows.map((row) => String(row["id"])));
        return (await session.run(`DELETE FROM ${this.#jobs} WHERE ${sql}`, values)).changes;
      });
      purged += part;
    }
    return purged;
  }

  findings(): Promise<Finding[]> {
    const { side: database, clock } = this.#shared;
    return checkDatabase({ database, clock }, this.#checked);
  }

  #due(state: "delayed" | "reserved"): string {
    return `SELECT 1 AS one FROM ${this.#jobs} WHERE state = '${state}' AND queue = ?
      AND due_at <= ${this.#shared.side.dialect.nowMs} LIMIT ${CENSUS_LIMIT}`;
  }
}

function placeOf(text: string): { key: bigint; id: bigint } {
  const [, key, id] = /^(-?\d{1,19}):(-?\d{1,19})$/.exec(text) ?? [];
  if (key === undefined || id === undefined) throw noJobPlace(text);
  return { key: BigInt(key), id: BigInt(id) };
}

function toJob(row: SqlRow, state: JobState): ListedJob {
  return {
    id: String(row["id"]),
    payload: bytesOf(row["payload"]) ?? new Uint8Array(0),
    payloadBytes: Number(row["bytes"]),
    attempts: Number(row["attempts"]),
    enqueuedAtMs: Number(row["created_at"]),
    ...(state !== "reserved" && { readyAtMs: Number(row["due_at"]) }),
  };
}
