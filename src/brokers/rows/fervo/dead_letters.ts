import { noPlace } from "../../../core/admin.ts";
import type { DeadGroups, DeadLetter, DeadLetters } from "../../../core/admin.ts";
import type { SqlRow } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import { DeadGrouping, GROUPED_BYTES, GROUPED_LETTERS } from "../../dead_grouping.ts";
import { earlierErrors, listedHeaders, storedError } from "../../job_columns.ts";
import type { RowsShared } from "../shared.ts";
import type { JobTable } from "./job_table.ts";
import { queuesIn } from "./queues.ts";
import { bytesOf, idOf } from "../row_values.ts";
import { parts } from "../limit.ts";

/** Letters that are read at a time, and ids that are changed at a time. */
const READ_TOGETHER = 100;
const CHANGED_TOGETHER = 10_000;
const COLUMNS =
  "id, queue, payload, headers, attempts, max_attempts, created_at, COALESCE(due_at, 0) AS died_at, error, errors";

const NO_BYTES = new Uint8Array(0);

interface Place {
  readonly diedAt: bigint;
  readonly id: bigint;
}

/** The rows in state `dead`. */
export class FervoDeadLetters implements DeadLetters {
  readonly #shared: RowsShared;
  readonly #table: JobTable;
  readonly #jobs: string;

  constructor(shared: RowsShared, table: JobTable) {
    this.#shared = shared;
    this.#table = table;
    this.#jobs = table.name;
  }

  async list({ queue, matches, limit, after }: Parameters<DeadLetters["list"]>[0]): Promise<DeadLetter[]> {
    const letters: DeadLetter[] = [];
    let place = after === undefined ? undefined : placeOf(after);
    while (letters.length < limit) {
      const rows = await this.#newest(COLUMNS, queue, READ_TOGETHER, place);
      for (const row of rows) {
        const letter = toDeadLetter(row);
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
    const bytes = this.#shared.side.dialect.byteLength("payload");
    const newest = await this.#newest(
      `id, due_at AS died_at, error, ${bytes} AS bytes`,
      queue,
      GROUPED_LETTERS + 1,
    );
    const grouping = new DeadGrouping();
    let read = 0;
    for (const row of newest.slice(0, GROUPED_LETTERS)) {
      read += Number(row["bytes"]);
      if (read > GROUPED_BYTES) return grouping.result(false);
      grouping.add({
        id: String(row["id"]),
        diedAtMs: Number(row["died_at"]),
        error: storedError(textOf(row["error"])),
      });
    }
    return grouping.result(newest.length <= GROUPED_LETTERS);
  }

  async get(id: string): Promise<DeadLetter | undefined> {
    return (await this.find([id]))[0];
  }

  async find(ids: readonly string[]): Promise<DeadLetter[]> {
    const letters: DeadLetter[] = [];
    for (const some of parts(ids.filter(isRowId), READ_TOGETHER)) {
      const { sql, values } = this.#shared.side.dialect.isOneOf("id", some);
      const { rows } = await this.#shared.side.run(
        `SELECT ${COLUMNS} FROM ${this.#jobs} WHERE state = 'dead' AND ${sql}`,
        values,
      );
      letters.push(...rows.map(toDeadLetter));
    }
    return letters;
  }

  async retry(ids: readonly string[] | "all"): Promise<number> {
    const { side, wakeups } = this.#shared;
    const text =
      `UPDATE ${this.#jobs} SET state = 'ready', attempts = 0, due_at = ${side.dialect.nowMs} WHERE state = 'dead' AND `;
    const retried = await this.#inParts(ids, (some) =>
      side.transaction(async (session) => {
        // Also locks them: of two people who retry a letter one changes it.
        const { sql, values } = side.dialect.isOneOf("id", some);
        const { rows } = await session.run(
          `SELECT id, taken_key FROM ${this.#jobs} WHERE state = 'dead' AND ${sql}${this.#table.waiting}`,
          values,
        );
        const { changes } = await session.run(text + sql, values);
        const keyed = rows.filter((row) => row["taken_key"] !== null);
        await this.#table.restoreKeys(session, keyed.map(idOf));
        return changes;
      }));
    wakeups.announce();
    return retried;
  }

  remove(ids: readonly string[] | "all"): Promise<number> {
    const { side } = this.#shared;
    return this.#inParts(ids, async (some) => {
      const { sql, values } = side.dialect.isOneOf("id", some);
      return (await side.run(`DELETE FROM ${this.#jobs} WHERE state = 'dead' AND ${sql}`, values)).changes;
    });
  }

  /** In parts, so that others write in between. */
  async #inParts(
    ids: readonly string[] | "all",
    change: (some: readonly string[]) => Promise<number>,
  ): Promise<number> {
    let changed = 0;
    for await (const some of ids === "all" ? this.#allIds() : parts(ids.filter(isRowId), CHANGED_TOGETHER)) {
      changed += await change(some);
    }
    return changed;
  }

  /** The ids of the letters that are dead at first. */
  async *#allIds(): AsyncGenerator<string[]> {
    const { side } = this.#shared;
    for (const queue of await queuesIn(side, this.#jobs, "dead")) {
      let place: Place | undefined;
      const { rows: [now] } = await side.run(`SELECT ${side.dialect.nowMs} AS now_ms`);
      for (;;) {
        const rows = await this.#oldest(queue, Number(now!["now_ms"]), place);
        if (rows.length === 0) break;
        yield rows.map((row) => String(row["id"]));
        const last = rows.at(-1)!;
        place = placeAfter(last);
      }
    }
  }

  async #oldest(queue: string, untilMs: number, place: Place | undefined): Promise<readonly SqlRow[]> {
    const after = place === undefined ? "" : " AND (due_at > ? OR due_at = ? AND id > ?)";
    const { rows } = await this.#shared.side.run(
      `SELECT id, due_at AS died_at FROM ${this.#jobs} WHERE state = 'dead' AND queue = ? AND due_at <= ?${after}
       ORDER BY due_at, id LIMIT ${CHANGED_TOGETHER}`,
      place === undefined ? [queue, untilMs] : [queue, untilMs, place.diedAt, place.diedAt, place.id],
    );
    return rows;
  }

  /** The most recent first, of each queue by the index. */
  async #newest(columns: string, queue: string | undefined, limit: number, place?: Place): Promise<SqlRow[]> {
    const { side } = this.#shared;
    const queues = queue === undefined ? await queuesIn(side, this.#jobs, "dead") : [queue];
    const before = place === undefined ? "" : " AND (due_at < ? OR due_at = ? AND id < ?)";
    const found: SqlRow[] = [];
    for (const one of queues) {
      const values: SqlValue[] = place === undefined ? [one] : [one, place.diedAt, place.diedAt, place.id];
      const { rows } = await side.run(
        `SELECT ${columns} FROM ${this.#jobs} WHERE state = 'dead' AND queue = ?${before}
         ORDER BY due_at DESC, id DESC LIMIT ${limit}`,
        values,
      );
      found.push(...rows);
    }
    return found.sort((a, b) =>
      Number(b["died_at"]) - Number(a["died_at"]) || Number(placeAfter(b).id - placeAfter(a).id)
    ).slice(0, limit);
  }
}

function placeOf(text: string): Place {
  const [, diedAt, id] = /^(-?\d{1,19}):(-?\d{1,19})$/.exec(text) ?? [];
  if (diedAt === undefined || id === undefined) throw noPlace(text);
  return { diedAt: BigInt(diedAt), id: BigInt(id) };
}

function placeAfter(row: SqlRow): Place {
  return { diedAt: BigInt(String(row["died_at"])), id: BigInt(String(row["id"])) };
}

function toDeadLetter(row: SqlRow): DeadLetter {
  return {
    id: String(row["id"]),
    place: `${row["died_at"]}:${row["id"]}`,
    queue: String(row["queue"]),
    payload: bytesOf(row["payload"]) ?? NO_BYTES,
    headers: listedHeaders(textOf(row["headers"])),
    attempts: Number(row["attempts"]),
    ...(row["max_attempts"] !== null && { maxAttempts: Number(row["max_attempts"]) }),
    enqueuedAtMs: Number(row["created_at"]),
    diedAtMs: Number(row["died_at"]),
    error: storedError(textOf(row["error"])),
    earlierErrors: earlierErrors(textOf(row["errors"])),
  };
}

/** A text that may be NULL. */
function textOf(column: SqlValue | undefined): string {
  return column as string | null ?? "";
}

/** Whether a text is the id of a row. */
function isRowId(id: string): boolean {
  return /^-?\d{1,19}$/.test(id) && BigInt.asIntN(64, BigInt(id)) === BigInt(id);
}
