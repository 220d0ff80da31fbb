/** PostgreSQL leaves the old versions of rows in the table; a claim reads past them until VACUUM has removed them. */
import type { Finding } from "../../../core/finding.ts";
import type { SqlSession } from "../../../sql/driver.ts";

/** Fewer dead rows slow nothing down. */
const MANY_DEAD_ROWS = 100_000;
/** VACUUM removes no row that a transaction of this age may still see. */
const OLD_SECONDS = 3_600;
const OLD_TRANSACTIONS = 1_000_000;

/** What keeps VACUUM from removing rows that died after it began. */
export interface Holder {
  /** Such as `the connection with process id 7`. */
  readonly what: string;
  /** What ends it. */
  readonly fix: string;
  /** How long ago it began; undefined where this user may not know it. */
  readonly seconds: number | undefined;
  /** How many transactions have begun since. */
  readonly transactions: number;
}

export interface VacuumFacts {
  /** Why autovacuum does not run on the table: a setting; undefined when it runs. */
  readonly off: string | undefined;
  /** The server's estimates. */
  readonly liveRows: number;
  readonly deadRows: number;
  /** The oldest ones. */
  readonly holders: readonly Holder[];
}

/** Any user may ask for all of it, except the begin of others' transactions. */
export async function vacuumFacts(session: SqlSession, table: string): Promise<VacuumFacts> {
  const [found, connections, slots, prepared] = await Promise.all([
    session.run(
      `SELECT current_setting('autovacuum') AS autovacuum, current_setting('track_counts') AS track_counts,
         array_to_string(reloptions, ',') AS options, n_live_tup AS live, n_dead_tup AS dead
       FROM pg_class LEFT JOIN pg_stat_all_tables ON relid = pg_class.oid WHERE pg_class.oid = to_regclass(?)`,
      [table],
    ),
    session.run(
      `SELECT pid, application_name AS program, greatest(age(backend_xid), age(backend_xmin)) AS transactions,
         extract(epoch FROM clock_timestamp() - xact_start)::bigint AS seconds
       FROM pg_stat_activity
       WHERE pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL)
         AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
       ORDER BY transactions DESC LIMIT 1`,
    ),
    session.run(
      `SELECT slot_name::text AS slot, age(xmin) AS transactions FROM pg_replication_slots WHERE xmin IS NOT NULL
       ORDER BY transactions DESC LIMIT 1`,
    ),
    session.run(
      `SELECT gid, age(transaction) AS transactions, extract(epoch FROM clock_timestamp() - prepared)::bigint AS seconds
       FROM pg_prepared_xacts WHERE database = current_database() ORDER BY transactions DESC LIMIT 1`,
    ),
  ]);
  const row = found.rows[0] ?? {};
  const { autovacuum, track_counts, options } = row;
  return {
    off: autovacuum === "off"
      ? "autovacuum"
      : track_counts === "off"
      ? "track_counts"
      : /(?:^|,)autovacuum_enabled=(?:false|off|no|0)/i.test(String(options))
      ? "autovacuum_enabled of the table"
      : undefined,
    liveRows: Number(row["live"] ?? 0),
    deadRows: Number(row["dead"] ?? 0),
    holders: [
      ...connections.rows.map(({ pid, program, transactions, seconds }) => ({
        what: `the transaction of process ${pid}${program ? ` ("${program}")` : ""}`,
        fix: `end it, as by SELECT pg_terminate_backend(${pid}); and set idle_in_transaction_session_timeout`,
        seconds: seconds === null ? undefined : Number(seconds),
        transactions: Number(transactions),
      })),
      ...slots.rows.map(({ slot, transactions }) => ({
        what: `the replication slot "${slot}"`,
        fix: "start its replica again; or remove the slot by pg_drop_replication_slot, if it has no replica",
        seconds: undefined,
        transactions: Number(transactions),
      })),
      ...prepared.rows.map(({ gid, transactions, seconds }) => ({
        what: `the prepared transaction "${gid}"`,
        fix: "end it by COMMIT PREPARED or ROLLBACK PREPARED",
        seconds: Number(seconds),
        transactions: Number(transactions),
      })),
    ],
  };
}

/** Judges the facts. */
export function vacuumFindings(
  { off, liveRows, deadRows, holders }: VacuumFacts,
  table: { readonly name: string; readonly quoted: string },
): Finding[] {
  return [
    off === undefined
      ? { id: "postgres.autovacuum", severity: "ok", what: `autovacuum runs on ${table.name}` }
      : {
        id: "postgres.autovacuum",
        severity: "warning",
        what: `autovacuum does not run on ${table.name}: ${off} is off`,
        why: "each job leaves dead rows, and claims become slower with each of them",
        fix: off === "autovacuum_enabled of the table"
          ? `ALTER TABLE ${table.quoted} RESET (autovacuum_enabled)`
          : `in postgresql.conf: ${off} = on`,
      },
    ...bloat(liveRows, deadRows, table),
    ...holders.filter(isOld).map(({ what, fix, seconds, transactions }): Finding => ({
      id: "postgres.xmin_horizon",
      severity: "warning",
      what: `${what} is ${
        seconds === undefined ? `${transactions} transactions old` : `${seconds} seconds old`
      }`,
      why: "VACUUM cannot remove rows that died since, so claims become slower with each job",
      fix,
    })),
  ];
}

function isOld({ seconds = 0, transactions }: Holder): boolean {
  return seconds > OLD_SECONDS || transactions > OLD_TRANSACTIONS;
}

function bloat(liveRows: number, deadRows: number, table: { name: string; quoted: string }): Finding[] {
  if (deadRows <= MANY_DEAD_ROWS || deadRows <= liveRows) return [];
  return [{
    id: "postgres.bloat",
    severity: "warning",
    what: `the table ${table.name} has ${deadRows} dead rows and ${liveRows} live`,
    why: "claims read past them, so they are slow",
    fix: `VACUUM ${table.quoted}; and ALTER TABLE ${table.quoted} SET ` +
      "(autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0)",
  }];
}
