import type { Format } from "../../../core/format.ts";
import type { Clock } from "../../../core/time/clock.ts";
import type { Given } from "../../../sql/database.ts";
import type { SqlRow, SqlSession } from "../../../sql/driver.ts";
import type { ClaimRequest, IsHeld, Look } from "../layout.ts";
import { limitOf } from "../limit.ts";
import { ReadyPlaces } from "../ready_place.ts";
import { type JobTable, UNCOUNTED } from "./job_table.ts";
import { type FervoRow, readRow } from "./row.ts";
import { bytesOf, idOf } from "../row_values.ts";

/** Due jobs, and jobs with a later time, are moved by at most this many at a time. */
const MOVED_TOGETHER = 1_000;
/** A claim begins behind the last one for this long, milliseconds; then a job of a higher priority is seen. */
const PLACE_VALID_MS = 20;
/** SQL's integers are not longer. */
const MAX_INT = 2 ** 31 - 1;
/** The largest number of attempts; an absurd one must not stop the claim of all. */
const MAX_COUNT = Number.MAX_SAFE_INTEGER;

/** What a claim may still take. */
interface Room {
  /** Jobs. */
  readonly room: number;
  readonly roomBytes: number;
}

/** From ready and delayed to reserved: looks for jobs, makes due ones ready, and claims them. */
export class FervoClaims {
  readonly #table: JobTable;
  readonly #paused: string;
  readonly #options: { readonly format: Format; readonly maxPayloadBytes: number };
  readonly #places: ReadyPlaces<readonly bigint[]>;
  /** Queues with ready jobs that are not due yet. */
  readonly #withLater = new Set<string>();

  /** @param deps.paused The name of the table of paused queues in SQL. */
  constructor(
    deps: { table: JobTable; paused: string; clock: Clock },
    options: { format: Format; maxPayloadBytes: number },
  ) {
    this.#table = deps.table;
    this.#paused = deps.paused;
    this.#places = new ReadyPlaces(deps.clock, { validMs: PLACE_VALID_MS });
    this.#options = options;
  }

  async look(session: SqlSession, queues: readonly string[]): Promise<Look> {
    const due = (state: string) =>
      `(SELECT min(due_at) FROM ${this.#table.name} WHERE state = '${state}' AND queue = ?)`;
    // One search in an index for each: the cost does not depend on the number of jobs.
    const text = queues.map(() => `
      SELECT ? AS queue, ${this.#table.dialect.nowMs} AS now_ms,
        CASE WHEN EXISTS (SELECT 1 FROM ${this.#table.name} WHERE state = 'ready' AND queue = ?) THEN 1 ELSE 0 END AS is_ready,
        ${due("delayed")} AS delayed_at, ${due("reserved")} AS reserved_at,
        CASE WHEN EXISTS (SELECT 1 FROM ${this.#paused}) THEN 1 ELSE 0 END AS has_pauses`).join(
      " UNION ALL ",
    );
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
      hasPauses: rows[0]?.["has_pauses"] === 1,
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
      await (await this.#table.renew(session, reserved.filter(isOurs).map(idOf))).result;
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
    let roomBytes = maxBytes;
    for (const [i, queue] of queues.entries()) {
      const { result } = await this.#claimOf(session, queue, { room: max - claimed.length, roomBytes });
      // The commit need not wait for the last one.
      if (i === queues.length - 1) return { result: result.then((rows) => [...claimed, ...rows]) };
      let rows = await result;
      // Jobs that are not due hid others: these come before those of the next queue.
      if (rows.length === 0 && this.#withLater.has(queue)) {
        rows = await (await this.#claimOf(session, queue, { room: max - claimed.length, roomBytes })).result;
      }
      claimed.push(...rows);
      roomBytes -= rows.reduce((sum, { message }) => sum + message.body.length, 0);
      if (claimed.length === max || roomBytes <= 0) break;
    }
    return { result: Promise.resolve(claimed) };
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
        `UPDATE ${this.#table.name} SET state = 'ready', attempts = ${UNCOUNTED}, due_at = ${this.#table.dialect.nowMs}, lease = NULL
         WHERE ${sql}`,
        values,
      );
      await this.#table.restoreKeys(session, strays.filter((row) => row["taken_key"] !== null).map(idOf));
    }
  }

  async #claimOf(session: SqlSession, queue: string, room: Room): Promise<Given<FervoRow[]>> {
    // Producers only set due_at; that a job with a later one is delayed follows from it.
    if (this.#withLater.delete(queue)) await this.#setDelayed(session, queue);
    if (this.#table.dialect.name === "postgres") {
      return { result: this.#claimAtOnce(session, queue, room) };
    }
    return await this.#claimInSteps(session, queue, room);
  }

  /** A job that is not due becomes delayed by it. */
  async #claimAtOnce(session: SqlSession, queue: string, { room, roomBytes }: Room): Promise<FervoRow[]> {
    const place = this.#places.of(queue);
    let rows: readonly SqlRow[] = [];
    if (place !== undefined) rows = await this.#updateReady(session, queue, { room, roomBytes }, place);
    const isWhole = rows.length < room;
    if (isWhole) {
      const left = { room: room - rows.length, roomBytes: roomBytes - bytesIn(rows) };
      rows = [...rows, ...await this.#updateReady(session, queue, left, [])];
    }
    const inOrder = rows.toSorted(byOrder);
    this.#places.note(queue, placeOf(inOrder.at(-1)), { isWhole, isFull: rows.length >= room });
    const due = inOrder.filter((row) => row["is_due"] === 1);
    if (due.length < rows.length) this.#withLater.add(queue);
    return due.map((row) => readRow(row, queue, bytesOf(row["payload"]), this.#options));
  }

  /** Takes ready jobs in one statement. */
  async #updateReady(
    session: SqlSession,
    queue: string,
    { room, roomBytes }: Room,
    behind: readonly bigint[],
  ): Promise<readonly SqlRow[]> {
    const { name, owner, leaseMs } = this.#table;
    const { nowMs } = this.#table.dialect;
    const { maxPayloadBytes } = this.#options;
    const ifDue = (column: string, then: string) =>
      `${column} = CASE WHEN f.is_due = 1 THEN ${then} ELSE j.${column} END`;
    const { rows } = await session.run(
      `WITH next AS MATERIALIZED (
         SELECT id, priority, attempts, due_at, lease, unique_key, octet_length(payload) AS bytes,
           CASE WHEN due_at > ${nowMs} THEN 0 ELSE 1 END AS is_due
         FROM ${name} WHERE state = 'ready' AND queue = ?${isBehind(behind)}
         ORDER BY priority DESC, id LIMIT ${limitOf(room)}${this.#table.locking}
       ), fit AS (
         SELECT *, sum(CASE WHEN is_due = 1 THEN coalesce(bytes, 0) ELSE 0 END) OVER (ORDER BY priority DESC, id) - coalesce(bytes, 0) AS before,
           row_number() OVER (ORDER BY priority DESC, id) AS number FROM next
       )
       UPDATE ${name} AS j
       SET state = CASE WHEN f.is_due = 1 THEN 'reserved' ELSE 'delayed' END,
         ${ifDue("attempts", `CASE WHEN j.attempts < ${MAX_COUNT} THEN j.attempts + 1 ELSE j.attempts END`)},
         ${ifDue("due_at", `${nowMs} + ?`)}, ${ifDue("lease", "?")},
         ${ifDue("taken_key", "j.unique_key")}, ${ifDue("unique_key", "NULL")}
       FROM fit AS f WHERE j.id = f.id AND f.before < ? AND f.number <= ?
       RETURNING j.id, CASE WHEN f.bytes <= ? THEN j.payload END AS payload, f.bytes,
         CASE WHEN octet_length(j.headers) <= ? THEN j.headers END AS headers, octet_length(j.headers) AS headers_bytes,
         f.priority, f.attempts, j.max_attempts, j.created_at, f.due_at, f.lease, j.error, j.errors, f.unique_key, f.is_due`,
      [
        queue,
        ...behind,
        leaseMs,
        owner,
        Math.min(roomBytes, Number.MAX_SAFE_INTEGER),
        room,
        maxPayloadBytes,
        maxPayloadBytes,
      ],
    );
    return rows;
  }

  /** A SELECT that locks the rows, and an UPDATE, for servers without a RETURNING of the former values. */
  async #claimInSteps(
    session: SqlSession,
    queue: string,
    { room, roomBytes }: Room,
  ): Promise<Given<FervoRow[]>> {
    const rows = await this.#lockReady(session, queue, room, Math.floor(roomBytes / room));
    const taken: FervoRow[] = [];
    let leftBytes = roomBytes;
    for (const row of rows) {
      if (row["is_due"] !== 1) {
        this.#withLater.add(queue);
        continue;
      }
      if (leftBytes <= 0 || taken.length === room) break;
      const payload = await this.#payloadOf(session, row);
      leftBytes -= payload?.length ?? 0;
      taken.push(readRow(row, queue, payload, this.#options));
    }
    const reserved = this.#reserve(session, taken.map(({ id }) => id));
    return { result: reserved.then(() => taken) };
  }

  /** Ready jobs in the order in which they are taken, possibly more than `room`. Longer payloads are read one by one. */
  async #lockReady(
    session: SqlSession,
    queue: string,
    room: number,
    shareBytes: number,
  ): Promise<readonly SqlRow[]> {
    const place = this.#table.dialect.name === "mysql" ? this.#places.of(queue) : undefined;
    let rows = await this.#selectReady(session, queue, room, shareBytes, place ?? []);
    const isWhole = place === undefined || rows.length < room;
    if (place !== undefined && isWhole) rows = await this.#selectReady(session, queue, room, shareBytes, []);
    this.#places.note(queue, placeOf(rows.at(-1)), { isWhole, isFull: rows.length >= room });
    return rows;
  }

  async #selectReady(
    session: SqlSession,
    queue: string,
    room: number,
    shareBytes: number,
    behind: readonly bigint[],
  ): Promise<readonly SqlRow[]> {
    const { nowMs, byteLength } = this.#table.dialect;
    const shorter = (column: string) =>
      `CASE WHEN ${byteLength(column)} <= ? THEN ${column} END AS ${column}`;
    const { maxPayloadBytes } = this.#options;
    const { rows } = await session.run(
      `SELECT id, ${shorter("payload")}, ${byteLength("payload")} AS bytes,
         ${shorter("headers")}, ${byteLength("headers")} AS headers_bytes,
         priority, attempts, max_attempts, created_at, due_at, lease, error, errors, unique_key,
         CASE WHEN due_at > ${nowMs} THEN 0 ELSE 1 END AS is_due
       FROM ${this.#table.name} WHERE state = 'ready' AND queue = ?${isBehind(behind)}
       ORDER BY priority DESC, id LIMIT ${limitOf(room)}${this.#table.locking}`,
      [Math.min(shareBytes, maxPayloadBytes, MAX_INT), maxPayloadBytes, queue, ...behind],
    );
    return rows;
  }

  /** Undefined when it is NULL, or longer than allowed. */
  async #payloadOf(session: SqlSession, row: SqlRow): Promise<Uint8Array | undefined> {
    const known = bytesOf(row["payload"]);
    if (known !== undefined) return known;
    if (row["bytes"] === null || Number(row["bytes"]) > this.#options.maxPayloadBytes) return undefined;
    const { rows } = await session.run(`SELECT payload FROM ${this.#table.name} WHERE id = ?`, [row["id"]!]);
    return bytesOf(rows[0]?.["payload"]);
  }

  async #reserve(session: SqlSession, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const { sql, values } = this.#table.dialect.isOneOf("id", ids);
    // MySQL assigns from left to right.
    await session.run(
      `UPDATE ${this.#table.name} SET state = 'reserved', attempts = CASE WHEN attempts < ${MAX_COUNT} THEN attempts + 1
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

/** The priority and id of a job; undefined without a priority, as in a table without our constraints. */
function placeOf(row: SqlRow | undefined): readonly bigint[] | undefined {
  if (row === undefined || row["priority"] === null) return undefined;
  return [BigInt(String(row["priority"])), BigInt(String(row["id"]))];
}

/** The condition for jobs behind a place. */
function isBehind(place: readonly bigint[]): string {
  return place.length === 0 ? "" : " AND priority = ? AND id > ?";
}

/** Of the payloads of due jobs. */
function bytesIn(rows: readonly SqlRow[]): number {
  return rows.reduce((sum, row) => sum + (row["is_due"] === 1 ? Number(row["bytes"] ?? 0) : 0), 0);
}

/** A priority that is NULL, as PostgreSQL sorts it. */
const ABOVE_ALL = 2n ** 63n;

/** By priority, then in the order of the pushes. */
function byOrder(a: SqlRow, b: SqlRow): number {
  const [first, second] = [a, b].map(({ priority }) =>
    priority === null ? ABOVE_ALL : BigInt(String(priority))
  );
  if (first !== second) return first! > second! ? -1 : 1;
  return BigInt(String(a["id"])) < BigInt(String(b["id"])) ? -1 : 1;
}

function inMs(at: SqlRow[string] | undefined, nowMs: number): number {
  return at === null || at === undefined ? Infinity : Number(at) - nowMs;
}
