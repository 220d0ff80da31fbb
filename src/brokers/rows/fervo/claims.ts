import type { Format } from "../../../core/format.ts";
import type { Given } from "../../../sql/database.ts";
import type { SqlRow, SqlSession } from "../../../sql/driver.ts";
import type { ClaimRequest, IsHeld, Look } from "../layout.ts";
import { idOf, type JobTable } from "./job_table.ts";
import { type FervoRow, readRow } from "./row.ts";

/** Due jobs, and jobs with a later time, are moved by at most this many at a time. */
const MOVED_TOGETHER = 1_000;
/** A larger limit is rounded up to a multiple of it, so that there are few different statements to prepare. */
const MAX_EXACT_LIMIT = 64;
/** SQL's integers are not longer. */
const MAX_INT = 2 ** 31 - 1;

/** From ready and delayed to reserved: looks for jobs, makes due ones ready, and claims them. */
export class FervoClaims {
  readonly #table: JobTable;
  readonly #options: { readonly format: Format; readonly maxPayloadBytes: number };

  constructor(table: JobTable, options: { format: Format; maxPayloadBytes: number }) {
    this.#table = table;
    this.#options = options;
  }

  async look(session: SqlSession, queues: readonly string[]): Promise<Look> {
    const due = (state: string) =>
      `(SELECT min(due_at) FROM ${this.#table.name} WHERE state = '${state}' AND queue = ?)`;
    // One search in an index for each: the cost does not depend on the number of jobs.
    const text = queues.map(() => `
      SELECT ? AS queue, ${this.#table.dialect.nowMs} AS now_ms,
        CASE WHEN EXISTS (SELECT 1 FROM ${this.#table.name} WHERE state = 'ready' AND queue = ?) THEN 1 ELSE 0 END AS is_ready,
        ${due("delayed")} AS delayed_at, ${due("reserved")} AS reserved_at`).join(" UNION ALL ");
    const { rows } = await session.run(text, queues.flatMap((queue, i) => [i, queue, queue, queue]));
    const found: string[] = [];
    let nextMs = Infinity;
    let serverMs = 0;
    for (const row of rows) {
      serverMs = Number(row["now_ms"]);
      const dueInMs = Math.min(...[row["delayed_at"], row["reserved_at"]].map((at) => inMs(at, serverMs)));
      if (row["is_ready"] === 1 || dueInMs <= 0) found.push(queues[Number(row["queue"])]!);
      nextMs = Math.min(nextMs, dueInMs);
    }
    return {
      queues: found.toSorted((a, b) => queues.indexOf(a) - queues.indexOf(b)),
      isDue: nextMs <= 0,
      nextMs,
      serverMs,
    };
  }

  async promote(
    session: SqlSession,
    queues: readonly string[],
    isHeld: IsHeld,
    mayEndLeases: boolean,
  ): Promise<void> {
    for (const queue of queues) {
      const delayed = await this.#lockDue(session, "delayed", queue);
      await this.#setState(session, "ready", delayed.map(idOf));
      const reserved = await this.#lockDue(session, "reserved", queue);
      const isOurs = (row: SqlRow) => row["lease"] === this.#table.owner && isHeld(idOf(row));
      await this.#table.renew(session, reserved.filter(isOurs).map(idOf));
      // The lease stays in the row: a late settle of its holder still counts until another worker takes the job.
      const ended = mayEndLeases ? reserved.filter((row) => !isOurs(row)) : [];
      await this.#setState(session, "ready", ended.map(idOf));
      await this.#table.restoreKeys(session, ended.filter((row) => row["taken_key"] !== null).map(idOf));
    }
  }

  async claim(
    session: SqlSession,
    { queues, max, maxBytes = Infinity }: ClaimRequest,
  ): Promise<Given<FervoRow[]>> {
    const claimed: FervoRow[] = [];
    let reserved: Promise<void> = Promise.resolve();
    let roomBytes = maxBytes;
    for (const queue of queues) {
      const room = max - claimed.length;
      if (room === 0 || roomBytes <= 0) break;
      await reserved;
      const rows = await this.#lockReady(session, queue, room, Math.floor(roomBytes / room));
      const taken: FervoRow[] = [];
      for (const row of rows) {
        if (row["is_due"] !== 1) continue;
        if (roomBytes <= 0 || taken.length === room) break;
        const payload = await this.#payloadOf(session, row);
        roomBytes -= payload?.length ?? 0;
        taken.push(readRow(row, queue, payload, this.#options));
      }
      // Producers only set due_at; that a job with a later one is delayed follows from it.
      if (rows.some((row) => row["is_due"] !== 1)) await this.#setDelayed(session, queue);
      reserved = this.#reserve(session, taken.map(({ id }) => id));
      claimed.push(...taken);
    }
    return { result: reserved.then(() => claimed) };
  }

  async giveBack(session: SqlSession, queues: readonly string[], isHeld: IsHeld): Promise<void> {
    for (const queue of queues) {
      const { rows } = await session.run(
        `SELECT id, taken_key FROM ${this.#table.name} WHERE state = 'reserved' AND queue = ? AND lease = ?${this.#table.locking}`,
        [queue, this.#table.owner],
      );
      const strays = rows.filter((row) => !isHeld(idOf(row)));
      if (strays.length === 0) continue;
      const { sql, values } = this.#table.dialect.isOneOf("id", strays.map(idOf));
      await session.run(
        `UPDATE ${this.#table.name} SET state = 'ready', attempts = attempts - 1, lease = NULL WHERE ${sql}`,
        values,
      );
      await this.#table.restoreKeys(session, strays.filter((row) => row["taken_key"] !== null).map(idOf));
    }
  }

  /** Ready jobs in the order in which they are taken, possibly more than `room`. Longer payloads are read one by one. */
  async #lockReady(
    session: SqlSession,
    queue: string,
    room: number,
    shareBytes: number,
  ): Promise<readonly SqlRow[]> {
    const limit = room <= MAX_EXACT_LIMIT ? room : Math.ceil(room / MAX_EXACT_LIMIT) * MAX_EXACT_LIMIT;
    const { nowMs, byteLength } = this.#table.dialect;
    const shorter = (column: string) =>
      `CASE WHEN ${byteLength(column)} <= ? THEN ${column} END AS ${column}`;
    const { maxPayloadBytes } = this.#options;
    const { rows } = await session.run(
      `SELECT id, ${shorter("payload")}, ${byteLength("payload")} AS bytes,
         ${shorter("headers")}, ${byteLength("headers")} AS headers_bytes,
         priority, attempts, max_attempts, created_at, due_at, lease, error, errors, unique_key,
         CASE WHEN due_at > ${nowMs} THEN 0 ELSE 1 END AS is_due
       FROM ${this.#table.name} WHERE state = 'ready' AND queue = ? ORDER BY priority DESC, id LIMIT ${limit}${this.#table.locking}`,
      [Math.min(shareBytes, maxPayloadBytes, MAX_INT), maxPayloadBytes, queue],
    );
    return rows;
  }

  /** Undefined when it is longer than allowed. */
  async #payloadOf(session: SqlSession, row: SqlRow): Promise<Uint8Array | undefined> {
    const known = row["payload"] as Uint8Array | null;
    if (known !== null) return known;
    if (Number(row["bytes"]) > this.#options.maxPayloadBytes) return undefined;
    const { rows } = await session.run(`SELECT payload FROM ${this.#table.name} WHERE id = ?`, [row["id"]!]);
    return rows[0]?.["payload"] as Uint8Array | undefined;
  }

  async #reserve(session: SqlSession, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const { sql, values } = this.#table.dialect.isOneOf("id", ids);
    // Without a bound one absurd number of attempts would stop the claim of all. MySQL assigns from left to right.
    await session.run(
      `UPDATE ${this.#table.name} SET state = 'reserved', attempts = CASE WHEN attempts < ${Number.MAX_SAFE_INTEGER} THEN attempts + 1
         ELSE attempts END, due_at = ${this.#table.dialect.nowMs} + ?, lease = ?, taken_key = unique_key, unique_key = NULL
       WHERE ${sql}`,
      [this.#table.leaseMs, this.#table.owner, ...values],
    );
  }

  async #lockDue(
    session: SqlSession,
    state: "delayed" | "reserved",
    queue: string,
  ): Promise<readonly SqlRow[]> {
    const { rows } = await session.run(
      `SELECT id, lease, taken_key FROM ${this.#table.name} WHERE state = '${state}' AND queue = ? AND due_at <= ${this.#table.dialect.nowMs}
       ORDER BY due_at LIMIT ${MOVED_TOGETHER}${this.#table.locking}`,
      [queue],
    );
    return rows;
  }

  async #setDelayed(session: SqlSession, queue: string): Promise<void> {
    const { rows } = await session.run(
      `SELECT id FROM ${this.#table.name} WHERE state = 'ready' AND queue = ? AND due_at > ${this.#table.dialect.nowMs}
       LIMIT ${MOVED_TOGETHER}${this.#table.locking}`,
      [queue],
    );
    await this.#setState(session, "delayed", rows.map(idOf));
  }

  async #setState(session: SqlSession, state: "ready" | "delayed", ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const { sql, values } = this.#table.dialect.isOneOf("id", ids);
    await session.run(`UPDATE ${this.#table.name} SET state = '${state}' WHERE ${sql}`, values);
  }
}

function inMs(at: SqlRow[string] | undefined, nowMs: number): number {
  return at === null || at === undefined ? Infinity : Number(at) - nowMs;
}
