import type { SqlDialect } from "../../../sql/dialect.ts";
import type { SqlClient, SqlRow, SqlSession } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import { COMPOSITE, foundIndexes } from "./indexes.ts";
import type { TableTimes } from "./times.ts";
import { idOf } from "../row_values.ts";

/** The name of a table as the configuration can have it: it is put into SQL. */
export const TABLE_NAME = /^[A-Za-z_][A-Za-z0-9_$]{0,62}(?:\.[A-Za-z_][A-Za-z0-9_$]{0,62})?$/;

/** What creates the table, or adds what is missing. */
export const SETUP = "bin/console messenger:setup-transports";

/** The columns of the table. */
export const COLUMNS = [
  "id",
  "body",
  "headers",
  "queue_name",
  "created_at",
  "available_at",
  "delivered_at",
] as const;

/** What the configuration says of the table. */
export interface MessengerLayoutOptions {
  /** The table of the transports, as `table_name` of Symfony has it. */
  readonly table: string;
  /** The `queue_name` of each transport; one that is absent has its own name there. */
  readonly queueNames: ReadonlyMap<string, string>;
  /** The time zone of the times in the table: `UTC`, or a name such as `Europe/Berlin`. */
  readonly timezone: string;
  /** After this time Symfony's own consumers take a message again, milliseconds. */
  readonly redeliverTimeoutMs: number;
  /** At most {@link redeliverTimeoutMs}. */
  readonly leaseMs: number;
  readonly maxPayloadBytes: number;
}

/** What tells the rows of a claim, or of a renewal, from those that another worker has taken. */
export interface Mark {
  /** The column `delivered_at`. */
  readonly at: string;
  /** The transaction that has written it, on PostgreSQL: others may write the same second. Else empty. */
  readonly writer: string;
}

/** A row while it is in flight. */
export interface Fenced {
  readonly id: string;
  /** The marks that it can have while it is ours: two, when the answer to a renewal was lost. */
  marks: readonly Mark[];
}

/** The last message of a claim. */
export interface Place {
  /** The column `available_at`. */
  readonly availableAt: string;
  readonly id: bigint;
}

/** A part of a statement. */
export interface Sql {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

/** The table of messages as this process uses it, and what several of its parts need. */
export class MessengerTable {
  readonly dialect: SqlDialect;
  readonly times: TableTimes;
  /** As Symfony's option `table_name` has it. */
  readonly name: string;
  /** Its name in SQL. */
  readonly quoted: string;
  /** After a SELECT that locks its rows, and skips those that others have locked; {@link onServer} sets it. */
  locking = "";
  /** The table with a hint for the order, where the server needs one. */
  #ordered: string;
  #order = "available_at, id";
  #orderWithinSecond = "id";
  #hasIdsInOrder = true;
  /** DELETE can return its rows. */
  #deleteReturns = false;
  readonly #redeliverTimeoutMs: number;
  readonly #leaseMs: number;

  constructor(
    deps: { dialect: SqlDialect; times: TableTimes },
    options: { table: string; redeliverTimeoutMs: number; leaseMs: number },
  ) {
    this.dialect = deps.dialect;
    this.times = deps.times;
    this.name = options.table;
    // Doctrine writes it without quotes, and then PostgreSQL reads it in small letters.
    const name = deps.dialect.name === "postgres" ? options.table.toLowerCase() : options.table;
    this.quoted = name.split(".").map((part) => deps.dialect.quote(part)).join(".");
    this.#ordered = this.quoted;
    this.#redeliverTimeoutMs = options.redeliverTimeoutMs;
    this.#leaseMs = leaseOf(options.leaseMs);
  }

  /** After FROM, for a search by {@link order}. */
  get ordered(): string {
    return this.#ordered;
  }

  /** The order in which messages are taken: by the time from which they may run, as an index of the table has it. */
  get order(): string {
    return this.#order;
  }

  /** The same within one second. */
  get orderWithinSecond(): string {
    return this.#orderWithinSecond;
  }

  /** Whether an index has the messages of a second in the order of their ids. */
  get hasIdsInOrder(): boolean {
    return this.#hasIdsInOrder;
  }

  /** The condition for messages that nobody has taken. */
  get free(): string {
    // MariaDB takes IS NULL for a constant, leaves the column out of the order, and sorts all messages.
    return this.dialect.name === "mysql" ? "delivered_at <=> NULL" : "delivered_at IS NULL";
  }

  /**
   * Called when a connection was opened: looks for the columns and indexes.
   *
   * @throws {SqlFailure}
   */
  async onServer(client: SqlClient): Promise<void> {
    const { product, hasSkipLocked } = client.facts;
    this.#deleteReturns = this.dialect.hasReturning || product === "MariaDB";
    // A SQLite file has one writer at a time, which locks all of it.
    this.locking = this.dialect.name === "sqlite" ? "" : ` FOR UPDATE${hasSkipLocked ? " SKIP LOCKED" : ""}`;
    await client.run(`SELECT ${COLUMNS.join(", ")} FROM ${this.quoted} WHERE 1 = 0`);
    const indexes = await foundIndexes(client, this.quoted, this.name);
    const composite = indexes.find(({ columns }) => COMPOSITE.every((column, i) => columns[i] === column));
    const index = composite ?? indexes.find(({ columns }) => columns[0] === "available_at");
    const isPostgres = this.dialect.name === "postgres";
    if (composite !== undefined) this.#order = COMPOSITE.slice(1).join(", ");
    // With `id` PostgreSQL would sort all messages of a second.
    else this.#order = isPostgres ? "available_at" : "available_at, id";
    // It does not see that within a second, and without a holder, the index has the order of the ids.
    this.#orderWithinSecond = isPostgres && composite !== undefined ? this.#order : "id";
    this.#hasIdsInOrder = !isPostgres || composite !== undefined;
    this.#ordered = this.quoted + (index === undefined ? "" : this.#hint(index.name));
  }

  /** The column `body`, byte for byte. */
  get body(): string {
    return this.dialect.name === "sqlite" ? "CAST(body AS BLOB)" : "body";
  }

  /** The beginning of a text column, at most this many bytes of it; a character that is cut is not there. */
  start(column: string, bytes: number): string {
    switch (this.dialect.name) {
      case "postgres":
        return `substring(${column} FROM 1 FOR ${bytes})`;
      case "mysql":
        return `LEFT(${column}, ${bytes})`;
      case "sqlite":
        return `substr(CAST(${column} AS BLOB), 1, ${bytes})`;
    }
  }

  /** The condition for messages that somebody has taken. Before 6.4.31 Symfony marked deleted ones so on MySQL. */
  get inFlight(): string {
    return "delivered_at IS NOT NULL AND delivered_at < '9999-01-01 00:00:00'";
  }

  /** The condition for messages whose holder's lease has ended. */
  ended(): Sql {
    const { sql, value } = this.times.exact(-this.#redeliverTimeoutMs);
    return { sql: `delivered_at < ${sql}`, values: [value] };
  }

  /** The condition for messages of a queue that are due, taken or not. */
  due(queueName: string): Sql {
    const { sql, value } = this.times.exact();
    return { sql: `queue_name = ? AND available_at <= ${sql}`, values: [queueName, value] };
  }

  /** What a lease has that begins now. @param row With {@link forMark}. */
  newMark(row: SqlRow): Mark {
    const at = this.times.zone.text(Number(row["now_ms"]) - this.#redeliverTimeoutMs + this.#leaseMs);
    return { at, writer: String(row["writer"]) };
  }

  /** Columns for {@link newMark}, of a row that this transaction has locked. */
  get forMark(): string {
    // PostgreSQL keeps 32 bits of it with a row.
    const writer = this.dialect.name === "postgres" ? "(txid_current() % 4294967296)::text" : "''";
    return `${this.now}, ${writer} AS writer`;
  }

  /** Columns for {@link markOf}. */
  get mark(): string {
    const writer = this.dialect.name === "postgres" ? "xmin::text" : "''";
    return `${this.times.text("delivered_at")} AS delivered_text, ${writer} AS written_by`;
  }

  /** A column with the server's time. */
  get now(): string {
    return `${this.dialect.nowMs} AS now_ms`;
  }

  /** The condition for rows while they are ours. */
  ours(rows: readonly Fenced[]): Sql {
    const pairs = rows.flatMap(({ id, marks }) => marks.map((mark) => ({ id, ...mark })));
    const ids = this.dialect.isOneOf("id", rows.map(({ id }) => id));
    if (this.dialect.name === "postgres") {
      // One statement for every number of rows.
      return {
        sql:
          `${ids.sql} AND (id, delivered_at, xmin::text) IN (SELECT * FROM unnest(?::bigint[], ?::timestamp[], ?::text[]))`,
        values: [
          ...ids.values,
          arrayOf(pairs.map(({ id }) => id)),
          arrayOf(pairs.map(({ at }) => `"${at}"`)),
          arrayOf(pairs.map(({ writer }) => writer)),
        ],
      };
    }
    const byTime = [...Map.groupBy(pairs, ({ at }) => at)];
    const conditions = byTime.map(([at, some]) => {
      const { sql, values } = this.dialect.isOneOf("id", some.map(({ id }) => id));
      return { sql: `(delivered_at = ? AND ${sql})`, values: [at, ...values] };
    });
    return {
      sql: `${ids.sql} AND (${conditions.map(({ sql }) => sql).join(" OR ")})`,
      values: [...ids.values, ...conditions.flatMap(({ values }) => values)],
    };
  }

  /** Deletes rows while they are ours; the ids of those. */
  async remove(session: SqlSession, rows: readonly Fenced[]): Promise<ReadonlySet<string>> {
    const { sql, values } = this.ours(rows);
    if (this.#deleteReturns) {
      const removed = await session.run(`DELETE FROM ${this.quoted} WHERE ${sql} RETURNING id`, values);
      return new Set(removed.rows.map(idOf));
    }
    const [removed] = await Promise.all([
      session.run(`SELECT id FROM ${this.quoted} WHERE ${sql} FOR UPDATE`, values),
      session.run(`DELETE FROM ${this.quoted} WHERE ${sql}`, values),
    ]);
    return new Set(removed.rows.map(idOf));
  }

  #hint(index: string): string {
    switch (this.dialect.name) {
      case "mysql":
        return ` FORCE INDEX (${this.dialect.quote(index)})`;
      case "sqlite":
        return ` INDEXED BY ${this.dialect.quote(index)}`;
      case "postgres":
        return "";
    }
  }
}

/**
 * A lease in whole seconds. That of a worker is up to an eighth shorter, by chance: so two workers that take a message in the same
 * second seldom write the same time. Where nothing but the time tells their leases apart, on MariaDB and MySQL, a change that one
 * of them makes late would hit the other's.
 */
function leaseOf(leaseMs: number): number {
  const seconds = Math.floor(leaseMs / 1_000);
  return (seconds - Math.floor(Math.random() * (seconds / 8))) * 1_000;
}

/** @param row With {@link MessengerTable.mark}; undefined for a row that nobody has taken. */
export function markOf(row: SqlRow | undefined): Mark | undefined {
  const at = row?.["delivered_text"] ?? null;
  return at === null ? undefined : { at: String(at), writer: String(row!["written_by"]) };
}

/** Whether a row has one of its marks. */
export function isMarked({ marks }: Fenced, mark: Mark): boolean {
  return marks.some(({ at, writer }) => at === mark.at && writer === mark.writer);
}

function arrayOf(texts: readonly string[]): string {
  return `{${texts.join(",")}}`;
}
