import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import type { Clock } from "../core/time/clock.ts";
import { SQLITE_DIALECT } from "./dialect.ts";
import type { SqlClient, SqlDriver, SqlResult, SqlRow } from "./driver.ts";
import type { SqlValue } from "./value.ts";
import { type FailureKind, SqlFailure } from "./failure.ts";

/** SQLite's result codes (https://sqlite.org/rescode.html); extended codes carry these in their lowest byte. */
const BUSY = 5;
const KINDS: Readonly<Record<number, FailureKind>> = {
  [BUSY]: "again",
  6: "again",
  8: "read_only",
  18: "refused",
  19: "refused",
  20: "refused",
  23: "denied",
};
/** SQLITE_CONSTRAINT_UNIQUE and SQLITE_CONSTRAINT_PRIMARYKEY. */
const DUPLICATES: ReadonlySet<number> = new Set([2067, 1555]);

/**
 * A table in a SQLite file, through the same contract as a server's. The endpoint's path is the file. Statements block the
 * process while they run, and never wait for locks of others: the caller repeats them. The file's settings stay as they are, such as
 * its journal mode.
 *
 * @param clock The time of the server is this clock's.
 * @param options.isForeign The file is an application's: it is not created when it is missing.
 */
export function sqliteDriver(clock: Clock, { isForeign = false } = {}): SqlDriver {
  return {
    dialect: SQLITE_DIALECT,
    product: "SQLite",
    // deno-lint-ignore require-await -- so that a synchronous failure rejects
    async connect(endpoint) {
      if (endpoint.transport !== "unix") throw new TypeError("a SQLite database has a path");
      return new SqliteClient(endpoint.path, clock, isForeign);
    },
  };
}

class SqliteClient implements SqlClient {
  readonly dialect = SQLITE_DIALECT;
  readonly facts = {
    product: "SQLite",
    version: { major: 3, minor: 0 },
    isReadOnly: false,
    // One writer at a time: no row is ever locked.
    hasSkipLocked: false,
    hasPooler: false,
  } as const;
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #isLost = false;
  /** Why the statements of the transaction fail now. */
  #failed: SqlFailure | undefined;

  constructor(path: string, clock: Clock, isForeign: boolean) {
    try {
      this.#db = new DatabaseSync(isForeign ? existing(path) : path, { timeout: 0 });
      this.#db.function("fervo_now_ms", () => clock.nowMs());
    } catch (error) {
      throw failureOf(error);
    }
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  // deno-lint-ignore require-await -- so that a synchronous failure rejects
  async run(text: string, values: readonly SqlValue[] = []): Promise<SqlResult> {
    if (this.#isLost) throw new SqlFailure("lost", { cause: new Error("closed by this worker") });
    if (text === "BEGIN") this.#failed = undefined;
    if (text === "ROLLBACK") {
      this.#failed = undefined;
      // SQLite rolls some failures back by itself.
      if (!this.#db.isTransaction) return { rows: [], changes: 0 };
    }
    if (this.#failed !== undefined) throw this.#failed;
    try {
      return this.#run(text, values);
    } catch (error) {
      const failure = failureOf(error);
      if (this.#db.isTransaction || text === "BEGIN") this.#failed = failure;
      throw failure;
    }
  }

  #run(text: string, values: readonly SqlValue[]): SqlResult {
    // A deferred transaction that reads first cannot wait for the lock when it writes.
    const statement = this.#prepared(text === "BEGIN" ? "BEGIN IMMEDIATE" : text);
    if (statement.columns().length === 0) {
      return { rows: [], changes: Number(statement.run(...values as SQLInputValue[]).changes) };
    }
    const rows = statement.all(...values as SQLInputValue[]).map(plain);
    return { rows, changes: rows.length };
  }

  destroy(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#db.close();
  }

  #prepared(text: string): StatementSync {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#db.prepare(text);
      statement.setReadBigInts(true);
      this.#statements.set(text, statement);
    }
    return statement;
  }
}

/**
 * The path of a file that must exist. An address with mode=rw would tell SQLite the same, but the runtime of the binary takes it
 * for a path.
 */
function existing(path: string): string {
  Deno.statSync(path);
  return path;
}

function plain(row: Record<string, unknown>): SqlRow {
  for (const [name, value] of Object.entries(row)) {
    if (typeof value === "bigint" && Number.isSafeInteger(Number(value))) row[name] = Number(value);
  }
  return row as SqlRow;
}

function failureOf(error: unknown): SqlFailure {
  const { errcode: code, message } = error as { errcode?: unknown; message?: unknown };
  // SQLite has no code of its own for it.
  if (/no such (?:table|column)|has no column named/.test(String(message))) {
    return new SqlFailure("schema", { cause: error });
  }
  if (typeof code !== "number") return new SqlFailure("other", { cause: error });
  const kind = DUPLICATES.has(code) ? "duplicate" : KINDS[code & 0xff] ?? "other";
  return new SqlFailure(kind, { cause: error, code: String(code) });
}
