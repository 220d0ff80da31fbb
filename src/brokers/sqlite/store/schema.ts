/**
 * The embedded queue's database schema. docs/protocol.md documents it for producers, who insert with plain SQL. So a published
 * migration never changes: later changes are further migrations.
 */
import type { DatabaseSync } from "node:sqlite";
import { QueueError } from "../../../core/errors.ts";

/** UTC epoch milliseconds in SQL for SQLite 3.0 and newer; PHP brings its own, often older, SQLite. */
const NOW_MS = "(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER))";

/**
 * The largest exact number of JavaScript. The bound also refuses text, e.g. "2026-01-01": to SQLite, text is above any number.
 */
const MAX_INTEGER = Number.MAX_SAFE_INTEGER;

/**
 * A job is one row; `state` and `due_at` together say what becomes of it:
 *
 * | state    | due_at                                   |
 * |----------|------------------------------------------|
 * | ready    | since when it can run                    |
 * | delayed  | when it becomes ready                    |
 * | reserved | when its lease ends and it becomes ready |
 * | dead     | when it was buried                       |
 *
 * Each state has its own partial index, so that the cost of a claim depends on neither the delayed nor the dead jobs.
 * (The check of `state` is no `IN`: SQLite would build its list anew for each row that changes, 5 µs a job.)
 */
const VERSION_1 = `
CREATE TABLE fervo_jobs (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  queue        TEXT    NOT NULL CHECK (typeof(queue) = 'text'),
  payload      BLOB    NOT NULL,
  headers      TEXT,
  priority     INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER CHECK (max_attempts BETWEEN 1 AND ${MAX_INTEGER}),
  created_at   INTEGER NOT NULL DEFAULT ${NOW_MS} CHECK (created_at BETWEEN 0 AND ${MAX_INTEGER}),
  due_at       INTEGER NOT NULL DEFAULT ${NOW_MS} CHECK (due_at BETWEEN 0 AND ${MAX_INTEGER}),
  state        TEXT    NOT NULL DEFAULT 'ready' CHECK (state = 'ready' OR state = 'delayed'
                                                        OR state = 'reserved' OR state = 'dead'),
  attempts     INTEGER NOT NULL DEFAULT 0,
  lease        TEXT,
  error        TEXT
);
CREATE INDEX fervo_jobs_ready ON fervo_jobs (queue, priority DESC, id) WHERE state = 'ready';
CREATE INDEX fervo_jobs_due ON fervo_jobs (due_at, queue, state) WHERE state IN ('delayed', 'reserved');
CREATE INDEX fervo_jobs_dead ON fervo_jobs (queue, due_at, id) WHERE state = 'dead';
-- A producer only sets due_at; that a job with a later one is delayed follows from it.
CREATE TRIGGER fervo_jobs_delay AFTER INSERT ON fervo_jobs
WHEN NEW.state = 'ready' AND NEW.due_at > ${NOW_MS}
BEGIN
  UPDATE fervo_jobs SET state = 'delayed' WHERE id = NEW.id;
END;
`;

/**
 * Shared data of workers beside the jobs: paused queues, and the claimed slots of each schedule. And a job's failures before
 * its last one (`error`), a JSON array of the same objects.
 */
const VERSION_2 = `
ALTER TABLE fervo_jobs ADD COLUMN errors TEXT;
CREATE TABLE fervo_paused (
  queue     TEXT PRIMARY KEY,
  paused_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE fervo_schedule (
  name       TEXT PRIMARY KEY,
  rule       TEXT NOT NULL,
  claimed_to INTEGER NOT NULL
) WITHOUT ROWID;
`;

/** All claims of each schedule, beside the latest one (schedule_claims.ts). */
const VERSION_3 = `
ALTER TABLE fervo_schedule ADD COLUMN spans TEXT;
`;

/** The end of a pause, epoch milliseconds, and its reason; NULL for no end, and no reason. */
const VERSION_4 = `
ALTER TABLE fervo_paused ADD COLUMN until_at INTEGER;
ALTER TABLE fervo_paused ADD COLUMN reason TEXT;
`;

/** The n-th migrates a database from version n to n + 1 (`PRAGMA user_version`). */
export const MIGRATIONS: readonly string[] = [VERSION_1, VERSION_2, VERSION_3, VERSION_4];

/** "frvo": marks the file as ours (`PRAGMA application_id`), so that no other program's database is altered. */
export const APPLICATION_ID = 0x6672766f;

/**
 * Migrates the database to the newest version, in one transaction.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE when the file belongs to another program or a newer fervo-worker.
 */
export function migrate(db: DatabaseSync, path: string, migrations: readonly string[] = MIGRATIONS): void {
  if (checkedVersion(db, path, migrations) === migrations.length) return;
  transact(db, "IMMEDIATE", () => {
    // Read again: another process may have migrated while we waited for the lock.
    const version = readVersion(db, path, migrations);
    for (const migration of migrations.slice(version)) db.exec(migration);
    db.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
    db.exec(`PRAGMA user_version = ${migrations.length}`);
  });
}

/**
 * The version of the database's schema, 0 for an empty file. Writes nothing.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE when the file belongs to another program or a newer fervo-worker.
 */
export function checkedVersion(
  db: DatabaseSync,
  path: string,
  migrations: readonly string[] = MIGRATIONS,
): number {
  // Another process may be migrating: all reads must be from before or from after.
  return transact(db, "DEFERRED", () => readVersion(db, path, migrations));
}

function transact<T>(db: DatabaseSync, mode: "DEFERRED" | "IMMEDIATE", run: () => T): T {
  db.prepare(`BEGIN ${mode}`).run();
  try {
    const result = run();
    db.prepare("COMMIT").run();
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

function readVersion(db: DatabaseSync, path: string, migrations: readonly string[]): number {
  const applicationId = pragma(db, "application_id");
  const version = pragma(db, "user_version");
  if (applicationId !== APPLICATION_ID && (applicationId !== 0 || version !== 0 || hasTables(db))) {
    throw new QueueError(
      "QUEUE_UNAVAILABLE",
      `Cannot use the database "${path}" as a queue: it belongs to another program; choose another path`,
    );
  }
  if (version > migrations.length) {
    throw new QueueError(
      "QUEUE_UNAVAILABLE",
      `Cannot use the queue "${path}": its schema has version ${version}, and this fervo-worker supports up to ` +
        `${migrations.length}; upgrade fervo-worker`,
    );
  }
  return version;
}

function hasTables(db: DatabaseSync): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() !== undefined;
}

function pragma(db: DatabaseSync, name: "application_id" | "user_version"): number {
  return db.prepare(`PRAGMA ${name}`).get()![name] as number;
}
