import type { Finding } from "../../../core/finding.ts";
import { FervoError } from "../../../core/errors.ts";
import type { ServerFacts, SqlRow, SqlSession } from "../../../sql/driver.ts";
import { SqlFailure } from "../../../sql/failure.ts";
import { connectionFindings } from "./connections.ts";
import type { CheckedLayout, NeededIndex } from "./subject.ts";
import {
  columnFindings,
  type FoundColumn,
  type FoundIndex,
  indexFindings,
  type TableRules,
} from "./tables.ts";

/** Every transaction adds one until the purge has removed it. */
const LONG_HISTORY = 1_000_000;

/** The facts about a MariaDB or MySQL server and its table of jobs. */
export interface MysqlFacts {
  readonly server: ServerFacts;
  /** Settings as our session has them; a server does not have all of them. */
  readonly settings: ReadonlyMap<string, string>;
  readonly status: ReadonlyMap<string, string>;
  /** The engine of the table. */
  readonly engine: string | undefined;
  readonly columns: readonly FoundColumn[];
  readonly indexes: readonly FoundIndex[];
}

const RULES: TableRules = {
  columns: {
    id: "mysql.columns",
    types: {
      id: /^bigint/i,
      integer: /^bigint(?!.*unsigned)/i,
      text: /^longtext/i,
      // With another collation, names of different letters can be the same.
      name: /^varchar\((?:2[5-9]\d|[3-9]\d\d|\d{4,})\)(?:.* \w+_bin$|$)/i,
      owner: /^varchar\((?:2[5-9]\d|[3-9]\d\d|\d{4,})\)/i,
      state: /^varchar\((?:[89]|\d{2,})\)/i,
      payload: /^longblob/i,
    },
    forbidNull: () => undefined,
  },
  indexes: {
    id: "mysql.indexes",
    drop: (table, index) => `ALTER TABLE ${table} DROP INDEX ${index}`,
  },
};

const SETTINGS = [
  "transaction_isolation",
  // Of MariaDB before 11.1.
  "tx_isolation",
  "sql_mode",
  "log_bin",
  "binlog_format",
  "max_allowed_packet",
  "max_connections",
  "innodb_flush_log_at_trx_commit",
];
const STATUS = ["Threads_connected", "Innodb_history_list_length"];

/** Any user may ask for all of it, except the length of the history on MySQL. */
export async function mysqlFacts(
  session: SqlSession,
  server: ServerFacts,
  { table: { name } }: CheckedLayout,
): Promise<MysqlFacts> {
  const named = (names: readonly string[]) =>
    `WHERE Variable_name IN (${names.map((one) => `'${one}'`).join(", ")})`;
  const [settings, status, tables, columns, indexes] = await Promise.all([
    session.run(`SHOW SESSION VARIABLES ${named(SETTINGS)}`),
    session.run(`SHOW GLOBAL STATUS ${named(STATUS)}`),
    session.run(
      "SELECT ENGINE AS engine FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
      [name],
    ),
    session.run(
      `SELECT COLUMN_NAME AS name, CONCAT_WS(' ', COLUMN_TYPE, COLLATION_NAME) AS type, IS_NULLABLE AS nullable
       FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?`,
      [name],
    ),
    session.run(
      `SELECT * FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?
       ORDER BY INDEX_NAME, SEQ_IN_INDEX`,
      [name],
    ),
  ]);
  const history = server.product === "MySQL" ? await historyOf(session) : [];
  return {
    server,
    settings: pairs(settings.rows),
    status: new Map([...pairs(status.rows), ...history]),
    engine: tables.rows[0] && String(tables.rows[0]["engine"]),
    columns: columns.rows.map((row) => ({
      name: String(row["name"]),
      type: String(row["type"]),
      mayBeNull: row["nullable"] === "YES",
    })),
    indexes: indexesOf(indexes.rows),
  };
}

/** On MySQL it needs the right PROCESS, which workers do not need: without it nothing is told. */
async function historyOf(session: SqlSession): Promise<[string, string][]> {
  try {
    const { rows } = await session.run(
      "SELECT COUNT AS length FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'",
    );
    return rows.map((row) => ["Innodb_history_list_length", String(row["length"])]);
  } catch (error) {
    const cause = error instanceof FervoError ? error.cause : undefined;
    if (cause instanceof SqlFailure && cause.kind === "denied") return [];
    throw error;
  }
}

function pairs(rows: readonly SqlRow[]): Map<string, string> {
  return new Map(rows.map((row) => [String(row["Variable_name"]), String(row["Value"])]));
}

/** An entry is a column of an index. */
function indexesOf(rows: readonly SqlRow[]): FoundIndex[] {
  const entries = Map.groupBy(rows, (row) => String(row["INDEX_NAME"]));
  return [...entries].map(([name, columns]) => ({
    name,
    isUnique: Number(columns[0]!["NON_UNIQUE"]) === 0,
    isUsed: columns[0]!["IS_VISIBLE"] !== "NO" && columns[0]!["IGNORED"] !== "YES",
    // The beginning of a column sorts nothing.
    columns: columns.map(({ COLUMN_NAME: column, COLLATION: order, SUB_PART: part }) =>
      `${column}${part == null ? "" : `(${part})`}${order === "D" ? " DESC" : ""}`
    ),
    where: undefined,
  }));
}

/** Judges the facts. */
export function mysqlFindings(facts: MysqlFacts, layout: CheckedLayout): Finding[] {
  const { server, settings, status } = facts;
  return [
    version(server),
    isolation(settings),
    strictness(settings),
    ...binlog(settings),
    ...engine(facts, layout),
    ...columnFindings(layout, facts.columns, RULES.columns),
    ...indexFindings(layout, neededIndexes(server, layout), facts.indexes, RULES.indexes),
    durability(settings),
    ...packet(settings, layout),
    ...history(status),
    ...connectionFindings({
      id: "mysql.connections",
      used: Number(status.get("Threads_connected")),
      max: Number(settings.get("max_connections")),
      setting: "max_connections of the server",
    }),
  ];
}

function version(server: ServerFacts): Finding {
  const id = "mysql.version";
  const { product, version: { major, minor }, hasSkipLocked } = server;
  const told = `${product} ${major}.${minor}`;
  if (!hasSkipLocked) {
    return {
      id,
      severity: "warning",
      what: `${told} has no SKIP LOCKED`,
      why: "workers take jobs of a queue one after the other: a second worker adds little",
      fix: "upgrade to MariaDB 10.8, MySQL 8.0.17 or newer",
    };
  }
  if (!hasDescendingIndexes(server)) {
    return {
      id,
      severity: "warning",
      what: `${told} has no descending indexes`,
      why: "each claim sorts all ready jobs of its queue, so it becomes slower with each job that waits",
      fix: "upgrade to MariaDB 10.8 or newer",
    };
  }
  return { id, severity: "ok", what: told };
}

function hasDescendingIndexes({ product, version: { major, minor } }: ServerFacts): boolean {
  return product === "MariaDB" ? major > 10 || (major === 10 && minor >= 8) : major >= 8;
}

/** Older servers read the word DESC, and ignore it. */
function neededIndexes(server: ServerFacts, layout: CheckedLayout): readonly NeededIndex[] {
  const indexes = layout.indexes(server.product);
  if (hasDescendingIndexes(server)) return indexes;
  return indexes.map((index) => ({
    ...index,
    columns: index.columns.map((column) => column.replace(" DESC", "")),
  }));
}

function isolation(settings: MysqlFacts["settings"]): Finding {
  const id = "mysql.isolation";
  const level = settings.get("transaction_isolation") ?? settings.get("tx_isolation");
  if (level === "READ-COMMITTED") return { id, severity: "ok", what: "its transactions are READ COMMITTED" };
  return {
    id,
    severity: "warning",
    what: `its transactions are ${level}, although the worker has asked for READ COMMITTED`,
    why: "claims lock rows and gaps that they do not take, so workers wait for each other and deadlock",
    fix: "remove what sets transaction_isolation after the login, such as a proxy",
  };
}

function strictness(settings: MysqlFacts["settings"]): Finding {
  const id = "mysql.strictness";
  const mode = settings.get("sql_mode") ?? "";
  if (/STRICT_(?:ALL|TRANS)_TABLES/.test(mode)) {
    return { id, severity: "ok", what: "it refuses values that do not fit" };
  }
  return {
    id,
    severity: "warning",
    what: `sql_mode is "${mode}", although the worker has asked for STRICT_ALL_TABLES`,
    why: "values that do not fit are cut, payloads included",
    fix: "remove what sets sql_mode after the login, such as a proxy",
  };
}

function binlog(settings: MysqlFacts["settings"]): Finding[] {
  if (settings.get("log_bin") !== "ON" || settings.get("binlog_format") !== "STATEMENT") return [];
  return [{
    id: "mysql.binlog_format",
    severity: "error",
    code: "QUEUE_UNAVAILABLE",
    what: "binlog_format is STATEMENT",
    why: "the server refuses writes of transactions that are READ COMMITTED: no job can be pushed or taken",
    fix: "in my.cnf: binlog_format = ROW",
  }];
}

function engine({ engine }: MysqlFacts, { table }: CheckedLayout): Finding[] {
  if (engine === undefined || engine === "InnoDB") return [];
  return [{
    id: "mysql.engine",
    severity: "error",
    what: `the engine of the table ${table.name} is ${engine}`,
    why: "without transactions and locks of rows a job can run twice, and a failed change is half made",
    fix: `ALTER TABLE ${table.quoted} ENGINE = InnoDB`,
  }];
}

function durability(settings: MysqlFacts["settings"]): Finding {
  const id = "mysql.durability";
  const value = settings.get("innodb_flush_log_at_trx_commit");
  if (value === "1" || value === "3") {
    return { id, severity: "ok", what: "what is committed outlives a crash" };
  }
  return {
    id,
    severity: "warning",
    what: `innodb_flush_log_at_trx_commit is ${value}`,
    why:
      `a crash of the ${value === "0" ? "server" : "machine"} loses the pushes of the last second or so, ` +
      "and jobs that were done just before run again",
    fix: "in my.cnf: innodb_flush_log_at_trx_commit = 1",
  };
}

function packet(settings: MysqlFacts["settings"], { maxPayloadBytes }: CheckedLayout): Finding[] {
  const bytes = Number(settings.get("max_allowed_packet"));
  if (bytes >= maxPayloadBytes) return [];
  return [{
    id: "mysql.max_allowed_packet",
    severity: "notice",
    what: `max_allowed_packet is ${bytes}, and max_payload_bytes is ${maxPayloadBytes}`,
    why: "the push of a larger payload is refused",
    fix:
      `in my.cnf: max_allowed_packet = ${maxPayloadBytes}; or in [brokers.NAME]: a lower max_payload_bytes`,
  }];
}

function history(status: MysqlFacts["status"]): Finding[] {
  const length = Number(status.get("Innodb_history_list_length") ?? 0);
  if (length <= LONG_HISTORY) return [];
  return [{
    id: "mysql.history",
    severity: "warning",
    what: `the history list of InnoDB has ${length} transactions that are not purged`,
    why: "claims read past deleted rows, so they become slower with each job",
    fix:
      "end the oldest transaction: SELECT * FROM information_schema.INNODB_TRX ORDER BY trx_started LIMIT 1",
  }];
}
