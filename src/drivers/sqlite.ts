import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Clock } from "../core/clock.ts";
import type { Delivery } from "../core/delivery.ts";
import {
  type Census,
  CENSUS_LIMIT,
  type DeadLetters,
  type Driver,
  type DriverCapabilities,
  type PushOptions,
  type QueueDepth,
  type ReceiveRequest,
  type ScheduleBook,
} from "../core/driver.ts";
import { JobError } from "../core/errors.ts";
import type { Finding } from "../core/finding.ts";
import type { Observer } from "../core/observer.ts";
import { tooLarge } from "../core/payload.ts";
import { SqliteChanges } from "./sqlite_changes.ts";
import { sqliteFacts, sqliteFindings } from "./sqlite_check.ts";
import { SqliteDeadLetters } from "./sqlite_dead.ts";
import { SqliteDelivery, SqliteSettler } from "./sqlite_delivery.ts";
import { leaseName, SqliteHoldings, SqliteLeases } from "./sqlite_leases.ts";
import { openDatabase } from "./sqlite_open.ts";
import { SqlitePauses } from "./sqlite_pauses.ts";
import { SqliteSchedule } from "./sqlite_schedule.ts";
import { read, SqliteWriter } from "./sqlite_writer.ts";

export interface SqliteDriverDeps {
  readonly clock: Clock;
  /** Names this process in the leases it takes, for people who look into the table. */
  readonly owner: string;
  /** What this process holds, where it opens several drivers. */
  readonly holdings?: SqliteHoldings;
  /** Is told what the driver does by itself. */
  readonly observe?: Observer;
}

export interface SqliteDriverOptions {
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

export const DEFAULT_SQLITE_OPTIONS: Omit<SqliteDriverOptions, "path"> = {
  leaseMs: 30_000,
  busyTimeoutMs: 5_000,
  fileMode: 0o600,
  maxPayloadBytes: 64 * 1024 * 1024,
};

export const SQLITE_CAPABILITIES: DriverCapabilities = {
  lease: "timed",
  delay: true,
  priority: true,
  headers: true,
  deadErrors: true,
  schedule: true,
  pauses: "kept",
};

/** While jobs flow, due ones are looked for so often, milliseconds; a waiting receive has an exact timer instead. */
const PROMOTE_EVERY_MS = 10;
/** Up to here, each limit of a claim has a statement of its own. */
const MAX_EXACT_LIMIT = 64;

/**
 * The embedded queue: one SQLite file in WAL mode, shared by any number of workers and producers on one machine.
 *
 * 1. Claims, settles and pushes in transactions that {@link SqliteWriter} shares among all that happens in one turn.
 * 2. Counts an attempt when it hands a job out, so that a job that takes its worker down with it is counted too.
 * 3. Makes delayed jobs, and jobs whose lease has ended, ready again when they are due ({@link SqliteLeases}).
 * 4. Waits for jobs without polling ({@link SqliteChanges}).
 * 5. Leaves queues alone that are paused ({@link SqlitePauses}).
 */
export class SqliteDriver implements Driver {
  readonly capabilities = SQLITE_CAPABILITIES;
  readonly leaseMs: number;
  readonly dead: DeadLetters;
  readonly pauses: SqlitePauses;
  readonly schedule: ScheduleBook;
  readonly #db: DatabaseSync;
  readonly #clock: Clock;
  readonly #options: SqliteDriverOptions;
  readonly #owner: string;
  readonly #writer: SqliteWriter;
  readonly #changes: SqliteChanges;
  readonly #leases: SqliteLeases;
  readonly #makers: { readonly settler: SqliteSettler; readonly leases: SqliteLeases };
  readonly #sql: ReturnType<typeof prepareStatements>;
  readonly #nextReadyByLimit: StatementSync[] = [];
  #closed: Promise<void> | undefined;
  #claims = 0;
  #promotedAtMs = -Infinity;

  private constructor(db: DatabaseSync, deps: SqliteDriverDeps, options: SqliteDriverOptions) {
    this.#db = db;
    this.#clock = deps.clock;
    // Another worker may have the same name, say in another container: a lease is never equal to one of its.
    this.#owner = `${deps.owner}#${crypto.randomUUID().slice(0, 8)}`;
    this.#options = options;
    this.leaseMs = options.leaseMs;
    this.#writer = new SqliteWriter({ db, path: options.path, clock: deps.clock }, options);
    this.#sql = prepareStatements(db);
    // SQLite follows a link and keeps the log beside the file itself.
    const realPath = Deno.realPathSync(options.path);
    this.#changes = new SqliteChanges({
      path: realPath,
      clock: deps.clock,
      readDataVersion: () => this.#sql.dataVersion.get()!["data_version"] as number,
    });
    const shared = {
      db,
      path: options.path,
      clock: deps.clock,
      writer: this.#writer,
      changes: this.#changes,
    };
    const { holdings = new SqliteHoldings(), observe = () => {} } = deps;
    this.#leases = new SqliteLeases(shared, { held: holdings.of(realPath), observe }, options);
    this.#makers = { settler: new SqliteSettler(shared, options.leaseMs), leases: this.#leases };
    this.dead = new SqliteDeadLetters(shared);
    this.pauses = new SqlitePauses(shared);
    this.schedule = new SqliteSchedule(shared, {
      insertJob: (queue, payload, options) => this.#insert(queue, payload, options),
    });
  }

  /**
   * Opens the database; creates or migrates it where needed.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  static open(deps: SqliteDriverDeps, options: SqliteDriverOptions): SqliteDriver {
    return new SqliteDriver(openDatabase(options), deps, options);
  }

  async receive(request: ReceiveRequest): Promise<Delivery[]> {
    this.#leases.start();
    const untilMs = this.#clock.monotonicMs() + request.waitMs;
    while (!request.signal.aborted && this.#closed === undefined) {
      // Under load there is always a settle to share the transaction with, and looking first would cost more.
      const before = this.#writer.hasChanges
        ? undefined
        : await read(this.#options.path, () => this.#look(request.queues));
      if (request.signal.aborted || this.#closed !== undefined) break;
      if (before === undefined || before.hasWork) {
        const deliveries = await this.#writer.write(() => this.#claim(request, before?.isDue ?? false));
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

  depth(queue: string): Promise<QueueDepth> {
    return read(this.#options.path, () => {
      const counts = { ready: 0, delayed: 0, reserved: 0, dead: 0 };
      for (const row of this.#sql.depth.all(queue, queue, queue)) {
        counts[row["state"] as keyof QueueDepth] = row["jobs"] as number;
      }
      return counts;
    });
  }

  census(queues: readonly string[]): Promise<Census> {
    return read(this.#options.path, () => {
      const nowMs = this.#clock.nowMs();
      const count = (statement: StatementSync, ...values: (string | number)[]) =>
        statement.get(...values)!["jobs"] as number;
      return {
        ready: new Map(queues.map((queue) => [queue, count(this.#sql.ready, queue, nowMs, queue)])),
        // A lease is the owner, "#" and a number, and ends within its length: see #claim.
        inFlight: count(this.#sql.inFlight, nowMs + this.leaseMs, `${this.#owner}#`, `${this.#owner}$`),
      };
    });
  }

  queues(): Promise<string[]> {
    return read(this.#options.path, () => this.#sql.queues.all().map((row) => row["queue"] as string));
  }

  findings(): Promise<Finding[]> {
    const { path } = this.#options;
    return read(path, () => {
      const { journal_mode: mode } = this.#db.prepare("PRAGMA journal_mode").get()!;
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
    this.#db.close();
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
    if (payload.length > maxPayloadBytes) throw tooLarge(queue, payload.length, maxPayloadBytes);
    const nowMs = this.#clock.nowMs();
    const delayMs = options.delayMs ?? 0;
    this.#changes.announceOwn();
    const { lastInsertRowid } = this.#sql.insert.run(
      queue,
      payload,
      options.headers === undefined ? null : JSON.stringify(options.headers),
      options.priority ?? 0,
      options.maxAttempts ?? null,
      nowMs,
      nowMs + delayMs,
      delayMs > 0 ? "delayed" : "ready",
    );
    return String(lastInsertRowid);
  }

  /** In a transaction: takes up to `max` jobs, a queue after the other. */
  #claim({ queues, max }: ReceiveRequest, isDue: boolean): SqliteDelivery[] {
    const [nowMs, monotonicMs] = [this.#clock.nowMs(), this.#clock.monotonicMs()];
    if (isDue || monotonicMs - this.#promotedAtMs >= PROMOTE_EVERY_MS) {
      this.#promotedAtMs = monotonicMs;
      this.#leases.promote(nowMs);
    }
    const lease = leaseName(this.#owner, ++this.#claims, this.leaseMs);
    const deliveries: SqliteDelivery[] = [];
    for (const queue of this.pauses.open(queues)) {
      const room = max - deliveries.length;
      if (room === 0) break;
      for (
        const row of this.#nextReady(room).all(this.#options.maxPayloadBytes, queue) as unknown as ReadyRow[]
      ) {
        if (deliveries.length === max) break;
        this.#sql.reserve.run(nowMs + this.leaseMs, lease, row[0]);
        deliveries.push(this.#toDelivery(queue, lease, row));
      }
    }
    return deliveries;
  }

  /**
   * A statement for each limit: with `LIMIT ?` SQLite would compile it anew at every run, ten times its own time. Large
   * limits are rounded up, so that they are not too many: it may find more than it was asked for.
   */
  #nextReady(limit: number): StatementSync {
    const rounded = limit <= MAX_EXACT_LIMIT ? limit : 2 ** Math.ceil(Math.log2(limit));
    return this.#nextReadyByLimit[rounded] ??= prepareNextReady(this.#db, rounded);
  }

  #toDelivery(queue: string, lease: string, row: ReadyRow): SqliteDelivery {
    const [id, payload, bytes, headers, attempts, maxAttempts, createdAtMs, dueAtMs] = row;
    const delivery = new SqliteDelivery(this.#makers, lease, id, queue, payload ?? new Uint8Array(0));
    delivery.attempt = attempts + 1;
    delivery.enqueuedAtMs = createdAtMs;
    delivery.readyAtMs = dueAtMs;
    if (maxAttempts !== null) delivery.maxAttempts = maxAttempts;
    if (payload === null) {
      delivery.problem = tooLarge(queue, bytes, this.#options.maxPayloadBytes);
    } else if (headers !== null) {
      const parsed = parseHeaders(headers);
      if (parsed instanceof JobError) delivery.problem = parsed;
      else delivery.headers = parsed;
    }
    return delivery;
  }
}

/** A job that can be claimed; `payload` is null when it is longer than the limit. */
type ReadyRow = [
  id: number,
  payload: Uint8Array | null,
  bytes: number,
  headers: string | null,
  attempts: number,
  maxAttempts: number | null,
  createdAtMs: number,
  dueAtMs: number,
];

function parseHeaders(text: string): Record<string, string> | JobError {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Said below, together with values that are JSON but not headers.
  }
  const isHeaders = typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((header) => typeof header === "string");
  if (isHeaders) return value as Record<string, string>;
  return new JobError(
    "JOB_MALFORMED",
    "Cannot read the job's headers: they are not a JSON object of strings",
  );
}

/**
 * The next jobs of a queue, as {@link ReadyRow}s. A SELECT and an UPDATE a row take half the time of one
 * `UPDATE … WHERE id IN (SELECT …) RETURNING`, which materialises both the sub-select and its result.
 */
function prepareNextReady(db: DatabaseSync, limit: number): StatementSync {
  // PHP's PDO binds strings as TEXT unless told otherwise: the cast gives their bytes, not their characters.
  const statement = db.prepare(`
    SELECT id, CASE WHEN octet_length(payload) <= ? THEN CAST(payload AS BLOB) END, octet_length(payload),
           CAST(headers AS TEXT), attempts, max_attempts, created_at, due_at
    FROM fervo_jobs WHERE state = 'ready' AND queue = ? ORDER BY priority DESC, id LIMIT ${limit}`);
  // The runtime has it, its type declarations do not yet.
  (statement as StatementSync & { setReturnArrays(enabled: boolean): void }).setReturnArrays(true);
  return statement;
}

function prepareStatements(db: DatabaseSync) {
  const prepare = (sql: string): StatementSync => db.prepare(sql);
  return {
    dataVersion: prepare("PRAGMA data_version"),
    hasReady: prepare("SELECT 1 FROM fervo_jobs WHERE state = 'ready' AND queue = ? LIMIT 1"),
    reserve: prepare(
      "UPDATE fervo_jobs SET state = 'reserved', attempts = attempts + 1, due_at = ?, lease = ? WHERE id = ?",
    ),
    insert: prepare(`
      INSERT INTO fervo_jobs (queue, payload, headers, priority, max_attempts, created_at, due_at, state)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?)`),
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
      SELECT queue FROM fervo_jobs WHERE state = 'ready'
      UNION SELECT queue FROM fervo_jobs WHERE state IN ('delayed', 'reserved')
      UNION SELECT queue FROM fervo_jobs WHERE state = 'dead'
      ORDER BY queue`),
  };
}
