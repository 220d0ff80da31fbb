import type { Finding } from "../../../core/finding.ts";
import type { ServerFacts, SqlRow, SqlSession } from "../../../sql/driver.ts";
import { connectionFindings } from "./connections.ts";
import type { CheckedLayout } from "./subject.ts";
import {
  columnFindings,
  type FoundColumn,
  type FoundIndex,
  indexFindings,
  type TableRules,
} from "./tables.ts";
import { type VacuumFacts, vacuumFacts, vacuumFindings } from "./vacuum.ts";

/** Before it, a claim is refused: it needs `AS MATERIALIZED`. */
const LEAST_MAJOR = 12;

/** The facts about a PostgreSQL server and its table of jobs. */
export interface PostgresFacts {
  readonly server: ServerFacts;
  /** Settings as our session has them, and counts of connections. */
  readonly settings: SqlRow;
  readonly columns: readonly FoundColumn[];
  readonly indexes: readonly FoundIndex[];
  /** A column whose values come from a sequence that the user may not use. */
  readonly deniedSequence: string | undefined;
  readonly isUnlogged: boolean;
  readonly vacuum: VacuumFacts;
}

const RULES: TableRules = {
  columns: {
    id: "postgres.columns",
    types: {
      id: /^bigint$/,
      integer: /^bigint$/,
      text: /^text$/,
      // A length of less than the schema's refuses long names.
      name: /^(?:text|character varying|character varying\((?:2[5-9]\d|[3-9]\d\d|\d{4,})\))$/,
      owner: /^(?:text|character varying|character varying\((?:2[5-9]\d|[3-9]\d\d|\d{4,})\))$/,
      state: /^(?:text|character varying(?:\((?:[89]|\d{2,})\))?)$/,
      payload: /^bytea$/,
    },
    forbidNull: (table, column) => `ALTER TABLE ${table} ALTER COLUMN ${column} SET NOT NULL`,
  },
  indexes: {
    id: "postgres.indexes",
    drop: (_table, index) => `DROP INDEX ${index}`,
  },
};

/** Settings that are read. One that the server does not have is NULL. */
const SETTINGS = [
  "transaction_isolation",
  "fsync",
  "full_page_writes",
  "synchronous_commit",
  "max_connections",
  "superuser_reserved_connections",
  "reserved_connections",
];

/** Any user may ask for all of it. */
export async function postgresFacts(
  session: SqlSession,
  server: ServerFacts,
  { table: { quoted } }: CheckedLayout,
): Promise<PostgresFacts> {
  const [settings, table, columns, indexes, vacuum] = await Promise.all([
    session.run(`
      SELECT ${SETTINGS.map((name) => `current_setting('${name}', true) AS ${name}`).join(", ")},
        (SELECT sum(numbackends) FROM pg_stat_database) AS connections,
        (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
        (SELECT numbackends FROM pg_stat_database WHERE datname = current_database()) AS database_connections`),
    session.run("SELECT relpersistence::text AS persistence FROM pg_class WHERE oid = to_regclass(?)", [
      quoted,
    ]),
    session.run(
      `SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS is_required,
         attidentity::text <> '' OR has_sequence_privilege(pg_get_serial_sequence(?, attname), 'USAGE') AS may_use
       FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped`,
      [quoted, quoted],
    ),
    session.run(
      `SELECT relname::text AS name, indisunique AS is_unique, indisvalid AND indisready AS is_used,
         pg_get_expr(indpred, indrelid) AS condition,
         (SELECT string_agg(attname || CASE WHEN indoption[i] & 1 = 1 THEN ' DESC' ELSE '' END, ',' ORDER BY i)
          FROM generate_series(0, indnkeyatts - 1) AS i JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[i]
         ) AS columns
       FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = to_regclass(?)`,
      [quoted],
    ),
    vacuumFacts(session, quoted),
  ]);
  const denied = columns.rows.find((row) => row["may_use"] === 0);
  return {
    server,
    settings: settings.rows[0]!,
    columns: columns.rows.map((row) => ({
      name: String(row["name"]),
      type: String(row["type"]),
      mayBeNull: row["is_required"] !== 1,
    })),
    indexes: indexes.rows.map((row) => ({
      name: String(row["name"]),
      isUnique: row["is_unique"] === 1,
      isUsed: row["is_used"] === 1,
      columns: String(row["columns"]).split(","),
      where: row["condition"] as string | null ?? undefined,
    })),
    deniedSequence: denied && String(denied["name"]),
    isUnlogged: table.rows[0]?.["persistence"] === "u",
    vacuum,
  };
}

/** Judges the facts. */
export function postgresFindings(facts: PostgresFacts, layout: CheckedLayout): Finding[] {
  const { server, settings, columns, indexes } = facts;
  return [
    version(server),
    ...pooler(server),
    isolation(settings),
    ...columnFindings(layout, columns, RULES.columns),
    ...sequence(facts, layout),
    ...indexFindings(layout, layout.indexes(server.product), indexes, RULES.indexes),
    durability(facts, layout),
    ...vacuumFindings(facts.vacuum, layout.table),
    ...connections(settings),
  ];
}

function version({ version: { major, minor } }: ServerFacts): Finding {
  const id = "postgres.version";
  if (major >= LEAST_MAJOR) return { id, severity: "ok", what: `version ${major}.${minor}` };
  return {
    id,
    severity: "error",
    code: "QUEUE_UNAVAILABLE",
    what: `version ${major}.${minor} is too old`,
    why: "the tables need statements that it does not have",
    fix: `upgrade to PostgreSQL ${LEAST_MAJOR} or newer; a version that still gets corrections is best`,
  };
}

function pooler({ hasPooler }: ServerFacts): Finding[] {
  if (!hasPooler) return [];
  return [{
    id: "postgres.pooler",
    severity: "notice",
    what: "a pooler, such as PgBouncer, is between the worker and the server",
    why:
      "there are no notifications, so a waiting worker looks for jobs once a second; no statement is prepared, which costs the server time",
    fix: "in [brokers.NAME]: url = the server itself; the worker needs two connections",
  }];
}

function isolation(settings: SqlRow): Finding {
  const id = "postgres.isolation";
  const level = settings["transaction_isolation"];
  if (level === "read committed") return { id, severity: "ok", what: "its transactions are read committed" };
  return {
    id,
    severity: "warning",
    what: `its transactions are ${level}, although the worker has asked for read committed`,
    why: "workers that take jobs at the same time make each other's transactions fail, and repeat them",
    fix: "remove what sets transaction_isolation after the login, such as a proxy",
  };
}

function sequence({ deniedSequence: column }: PostgresFacts, { table }: CheckedLayout): Finding[] {
  if (column === undefined) return [];
  return [{
    id: "postgres.rights",
    severity: "error",
    code: "QUEUE_UNAVAILABLE",
    what: `the user lacks the right USAGE on the sequence of ${table.name}.${column}`,
    why: "it cannot push jobs",
    fix: `SELECT pg_get_serial_sequence('${table.quoted}', '${column}'); then ` +
      "GRANT USAGE ON SEQUENCE the result TO the user of [brokers.NAME]",
  }];
}

function durability({ settings, isUnlogged }: PostgresFacts, { table }: CheckedLayout): Finding {
  const id = "postgres.durability";
  if (isUnlogged) {
    return {
      id,
      severity: "warning",
      what: `the table ${table.name} is unlogged`,
      why: "after a crash of the server it is empty, and replicas do not have it: all jobs are lost",
      fix: `ALTER TABLE ${table.quoted} SET LOGGED`,
    };
  }
  for (const name of ["fsync", "full_page_writes"]) {
    if (settings[name] !== "off") continue;
    return {
      id,
      severity: "warning",
      what: `${name} is off`,
      why: "after a power failure the database can be damaged, and all jobs lost",
      fix: `in postgresql.conf: ${name} = on`,
    };
  }
  if (settings["synchronous_commit"] === "off") {
    return {
      id,
      severity: "warning",
      what: "synchronous_commit is off",
      why: "a crash of the server loses the last pushes, and jobs that were done just before run again",
      fix: "ALTER ROLE the user of [brokers.NAME], and of the application, SET synchronous_commit = on",
    };
  }
  return { id, severity: "ok", what: "what is committed outlives a crash" };
}

function connections(settings: SqlRow): Finding[] {
  const of = (name: string) => Number(settings[name] ?? 0);
  const reserved = of("superuser_reserved_connections") + of("reserved_connections");
  return [
    ...connectionFindings({
      id: "postgres.connections",
      used: of("connections"),
      max: of("max_connections") - reserved,
      setting: "max_connections of the server",
    }),
    ...connectionFindings({
      id: "postgres.connections",
      used: of("database_connections"),
      max: of("database_limit"),
      setting: "the database's limit (ALTER DATABASE … CONNECTION LIMIT)",
    }),
  ];
}
