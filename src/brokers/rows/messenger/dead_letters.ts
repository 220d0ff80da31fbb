import { type DeadGroups, type DeadLetter, type DeadLetters, noPlace } from "../../../core/admin.ts";
import type { SqlRow, SqlSession } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import { DeadGrouping, GROUPED_BYTES, GROUPED_LETTERS } from "../../dead_grouping.ts";
import { earlierErrors, listedHeaders, storedError } from "../../job_columns.ts";
import type { RowsShared } from "../shared.ts";
import { type Facts, splitHeaders, withFacts } from "./facts.ts";
import { notify } from "./inserts.ts";
import { deadNameOf, isDeadName, type QueueNames, queueNamesIn } from "./queue_names.ts";
import type { MessengerTable } from "./table.ts";
import type { Zone } from "./zone.ts";
import { bytesOf, idOf } from "../row_values.ts";
import { parts } from "../limit.ts";

/** Letters that are read, or changed, at a time. */
const READ_TOGETHER = 100;
const CHANGED_TOGETHER = 1_000;

const NO_BYTES = new Uint8Array(0);

interface Place {
  /** The column `available_at`: when the letter died, to the second. */
  readonly diedAt: string;
  readonly id: bigint;
}

/** The rows under a queue_name that nobody consumes. Their headers have all that restores the message. */
export class MessengerDeadLetters implements DeadLetters {
  readonly #shared: RowsShared;
  readonly #table: MessengerTable;
  readonly #names: QueueNames;

  constructor(shared: RowsShared, deps: { table: MessengerTable; names: QueueNames }) {
    this.#shared = shared;
    this.#table = deps.table;
    this.#names = deps.names;
  }

  async list({ queue, matches, limit, after }: Parameters<DeadLetters["list"]>[0]): Promise<DeadLetter[]> {
    const letters: DeadLetter[] = [];
    let place = after === undefined ? undefined : placeOf(after);
    while (letters.length < limit) {
      const rows = await this.#newest(queue, READ_TOGETHER, place);
      for (const letter of rows.flatMap((row) => this.#toLetter(row) ?? [])) {
        if (matches?.(letter) ?? true) letters.push(letter);
        if (letters.length === limit) return letters;
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < READ_TOGETHER) break;
      place = placeAfter(last);
    }
    return letters;
  }

  async groups({ queue }: Parameters<NonNullable<DeadLetters["groups"]>>[0]): Promise<DeadGroups> {
    const grouping = new DeadGrouping();
    let place: Place | undefined;
    let bytes = 0;
    for (let read = 0; read < GROUPED_LETTERS && bytes <= GROUPED_BYTES;) {
      const rows = await this.#newest(queue, READ_TOGETHER, place);
      for (const row of rows) {
        bytes += String(row["headers"]).length + Number(row["bytes"]);
        const letter = this.#toLetter(row);
        if (letter !== undefined) {
          const { id, diedAtMs = 0, error } = letter;
          grouping.add({ id, diedAtMs, error });
        }
      }
      read += rows.length;
      if (rows.length < READ_TOGETHER) return grouping.result(true);
      place = placeAfter(rows.at(-1)!);
    }
    return grouping.result((await this.#newest(queue, 1, place)).length === 0);
  }

  async get(id: string): Promise<DeadLetter | undefined> {
    return (await this.find([id]))[0];
  }

  async find(ids: readonly string[]): Promise<DeadLetter[]> {
    const letters: DeadLetter[] = [];
    for (const some of parts(ids.filter(isRowId), READ_TOGETHER)) {
      const { sql, values } = this.#shared.side.dialect.isOneOf("id", some);
      const rows = (await this.#shared.side.run(`${this.#select()} WHERE ${sql}`, values)).rows;
      letters.push(...rows.filter(isDead).flatMap((row) => this.#toLetter(row) ?? []));
    }
    return letters;
  }

  async retry(ids: readonly string[] | "all"): Promise<number> {
    const { side, wakeups } = this.#shared;
    const retried = await this.#inParts(
      ids,
      (some) => side.transaction((session) => this.#restore(session, some)),
    );
    wakeups.announce();
    return retried;
  }

  remove(ids: readonly string[] | "all"): Promise<number> {
    const { side } = this.#shared;
    return this.#inParts(ids, (some) =>
      side.transaction(async (session) => {
        const dead = await this.#lock(session, some);
        if (dead.length === 0) return 0;
        const { sql, values } = side.dialect.isOneOf("id", dead.map(idOf));
        return (await session.run(`DELETE FROM ${this.#table.quoted} WHERE ${sql}`, values)).changes;
      }));
  }

  async #restore(session: SqlSession, ids: readonly string[]): Promise<number> {
    const table = this.#table;
    const now = table.times.second();
    const dead = (await this.#lock(session, ids)).flatMap((row) => {
      const { dead, maxAttempts } = splitHeaders(String(row["headers"])).facts;
      return dead === undefined ? [] : [{ row, ...dead, limit: limitOf({ maxAttempts }) }];
    });
    await Promise.all(dead.map(({ row, queueName, headers, limit }) =>
      session.run(
        `UPDATE ${table.quoted} SET queue_name = ?, headers = ?, available_at = ${now.sql}, delivered_at = NULL WHERE id = ?`,
        [queueName, withFacts(headers, limit), now.value, row["id"]!],
      )
    ));
    const names = new Set(dead.map(({ queueName }) => queueName));
    for (const name of names) await notify(session, table, name);
    return dead.length;
  }

  /** Of two people who change a letter one finds it. */
  async #lock(session: SqlSession, ids: readonly string[]): Promise<SqlRow[]> {
    const { sql, values } = session.dialect.isOneOf("id", ids);
    const { rows } = await session.run(
      `SELECT id, queue_name, headers FROM ${this.#table.quoted} WHERE ${sql}${
        session.dialect.name === "sqlite" ? "" : " FOR UPDATE"
      }`,
      values,
    );
    return rows.filter(isDead);
  }

  /** In parts, so that others write in between. */
  async #inParts(
    ids: readonly string[] | "all",
    change: (some: readonly string[]) => Promise<number>,
  ): Promise<number> {
    let changed = 0;
    const all = ids === "all" ? this.#allIds() : parts(ids.filter(isRowId), CHANGED_TOGETHER);
    for await (const some of all) changed += await change(some);
    return changed;
  }

  /** The ids of the letters that are dead at first. */
  async *#allIds(): AsyncGenerator<string[]> {
    const { side } = this.#shared;
    const { quoted } = this.#table;
    const latest = (await side.run(`SELECT max(id) AS id FROM ${quoted}`)).rows[0]?.["id"] ?? null;
    if (latest === null) return;
    for (const name of await this.#deadNames(undefined)) {
      for (let id: SqlValue = -1;;) {
        const { rows } = await side.run(
          `SELECT id FROM ${quoted} WHERE queue_name = ? AND id > ? AND id <= ? ORDER BY id LIMIT ${CHANGED_TOGETHER}`,
          [name, id, latest],
        );
        if (rows.length === 0) break;
        yield rows.map(idOf);
        id = rows.at(-1)!["id"]!;
      }
    }
  }

  /** The most recent first, of each queue by the index. */
  async #newest(queue: string | undefined, limit: number, place?: Place): Promise<SqlRow[]> {
    const { side } = this.#shared;
    const before = place === undefined ? "" : " AND (available_at < ? OR available_at = ? AND id < ?)";
    const found: SqlRow[] = [];
    for (const name of await this.#deadNames(queue)) {
      const { rows } = await side.run(
        `${this.#select()} WHERE queue_name = ?${before} ORDER BY available_at DESC, id DESC LIMIT ${limit}`,
        place === undefined ? [name] : [name, place.diedAt, place.diedAt, place.id],
      );
      found.push(...rows);
    }
    return found.sort(newestFirst).slice(0, limit);
  }

  async #deadNames(queue: string | undefined): Promise<string[]> {
    if (queue !== undefined) return [deadNameOf(this.#names.of(queue))];
    return (await queueNamesIn(this.#shared.side, this.#table)).filter(isDeadName);
  }

  #select(): string {
    const { quoted, body, times, dialect } = this.#table;
    return `SELECT id, queue_name, ${body} AS body, ${dialect.byteLength("body")} AS bytes, headers,
      ${times.text("created_at")} AS created_text, ${times.text("available_at")} AS died_text FROM ${quoted}`;
  }

  #toLetter(row: SqlRow): DeadLetter | undefined {
    return toLetter(row, this.#table.times.zone);
  }
}

function toLetter(row: SqlRow, zone: Zone): DeadLetter | undefined {
  const { facts } = splitHeaders(String(row["headers"]));
  if (facts.dead === undefined) return undefined;
  const enqueuedAtMs = zone.instantMs(row["created_text"]);
  return {
    id: idOf(row),
    place: `${String(row["died_text"]).replace(" ", "T")}:${idOf(row)}`,
    queue: facts.dead.queue,
    payload: bytesOf(row["body"]) ?? NO_BYTES,
    headers: listedHeaders(facts.dead.headers),
    attempts: facts.attempts ?? 1,
    ...limitOf(facts),
    ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
    diedAtMs: facts.dead.at,
    error: storedError(facts.error ?? ""),
    earlierErrors: earlierErrors(facts.errors ?? ""),
  };
}

function limitOf({ maxAttempts }: { readonly maxAttempts?: number | undefined }): Facts {
  return maxAttempts === undefined ? {} : { maxAttempts };
}

function isDead(row: SqlRow): boolean {
  return isDeadName(String(row["queue_name"])) &&
    splitHeaders(String(row["headers"])).facts.dead !== undefined;
}

function placeOf(text: string): Place {
  const [, day, time, id] = /^(\d{4,}-\d\d-\d\d)T(\d\d:\d\d:\d\d):(\d{1,19})$/.exec(text) ?? [];
  if (day === undefined || id === undefined) throw noPlace(text);
  return { diedAt: `${day} ${time}`, id: BigInt(id) };
}

function placeAfter(row: SqlRow): Place {
  return { diedAt: String(row["died_text"]), id: BigInt(idOf(row)) };
}

function newestFirst(a: SqlRow, b: SqlRow): number {
  const [first, second] = [placeAfter(a), placeAfter(b)];
  if (first.diedAt !== second.diedAt) return first.diedAt < second.diedAt ? 1 : -1;
  return Number(second.id - first.id);
}

/** Whether a text is the id of a row. */
function isRowId(id: string): boolean {
  return /^\d{1,19}$/.test(id) && BigInt.asIntN(64, BigInt(id)) === BigInt(id);
}
