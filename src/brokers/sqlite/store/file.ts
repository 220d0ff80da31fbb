import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import type { Clock } from "../../../core/time/clock.ts";
import { QueueError } from "../../../core/errors.ts";
import { type FileOptions, openDatabase } from "./open.ts";
import { unavailableError } from "./writer.ts";

/** How often a used file is checked, milliseconds. */
const LOOK_EVERY_MS = 1_000;

export interface StatementOptions {
  /** Whole numbers are read as bigints. */
  readonly bigInts?: boolean;
  /** Rows are read as arrays of columns. */
  readonly arrays?: boolean;
}

/** Identifies a file among all that have had its name, and shows whether it was written. */
interface Identity {
  readonly dev: number;
  readonly ino: number | null;
  readonly size: number;
  readonly mtimeMs: number | undefined;
}

/** The file of a path, and the log beside it. */
interface Names {
  readonly file: Identity;
  readonly log: Identity | undefined;
}

/** To close these would write their log into a file that others have written meanwhile; so would garbage collection. */
const abandoned: DatabaseSync[] = [];

/**
 * The database of a path, also when another file replaces it: a backup is restored, a deployment clears a folder. SQLite itself
 * goes on with the opened file, which nobody else sees any more.
 *
 * 1. Checks whether the path still names the open file. Only by stat(2): to open and close the file beside SQLite would drop
 *    its locks (docs/adr/0004).
 * 2. Closes a file that has lost its name. Opens the new file once it has stayed the same for one check, because a copy may be
 *    in progress; its statements are prepared again.
 * 3. Fails while there is no file: it never starts an empty queue in the place of one with jobs.
 * 4. Leaves a file alone for good if its log was removed or belongs to another: to use or even close it could destroy it.
 */
export class SqliteFile {
  readonly path: string;
  readonly #clock: Clock;
  readonly #options: FileOptions;
  readonly #onReplaced: (() => void)[] = [];
  readonly #onLost: (() => void)[] = [];
  #db: DatabaseSync | undefined;
  #opened: Names;
  /** Opened if it is the same at the next check. */
  #coming: Identity | undefined;
  #problem: QueueError | undefined;
  #lookedAtMs: number;
  #openings = 1;
  #isClosed = false;
  #isAbandoned = false;

  /**
   * Opens the database; creates or migrates it where needed.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  constructor(clock: Clock, options: FileOptions) {
    this.path = options.path;
    this.#clock = clock;
    this.#options = options;
    this.#db = openDatabase(options);
    this.#opened = this.#names()!;
    this.#lookedAtMs = clock.monotonicMs();
  }

  /** The open database. @throws {QueueError} QUEUE_UNAVAILABLE without one */
  get db(): DatabaseSync {
    if (this.#db === undefined) throw this.#problem ?? this.#unavailable("it is closed");
    return this.#db;
  }

  /** SQLite follows a link and keeps the log beside the file itself. */
  get realPath(): string {
    return Deno.realPathSync(this.path);
  }

  /** Incremented with each opened file. */
  get openings(): number {
    return this.#openings;
  }

  get isTransaction(): boolean {
    return this.#db?.isTransaction ?? false;
  }

  prepare(sql: string, options: StatementOptions = {}): SqliteStatement {
    return new SqliteStatement(this, sql, options);
  }

  exec(sql: string): void {
    this.db.exec(sql);
  }

  /** Calls `begin` whenever another file was opened, before its first use. */
  whenReplaced(begin: () => void): void {
    this.#onReplaced.push(begin);
  }

  /** Calls `tell` whenever the open file has lost its name. */
  whenLost(tell: () => void): void {
    this.#onLost.push(tell);
  }

  /**
   * Called before each use of the file, outside a transaction. Opens another file if it is time.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE while none is open
   */
  check(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#lookedAtMs >= LOOK_EVERY_MS && !this.#isClosed) {
      this.#lookedAtMs = nowMs;
      this.#look();
    }
    if (this.#db === undefined) throw this.#problem ?? this.#unavailable("it is closed");
  }

  close(): void {
    this.#isClosed = true;
    this.#db?.close();
    this.#db = undefined;
  }

  #look(): void {
    if (this.#isAbandoned) return;
    let seen: Names | undefined;
    try {
      seen = this.#names();
    } catch (error) {
      // An unsearchable folder says nothing about the open file.
      if (this.#db === undefined) this.#problem = unavailableError(this.path, error) as QueueError;
      return;
    }
    if (this.#db !== undefined) {
      if (seen !== undefined && isSame(seen.file, this.#opened.file)) {
        if (!isSame(seen.log, this.#opened.log)) this.#abandon("its -wal file was removed or replaced");
        return;
      }
      // SQLite sees that the file has lost its name, and neither writes the log into it nor removes the log.
      this.#db.close();
      this.#db = undefined;
      this.#coming = undefined;
      for (const tell of this.#onLost) tell();
    }
    if (seen === undefined) {
      this.#coming = undefined;
      this.#problem = this.#unavailable(
        "its file is gone; put it back, or start an empty queue: push a job, or restart the worker",
      );
    } else if (this.#coming === undefined || !isUntouched(seen.file, this.#coming)) {
      this.#coming = seen.file;
      this.#problem = this.#unavailable(
        "its file was replaced; the worker opens the new file when nothing writes to it",
      );
    } else {
      this.#open(seen);
    }
  }

  #open(names: Names): void {
    try {
      this.#db = openDatabase(this.#options, { create: false });
    } catch (error) {
      this.#problem = unavailableError(this.path, error) as QueueError;
      return;
    }
    // SQLite would take the log for the new file's, and spoil the file with foreign changes.
    if (names.log !== undefined && isSame(names.log, this.#opened.log) && !isSound(this.#db)) {
      return this.#abandon(
        "its file was replaced while the old -wal file stayed, and the two do not belong together",
      );
    }
    this.#opened = this.#names() ?? this.#opened;
    this.#openings++;
    this.#problem = undefined;
    for (const begin of this.#onReplaced) begin();
  }

  #abandon(reason: string): void {
    abandoned.push(this.#db!);
    this.#db = undefined;
    this.#isAbandoned = true;
    this.#problem = this.#unavailable(
      `${reason}; stop all programs that use it, restore it as docs/backup.md says, and start them again`,
    );
    for (const tell of this.#onLost) tell();
  }

  #names(): Names | undefined {
    const file = identityOf(this.path);
    return file && { file, log: identityOf(`${this.realPath}-wal`) };
  }

  #unavailable(reason: string): QueueError {
    return new QueueError("QUEUE_UNAVAILABLE", `Cannot use the queue "${this.path}": ${reason}`);
  }
}

/** A statement of a {@link SqliteFile}, for the database that is open. */
export class SqliteStatement {
  readonly #file: SqliteFile;
  readonly #sql: string;
  readonly #options: StatementOptions;
  #statement: StatementSync;
  #opening: number;

  constructor(file: SqliteFile, sql: string, options: StatementOptions) {
    this.#file = file;
    this.#sql = sql;
    this.#options = options;
    this.#statement = this.#prepare();
    this.#opening = file.openings;
  }

  run(...values: SQLInputValue[]): ReturnType<StatementSync["run"]> {
    return this.current.run(...values);
  }

  get(...values: SQLInputValue[]): ReturnType<StatementSync["get"]> {
    return this.current.get(...values);
  }

  all(...values: SQLInputValue[]): ReturnType<StatementSync["all"]> {
    return this.current.all(...values);
  }

  iterate(...values: SQLInputValue[]): ReturnType<StatementSync["iterate"]> {
    return this.current.iterate(...values);
  }

  /** The statement of the open database, for frequent calls: a wrapper costs as much as the rest of a call. */
  get current(): StatementSync {
    if (this.#opening !== this.#file.openings) {
      this.#statement = this.#prepare();
      this.#opening = this.#file.openings;
    }
    return this.#statement;
  }

  #prepare(): StatementSync {
    const statement = this.#file.db.prepare(this.#sql);
    const { bigInts = false, arrays = false } = this.#options;
    if (bigInts) statement.setReadBigInts(true);
    // The runtime has it; its type declarations do not yet.
    if (arrays) {
      (statement as StatementSync & { setReturnArrays(enabled: boolean): void }).setReturnArrays(true);
    }
    return statement;
  }
}

/** Undefined when there is no file. */
function identityOf(path: string): Identity | undefined {
  try {
    const { dev, ino, size, mtime } = Deno.statSync(path);
    return { dev, ino, size, mtimeMs: mtime?.getTime() };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

function isSame(one: Identity | undefined, other: Identity | undefined): boolean {
  return one?.dev === other?.dev && one?.ino === other?.ino;
}

function isUntouched(one: Identity, other: Identity): boolean {
  return isSame(one, other) && one.size === other.size && one.mtimeMs === other.mtimeMs;
}

function isSound(db: DatabaseSync): boolean {
  return Object.values(db.prepare("PRAGMA quick_check(1)").get()!)[0] === "ok";
}
