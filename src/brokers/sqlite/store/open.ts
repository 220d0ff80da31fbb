import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { QueueError } from "../../../core/errors.ts";
import { APPLICATION_ID, checkedVersion, migrate } from "./schema.ts";
import { isSqliteError, LOCK_WAIT_MS, SQLITE_BUSY, unavailableError } from "./writer.ts";

/**
 * The log is written back into the database at this length, pages of 4 KiB. Writing back waits for the disk: four times
 * SQLite's default makes these stalls rarer and a job a tenth cheaper, for a log of 16 MB.
 */
const CHECKPOINT_PAGES = 4_000;

/** The options that concern the file. */
export interface FileOptions {
  readonly path: string;
  readonly busyTimeoutMs: number;
  readonly fileMode: number;
}

/**
 * Opens the queue's database, ready for use; creates or migrates it where needed.
 *
 * @param o.create Whether to create a file that is not there.
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export function openDatabase(options: FileOptions, { create = true } = {}): DatabaseSync {
  const { path } = options;
  let db: DatabaseSync | undefined;
  try {
    if (create) createFile(path, options.fileMode);
    db = new DatabaseSync(path, { timeout: options.busyTimeoutMs });
    // Before the journal mode, which is written into the file: another program's file stays unchanged.
    checkedVersion(db, path);
    switchToWal(db, options);
    migrate(db, path);
    db.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    // From here on SqliteWriter waits for other processes' locks without blocking.
    db.exec(`PRAGMA busy_timeout = ${LOCK_WAIT_MS}`);
    checkWritable(db);
    return db;
  } catch (error) {
    db?.close();
    throw unavailableError(path, error);
  }
}

/** A path may lead through as many links as the system follows. */
const MAX_LINKS = 40;

/**
 * Creates the file with the wanted permissions, whatever the umask; SQLite gives its `-wal` and `-shm` files the same. If the
 * path is a link to a missing target, the target is created: SQLite would create it with other permissions.
 */
function createFile(path: string, mode: number, links = MAX_LINKS): void {
  try {
    // This does not create a file through a link.
    Deno.openSync(path, { write: true, createNew: true, mode }).close();
    giveToFolderOwner(path);
    Deno.chmodSync(path, mode);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    if (links > 0 && Deno.lstatSync(path).isSymlink) {
      // Two dots in the link start from its real folder.
      createFile(resolve(Deno.realPathSync(dirname(path)), Deno.readLinkSync(path)), mode, links - 1);
    }
  }
}

/**
 * The owner of the folder works with the queue: files that root creates there, for instance with `push` or `check`, must be
 * open to that user. SQLite gives its `-wal` and `-shm` files to the owner of the file.
 */
function giveToFolderOwner(path: string): void {
  if (Deno.uid() !== 0) return;
  const { uid, gid } = Deno.statSync(dirname(path));
  if (uid !== null && gid !== null) Deno.chownSync(path, uid, gid);
}

/** Reports a read-only file now, not at the first job. A locked file is waited for later. */
function checkWritable(db: DatabaseSync): void {
  try {
    db.prepare("BEGIN IMMEDIATE").run();
    try {
      // On a read-only file SQLite begins a transaction for reading, and refuses only the write.
      db.prepare(`PRAGMA application_id = ${APPLICATION_ID}`).run();
    } finally {
      db.prepare("ROLLBACK").run();
    }
  } catch (error) {
    if (!isSqliteError(error, SQLITE_BUSY)) throw error;
  }
}

/** When two processes switch at once, SQLite fails one of them without waiting, so we wait. */
function switchToWal(db: DatabaseSync, { path, busyTimeoutMs }: FileOptions): void {
  for (let waitedMs = 0;; waitedMs += LOCK_WAIT_MS) {
    try {
      const { journal_mode: mode } = db.prepare("PRAGMA journal_mode = WAL").get()!;
      if (mode === "wal") return;
      throw new QueueError(
        "QUEUE_UNAVAILABLE",
        `Cannot use the queue "${path}": its file system does not allow the WAL journal; use a local disk`,
      );
    } catch (error) {
      if (!isSqliteError(error, SQLITE_BUSY) || waitedMs >= busyTimeoutMs) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_WAIT_MS * Math.random());
    }
  }
}
