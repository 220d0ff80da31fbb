import type { Clock } from "../../core/time/clock.ts";
import type { Broker, Capabilities, Subscription } from "../../core/broker.ts";
import { type PushOptions } from "../../core/format.ts";
import type { PlainFormat } from "../../core/format.ts";
import type { Observer } from "../../core/observer.ts";
import { QueueError } from "../../core/errors.ts";
import { tooLarge } from "../../core/text/payload.ts";
import { written } from "../../formats/written.ts";
import { HUNDRED_YEARS, refuseDelay } from "../delays.ts";
import { refuseUnique } from "../unique_keys.ts";
import { headersColumn } from "../job_columns.ts";
import { pullSubscription } from "../pull_subscription.ts";
import { SqliteAdmin } from "./admin.ts";
import { SqliteChanges } from "./store/changes.ts";

import { SqliteSettler } from "./delivery.ts";
import { SqliteFile, type StatementOptions } from "./store/file.ts";
import { SqliteHoldings, SqliteLeases } from "./leases.ts";
import type { SqliteShared } from "./shared.ts";
import { SqliteClaims } from "./claims.ts";
import { isSqliteError, SQLITE_FULL, SqliteWriter } from "./store/writer.ts";

export interface SqliteBrokerDeps {
  readonly clock: Clock;
  /** Names this process in its leases, for people who read the table. */
  readonly owner: string;
  readonly format: PlainFormat;
  /** The leases of this process, if several brokers open the file. */
  readonly holdings?: SqliteHoldings;
  /** Gets the events of the broker's own work. */
  readonly observe?: Observer;
}

export interface SqliteBrokerOptions {
  /** The database file, absolute. Its folder must exist; `-wal` and `-shm` files appear beside it. */
  readonly path: string;
  /** The length of a lease, and so the time after a crash until the job runs again; milliseconds. */
  readonly leaseMs: number;
  /** How long to wait for other processes' locks, milliseconds. */
  readonly busyTimeoutMs: number;
  /** Permissions of a new database file. */
  readonly fileMode: number;
  /** A longer payload is refused at push, and buried at receive. */
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
  redeliveries: "flagged",
  attempts: true,
  repeats: true,
  release: "uncounted",
  delayedRelease: "uncounted",
  releasePlace: "front",
  replace: "one-step",
  fence: "token",
  orders: ["strict", "weighted"],
  pushDelay: HUNDRED_YEARS,
  retryDelay: HUNDRED_YEARS,
  priority: true,
  headers: true,
  unique: false,
  counts: "exact",
  jobs: true,
  dead: "errors",
  pauses: "kept",
  pauseReasons: true,
  purge: true,
  schedule: true,
};

/**
 * The embedded queue: one SQLite file in WAL mode, for any number of workers and producers on one machine.
 *
 * 1. Claims, settles and pushes in transactions that {@link SqliteWriter} shares among all changes of one turn.
 * 2. Counts an attempt when it hands a job out, so that a job that kills its worker is counted, too.
 * 3. Makes delayed jobs, and jobs whose lease has ended, ready again when they are due ({@link SqliteLeases}).
 * 4. Waits for jobs without polling ({@link SqliteClaims}, {@link SqliteChanges}).
 * 5. Answers administration ({@link SqliteAdmin}).
 */
export class SqliteBroker implements Broker {
  readonly capabilities = SQLITE_CAPABILITIES;
  readonly format: PlainFormat;
  readonly admin: SqliteAdmin;
  readonly #shared: SqliteShared;
  readonly #options: SqliteBrokerOptions;
  readonly #leases: SqliteLeases;
  readonly #claims: SqliteClaims;
  readonly #sql: ReturnType<typeof prepareStatements>;
  #closed: Promise<void> | undefined;

  private constructor(file: SqliteFile, deps: SqliteBrokerDeps, options: SqliteBrokerOptions) {
    this.#options = options;
    this.format = deps.format;
    // A worker in another container may have the same name: this keeps their leases apart.
    const owner = `${deps.owner}#${crypto.randomUUID().slice(0, 8)}`;
    const { clock, format, holdings = new SqliteHoldings(), observe = () => {} } = deps;
    const writer = new SqliteWriter({ db: file, path: options.path, clock }, options);
    const dataVersion = file.prepare("PRAGMA data_version");
    const changes = new SqliteChanges({
      path: file.realPath,
      clock,
      readDataVersion: () => dataVersion.get()!["data_version"] as number,
    });
    const shared = this.#shared = { file, clock, writer, changes };
    this.#sql = prepareStatements(file);
    const leases = this.#leases = new SqliteLeases(
      shared,
      { leased: holdings.of(file.realPath), observe },
      options,
    );
    const settler = new SqliteSettler(shared, options.leaseMs);
    this.#claims = new SqliteClaims(
      shared,
      { settler, leases, isOpen: () => this.#closed === undefined },
      { ...options, owner, format },
    );
    this.admin = new SqliteAdmin(shared, { insertJob: (...job) => this.#insert(...job) }, {
      ...options,
      owner,
    });
    // Waiting receives get the reason.
    file.whenLost(() => changes.announceOwn());
    file.whenReplaced(() => {
      writer.begin();
      changes.moveTo(file.realPath);
      leases.begin();
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

  subscribe(): Subscription {
    return pullSubscription((request, signal) => this.#claims.receive(request, signal));
  }

  async push(queue: string, payload: Uint8Array, options: PushOptions = {}): Promise<string> {
    return await this.#shared.writer.write(() => this.#insert(queue, payload, options), true);
  }

  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    // Ends the waits.
    this.#shared.changes.announceOwn();
    await this.#leases.close();
    await this.#shared.writer.drain();
    this.#shared.file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Within a transaction: adds a job. */
  #insert(queue: string, payload: Uint8Array, options: PushOptions): string {
    const { maxPayloadBytes } = this.#options;
    const nowMs = this.#shared.clock.nowMs();
    const { message: { body, headers }, maxAttempts } = written(this.format, payload, options, nowMs);
    if (body.length > maxPayloadBytes) throw tooLarge(queue, body.length, maxPayloadBytes);
    const delayMs = options.delayMs ?? 0;
    refuseUnique(queue, options);
    refuseDelay(queue, delayMs, SQLITE_CAPABILITIES.pushDelay);
    this.#shared.changes.announceOwn();
    const values = [
      queue,
      body,
      headersColumn(headers),
      options.priority ?? 0,
      maxAttempts ?? null,
      nowMs,
      nowMs + delayMs,
      delayMs > 0 ? "delayed" : "ready",
    ];
    try {
      return String(this.#sql.insert.run(...values).lastInsertRowid);
    } catch (error) {
      // SQLite reports the same when no id is left.
      if (isSqliteError(error, SQLITE_FULL) && this.#sql.lastId.get()?.["is_highest"] === 1) {
        throw idsUsedUp(this.#options.path);
      }
      throw error;
    }
  }
}

/** Ids are never reused, so none is left after the highest, which only a producer can have chosen. */
function idsUsedUp(path: string): QueueError {
  return new QueueError(
    "QUEUE_UNAVAILABLE",
    `Cannot push into the queue "${path}": a job has the id 9223372036854775807, the highest possible, so ` +
      'no id is left for new jobs. When that job is gone, run: sqlite3 FILE "UPDATE sqlite_sequence SET seq = ' +
      "(SELECT coalesce(max(id), 0) FROM fervo_jobs) WHERE name = 'fervo_jobs'\"; producers must not choose ids",
  );
}

function prepareStatements(file: SqliteFile) {
  const prepare = (sql: string, options?: StatementOptions) => file.prepare(sql, options);
  const insert = `
    INSERT INTO fervo_jobs (queue, payload, headers, priority, max_attempts, created_at, due_at, state)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;
  return {
    // Ids continue above the highest that any producer has chosen.
    insert: prepare(insert, { bigInts: true }),
    lastId: prepare(
      "SELECT seq = 9223372036854775807 AS is_highest FROM sqlite_sequence WHERE name = 'fervo_jobs'",
    ),
  };
}
