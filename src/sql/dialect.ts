import type { SqlValue } from "./value.ts";

/** In what the SQL of the servers differs. Parameters are `?` for all of them. */
export interface SqlDialect {
  readonly name: "postgres" | "mysql" | "sqlite";
  /** The server's time as an expression, epoch milliseconds: the time of the call, not of the transaction. */
  readonly nowMs: string;
  /** UPDATE and DELETE can return their rows. */
  readonly hasReturning: boolean;
  /** A name of a table or column, quoted. */
  quote(name: string): string;
  /** The length of a binary or text column, bytes. */
  byteLength(column: string): string;
  /** A condition that holds for each row whose `column` is one of these whole numbers; there is at least one. */
  isOneOf(
    column: string,
    numbers: readonly string[],
  ): { readonly sql: string; readonly values: readonly SqlValue[] };
}

export const POSTGRES_DIALECT: SqlDialect = {
  name: "postgres",
  hasReturning: true,
  nowMs: "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
  quote: (name) => `"${name.replaceAll('"', '""')}"`,
  byteLength: (column) => `octet_length(${column})`,
  // One statement for every number of ids.
  isOneOf: (column, numbers) => ({
    sql: `${column} = ANY (?::bigint[])`,
    values: [`{${numbers.join(",")}}`],
  }),
};

export const MYSQL_DIALECT: SqlDialect = {
  name: "mysql",
  hasReturning: false,
  // SYSDATE is the time of the call; UNIX_TIMESTAMP of it does not depend on the session's zone but in the hour that a zone
  // has twice, so the zone of our sessions is UTC.
  nowMs: "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
  quote: (name) => `\`${name.replaceAll("`", "``")}\``,
  byteLength: (column) => `OCTET_LENGTH(${column})`,
  isOneOf: listed,
};

export const SQLITE_DIALECT: SqlDialect = {
  name: "sqlite",
  hasReturning: true,
  // Registered by sqlite.ts: the time of the injected clock.
  nowMs: "fervo_now_ms()",
  quote: POSTGRES_DIALECT.quote,
  byteLength: (column) => `octet_length(${column})`,
  isOneOf: listed,
};

/** Repeats the last number up to a power of two, so that there are few different statements to prepare. */
function listed(column: string, numbers: readonly string[]) {
  const count = 2 ** Math.ceil(Math.log2(numbers.length));
  const values = Array.from({ length: count }, (_, i) => BigInt(numbers[Math.min(i, numbers.length - 1)]!));
  return { sql: `${column} IN (${values.map(() => "?").join(", ")})`, values };
}
