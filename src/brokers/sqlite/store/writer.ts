import { setImmediate } from "node:timers";
import { type Clock, sleep } from "../../../core/time/clock.ts";
import { FervoError, QueueError, reasonOf } from "../../../core/errors.ts";
import { diskOf } from "./disk.ts";

interface Change {
  readonly apply: () => unknown;
  readonly isDurable: boolean;
  readonly onCommit: (() => void) | undefined;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: FervoError) => void;
}

interface Runnable {
  run(): unknown;
}

export interface WritableDatabase {
  readonly isTransaction: boolean;
  prepare(sql: string): Runnable;
  exec(sql: string): void;
  /** Called before each transaction. @throws {FervoError} when the database cannot be used */
  check?(): void;
}

/** SQLite's result codes (https://sqlite.org/rescode.html); extended codes carry these in their lowest byte. */
export const SQLITE_BUSY = 5;
export const SQLITE_FULL = 13;
const SQLITE_IOERR = 10;
const SQLITE_TOOBIG = 18;
const SQLITE_CONSTRAINT = 19;
const SQLITE_MISMATCH = 20;

/** How long SQLite itself waits for a lock, milliseconds; it blocks the whole process, so the rest of the wait is ours. */
export const LOCK_WAIT_MS = 10;

/**
 * Writes to a SQLite database in as few transactions as possible: all changes of one turn of the event loop share one, because
 * a transaction costs more than the change of a row.
 *
 * 1. Applies changes in the order of the calls.
 * 2. Resolves a change once its transaction is committed. After a rollback, rejects only the changes that fail alone, too.
 * 3. Waits for other processes' locks without blocking this one.
 */
export class SqliteWriter {
  readonly #db: WritableDatabase;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #busyTimeoutMs: number;
  readonly #begin: Runnable;
  readonly #commit: Runnable;
  readonly #rollback: Runnable;
  #changes: Change[] = [];
  #isDurable = false;
  #running: Promise<void> | undefined;

  constructor(
    deps: { db: WritableDatabase; path: string; clock: Clock },
    options: { busyTimeoutMs: number },
  ) {
    this.#db = deps.db;
    this.#path = deps.path;
    this.#clock = deps.clock;
    this.#busyTimeoutMs = options.busyTimeoutMs;
    this.#begin = this.#db.prepare("BEGIN IMMEDIATE");
    this.#commit = this.#db.prepare("COMMIT");
    this.#rollback = this.#db.prepare("ROLLBACK");
    this.begin();
  }

  /** Called for each database that was opened in the place of the former one. */
  begin(): void {
    this.#db.exec("PRAGMA synchronous = NORMAL");
    this.#isDurable = false;
  }

  /** Whether a transaction is about to begin, which a further change can join at little cost. */
  get hasChanges(): boolean {
    return this.#changes.length > 0;
  }

  /**
   * Runs `apply` in the next transaction.
   *
   * @param isDurable Whether the change must survive a power failure once it is resolved. Other changes survive the death of
   * every process; after a power failure the database is as it was a moment earlier, never torn.
   * @param onCommit Called right after the commit.
   * @throws {FervoError} the error of `apply`, if it is one: only this change is not made; else QUEUE_UNAVAILABLE.
   */
  write<T>(apply: () => T, isDurable = false, onCommit?: () => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const change = { apply, isDurable, onCommit, resolve: resolve as (result: unknown) => void, reject };
      this.#changes.push(change);
      this.#running ??= this.#run();
    });
  }

  /** Resolves when nothing is left to write. */
  async drain(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#changes.length > 0) {
      const changes = this.#changes;
      this.#changes = [];
      await this.#commitAll(changes);
    }
    this.#running = undefined;
  }

  async #commitAll(changes: readonly Change[]): Promise<void> {
    const giveUpAtMs = this.#clock.monotonicMs() + this.#busyTimeoutMs;
    for (;;) {
      try {
        return this.#transact(changes);
      } catch (error) {
        if (!isSqliteError(error, SQLITE_BUSY) || this.#clock.monotonicMs() >= giveUpAtMs) {
          // One change may be the cause, and the others should not suffer.
          if (changes.length > 1 && !isSqliteError(error, SQLITE_BUSY)) {
            for (const change of changes) await this.#commitAll([change]);
            return;
          }
          const unavailable = unavailableError(this.#path, error);
          for (const change of changes) change.reject(unavailable);
          return;
        }
        await sleep(this.#clock, 1 + 9 * Math.random());
      }
    }
  }

  #transact(changes: readonly Change[]): void {
    this.#db.check?.();
    this.#setDurable(changes.some((change) => change.isDurable));
    const results: unknown[] = [];
    this.#begin.run();
    try {
      for (const change of changes) results.push(applyAlone(change, this.#path));
      this.#commit.run();
    } catch (error) {
      this.#rollBack();
      throw error;
    }
    for (const [i, change] of changes.entries()) {
      const result = results[i];
      if (result instanceof FervoError) {
        change.reject(result);
        continue;
      }
      change.onCommit?.();
      change.resolve(result);
    }
  }

  /** SQLite rolls back by itself when it runs out of disk or memory (https://sqlite.org/lang_transaction.html). */
  #rollBack(): void {
    if (this.#db.isTransaction) this.#rollback.run();
  }

  #setDurable(isDurable: boolean): void {
    if (isDurable === this.#isDurable) return;
    this.#db.exec(`PRAGMA synchronous = ${isDurable ? "FULL" : "NORMAL"}`);
    this.#isDurable = isDurable;
  }
}

/** Applies a change; returns an error of this change, and throws an error of the transaction. */
function applyAlone(change: Change, path: string): unknown {
  try {
    return change.apply();
  } catch (error) {
    if (error instanceof FervoError) return error;
    if (isSqliteError(error, SQLITE_CONSTRAINT, SQLITE_TOOBIG, SQLITE_MISMATCH)) {
      return unavailableError(path, error);
    }
    throw error;
  }
}

export function isSqliteError(error: unknown, ...codes: number[]): boolean {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === "number" && codes.includes(code & 0xff);
}

/** A database error as QUEUE_UNAVAILABLE, with what to do; SQLite's or the system's own words follow in brackets. */
export function unavailableError(path: string, error: unknown): FervoError {
  if (error instanceof FervoError) return error;
  const reason = reasonOf(error);
  const advice = adviceFor(error, reason, path);
  return new QueueError(
    "QUEUE_UNAVAILABLE",
    `Cannot use the queue "${path}": ${advice === undefined ? reason : `${advice} (${reason})`}`,
    { cause: error },
  );
}

const DISK_FULL = "the disk is full; make room on its file system";

/** What an operator can do, by SQLite's result code and text, or by the system's error code. */
const ADVICE: readonly { readonly code: number | string; readonly text?: string; readonly advice: string }[] =
  [
    {
      code: SQLITE_BUSY,
      text: "database is locked",
      advice: "another process has locked it for longer than busy_timeout_ms; end that process's transaction",
    },
    {
      code: 8,
      text: "attempt to write a readonly database",
      advice: "it is read-only for this user; let the user write the file, its -wal and -shm, and its folder",
    },
    {
      code: SQLITE_IOERR,
      text: "disk I/O error",
      advice:
        "the disk or its file system failed, or a file size limit is reached; see the system's log and `ulimit -f`",
    },
    {
      code: 11,
      text: "database disk image is malformed",
      advice:
        "the file is damaged; stop all its workers, keep a copy, and save what is left with `sqlite3 FILE .recover`",
    },
    {
      code: SQLITE_FULL,
      text: "database or disk is full",
      advice: DISK_FULL,
    },
    {
      code: 14,
      text: "unable to open database file",
      advice:
        "it cannot be opened; it must be a file, and this user must be able to read and write it and its folder",
    },
    {
      code: 26,
      text: "file is not a database",
      advice: "the file is not a SQLite database; choose another path",
    },
    { code: "ENOENT", advice: "its folder does not exist; create it for the worker's user" },
    { code: "ENOTDIR", advice: "its folder is not a folder; choose another path" },
    { code: "EACCES", advice: "this user cannot read and write its folder; grant both rights" },
    { code: "EROFS", advice: "its file system is read-only" },
    { code: "ENOSPC", advice: DISK_FULL },
  ];

/** Deno reports SQLite's code only for errors of prepared statements, for others only the text. */
function adviceFor(error: unknown, reason: string, path: string): string | undefined {
  const { errcode, code } = (error ?? {}) as { errcode?: unknown; code?: unknown };
  const isIt = typeof errcode === "number"
    ? (row: typeof ADVICE[number]) => row.code === (errcode & 0xff)
    : (row: typeof ADVICE[number]) =>
      row.code === code || (row.text !== undefined && reason.startsWith(row.text));
  const found = ADVICE.find(isIt);
  // Without room for the -shm file SQLite reports only an I/O error.
  return found?.code === SQLITE_IOERR && isFull(path) ? DISK_FULL : found?.advice;
}

/** With less space, a file cannot be created, or grow by SQLite's next step, bytes. */
const LEAST_FREE_BYTES = 65_536;

/** Whether the disk of a file is full, as far as that is known. */
function isFull(path: string): boolean {
  try {
    return diskOf(path).freeBytes < LEAST_FREE_BYTES;
  } catch {
    return false;
  }
}

/** Reads from a database; rejects with QUEUE_UNAVAILABLE when that fails. */
// deno-lint-ignore require-await -- so that a synchronous failure rejects
export async function read<T>(file: { readonly path: string; check(): void }, look: () => T): Promise<T> {
  try {
    file.check();
    return look();
  } catch (error) {
    throw unavailableError(file.path, error);
  }
}
