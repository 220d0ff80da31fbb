import type { Format } from "../../../core/format.ts";
import type { Clock } from "../../../core/time/clock.ts";
import type { Given } from "../../../sql/database.ts";
import type { SqlRow, SqlSession } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import type { ClaimRequest, IsHeld } from "../layout.ts";
import { limitOf } from "../limit.ts";
import type { ReadyPlaces } from "../ready_place.ts";
import { splitHeaders, withFacts } from "./facts.ts";
import type { QueueNames } from "./queue_names.ts";
import { type MessengerRow, readRow } from "./row.ts";
import { isMarked, markOf, type MessengerTable, type Place, type Sql } from "./table.ts";
import { bytesOf, idOf } from "../row_values.ts";

/** Messages whose holder was lost are looked for among this many of a queue, the first to be taken. */
export const SEARCHED_FOR_ENDED = 1_000;
/** They are made ready by at most this many at a time. */
const ENDED_TOGETHER = 100;
/** Where no index has all that a claim needs, this many messages of any queue are looked at for each that is wanted. */
const LOOKED_AHEAD = 16;
/** Of them, as many as this are tried for each that is wanted: other workers may have locked some. */
const TRIED = 4;
/** SQL's integers are not longer. */
const MAX_INT = 2 ** 31 - 1;

/** What a claim may still take. */
interface Room {
  /** Messages. */
  readonly room: number;
  readonly roomBytes: number;
}

interface ClaimsDeps {
  readonly table: MessengerTable;
  readonly names: QueueNames;
  readonly places: ReadyPlaces<Place>;
  readonly clock: Clock;
}

/** Takes messages: finds those that are due and free, and writes when their leases end. */
export class MessengerClaims {
  readonly #deps: ClaimsDeps;
  readonly #options: { readonly format: Format; readonly maxPayloadBytes: number };
  /** By id: the messages that claims have taken, perhaps without our knowing, up to their settles. */
  readonly #taken = new Map<string, MessengerRow>();

  constructor(deps: ClaimsDeps, options: { format: Format; maxPayloadBytes: number }) {
    this.#deps = deps;
    this.#options = options;
  }

  /**
   * Makes messages whose holder was lost ready again, and counts the loss. Those that are held here stay: their renewal comes, late.
   *
   * Only the first messages of the queue are searched: those in flight were its first ones when they were taken.
   */
  async promote(session: SqlSession, queues: readonly string[], isHeld: IsHeld): Promise<void> {
    const { table, names } = this.#deps;
    const ended = table.ended();
    for (const queue of queues) {
      const due = table.due(names.of(queue));
      const { rows } = await session.run(
        `SELECT id FROM (SELECT id, delivered_at FROM ${table.ordered} WHERE ${due.sql}
           ORDER BY ${table.order} LIMIT ${SEARCHED_FOR_ENDED}) AS first
         WHERE ${ended.sql} LIMIT ${ENDED_TOGETHER}`,
        [...due.values, ...ended.values],
      );
      if (rows.length > 0) await this.#makeReady(session, rows.map(idOf), isHeld);
    }
  }

  async claim(
    session: SqlSession,
    { queues, max, maxBytes = Infinity }: ClaimRequest,
  ): Promise<Given<MessengerRow[]>> {
    const claimed: MessengerRow[] = [];
    let roomBytes = maxBytes;
    for (const [i, queue] of queues.entries()) {
      const { result } = await this.#claimOf(session, queue, { room: max - claimed.length, roomBytes });
      // The commit need not wait for the last one.
      if (i === queues.length - 1) return { result: result.then((rows) => [...claimed, ...rows]) };
      const rows = await result;
      claimed.push(...rows);
      roomBytes -= rows.reduce((sum, { message }) => sum + message.body.length, 0);
      if (claimed.length === max || roomBytes <= 0) break;
    }
    return { result: Promise.resolve(claimed) };
  }

  /**
   * Gives back messages of claims whose answers were lost. Their ids are known, because a claim first locks the messages that it
   * takes; and what it was about to write into them tells whether it did.
   */
  async giveBack(session: SqlSession, queues: readonly string[], isHeld: IsHeld): Promise<void> {
    const { table } = this.#deps;
    const strays = [...this.#taken.values()].filter(({ id, queue }) => queues.includes(queue) && !isHeld(id));
    if (strays.length === 0) return;
    const { sql, values } = table.ours(strays);
    await session.run(`UPDATE ${table.quoted} SET delivered_at = NULL WHERE ${sql}`, values);
    this.settled(strays);
    for (const queue of queues) this.#deps.places.forget(queue);
  }

  /** Called when messages are settled, or lost. */
  settled(rows: readonly MessengerRow[]): void {
    // It may have been taken again.
    for (const row of rows) if (this.#taken.get(row.id) === row) this.#taken.delete(row.id);
  }

  async #makeReady(session: SqlSession, ids: readonly string[], isHeld: IsHeld): Promise<void> {
    const { table } = this.#deps;
    const ended = table.ended();
    const { sql, values } = table.dialect.isOneOf("id", ids);
    const { rows } = await session.run(
      `SELECT id, headers, ${table.mark} FROM ${table.quoted} WHERE ${sql} AND ${ended.sql}${table.locking}`,
      [...values, ...ended.values],
    );
    const isOurs = (row: SqlRow) => {
      const taken = this.#taken.get(idOf(row));
      return isHeld(idOf(row)) && taken !== undefined && isMarked(taken, markOf(row)!);
    };
    await Promise.all(
      rows.filter((row) => !isOurs(row)).map((row) => {
        const { headers, facts } = splitHeaders(String(row["headers"]));
        const { lost = 0 } = facts;
        return session.run(`UPDATE ${table.quoted} SET delivered_at = NULL, headers = ? WHERE id = ?`, [
          withFacts(headers, { ...facts, lost: lost + 1, isRepeat: true }),
          row["id"]!,
        ]);
      }),
    );
  }

  async #claimOf(
    session: SqlSession,
    queue: string,
    { room, roomBytes }: Room,
  ): Promise<Given<MessengerRow[]>> {
    const { table } = this.#deps;
    const rows = await this.#lockReady(session, queue, room, Math.floor(roomBytes / room));
    const taken: MessengerRow[] = [];
    let leftBytes = roomBytes;
    for (const row of rows) {
      if (leftBytes <= 0 || taken.length === room) break;
      const body = await this.#bodyOf(session, row);
      leftBytes -= body?.length ?? 0;
      const mark = table.newMark(row);
      taken.push(readRow(row, { queue, body, mark }, { ...this.#options, zone: table.times.zone }));
    }
    const byTime = [...Map.groupBy(taken, ({ marks: [mark] }) => mark!.at)];
    const written = Promise.all(byTime.map(([at, some]) => {
      const { sql, values } = table.dialect.isOneOf("id", some.map(({ id }) => id));
      for (const row of some) this.#taken.set(row.id, row);
      return session.run(`UPDATE ${table.quoted} SET delivered_at = ? WHERE ${sql}`, [at, ...values]);
    }));
    return { result: written.then(() => taken) };
  }

  /** Free messages in the order in which they are taken, possibly more than `room`. Longer bodies are read one by one. */
  async #lockReady(session: SqlSession, queue: string, room: number, shareBytes: number): Promise<SqlRow[]> {
    const { table, names, places } = this.#deps;
    const place = places.of(queue);
    const find = (
      where: string,
      values: readonly SqlValue[],
      order: string,
      limit: number,
    ) => this.#lock(session, { where, values, order, limit, shareBytes });
    let rows: SqlRow[] = [];
    if (place !== undefined) {
      // Of the same second first, so that no index entry of a taken message is passed.
      const behind = behindPlace(table, names.of(queue), room, place);
      rows = await find(behind.sql, behind.values, table.orderWithinSecond, room);
    }
    const name = names.of(queue);
    const findDue = async (where: Sql) => {
      const known = new Set(rows.map(idOf));
      const found = await find(where.sql, where.values, table.order, room);
      rows.push(...found.filter((row) => !known.has(idOf(row))));
    };
    if (place !== undefined && rows.length < room) {
      const { sql, values } = table.due(name);
      const behind = { sql: `${sql} AND available_at > ?`, values: [...values, place.availableAt] };
      await findDue(dueNext(table, name, room, place.availableAt) ?? behind);
    }
    const isWhole = rows.length < room;
    const next = dueNext(table, name, room);
    if (isWhole && next !== undefined) await findDue(next);
    if (rows.length < room) await findDue(table.due(name));
    rows.sort(byOrder);
    places.note(queue, placeOf(rows.at(-1)), { isWhole, isFull: rows.length >= room });
    return rows;
  }

  async #lock(
    session: SqlSession,
    { where, values, order, limit, shareBytes }: {
      readonly where: string;
      readonly values: readonly SqlValue[];
      readonly order: string;
      readonly limit: number;
      readonly shareBytes: number;
    },
  ): Promise<SqlRow[]> {
    const { table } = this.#deps;
    const { byteLength } = table.dialect;
    const { text } = table.times;
    const { maxPayloadBytes } = this.#options;
    const { rows } = await session.run(
      `SELECT id, CASE WHEN ${byteLength("body")} <= ? THEN ${table.body} END AS body, ${
        byteLength("body")
      } AS bytes,
         CASE WHEN ${byteLength("headers")} <= ? THEN headers END AS headers,
         ${text("available_at")} AS available_text, ${text("created_at")} AS created_text, ${table.forMark}
       FROM ${table.ordered} WHERE ${where} AND ${table.free} ORDER BY ${order} LIMIT ${
        limitOf(limit)
      }${table.locking}`,
      [Math.min(shareBytes, maxPayloadBytes, MAX_INT), maxPayloadBytes, ...values],
    );
    return [...rows];
  }

  /** Undefined when it is longer than allowed. */
  async #bodyOf(session: SqlSession, row: SqlRow): Promise<Uint8Array | undefined> {
    const known = bytesOf(row["body"]);
    if (known !== undefined) return known;
    if (Number(row["bytes"]) > this.#options.maxPayloadBytes) return undefined;
    const { table } = this.#deps;
    const { rows } = await session.run(`SELECT ${table.body} AS body FROM ${table.quoted} WHERE id = ?`, [
      row["id"]!,
    ]);
    return bytesOf(rows[0]?.["body"]);
  }
}

/** The condition for messages of the same second behind the last claim; not all of them where no index has their order. */
function behindPlace(table: MessengerTable, name: string, wanted: number, { availableAt, id }: Place): Sql {
  if (table.hasIdsInOrder) {
    return { sql: "queue_name = ? AND available_at = ? AND id > ?", values: [name, availableAt, id] };
  }
  // By the primary key. By its index on available_at PostgreSQL would read all messages of the second, and sort them.
  const next = { sql: "id > ? ORDER BY id", values: [id] };
  return amongNext(table, name, { next, wanted, time: "= ?", timeValue: availableAt });
}

/**
 * The condition for the next messages that are due, not all of them; undefined where a search for all of them is as good.
 *
 * @param after The time behind which they are.
 */
function dueNext(table: MessengerTable, name: string, wanted: number, after?: string): Sql | undefined {
  if (table.hasIdsInOrder) return undefined;
  const { sql, value } = table.times.exact();
  const behind = after === undefined
    ? { sql: "", values: [] }
    : { sql: " AND available_at > ?", values: [after] };
  const next = {
    sql: `available_at <= ${sql}${behind.sql} ORDER BY available_at`,
    values: [value, ...behind.values],
  };
  return amongNext(table, name, { next, wanted, time: `<= ${sql}`, timeValue: value });
}

/**
 * Messages of a queue among the next ones of any queue. For all of them PostgreSQL may take the index on queue_name, and read and sort
 * the whole queue, such as while it has no statistics of a table that has just been filled.
 */
function amongNext(
  { quoted, free }: MessengerTable,
  name: string,
  { next, wanted, time, timeValue }: {
    readonly next: Sql;
    readonly wanted: number;
    /** What is asked of `available_at`. */
    readonly time: string;
    readonly timeValue: SqlValue;
  },
): Sql {
  // Asked again of rows that another transaction has changed meanwhile; so that no index is used for it.
  const again = `queue_name || '' = ? AND available_at + interval '0' ${time}`;
  return {
    sql: `id = ANY (ARRAY(SELECT id FROM (SELECT id, queue_name, available_at, delivered_at FROM ${quoted}
        WHERE ${next.sql} LIMIT ?) AS next WHERE ${again} AND ${free} LIMIT ?)) AND ${again}`,
    values: [...next.values, LOOKED_AHEAD * wanted, name, timeValue, TRIED * wanted, name, timeValue],
  };
}

function placeOf(row: SqlRow | undefined): Place | undefined {
  if (row === undefined) return undefined;
  return { availableAt: String(row["available_text"]), id: BigInt(String(row["id"])) };
}

function byOrder(a: SqlRow, b: SqlRow): number {
  const [first, second] = [String(a["available_text"]), String(b["available_text"])];
  if (first !== second) return first < second ? -1 : 1;
  return BigInt(String(a["id"])) < BigInt(String(b["id"])) ? -1 : 1;
}
