import type { Clock } from "../../core/time/clock.ts";
import type { Delivery } from "../../core/delivery.ts";
import {
  type Census,
  CENSUS_LIMIT,
  type DeadLetters,
  type QueueDepth,
  type ScheduleBook,
} from "../../core/admin.ts";
import { type Broker, type Capabilities, type ReceiveRequest } from "../../core/broker.ts";
import { type PushOptions } from "../../core/format.ts";
import type { Finding } from "../../core/finding.ts";
import type { PlainFormat } from "../../core/format.ts";
import type { Observer } from "../../core/observer.ts";
import { QueueError } from "../../core/errors.ts";
import { tooLarge } from "../../core/text/payload.ts";
import { written } from "../../formats/written.ts";
import { SqliteChanges } from "./changes.ts";
import { SqliteClaims } from "./claims.ts";
import { sqliteFacts, sqliteFindings } from "./check.ts";
import { SqliteDeadLetters } from "./dead_letters.ts";
import { SqliteSettler } from "./delivery.ts";
import { SqliteFile, type SqliteStatement, type StatementOptions } from "./file.ts";
import { SqliteHoldings, SqliteLeases } from "./leases.ts";
import { SqlitePauses } from "./pauses.ts";
import { SqliteSchedule } from "./schedule.ts";
import { asBytes, textOf, wholeNumber } from "./values.ts";
import { isSqliteError, read, SQLITE_FULL, SqliteWriter } from "./writer.ts";

export interface SqliteBrokerDeps {
  readonly clock: Clock;
  /** Names this process in the leases it takes, for people who look into the table. */
  readonly owner: string;
  readonly format: PlainFormat;
  /** What this process holds, where it opens several drivers. */
  readonly holdings?: SqliteHoldings;
  /** Is told what the broker does by itself. */
  readonly observe?: Observer;
}

export interface SqliteBrokerOptions {
  /** The database file, absolute. Its folder must exist; `-wal` and `-shm` files appear beside it. */
  readonly path: string;
  /** How long a job stays ours unless renewed, and so how long after a crash it runs again; milliseconds. */
  readonly leaseMs: number;
  /** How long to wait for other processes' locks, milliseconds. */
  readonly busyTimeoutMs: number;
  /** Permissions of a database file that is created. */
  readonly fileMode: number;
  /** A longer payload is refused at push and buried at receive. */
  readonly maxPayloadBytes: number;
}

export const DEFAULT_SQLITE_OPTIONS: Omit<SqliteBrokerOptions, "path"> = {
  leaseMs: 30_000,
  busyTimeoutMs: 5_000,
  fileMode: 0o600,
  maxPayloadBytes: 64 * 1024 * 1024,
};

export const SQLITE_CAPABILITIES: Capabilities = {
  lease: "timed",
  delay: true,
  priority: true,
  headers: true,
  deadErrors: true,
  schedule: true,
  pauses: "kept",
  repeats: true,
};

/**
 * The embedded queue: one SQLite file in WAL mode, shared by any number of workers and producers on one machine.
 *
 * 1. Claims, settles and pushes in transactions that {@link SqliteWriter} shares among all that happens in one turn.
 * 2. Counts an attempt when it hands a job out, so that a job that takes its worker down with it is counted too.
 * 3. Makes delayed jobs, and jobs whose lease has ended, ready again when they are due ({@link SqliteLeases}).
 * 4. Waits for jobs without polling ({@link SqliteChanges}).
 * 5. Leaves queues alone that are paused ({@link SqlitePauses}).
 */
export class SqliteBroker implements Broker {
  readonly capabilities = SQLITE_CAPABILITIES;
  readonly format: PlainFormat;
  readonly dead: DeadLetters;
  readonly pauses: SqlitePauses;
  readonly schedule: ScheduleBook;
  readonly #file: SqliteFile;
  readonly #clock: Clock;
  readonly #options: SqliteBrokerOptions;
  readonly #owner: string;
  readonly #writer: SqliteWriter;
  readonly #changes: SqliteChanges;
  readonly #leases: SqliteLeases;
  readonly #claims: SqliteClaims;
  readonly #sql: ReturnType<typeof prepareStatements>;
  #closed: Promise<void> | undefined;

  private constructor(file: SqliteFile, deps: SqliteBrokerDeps, options: SqliteBrokerOptions) {
    this.#file = file;
    this.#clock = deps.clock;
    this.#options = options;
    // Another worker may have the same name, say in another container: a lease is never equal to one of its.
    this.#owner = `${deps.owner}#${crypto.randomUUID().slice(0, 8)}`;
    this.format = deps.format;
    this.#writer = new SqliteWriter({ db: file, path: options.path, clock: deps.clock }, options);
    this.#sql = prepareStatements(file);
    this.#changes = new SqliteChanges({
      path: file.realPath,
      clock: deps.clock,
      readDataVersion: () => this.#sql.dataVersion.get()!["data_version"] as number,
    });
    const shared = {
      file,
      clock: deps.clock,
      writer: this.#writer,
      changes: this.#changes,
    };
    const { holdings = new SqliteHoldings(), observe = () => {} } = deps;
    this.#leases = new SqliteLeases(shared, { held: holdings.of(file.realPath), observe }, options);
    this.dead = new SqliteDeadLetters(shared);
    this.pauses = new SqlitePauses(shared);
    const settler = new SqliteSettler(shared, options.leaseMs);
    this.#claims = new SqliteClaims(shared, { settler, leases: this.#leases, pauses: this.pauses }, {
      ...options,
      owner: this.#owner,
      format: deps.format,
    });
    this.schedule = new SqliteSchedule(shared, {
      insertJob: (queue, payload, options) => this.#insert(queue, payload, options),
    });
    // Whoever waits is told why there is nothing to wait for.
    file.whenLost(() => this.#changes.announceOwn());
    file.whenReplaced(() => {
      this.#writer.begin();
      this.#changes.moveTo(file.realPath);
      this.#leases.begin();
    });
  }

  /**
   * Opens the database; creates or migrates it where needed.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  static open(deps: SqliteBrokerDeps, options: SqliteBrokerOptions): SqliteBroker {
    return new SqliteBroker(new SqliteFile(deps.clock, options), deps, options);
  }

  async receive(request: ReceiveRequest): Promise<Delivery[]> {
    this.#leases.start();
    const untilMs = this.#clock.monotonicMs() + request.waitMs;
    while (!request.signal.aborted && this.#closed === undefined) {
      // Under load there is always a settle to share the transaction with, and looking first would cost more.
      const before = this.#writer.hasChanges
        ? undefined
        : await read(this.#file, () => this.#look(request.queues));
      if (request.signal.aborted || this.#closed !== undefined) break;
      if (before === undefined || before.hasWork) {
        const deliveries = await this.#writer.write(() =>
          this.#claims.claim(request, before?.isDue ?? false)
        );
        for (const delivery of deliveries) this.#leases.hold(delivery);
        if (deliveries.length > 0) return deliveries;
      }
      const leftMs = untilMs - this.#clock.monotonicMs();
      if (leftMs <= 0) break;
      if (before !== undefined) {
        const untilDueMs = before.nextDueMs === undefined ? Infinity : before.nextDueMs - this.#clock.nowMs();
        await this.#changes.wait(before.mark, Math.min(leftMs, Math.max(untilDueMs, 1)), request.signal);
      }
    }
    return [];
  }

  async push(queue: string, payload: Uint8Array, options: PushOptions = {}): Promise<string> {
    return await this.#writer.write(() => this.#insert(queue, payload, options), true);
  }

  latencyMs(queue: string): Promise<number | undefined> {
    return read(this.#file, () => {
      const sinceMs = wholeNumber(this.#sql.nextReady.get(queue)?.["due_at"]);
      return sinceMs === undefined ? undefined : Math.max(this.#clock.nowMs() - sinceMs, 0);
    });
  }

  depth(queue: string): Promise<QueueDepth> {
    return read(this.#file, () => {
      const counts = { ready: 0, delayed: 0, reserved: 0, dead: 0 };
      for (const row of this.#sql.depth.all(queue, queue, queue)) {
        counts[row["state"] as keyof QueueDepth] = row["jobs"] as number;
      }
      return counts;
    });
  }

  census(queues: readonly string[]): Promise<Census> {
    return read(this.#file, () => {
      const nowMs = this.#clock.nowMs();
      const count = (statement: SqliteStatement, ...values: (string | number)[]) =>
        statement.get(...values)!["jobs"] as number;
      return {
        ready: new Map(queues.map((queue) => [queue, count(this.#sql.ready, queue, nowMs, queue)])),
        // A lease is the owner, "#" and more, and ends within its length: see leaseName().
        inFlight: count(
          this.#sql.inFlight,
          nowMs + this.#options.leaseMs,
          `${this.#owner}#`,
          `${this.#owner}$`,
        ),
      };
    });
  }

  queues(): Promise<string[]> {
    return read(this.#file, () => this.#sql.queues.all().map(({ queue }) => textOf(queue)));
  }

  findings(): Promise<Finding[]> {
    const { path } = this.#options;
    return read(this.#file, () => {
      const { journal_mode: mode } = this.#file.prepare("PRAGMA journal_mode").get()!;
      return sqliteFindings(sqliteFacts(path, String(mode)));
    });
  }

  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    // Ends the waits.
    this.#changes.announceOwn();
    await this.#leases.close();
    await this.#writer.drain();
    this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What a waiting receive has to know, read before it waits. */
  #look(queues: readonly string[]) {
    const mark = this.#changes.mark();
    const nextDueMs = this.#leases.nextDueMs();
    const isDue = nextDueMs !== undefined && nextDueMs <= this.#clock.nowMs();
    const open = this.pauses.openNow(queues);
    const hasWork = isDue || open.some((queue) => this.#sql.hasReady.get(queue) !== undefined);
    return { mark, nextDueMs, isDue, hasWork };
  }

  /** In a transaction: adds a job. */
  #insert(queue: string, payload: Uint8Array, options: PushOptions): string {
    const { maxPayloadBytes } = this.#options;
    const nowMs = this.#clock.nowMs();
    const { message: { body, headers }, maxAttempts } = written(this.format, payload, options, nowMs);
    if (body.length > maxPayloadBytes) throw tooLarge(queue, body.length, maxPayloadBytes);
    const delayMs = options.delayMs ?? 0;
    this.#changes.announceOwn();
    const values = [
      queue,
      body,
      isEmpty(headers) ? null : JSON.stringify(headers),
      options.priority ?? 0,
      maxAttempts ?? null,
      nowMs,
      nowMs + delayMs,
      delayMs > 0 ? "delayed" : "ready",
    ];
    try {
      return String(this.#sql.insert.run(...values).lastInsertRowid);
    } catch (error) {
      // SQLite says the same when it has no id left.
      if (isSqliteError(error, SQLITE_FULL) && this.#sql.lastId.get()?.["is_highest"] === 1) {
        throw idsUsedUp(this.#options.path);
      }
      throw error;
    }
  }
}

function isEmpty(headers: Readonly<Record<string, string>>): boolean {
  for (const _ in headers) return false;
  return true;
}

/** An id is never given twice, so there is none after the highest, which only a producer can have given. */
function idsUsedUp(path: string): QueueError {
  return new QueueError(
    "QUEUE_UNAVAILABLE",
    `Cannot push into the queue "${path}": a job was inserted with the id 9223372036854775807, the highest there is, and ` +
      'none is left for later jobs. When that job is gone: sqlite3 FILE "UPDATE sqlite_sequence SET seq = ' +
      "(SELECT coalesce(max(id), 0) FROM fervo_jobs) WHERE name = 'fervo_jobs'\"; let producers give no ids of their own",
  );
}

function prepareStatements(file: SqliteFile) {
  const prepare = (sql: string, options?: StatementOptions) => file.prepare(sql, options);
  const insert = `
    INSERT INTO fervo_jobs (queue, payload, headers, priority, max_attempts, created_at, due_at, state)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;
  return {
    // Ids go on above the highest that any producer has given.
    insert: prepare(insert, { bigInts: true }),
    lastId: prepare(
      "SELECT seq = 9223372036854775807 AS is_highest FROM sqlite_sequence WHERE name = 'fervo_jobs'",
    ),
    dataVersion: prepare("PRAGMA data_version"),
    nextReady: prepare(
      "SELECT due_at FROM fervo_jobs WHERE state = 'ready' AND queue = ? ORDER BY priority DESC, id LIMIT 1",
      { bigInts: true },
    ),
    hasReady: prepare("SELECT 1 FROM fervo_jobs WHERE state = 'ready' AND queue = ? LIMIT 1"),
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
