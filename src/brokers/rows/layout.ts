import type { Capabilities, ReceiveRequest } from "../../core/broker.ts";
import type { BrokerAdmin } from "../../core/admin.ts";
import type { JobHead, Message, PushOptions, Unreadable } from "../../core/format.ts";
import type { Verdict } from "../../core/outcome.ts";
import type { Given } from "../../sql/database.ts";
import type { SqlClient, SqlSession } from "../../sql/driver.ts";
import type { RowsShared } from "./shared.ts";

/** A job as a claim has read it from its row. */
export interface ClaimedRow {
  /** The row's id, decimal. */
  readonly id: string;
  readonly queue: string;
  readonly message: Message;
  readonly job: JobHead | Unreadable;
  readonly attempt?: number;
  readonly redeliveries?: number;
  readonly isRepeat?: boolean;
  readonly enqueuedAtMs?: number;
  readonly readyAtMs?: number;
}

/** What a waiting receive needs to know. */
export interface Look {
  /** Queues that may have something to take, in order. */
  readonly queues: readonly string[];
  /** A delayed job is due, or a lease has ended. */
  readonly isDue: boolean;
  /** In how many milliseconds the next delayed job is due or the next lease ends; Infinity without any. */
  readonly nextMs: number;
  /** The server's time, epoch milliseconds. */
  readonly serverMs: number;
  /** A queue is paused, be it one of these or not. */
  readonly hasPauses: boolean;
}

/** The result of a push. */
export interface Pushed {
  readonly id: string;
  /** Else a job with the same unique key waits already, and the id is that job's. */
  readonly isNew: boolean;
}

/** A claim within a transaction. */
export interface ClaimRequest extends Pick<ReceiveRequest, "max" | "maxBytes"> {
  readonly queues: readonly string[];
}

/** Whether this process has the row, and has not yet settled it. */
export type IsHeld = (id: string) => boolean;

/**
 * A table of jobs: which rows are jobs of a queue, how one is claimed, and what a verdict makes of it. All methods with a
 * session are parts of a transaction that others share, so they never wait for anything else.
 */
export interface Layout<Row extends ClaimedRow = ClaimedRow> {
  readonly capabilities: Capabilities;
  /** The name of the table of jobs. */
  readonly tableName: string;
  /** The channel on which the server tells of new rows, if it does. */
  readonly channel: string | undefined;
  /** What to do when a statement finds a table or a column missing; else the server's general advice. */
  readonly schemaAdvice?: string;
  /**
   * Checks the tables of a connection that was opened, and creates them where that is allowed.
   *
   * @throws {SqlFailure}
   */
  prepare(client: SqlClient): Promise<void>;
  /** What can be taken from these queues. */
  look(session: SqlSession, queues: readonly string[]): Promise<Look>;
  /**
   * Makes due jobs, and jobs whose lease has ended, ready again; renews those that are held.
   *
   * @param mayEndLeases Else the leases of others stay.
   */
  promote(
    session: SqlSession,
    queues: readonly string[],
    isHeld: IsHeld,
    mayEndLeases: boolean,
  ): Promise<void>;
  /** Takes jobs, one queue after the other. */
  claim(session: SqlSession, request: ClaimRequest): Promise<Given<Row[]>>;
  /** Gives back, uncounted, rows that this process has claimed without knowing: the answer to a claim was lost. */
  giveBack(session: SqlSession, queues: readonly string[], isHeld: IsHeld): Promise<void>;
  /** Removes rows while they are ours; the ids of those. */
  remove(session: SqlSession, rows: readonly Row[]): Promise<ReadonlySet<string>>;
  /** Renews the leases of rows while they are ours; the ids of those. */
  renew(session: SqlSession, rows: readonly Row[]): Promise<Given<ReadonlySet<string>>>;
  /** Settles a row by any other verdict while it is ours; whether it was. */
  settle(session: SqlSession, row: Row, verdict: LastingVerdict): Promise<Given<boolean>>;
  /** Whether another holder has the row now. */
  isTaken(session: SqlSession, row: Row): Promise<boolean>;
  /**
   * What adds a job, unless a job with the same unique key waits.
   *
   * @throws {JobError} JOB_MALFORMED
   */
  push(
    queue: string,
    payload: Uint8Array,
    options: PushOptions,
  ): (session: SqlSession) => Promise<Given<Pushed>>;
  /** What people ask of it. */
  admin(shared: RowsShared): BrokerAdmin;
}

/** A verdict after which the row, or another in its place, exists. */
export type LastingVerdict = Exclude<Verdict, { readonly kind: "ack" | "handled" }>;
