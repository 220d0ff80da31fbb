import type { Clock } from "../../core/time/clock.ts";
import type { Delivery, Lease } from "../../core/delivery.ts";
import type { Failure } from "../../core/admin.ts";
import { type FervoError, QueueError } from "../../core/errors.ts";
import type { JobHead, Message, Unreadable } from "../../core/format.ts";
import type { Verdict } from "../../core/outcome.ts";
import { headersColumn } from "../job_columns.ts";
import type { SqliteChanges } from "./store/changes.ts";
import type { SqliteStatement } from "./store/file.ts";
import { keyOf, type SqliteLeases } from "./leases.ts";
import type { SqliteShared } from "./shared.ts";
import type { SqliteWriter } from "./store/writer.ts";

/** A job that this process has leased; it is its own lease. */
export class SqliteDelivery implements Delivery, Lease {
  readonly id: string;
  readonly queue: string;
  readonly message: Message;
  readonly job: JobHead | Unreadable;
  attempt = 1;
  redeliveries = 0;
  enqueuedAtMs?: number;
  readyAtMs?: number;
  isRepeat?: boolean;
  /** The lease's name in the job's row. */
  readonly token: string;
  readonly leases: SqliteLeases;
  readonly rowId: number | bigint;
  /** The opening of the file that it belongs to. */
  readonly opening: number;
  readonly #settler: SqliteSettler;

  constructor(
    deps: { settler: SqliteSettler; leases: SqliteLeases },
    token: string,
    rowId: number | bigint,
    queue: string,
    { message, job }: { message: Message; job: JobHead | Unreadable },
  ) {
    this.#settler = deps.settler;
    this.leases = deps.leases;
    this.opening = deps.leases.opening;
    this.token = token;
    this.rowId = keyOf(rowId);
    this.id = String(rowId);
    this.queue = queue;
    this.message = message;
    this.job = job;
  }

  settle(verdict: Verdict): Promise<void> {
    return this.#settler.settle(this, verdict);
  }

  get lease(): Lease {
    return this;
  }

  get ms(): number {
    return this.#settler.leaseMs;
  }

  extend(): Promise<void> {
    return this.#settler.extend(this);
  }
}

/** The lease of a ready job that was put back while it ran: it has no owner, and makes the next delivery a repeat. */
export const CUT_OFF = "cut off";

/** A job keeps this many failures before the last one, the latest. */
const MAX_EARLIER = 9;
/** How much is kept of the beginning, and of the end, of each STDERR, characters. */
const EARLIER_STDERR = 1_000;
const SHORT_STDERR = `
  CASE WHEN length(error ->> '$.stderr') > ${2 * EARLIER_STDERR} THEN
    substr(error ->> '$.stderr', 1, ${EARLIER_STDERR}) || char(10) ||
    '… ' || (length(error ->> '$.stderr') - ${2 * EARLIER_STDERR}) || ' characters left out …' || char(10) ||
    substr(error ->> '$.stderr', -${EARLIER_STDERR})
  ELSE error ->> '$.stderr' END`;

/** `errors` with the current `error`; a person may have written something else there. */
const EARLIER_ERRORS = `
  CASE WHEN json_valid(error) AND (errors IS NULL OR json_valid(errors)) THEN json_insert(
    CASE WHEN json_array_length(errors) >= ${MAX_EARLIER} THEN json_remove(errors, '$[0]')
         ELSE coalesce(errors, '[]') END,
    '$[#]',
    json_replace(error, '$.stderr', ${SHORT_STDERR})
  ) ELSE errors END`;

/** Changes the rows of our jobs. A row with another lease stays unchanged: LEASE_LOST. */
export class SqliteSettler {
  readonly #clock: Clock;
  readonly #writer: SqliteWriter;
  readonly #changes: SqliteChanges;
  readonly leaseMs: number;
  readonly #ack: SqliteStatement;
  readonly #requeue: SqliteStatement;
  readonly #bury: SqliteStatement;
  readonly #replace: SqliteStatement;
  readonly #release: SqliteStatement;
  readonly #extend: SqliteStatement;

  constructor({ file, clock, writer, changes }: SqliteShared, leaseMs: number) {
    this.#clock = clock;
    this.#writer = writer;
    this.#changes = changes;
    this.leaseMs = leaseMs;
    const ours = "WHERE id = ? AND lease = ?";
    this.#ack = file.prepare(`DELETE FROM fervo_jobs ${ours}`);
    this.#requeue = file.prepare(
      `UPDATE fervo_jobs
       SET state = ?, due_at = ?, errors = ${EARLIER_ERRORS}, error = ?, lease = NULL ${ours}`,
    );
    this.#bury = file.prepare(
      `UPDATE fervo_jobs
       SET state = 'dead', due_at = ?, errors = ${EARLIER_ERRORS}, error = ?, lease = NULL ${ours}`,
    );
    this.#replace = file.prepare(
      `UPDATE fervo_jobs
       SET payload = ?, headers = ?, state = ?, due_at = ?, attempts = 0, error = NULL, errors = NULL, lease = NULL ${ours}`,
    );
    this.#release = file.prepare(
      `UPDATE fervo_jobs SET state = ?, due_at = ?, attempts = attempts - 1, lease = ? ${ours}`,
    );
    this.#extend = file.prepare(`UPDATE fervo_jobs SET state = 'reserved', due_at = ? ${ours}`);
  }

  /** The job is leased until the change is committed: before, an ended lease must not hand it out again. */
  settle(delivery: SqliteDelivery, verdict: Verdict): Promise<void> {
    const drop = () => delivery.leases.drop(delivery);
    return this.#writer.write(() => refuseIfLost(delivery, this.#apply(delivery, verdict)), false, drop);
  }

  extend(delivery: SqliteDelivery): Promise<void> {
    return this.#writer.write(() => {
      const endMs = this.#clock.nowMs() + this.leaseMs;
      refuseIfLost(delivery, this.#extend.run(endMs, delivery.rowId, delivery.token));
    });
  }

  /** Within a transaction. */
  #apply({ rowId, token, attempt }: SqliteDelivery, verdict: Verdict): Changes {
    if (verdict.kind === "ack" || verdict.kind === "handled") return this.#ack.current.run(rowId, token);
    const nowMs = this.#clock.nowMs();
    if (verdict.kind === "bury") {
      return this.#bury.run(nowMs, errorColumn(verdict.error, attempt, nowMs), rowId, token);
    }
    this.#changes.announceOwn();
    const { delayMs = 0, error } = verdict;
    const state = delayMs > 0 ? "delayed" : "ready";
    if (verdict.kind === "release") {
      return this.#release.run(state, nowMs + delayMs, verdict.mayRunOn ? CUT_OFF : null, rowId, token);
    }
    if (verdict.kind === "replace") {
      const { body, headers } = verdict.message;
      return this.#replace.run(body, headersColumn(headers), state, nowMs + delayMs, rowId, token);
    }
    return this.#requeue.run(state, nowMs + delayMs, errorColumn(error, attempt, nowMs), rowId, token);
  }
}

type Changes = { changes: number | bigint };

function refuseIfLost(delivery: SqliteDelivery, { changes }: Changes): void {
  if (changes !== 0) return;
  delivery.leases.drop(delivery);
  const reason = delivery.opening === delivery.leases.opening
    ? "it was settled, or its lease ended and another worker took it"
    : "the queue's file was replaced while the job ran, and the new file does not have this lease";
  throw new QueueError("LEASE_LOST", `Job "${delivery.id}" is no longer ours: ${reason}`);
}

/** The `error` column: `{"code", "message", "attempt", "stderr"?, "at"}` as JSON. */
function errorColumn({ code, message, details }: FervoError, attempt: number, nowMs: number): string {
  const failure: Failure = { code, message, attempt, ...(details.stderr && { stderr: details.stderr }) };
  return JSON.stringify({ ...failure, at: nowMs });
}
