import type { SqlDialect } from "../../../sql/dialect.ts";

/** A table of ours. */
export interface Table {
  readonly name: string;
  readonly quoted: string;
}

/** The tables of the layout `fervo`; a prefix keeps those of several applications in one database apart. */
export interface FervoTables {
  readonly jobs: Table & {
    /** The quoted name of an index, function or trigger that belongs to the table. */
    index(part: string): string;
    /** PostgreSQL's channel of notifications. */
    readonly channel: string;
  };
  readonly paused: Table;
  readonly schedule: Table;
  /** Has the version of all of them. */
  readonly schema: Table;
}

/** The part before `jobs` in the names of tables: it is put into SQL, so it has only letters, digits and underscores. */
export const TABLE_PREFIX = /^[a-z_][a-z0-9_]{0,29}$/;

/** @param prefix As {@link TABLE_PREFIX} has it. */
export function fervoTables(dialect: SqlDialect, prefix: string): FervoTables {
  const table = (part: string) => ({ name: prefix + part, quoted: dialect.quote(prefix + part) });
  return {
    jobs: {
      ...table("jobs"),
      index: (part) => dialect.quote(`${prefix}jobs_${part}`),
      channel: `${prefix}jobs`,
    },
    paused: table("paused"),
    schedule: table("schedule"),
    schema: table("schema"),
  };
}
