import {
  type BrokerAdmin,
  type Census,
  CENSUS_LIMIT,
  type DeadLetters,
  type JobPage,
  type Pauses,
  type QueueDepth,
  type ScheduleBook,
} from "../../core/admin.ts";
import type { Finding } from "../../core/finding.ts";
import { sqliteFacts, sqliteFindings } from "./check.ts";
import { SqliteDeadLetters } from "./dead_letters.ts";
import { SqliteJobs } from "./jobs.ts";
import type { SqliteFile, SqliteStatement, StatementOptions } from "./store/file.ts";
import { SqlitePauses } from "./pauses.ts";
import { type InsertJob, SqliteSchedule } from "./schedule.ts";
import type { SqliteShared } from "./shared.ts";
import { asBytes, textOf, wholeNumber } from "./store/values.ts";
import { read } from "./store/writer.ts";

/** Jobs that are deleted in one transaction. */
const PURGED_TOGETHER = 10_000;

export class SqliteAdmin implements BrokerAdmin {
  readonly dead: DeadLetters;
  readonly pauses: Pauses;
  readonly schedule: ScheduleBook;
  readonly #shared: SqliteShared;
  readonly #options: { readonly path: string; readonly leaseMs: number; readonly owner: string };
  readonly #sql: ReturnType<typeof prepareStatements>;
  readonly #jobs: SqliteJobs;

  /** @param options.owner The owner in leases of this process. */
  constructor(
    shared: SqliteShared,
    deps: { insertJob: InsertJob },
    options: { path: string; leaseMs: number; owner: string },
  ) {
    this.#shared = shared;
    this.#options = options;
    this.#sql = prepareStatements(shared.file);
    this.#jobs = new SqliteJobs(shared.file);
    this.dead = new SqliteDeadLetters(shared);
    this.pauses = new SqlitePauses(shared);
    this.schedule = new SqliteSchedule(shared, deps);
  }

  queues(): Promise<string[]> {
    return read(this.#shared.file, () => this.#sql.queues.all().map(({ queue }) => textOf(queue)));
  }

  depth(queue: string): Promise<QueueDepth> {
    return read(this.#shared.file, () => {
      const counts = { ready: 0, delayed: 0, reserved: 0, dead: 0 };
      for (const row of this.#sql.depth.all(queue, queue, queue)) {
        counts[row["state"] as keyof QueueDepth] = row["jobs"] as number;
      }
      return counts;
    });
  }

  latencyMs(queue: string): Promise<number | undefined> {
    return read(this.#shared.file, () => {
      const sinceMs = wholeNumber(this.#sql.nextReady.get(queue)?.["due_at"]);
      return sinceMs === undefined ? undefined : Math.max(this.#shared.clock.nowMs() - sinceMs, 0);
    });
  }

  census(queues: readonly string[]): Promise<Census> {
    const { leaseMs, owner } = this.#options;
    return read(this.#shared.file, () => {
      const nowMs = this.#shared.clock.nowMs();
      const count = (statement: SqliteStatement, ...values: (string | number)[]) =>
        statement.get(...values)!["jobs"] as number;
      return {
        ready: new Map(queues.map((queue) => [queue, count(this.#sql.ready, queue, nowMs, queue)])),
        // A lease is the owner, "#" and more, and ends within its length: see leaseName().
        inFlight: count(this.#sql.inFlight, nowMs + leaseMs, `${owner}#`, `${owner}$`),
      };
    });
  }

  jobs(...[queue, state, page]: Parameters<NonNullable<BrokerAdmin["jobs"]>>): Promise<JobPage> {
    return read(this.#shared.file, () => this.#jobs.page(queue, state, page));
  }

  /** In parts, so that others write in between. */
  async purge(queue: string): Promise<number> {
    const { file, writer } = this.#shared;
    const latest = await read(
      file,
      () => this.#sql.latestReady.get(queue)?.["id"] as bigint | null | undefined,
    );
    if (latest === undefined || latest === null) return 0;
    let purged = 0;
    for (let part = PURGED_TOGETHER; part === PURGED_TOGETHER;) {
      part = await writer.write(() => Number(this.#sql.purge.run(queue, latest).changes), true);
      purged += part;
    }
    return purged;
  }

  findings(): Promise<Finding[]> {
    const { file } = this.#shared;
    return read(file, () => {
      const { journal_mode: mode } = file.prepare("PRAGMA journal_mode").get()!;
      return sqliteFindings(sqliteFacts(this.#options.path, String(mode)));
    });
  }
}

function prepareStatements(file: SqliteFile) {
  const prepare = (sql: string, options?: StatementOptions) => file.prepare(sql, options);
  return {
    nextReady: prepare(
      "SELECT due_at FROM fervo_jobs WHERE state = 'ready' AND queue = ? ORDER BY priority DESC, id LIMIT 1",
      { bigInts: true },
    ),
    latestReady: prepare("SELECT max(id) AS id FROM fervo_jobs WHERE state = 'ready' AND queue = ?", {
      bigInts: true,
    }),
    purge: prepare(`
      DELETE FROM fervo_jobs WHERE id IN (
        SELECT id FROM fervo_jobs WHERE state = 'ready' AND queue = ? AND id <= ? LIMIT ${PURGED_TOGETHER}
      )`),
    depth: prepare(`
      SELECT 'ready' AS state, count(*) AS jobs FROM fervo_jobs WHERE state = 'ready' AND queue = ?
      UNION ALL
      SELECT state, count(*) FROM fervo_jobs WHERE state IN ('delayed', 'reserved') AND queue = ? GROUP BY state
      UNION ALL
      SELECT 'dead', count(*) FROM fervo_jobs WHERE state = 'dead' AND queue = ?`),
    ready: prepare(`
      SELECT count(*) AS jobs FROM (
        SELECT * FROM (SELECT 1 FROM fervo_jobs WHERE state = 'ready' AND queue = ? LIMIT ${CENSUS_LIMIT})
        UNION ALL
        SELECT * FROM (
          SELECT 1 FROM fervo_jobs WHERE state IN ('delayed', 'reserved') AND due_at <= ? AND queue = ?
          LIMIT ${CENSUS_LIMIT}
        )
        LIMIT ${CENSUS_LIMIT}
      )`),
    // The index on due_at is for both states.
    inFlight: prepare(`
      SELECT count(*) AS jobs FROM fervo_jobs
      WHERE state IN ('delayed', 'reserved') AND due_at <= ? AND state = 'reserved' AND lease >= ? AND lease < ?`),
    queues: prepare(`
      SELECT ${asBytes("queue")} AS queue FROM (
        SELECT queue FROM fervo_jobs WHERE state = 'ready'
        UNION SELECT queue FROM fervo_jobs WHERE state IN ('delayed', 'reserved')
        UNION SELECT queue FROM fervo_jobs WHERE state = 'dead')
      ORDER BY queue`),
  };
}
