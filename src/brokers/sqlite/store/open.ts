import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { QueueError } from "../../../core/errors.ts";
import { APPLICATION_ID, checkedVersion, migrate } from "./schema.ts";
import { isSqliteError, LOCK_WAIT_MS, SQLITE_BUSY, unavailableError } from "./writer.ts";

/**
 * How long the log grows before it is written back into the database, pages of 4 KiB. Writing back waits for the disk:
 * four times SQLite's default makes these stalls rarer and a job a tenth cheaper, for a log of 16 MB.
 */
const CHECKPOINT_PAGES = 4_000;

/** What of the broker's options concerns the file. */
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
    // Before the journal mode: it is written into the file, and another program's file is left as it is.
    checkedVersion(db, path);
    switchToWal(db, options);
    migrate(db, path);
    db.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    // From here on other processes' locks are waited for without blocking: see SqliteWriter.
    db.exec(`PRAGMA busy_timeout = ${LOCK_WAIT_MS}`);
    checkWritable(db);
    return db;
  } catch (error) {
    db?.close();
    throw unavailableError(path, error);
  }
}

/** Links that a path may lead through, as many as the system follows. */
const MAX_LINKS = 40;

/**
 * Creates the file with the wanted permissions, whatever the umask; SQLite gives its `-wal` and `-shm` files the same. Where
 * a link is at the path whose target is not there, it is the target that is created: SQLite would do so with other permissions.
 */
function createFile(path: string, mode: number, links = MAX_LINKS): void {
  try {
    // Makes no file through a link.
    Deno.openSync(path, { write: true, createNew: true, mode }).close();
    giveToFolderOwner(path);
    Deno.chmodSync(path, mode);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    if (links > 0 && Deno.lstatSync(path).isSymlink) {
      // Two dots in it lead up from where the link really is.
      createFile(resolve(Deno.realPathSync(dirname(path)), Deno.readLinkSync(path)), mode, links - 1);
    }
  }
}

/**
 * Who owns the folder is who works with the queue: what root creates there, as by `push` or `check`, must not be closed to them.
 * SQLite gives its `-wal` and `-shm` files to the owner of the file.
 */
function giveToFolderOwner(path: string): void {
  if (Deno.uid() !== 0) return;
  const { uid, gid } = Deno.statSync(dirname(path));
  if (uid !== null && gid !== null) Deno.chownSync(path, uid, gid);
}

/** A file that can only be read is told now, not at the first job. One that is locked now is waited for later. */
function checkWritable(db: DatabaseSync): void {
  try {
    db.prepare("BEGIN IMMEDIATE").run();
    try {
      // On a file that is read-only SQLite begins a transaction for reading, and refuses only the write.
      db.prepare(`PRAGMA application_id = ${APPLICATION_ID}`).run();
    } finally {
      db.prepare("ROLLBACK").run();
    }
  } catch (error) {
    if (!isSqliteError(error, SQLITE_BUSY)) throw error;
  }
}

/** Where two processes switch at once SQLite fails one of them without waiting, so the wait is ours. */
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
