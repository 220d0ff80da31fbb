import type { Finding } from "../../../core/finding.ts";
import { FervoError } from "../../../core/errors.ts";
import type { Clock } from "../../../core/time/clock.ts";
import type { SqlDatabase } from "../../../sql/database.ts";
import { type FailureKind, SqlFailure } from "../../../sql/failure.ts";
import { mysqlFacts, mysqlFindings } from "./mysql.ts";
import { postgresFacts, postgresFindings } from "./postgres.ts";
import type { CheckedLayout, NeededRight } from "./subject.ts";

type Kind = "postgres" | "mysql";

const CLOCK = { postgres: { id: "postgres.clock" }, mysql: { id: "mysql.clock" } } as const;
const RIGHTS = { postgres: { id: "postgres.rights" }, mysql: { id: "mysql.rights" } } as const;

/** A larger difference between the clocks is a warning, milliseconds. */
const CLOCK_DIFFERENCE_MS = 5_000;

/**
 * Findings about a database server and a table of jobs. It needs no more rights than a worker has.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export async function checkDatabase(
  { database, clock }: { readonly database: SqlDatabase; readonly clock: Clock },
  layout: CheckedLayout,
): Promise<Finding[]> {
  const facts = await database.facts();
  const kind = database.dialect.name;
  if (kind === "sqlite") return [];
  const ofServer = kind === "postgres"
    // In a transaction, because jobs are: behind a pooler only a transaction has settings of its own.
    ? postgresFindings(
      await database.transaction((session) => postgresFacts(session, facts, layout)),
      layout,
    )
    : mysqlFindings(await mysqlFacts(database, facts, layout), layout);
  return [
    ...ofServer,
    ...await clockFinding(database, clock, kind),
    ...rightFindings(await deniedRights(database, layout.rights(facts.product)), kind),
  ];
}

async function clockFinding(database: SqlDatabase, clock: Clock, kind: Kind): Promise<Finding[]> {
  const beforeMs = clock.nowMs();
  const { rows } = await database.run(`SELECT ${database.dialect.nowMs} AS now_ms`);
  const finding = judgeClocks({ beforeMs, serverMs: Number(rows[0]!["now_ms"]), afterMs: clock.nowMs() });
  return [{ ...CLOCK[kind], ...finding }];
}

/** Judges the server's time, which was read between two times of this machine. */
export function judgeClocks(
  { beforeMs, serverMs, afterMs }: {
    readonly beforeMs: number;
    readonly serverMs: number;
    readonly afterMs: number;
  },
): Omit<Finding, "id"> {
  const aheadMs = Math.max(serverMs - afterMs, 0);
  const behindMs = Math.max(beforeMs - serverMs, 0);
  const differenceMs = Math.max(aheadMs, behindMs);
  if (differenceMs <= CLOCK_DIFFERENCE_MS) return { severity: "ok", what: "its clock agrees with ours" };
  return {
    severity: "warning",
    what: `its clock is ${Math.round(differenceMs / 1_000)} seconds ${
      aheadMs > 0 ? "ahead of" : "behind"
    } ours`,
    why:
      "leases and delays go by its clock, schedules and the ends of pauses by ours: those come early or late, and ages in lists are wrong",
    fix: "synchronize the clocks of both machines, such as by NTP",
  };
}

/** Failures of a trial that tell nothing of the right, and that the other findings report. */
const UNTOLD: ReadonlySet<FailureKind> = new Set(["schema", "refused", "other"]);

async function deniedRights(
  database: SqlDatabase,
  rights: readonly NeededRight[],
): Promise<NeededRight[]> {
  const denied: NeededRight[] = [];
  for (const right of rights) {
    try {
      await database.run(right.trial);
    } catch (error) {
      const cause = error instanceof FervoError ? error.cause : undefined;
      if (!(cause instanceof SqlFailure)) throw error;
      if (cause.kind === "denied") denied.push(right);
      else if (!UNTOLD.has(cause.kind)) throw error;
    }
  }
  return denied;
}

function rightFindings(denied: readonly NeededRight[], kind: Kind): Finding[] {
  const { id } = RIGHTS[kind];
  if (denied.length === 0) return [{ id, severity: "ok", what: "the user has all rights" }];
  return denied.map(({ right, table, use, isVital }) => ({
    id,
    ...(isVital
      ? { severity: "error", code: "QUEUE_UNAVAILABLE" } as const
      : { severity: "notice" } as const),
    what: `the user lacks the right ${right} on ${table}`,
    why: `it cannot ${use}`,
    fix: `as an administrator of the database: GRANT ${right} ON ${table} TO the user of [brokers.NAME]`,
  }));
}
