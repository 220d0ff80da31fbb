import type { BrokerFindingId, Finding, FindingText } from "../../../core/finding.ts";
import type { Clock } from "../../../core/time/clock.ts";
import type { SqlDatabase } from "../../../sql/database.ts";
import type { SqlSession } from "../../../sql/driver.ts";
import { checkDatabase } from "../check/check.ts";
import type { NeededRight } from "../check/subject.ts";
import { COMPOSITE, foundIndexes } from "./indexes.ts";
import type { MessengerLayoutOptions, MessengerTable } from "./table.ts";

/** Rows are counted up to this number. */
const COUNTED = 10_000;
/** What Symfony writes into `delivered_at` of a message that is done, on MySQL before 6.4.31, 7.3.9 and 7.4.3. */
const DONE = "9999-12-31 23:59:59";

/** The documentation of the findings about the table, beside those about its server. */
export const MESSENGER_TEXTS: Readonly<Record<BrokerFindingId, FindingText>> = {
  "messenger.indexes": {
    looksAt:
      "The table of Messenger has an index on `queue_name`, `available_at`, `delivered_at` and `id`, as newer versions of Symfony create it; with single indexes claims are slower.",
  },
  "messenger.redeliver_timeout": {
    looksAt:
      "`lease_ms` is not longer than `redeliver_timeout_ms`, and no message of a queue of the broker's consumers is in flight for longer.",
  },
  "messenger.done": {
    looksAt:
      "No messages that are done are left in the table: older versions of Symfony mark them on MySQL, and delete them at the next `messenger:consume`.",
  },
};

interface Subject {
  readonly table: MessengerTable;
  readonly options: MessengerLayoutOptions;
  /** Of the queues that the broker's consumers take. */
  readonly queueNames: readonly string[];
}

/**
 * Findings about the table and its server.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE, also when the table or a column of it is missing
 */
export async function messengerFindings(
  deps: { readonly database: SqlDatabase; readonly clock: Clock },
  subject: Subject,
): Promise<Finding[]> {
  const { database } = deps;
  const { table, options } = subject;
  const ofServer = await checkDatabase(deps, {
    table: { name: table.name, quoted: table.quoted },
    // Doctrine's types are Doctrine's; that the columns are there was found when the connection opened.
    columns: [],
    indexes: () => [],
    rights: () => rightsOf(table),
    maxPayloadBytes: options.maxPayloadBytes,
  });
  const isAbout = /\.(?:columns|indexes)$/;
  return [
    ...ofServer.filter(({ id }) => !isAbout.test(id)),
    await indexFinding(database, table),
    await leaseFinding(database, subject),
    ...await doneFindings(database, table),
  ];
}

function rightsOf({ quoted, name }: MessengerTable): NeededRight[] {
  const none = `FROM ${quoted} WHERE 1 = 0`;
  const columns = "body, headers, queue_name, created_at, available_at";
  const trials = {
    SELECT: `SELECT 1 ${none}`,
    INSERT: `INSERT INTO ${quoted} (${columns}) SELECT ${columns} ${none}`,
    UPDATE: `UPDATE ${quoted} SET delivered_at = NULL WHERE 1 = 0`,
    DELETE: `DELETE ${none}`,
  };
  return Object.entries(trials).map(([right, trial]) => ({
    right,
    table: name,
    trial,
    use: "run messages of it",
    isVital: true,
  }));
}

async function indexFinding(session: SqlSession, table: MessengerTable): Promise<Finding> {
  const id = "messenger.indexes";
  const indexes = await foundIndexes(session, table.quoted, table.name);
  if (indexes.some(({ columns }) => COMPOSITE.every((column, i) => columns[i] === column))) {
    return { id, severity: "ok", what: `the table ${table.name} has the index of all four columns` };
  }
  const missing = ["queue_name", "available_at"].filter((column) =>
    !indexes.some(({ columns }) => columns[0] === column)
  );
  const why = "claims read more messages than they take, and become slower with each message that waits";
  const fix =
    `add it by a migration of the application, as doctrine-messenger 7.4 does: CREATE INDEX … ON ${table.name} (${
      COMPOSITE.join(", ")
    })`;
  if (missing.length === 0) {
    return {
      id,
      severity: "notice",
      what: `the table ${table.name} has an index for each column alone`,
      why,
      fix,
    };
  }
  return {
    id,
    severity: "warning",
    what: `the table ${table.name} has no index that begins with ${missing.join(", and none with ")}`,
    why,
    fix,
  };
}

async function leaseFinding(
  session: SqlSession,
  { table, options: { leaseMs, redeliverTimeoutMs }, queueNames }: Subject,
): Promise<Finding> {
  const id = "messenger.redeliver_timeout";
  if (redeliverTimeoutMs < leaseMs) {
    return {
      id,
      severity: "error",
      what: `redeliver_timeout_ms is ${redeliverTimeoutMs}, shorter than lease_ms, which is ${leaseMs}`,
      why: "Symfony's own consumers take messages that still run here",
      fix:
        "in [brokers.NAME]: lease_ms of at most redeliver_timeout_ms; both as redeliver_timeout of the transport",
    };
  }
  const count = await endedCount(session, table, queueNames);
  if (count === 0) {
    return { id, severity: "ok", what: "no message is in flight for longer than redeliver_timeout_ms" };
  }
  return {
    id,
    severity: "notice",
    what: `${
      count === COUNTED ? `${COUNTED} or more` : count
    } messages are in flight for longer than redeliver_timeout_ms`,
    why: "their consumers were lost; a worker takes them again",
    fix:
      "look for consumers that were killed; compare redeliver_timeout_ms with redeliver_timeout of the transport",
  };
}

/** Others of the table may be another broker's, with another redeliver_timeout. */
async function endedCount(
  session: SqlSession,
  table: MessengerTable,
  queueNames: readonly string[],
): Promise<number> {
  if (queueNames.length === 0) return 0;
  const ended = table.ended();
  const { rows } = await session.run(
    `SELECT count(*) AS messages FROM (SELECT 1 AS one FROM ${table.quoted}
      WHERE queue_name IN (${
      queueNames.map(() => "?").join(", ")
    }) AND ${ended.sql} LIMIT ${COUNTED}) AS ended`,
    [...queueNames, ...ended.values],
  );
  return Number(rows[0]!["messages"]);
}

async function doneFindings(session: SqlSession, table: MessengerTable): Promise<Finding[]> {
  if (session.dialect.name !== "mysql") return [];
  const id = "messenger.done";
  const { rows } = await session.run(
    `SELECT count(*) AS messages FROM (SELECT 1 AS one FROM ${table.quoted} WHERE delivered_at = ? LIMIT ${COUNTED}) AS done`,
    [DONE],
  );
  const count = Number(rows[0]!["messages"]);
  if (count === 0) return [{ id, severity: "ok", what: "no messages that are done are left in the table" }];
  return [{
    id,
    severity: "notice",
    what: `${
      count === COUNTED ? `${COUNTED} or more` : count
    } messages are done and left in the table ${table.name}`,
    why: "an older version of Symfony marks them, and deletes them when messenger:consume runs next",
    fix: `DELETE FROM ${table.name} WHERE delivered_at = '${DONE}'; or upgrade symfony/doctrine-messenger`,
  }];
}
