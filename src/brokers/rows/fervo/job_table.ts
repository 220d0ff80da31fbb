import type { Given } from "../../../sql/database.ts";
import type { SqlDialect } from "../../../sql/dialect.ts";
import type { ServerFacts, SqlRow, SqlSession } from "../../../sql/driver.ts";
import { SqlFailure } from "../../../sql/failure.ts";
import type { SqlValue } from "../../../sql/value.ts";
import { idOf } from "../row_values.ts";

/** How long a transaction of a worker waits for a producer that is about to use a key, milliseconds. */
const KEY_WAIT_MS = 50;
/** At most this many ids are remembered. A job that is forgotten may get its key after all. */
const MAX_WITHOUT_KEY = 10_000;

/** The table of jobs as this process uses it, and the statements that several of its parts need. */
export class JobTable {
  readonly dialect: SqlDialect;
  /** Its name in SQL. */
  readonly name: string;
  /** Our name in leases, unique among all workers. */
  readonly owner: string;
  readonly leaseMs: number;
  /** After a SELECT that locks its rows, and skips those that others have locked; {@link onServer} sets it. */
  locking = "";
  /** DELETE can return its rows; {@link onServer} sets it. */
  deleteReturns = false;
  /** The same for a SELECT that fails instead of waiting for an open transaction, where the server has that. */
  #noWait = "";
  /** The ids of jobs that keep no key: at their last restore somebody was about to use it. */
  readonly #withoutKey = new Set<string>();

  constructor(deps: { dialect: SqlDialect; name: string }, options: { owner: string; leaseMs: number }) {
    this.dialect = deps.dialect;
    this.name = deps.name;
    this.owner = options.owner;
    this.leaseMs = options.leaseMs;
  }

  /** After a SELECT that locks its rows, and waits for those that others have locked. */
  get waiting(): string {
    // A SQLite file has one writer at a time, which locks all of it.
    return this.dialect.name === "sqlite" ? "" : " FOR UPDATE";
  }

  /** Called when a connection was opened. */
  onServer({ hasSkipLocked, product }: Pick<ServerFacts, "hasSkipLocked" | "product">): void {
    // MariaDB has it for DELETE, and not for UPDATE.
    this.deleteReturns = this.dialect.hasReturning || product === "MariaDB";
    this.locking = hasSkipLocked ? " FOR UPDATE SKIP LOCKED" : this.waiting;
    this.#noWait = hasSkipLocked && this.dialect.name === "mysql" ? " FOR UPDATE NOWAIT" : "";
  }

  /** The condition for rows while they are ours. */
  ours(ids: readonly string[]): { readonly sql: string; readonly values: readonly SqlValue[] } {
    const { sql, values } = this.dialect.isOneOf("id", ids);
    return { sql: `${sql} AND lease = ?`, values: [...values, this.owner] };
  }

  /**
   * Renews leases while the rows are ours; the ids of those. The key of a job that waited meanwhile is free again.
   *
   * A row that somebody has locked, such as the application, keeps its lease until the next time: a wait for it would end the
   * leases of all others. No worker takes a locked row either.
   */
  async renew(session: SqlSession, ids: readonly string[]): Promise<Given<ReadonlySet<string>>> {
    if (ids.length === 0) return { result: Promise.resolve(new Set()) };
    const { sql, values } = this.ours(ids);
    const select = `SELECT id FROM ${this.name} WHERE ${sql}`;
    const free = (await session.run(select + this.locking, values)).rows.map(idOf);
    const all = free.length === ids.length ? free : (await session.run(select, values)).rows.map(idOf);
    return { result: this.#setReserved(session, free).then(() => new Set(all)) };
  }

  /** The id of the waiting job with a unique key. */
  async waitingWith(session: SqlSession, queue: string, key: string): Promise<string | undefined> {
    const { rows } = await session.run(
      `SELECT id FROM ${this.name} WHERE queue = ? AND unique_key = ?`,
      [queue, key],
    );
    return rows[0] && idOf(rows[0]);
  }

  /**
   * Gives waiting jobs their unique keys back, where no other job has got the key meanwhile.
   *
   * A producer may be about to use a key, in a transaction that can take long. No other change of the worker may wait for that, so
   * then the transaction is made `again` at once, and leaves this job without the key.
   *
   * @throws {SqlFailure}
   */
  async restoreKeys(session: SqlSession, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const { sql, values } = this.dialect.isOneOf("id", ids);
    const { rows } = await session.run(
      `SELECT id, queue, taken_key FROM ${this.name} WHERE ${sql} AND taken_key IS NOT NULL ORDER BY id`,
      values,
    );
    for (const row of rows) {
      const id = idOf(row);
      if (this.#withoutKey.has(id)) continue;
      try {
        await this.#restoreKey(session, row);
      } catch (error) {
        if (!(error instanceof SqlFailure) || (error.kind !== "again" && error.kind !== "duplicate")) {
          throw error;
        }
        if (this.#withoutKey.size === MAX_WITHOUT_KEY) this.#withoutKey.clear();
        this.#withoutKey.add(id);
        throw new SqlFailure("again", { cause: error.cause, code: error.code, advice: error.advice });
      }
    }
  }

  async #setReserved(session: SqlSession, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    // Another change of the transaction may have settled one in between.
    const { sql, values } = this.ours(ids);
    await session.run(
      `UPDATE ${this.name} SET state = 'reserved', due_at = ${this.dialect.nowMs} + ?, unique_key = NULL WHERE ${sql}`,
      [this.leaseMs, ...values],
    );
  }

  async #restoreKey(session: SqlSession, row: SqlRow): Promise<void> {
    // PostgreSQL has no other way to see a key of an open transaction than to wait for it.
    if (this.dialect.name === "postgres") await session.run(`SET LOCAL lock_timeout = ${KEY_WAIT_MS}`);
    const other = await session.run(
      `SELECT id FROM ${this.name} WHERE queue = ? AND unique_key = ?${this.#noWait}`,
      [row["queue"]!, row["taken_key"]!],
    );
    if (other.rows.length > 0) return;
    await session.run(`UPDATE ${this.name} SET unique_key = taken_key WHERE id = ?`, [row["id"]!]);
  }
}

/** The column `attempts` without the last attempt, as an expression; a person may have set it to 0. */
export const UNCOUNTED = "CASE WHEN attempts > 0 THEN attempts - 1 ELSE 0 END";
