import type { Clock } from "../../../core/time/clock.ts";
import { tooLarge } from "../../../core/text/payload.ts";
import type { Given } from "../../../sql/database.ts";
import type { SqlSession } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import type { LastingVerdict } from "../layout.ts";
import type { ReadyPlaces } from "../ready_place.ts";
import { type Facts, failed, withFacts } from "./facts.ts";
import { insert } from "./inserts.ts";
import { deadNameOf, type QueueNames } from "./queue_names.ts";
import { attemptsOf, type MessengerRow } from "./row.ts";
import { isMarked, markOf, type MessengerTable, type Place } from "./table.ts";
import { bodyText, headersText } from "./texts.ts";
import { idOf } from "../row_values.ts";

interface SettlesDeps {
  readonly table: MessengerTable;
  readonly names: QueueNames;
  readonly places: ReadyPlaces<Place>;
  readonly clock: Clock;
}

/** What becomes of messages in flight. Each change has the condition that the row has the mark of this process. */
export class MessengerSettles {
  readonly #deps: SettlesDeps;
  readonly #maxPayloadBytes: number;

  constructor(deps: SettlesDeps, options: { maxPayloadBytes: number }) {
    this.#deps = deps;
    this.#maxPayloadBytes = options.maxPayloadBytes;
  }

  /**
   * Renews leases. A row that somebody has locked keeps its lease until the next time: a wait for it would end the leases of all
   * others. Nobody takes a locked row either.
   */
  async renew(session: SqlSession, rows: readonly MessengerRow[]): Promise<Given<ReadonlySet<string>>> {
    const { table } = this.#deps;
    const { sql, values } = table.ours(rows);
    const select = `SELECT id, ${table.mark}, ${table.forMark} FROM ${table.quoted} WHERE ${sql}`;
    const free = (await session.run(select + table.locking, values)).rows;
    const all = free.length === rows.length ? free : (await session.run(select, values)).rows;
    const byId = new Map(rows.map((row) => [row.id, row]));
    const renewed = free.map((row) => byId.get(idOf(row))!);
    if (free.length === 0) return { result: Promise.resolve(new Set(all.map(idOf))) };
    const next = table.newMark(free[0]!);
    for (const row of free) byId.get(idOf(row))!.marks = [markOf(row)!, next];
    const ours = table.ours(renewed);
    const written = session.run(`UPDATE ${table.quoted} SET delivered_at = ? WHERE ${ours.sql}`, [
      next.at,
      ...ours.values,
    ]);
    return { result: written.then(() => new Set(all.map(idOf))) };
  }

  /** Whether somebody else has it: its lease is neither ours nor over. */
  async isTaken(session: SqlSession, row: MessengerRow): Promise<boolean> {
    const { table } = this.#deps;
    const { rows } = await session.run(
      `SELECT ${table.mark} FROM ${table.quoted} WHERE id = ?`,
      [BigInt(row.id)],
    );
    const found = markOf(rows[0]);
    return found !== undefined && !isMarked(row, found);
  }

  async settle(session: SqlSession, row: MessengerRow, verdict: LastingVerdict): Promise<Given<boolean>> {
    this.#deps.places.forget(row.queue);
    switch (verdict.kind) {
      case "replace":
        return await this.#replace(session, row, verdict);
      case "bury":
        return { result: this.#bury(session, row, verdict) };
      case "retry": {
        const { lost, maxAttempts, error, errors, attempts = 0 } = row.facts;
        const facts = failed({ ...defined({ lost, maxAttempts, error, errors }), attempts: attempts + 1 }, {
          error: verdict.error,
          attempt: row.attempt,
          nowMs: this.#deps.clock.nowMs(),
        });
        return { result: this.#requeue(session, row, facts, verdict.delayMs, true) };
      }
      case "release": {
        const { isRepeat: _, ...facts } = row.facts;
        return {
          result: this.#requeue(
            session,
            row,
            verdict.mayRunOn ? { ...facts, isRepeat: true } : facts,
            verdict.delayMs ?? 0,
            false,
          ),
        };
      }
    }
  }

  /** @param isMoved Its place in the queue is a new one, also without a delay. */
  async #requeue(
    session: SqlSession,
    row: MessengerRow,
    facts: Facts,
    delayMs: number,
    isMoved: boolean,
  ): Promise<boolean> {
    const { table } = this.#deps;
    const columns = ["delivered_at = NULL"];
    const values: SqlValue[] = [];
    if (delayMs > 0 || isMoved) {
      const { sql, value } = table.times.second(delayMs);
      columns.push(`available_at = ${sql}`);
      values.push(value);
    }
    const headers = row.headers === undefined ? undefined : withFacts(row.headers, facts);
    if (headers !== undefined && headers !== withFacts(row.headers!, row.facts)) {
      columns.push("headers = ?");
      values.push(headers);
    }
    return await this.#update(session, row, columns, values);
  }

  async #bury(
    session: SqlSession,
    row: MessengerRow,
    { error }: Extract<LastingVerdict, { kind: "bury" }>,
  ): Promise<boolean> {
    const { table, names, clock } = this.#deps;
    const nowMs = clock.nowMs();
    const queueName = names.of(row.queue);
    const headers = row.headers ?? await this.#headersOf(session, row);
    const dead = { queue: row.queue, queueName, headers, at: nowMs };
    const { isRepeat: _, ...facts } = row.facts;
    const now = table.times.second();
    const columns = ["queue_name = ?", `available_at = ${now.sql}`, "delivered_at = NULL", "headers = ?"];
    const failure = failed({ ...facts, attempts: attemptsOf(facts) + 1, lost: 0, dead }, {
      error,
      attempt: row.attempt,
      nowMs,
    });
    return await this.#update(session, row, columns, [
      deadNameOf(queueName),
      now.value,
      withFacts("[]", failure),
    ]);
  }

  /** Of a row whose headers were too long for a claim. */
  async #headersOf(session: SqlSession, { id }: MessengerRow): Promise<string> {
    const { rows } = await session.run(`SELECT headers FROM ${this.#deps.table.quoted} WHERE id = ?`, [
      BigInt(id),
    ]);
    return String(rows[0]?.["headers"] ?? "[]");
  }

  /** The new message has a new id; without the original there is none. */
  async #replace(
    session: SqlSession,
    row: MessengerRow,
    { message, delayMs }: Extract<LastingVerdict, { kind: "replace" }>,
  ): Promise<Given<boolean>> {
    const { table, names } = this.#deps;
    const { queue } = row;
    if (message.body.length > this.#maxPayloadBytes) {
      throw tooLarge(queue, message.body.length, this.#maxPayloadBytes);
    }
    const body = bodyText(queue, message.body, table.dialect);
    const removed = await table.remove(session, [row]);
    if (removed.size === 0) return { result: Promise.resolve(false) };
    const { result } = await insert(session, table, {
      queueName: names.of(queue),
      body,
      headers: headersText(message.headers),
      delayMs,
    });
    return { result: result.then(() => true) };
  }

  async #update(
    session: SqlSession,
    row: MessengerRow,
    columns: readonly string[],
    values: readonly SqlValue[],
  ): Promise<boolean> {
    const { table } = this.#deps;
    const ours = table.ours([row]);
    const { changes } = await session.run(
      `UPDATE ${table.quoted} SET ${columns.join(", ")} WHERE ${ours.sql}`,
      [...values, ...ours.values],
    );
    return changes > 0;
  }
}

/** Without members that are undefined. */
function defined<T extends object>(object: T): { [Key in keyof T]?: NonNullable<T[Key]> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [Key in keyof T]?: NonNullable<T[Key]>;
  };
}
