import type { BrokerAdmin } from "../../../core/admin.ts";
import type { Capabilities } from "../../../core/broker.ts";
import type { PlainFormat, PushOptions } from "../../../core/format.ts";
import type { Clock } from "../../../core/time/clock.ts";
import { tooLarge } from "../../../core/text/payload.ts";
import { written } from "../../../formats/written.ts";
import type { SqlDialect } from "../../../sql/dialect.ts";
import type { SqlClient, SqlRow, SqlSession, SqlValue } from "../../../sql/driver.ts";
import { HUNDRED_YEARS, refuseDelay } from "../../delays.ts";
import type { ClaimRequest, IsHeld, LastingVerdict, Layout, Look, Miss } from "../layout.ts";
import type { RowsShared } from "../shared.ts";
import { FervoAdmin } from "./admin.ts";
import { CUT_OFF, type FervoRow, readRow } from "./row.ts";
import { migrate } from "./schema.ts";
import { errorsColumns, headersColumn } from "./columns.ts";
import { type FervoTables, fervoTables } from "./tables.ts";

/** Due jobs, and jobs with a later time, are moved by at most this many at a time. */
const MOVED_TOGETHER = 1_000;
/** A larger limit is rounded up to a multiple of it, so that there are few different statements to prepare. */
const MAX_EXACT_LIMIT = 64;
/** SQL's integers are not longer. */
const MAX_INT = 2 ** 31 - 1;

export interface FervoLayoutOptions {
  readonly tablePrefix: string;
  /** Create and migrate the tables when a connection opens. */
  readonly createTables: boolean;
  readonly leaseMs: number;
  readonly maxPayloadBytes: number;
}

export const FERVO_CAPABILITIES: Capabilities = {
  lease: "timed",
  redeliveries: "flagged",
  attempts: true,
  repeats: true,
  release: "uncounted",
  delayedRelease: "uncounted",
  releasePlace: "front",
  replace: "one-step",
  fence: "token",
  orders: ["strict", "weighted"],
  pushDelay: HUNDRED_YEARS,
  retryDelay: HUNDRED_YEARS,
  priority: true,
  headers: true,
  counts: "estimated",
  jobs: true,
  dead: "errors",
  pauses: "kept",
  pauseReasons: true,
  purge: true,
  schedule: true,
};

/** Our own table: schema.ts has its columns, docs/protocol.md their meaning for producers. */
export class FervoLayout implements Layout<FervoRow> {
  readonly capabilities = FERVO_CAPABILITIES;
  readonly channel: string | undefined;
  readonly #dialect: SqlDialect;
  readonly #tables: FervoTables;
  readonly #jobs: string;
  readonly #format: PlainFormat;
  readonly #clock: Clock;
  readonly #owner: string;
  readonly #options: FervoLayoutOptions;
  /** After a SELECT that locks its rows. */
  #locking = "";

  /** @param deps.owner Our name in leases, unique among all workers. */
  constructor(
    deps: { dialect: SqlDialect; format: PlainFormat; clock: Clock; owner: string },
    options: FervoLayoutOptions,
  ) {
    this.#dialect = deps.dialect;
    this.#format = deps.format;
    this.#clock = deps.clock;
    this.#owner = deps.owner;
    this.#options = options;
    this.#tables = fervoTables(deps.dialect, options.tablePrefix);
    this.#jobs = this.#tables.jobs.quoted;
    this.channel = deps.dialect.name === "postgres" ? this.#tables.jobs.channel : undefined;
  }

  async prepare(client: SqlClient): Promise<void> {
    const isFileLocked = this.#dialect.name === "sqlite";
    this.#locking = isFileLocked
      ? ""
      : client.facts.hasSkipLocked
      ? " FOR UPDATE SKIP LOCKED"
      : " FOR UPDATE";
    await migrate(client, this.#tables, this.#options.createTables);
  }

  async look(session: SqlSession, queues: readonly string[]): Promise<Look> {
    const due = (state: string) =>
      `(SELECT min(due_at) FROM ${this.#jobs} WHERE state = '${state}' AND queue = ?)`;
    // One search in an index for each: the cost does not depend on the number of jobs.
    const text = queues.map(() => `
      SELECT ? AS queue, ${this.#dialect.nowMs} AS now_ms,
        CASE WHEN EXISTS (SELECT 1 FROM ${this.#jobs} WHERE state = 'ready' AND queue = ?) THEN 1 ELSE 0 END AS is_ready,
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
      const isOurs = (row: SqlRow) => row["lease"] === this.#owner && isHeld(idOf(row));
      await this.#renew(session, reserved.filter(isOurs).map(idOf));
      // The lease stays in the row: a late settle of its holder still counts until another worker takes the job.
      const ended = mayEndLeases ? reserved.filter((row) => !isOurs(row)) : [];
      await this.#setState(session, "ready", ended.map(idOf));
      await this.#restoreKeys(session, ended.filter((row) => row["taken_key"] !== null).map(idOf));
    }
  }

  async claim(session: SqlSession, { queues, max, maxBytes = Infinity }: ClaimRequest): Promise<FervoRow[]> {
    const claimed: FervoRow[] = [];
    let roomBytes = maxBytes;
    for (const queue of queues) {
      const room = max - claimed.length;
      if (room === 0 || roomBytes <= 0) break;
      const rows = await this.#lockReady(session, queue, room, Math.floor(roomBytes / room));
      const taken: FervoRow[] = [];
      for (const row of rows) {
        if (row["is_due"] !== 1) continue;
        if (roomBytes <= 0 || taken.length === room) break;
        const payload = await this.#payloadOf(session, row);
        roomBytes -= payload?.length ?? 0;
        taken.push(readRow(row, queue, payload, { format: this.#format, ...this.#options }));
      }
      await this.#reserve(session, taken.map(({ id }) => id));
      // Producers only set due_at; that a job with a later one is delayed follows from it.
      if (rows.some((row) => row["is_due"] !== 1)) await this.#setDelayed(session, queue);
      claimed.push(...taken);
    }
    return claimed;
  }

  async giveBack(session: SqlSession, queues: readonly string[], isHeld: IsHeld): Promise<void> {
    for (const queue of queues) {
      const { rows } = await session.run(
        `SELECT id, taken_key FROM ${this.#jobs} WHERE state = 'reserved' AND queue = ? AND lease = ?${this.#locking}`,
        [queue, this.#owner],
      );
      const strays = rows.filter((row) => !isHeld(idOf(row)));
      if (strays.length === 0) continue;
      const { sql, values } = this.#dialect.isOneOf("id", strays.map(idOf));
      await session.run(
        `UPDATE ${this.#jobs} SET state = 'ready', attempts = attempts - 1, lease = NULL WHERE ${sql}`,
        values,
      );
      await this.#restoreKeys(session, strays.filter((row) => row["taken_key"] !== null).map(idOf));
    }
  }

  async remove(session: SqlSession, rows: readonly FervoRow[]): Promise<number> {
    const { sql, values } = this.#ours(rows);
    return (await session.run(`DELETE FROM ${this.#jobs} WHERE ${sql}`, values)).changes;
  }

  async renew(session: SqlSession, rows: readonly FervoRow[]): Promise<number> {
    return await this.#renew(session, rows.map(({ id }) => id));
  }

  async misses(session: SqlSession, rows: readonly FervoRow[]): Promise<ReadonlyMap<string, Miss>> {
    const { sql, values } = this.#dialect.isOneOf("id", rows.map(({ id }) => id));
    const isFileLocked = this.#dialect.name === "sqlite";
    const found = await session.run(
      `SELECT id, lease, state FROM ${this.#jobs} WHERE ${sql}${isFileLocked ? "" : " FOR UPDATE"}`,
      values,
    );
    const misses = new Map<string, Miss>(rows.map(({ id }) => [id, "gone"]));
    for (const row of found.rows) {
      if (row["lease"] === this.#owner) misses.delete(idOf(row));
      else misses.set(idOf(row), row["state"] === "reserved" ? "taken" : "free");
    }
    return misses;
  }

  async settle(session: SqlSession, row: FervoRow, verdict: LastingVerdict): Promise<boolean> {
    const { nowMs } = this.#dialect;
    const ours = this.#ours([row]);
    const update = async (columns: string, ...values: SqlValue[]) =>
      (await session.run(`UPDATE ${this.#jobs} SET ${columns} WHERE ${ours.sql}`, [
        ...values,
        ...ours.values,
      ]))
        .changes > 0;
    if (verdict.kind === "bury") {
      const [error, errors] = errorsColumns(row, verdict.error, this.#clock.nowMs());
      return await update(
        `state = 'dead', due_at = ${nowMs}, errors = ?, error = ?, lease = NULL`,
        errors,
        error,
      );
    }
    const { delayMs = 0 } = verdict;
    const state = delayMs > 0 ? "delayed" : "ready";
    const waiting = `state = '${state}', due_at = ${nowMs} + ?`;
    const isOurs = await this.#requeue(update, waiting, row, verdict);
    if (isOurs && row.uniqueKey !== undefined) await this.#restoreKeys(session, [row.id]);
    return isOurs;
  }

  push(queue: string, payload: Uint8Array, options: PushOptions): (session: SqlSession) => Promise<string> {
    const { maxPayloadBytes } = this.#options;
    const { message: { body, headers }, maxAttempts } = written(
      this.#format,
      payload,
      options,
      this.#clock.nowMs(),
    );
    if (body.length > maxPayloadBytes) throw tooLarge(queue, body.length, maxPayloadBytes);
    const { delayMs = 0, priority = 0, unique = null } = options;
    refuseDelay(queue, delayMs, this.capabilities.pushDelay);
    const { nowMs } = this.#dialect;
    const text = `
      INSERT INTO ${this.#jobs} (queue, payload, headers, priority, max_attempts, created_at, due_at, state, unique_key)
      VALUES (?, ?, ?, ?, ?, ${nowMs}, ${nowMs} + ?, ?, ?)`;
    const state = delayMs > 0 ? "delayed" : "ready";
    const values = [
      queue,
      body,
      headersColumn(headers),
      priority,
      maxAttempts ?? null,
      delayMs,
      state,
      unique,
    ];
    return async (session) => {
      const waiting = unique === null ? undefined : await this.#waitingWith(session, queue, unique);
      return waiting ?? await this.#insert(session, text, values);
    };
  }

  admin(shared: RowsShared): BrokerAdmin {
    return new FervoAdmin(shared, { layout: this, tables: this.#tables, owner: this.#owner });
  }

  async #insert(session: SqlSession, text: string, values: readonly SqlValue[]): Promise<string> {
    if (session.dialect.name !== "mysql") {
      return idOf((await session.run(`${text} RETURNING id`, values)).rows[0]!);
    }
    // Right behind it, before the statements of other changes.
    const [, { rows }] = await Promise.all([
      session.run(text, values),
      session.run("SELECT LAST_INSERT_ID() AS id"),
    ]);
    return idOf(rows[0]!);
  }

  async #requeue(
    update: (columns: string, ...values: SqlValue[]) => Promise<boolean>,
    waiting: string,
    row: FervoRow,
    verdict: Exclude<LastingVerdict, { kind: "bury" }>,
  ): Promise<boolean> {
    const { delayMs = 0 } = verdict;
    switch (verdict.kind) {
      case "release":
        return await update(
          `${waiting}, attempts = attempts - 1, lease = ?`,
          delayMs,
          verdict.mayRunOn ? CUT_OFF : null,
        );
      case "replace":
        return await update(
          `${waiting}, payload = ?, headers = ?, attempts = 0, error = NULL, errors = NULL, lease = NULL`,
          delayMs,
          verdict.message.body,
          headersColumn(verdict.message.headers),
        );
      case "retry": {
        const [error, errors] = errorsColumns(row, verdict.error, this.#clock.nowMs());
        return await update(`${waiting}, errors = ?, error = ?, lease = NULL`, delayMs, errors, error);
      }
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
    const { nowMs, byteLength } = this.#dialect;
    const shorter = (column: string) =>
      `CASE WHEN ${byteLength(column)} <= ? THEN ${column} END AS ${column}`;
    const { maxPayloadBytes } = this.#options;
    const { rows } = await session.run(
      `SELECT id, ${shorter("payload")}, ${byteLength("payload")} AS bytes,
         ${shorter("headers")}, ${byteLength("headers")} AS headers_bytes,
         priority, attempts, max_attempts, created_at, due_at, lease, error, errors, unique_key,
         CASE WHEN due_at > ${nowMs} THEN 0 ELSE 1 END AS is_due
       FROM ${this.#jobs} WHERE state = 'ready' AND queue = ? ORDER BY priority DESC, id LIMIT ${limit}${this.#locking}`,
      [Math.min(shareBytes, maxPayloadBytes, MAX_INT), maxPayloadBytes, queue],
    );
    return rows;
  }

  /** Undefined when it is longer than allowed. */
  async #payloadOf(session: SqlSession, row: SqlRow): Promise<Uint8Array | undefined> {
    const known = row["payload"] as Uint8Array | null;
    if (known !== null) return known;
    if (Number(row["bytes"]) > this.#options.maxPayloadBytes) return undefined;
    const { rows } = await session.run(`SELECT payload FROM ${this.#jobs} WHERE id = ?`, [row["id"]!]);
    return rows[0]?.["payload"] as Uint8Array | undefined;
  }

  async #reserve(session: SqlSession, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const { sql, values } = this.#dialect.isOneOf("id", ids);
    // Without a bound one absurd number of attempts would stop the claim of all. MySQL assigns from left to right.
    await session.run(
      `UPDATE ${this.#jobs} SET state = 'reserved', attempts = CASE WHEN attempts < ${Number.MAX_SAFE_INTEGER} THEN attempts + 1
         ELSE attempts END, due_at = ${this.#dialect.nowMs} + ?, lease = ?, taken_key = unique_key, unique_key = NULL
       WHERE ${sql}`,
      [this.#options.leaseMs, this.#owner, ...values],
    );
  }

  async #lockDue(
    session: SqlSession,
    state: "delayed" | "reserved",
    queue: string,
  ): Promise<readonly SqlRow[]> {
    const { rows } = await session.run(
      `SELECT id, lease, taken_key FROM ${this.#jobs} WHERE state = '${state}' AND queue = ? AND due_at <= ${this.#dialect.nowMs}
       ORDER BY due_at LIMIT ${MOVED_TOGETHER}${this.#locking}`,
      [queue],
    );
    return rows;
  }

  async #setDelayed(session: SqlSession, queue: string): Promise<void> {
    const { rows } = await session.run(
      `SELECT id FROM ${this.#jobs} WHERE state = 'ready' AND queue = ? AND due_at > ${this.#dialect.nowMs}
       LIMIT ${MOVED_TOGETHER}${this.#locking}`,
      [queue],
    );
    await this.#setState(session, "delayed", rows.map(idOf));
  }

  async #setState(session: SqlSession, state: "ready" | "delayed", ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const { sql, values } = this.#dialect.isOneOf("id", ids);
    await session.run(`UPDATE ${this.#jobs} SET state = '${state}' WHERE ${sql}`, values);
  }

  async #renew(session: SqlSession, ids: readonly string[]): Promise<number> {
    if (ids.length === 0) return 0;
    const { sql, values } = this.#dialect.isOneOf("id", ids);
    const { changes } = await session.run(
      `UPDATE ${this.#jobs} SET state = 'reserved', due_at = ${this.#dialect.nowMs} + ? WHERE ${sql} AND lease = ?`,
      [this.#options.leaseMs, ...values, this.#owner],
    );
    return changes;
  }

  #ours(rows: readonly FervoRow[]) {
    const { sql, values } = this.#dialect.isOneOf("id", rows.map(({ id }) => id));
    return { sql: `${sql} AND lease = ?`, values: [...values, this.#owner] };
  }

  /** Gives waiting jobs their unique keys back, where no other job has got the key meanwhile. */
  async #restoreKeys(session: SqlSession, ids: readonly string[]): Promise<void> {
    const jobs = this.#jobs;
    for (const id of ids) {
      const { rows } = await session.run(`SELECT queue, taken_key FROM ${jobs} WHERE id = ?`, [BigInt(id)]);
      const { queue, taken_key: key } = rows[0] ?? { queue: null, taken_key: null };
      if (key === null || await this.#waitingWith(session, String(queue), String(key)) !== undefined) {
        continue;
      }
      // Another producer may do so at this moment: then this transaction fails, and is made again.
      await session.run(`UPDATE ${jobs} SET unique_key = taken_key WHERE id = ?`, [BigInt(id)]);
    }
  }

  async #waitingWith(session: SqlSession, queue: string, key: string): Promise<string | undefined> {
    const { rows } = await session.run(
      `SELECT id FROM ${this.#jobs} WHERE queue = ? AND unique_key = ?`,
      [queue, key],
    );
    return rows[0] && idOf(rows[0]);
  }
}

function idOf(row: SqlRow): string {
  return String(row["id"]);
}

function inMs(at: SqlRow[string] | undefined, nowMs: number): number {
  return at === null || at === undefined ? Infinity : Number(at) - nowMs;
}
