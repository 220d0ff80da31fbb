import type { SQLInputValue } from "node:sqlite";
import { noPlace } from "../../core/admin.ts";
import type { DeadGroups, DeadLetter, DeadLetters } from "../../core/admin.ts";
import { DeadGrouping, GROUPED_BYTES, GROUPED_LETTERS } from "../dead_grouping.ts";
import { earlierErrors, listedHeaders, storedError } from "../job_columns.ts";
import type { SqliteShared } from "./shared.ts";
import type { SqliteStatement } from "./store/file.ts";
import { asBytes, MAX_TEXT_BYTES, nearestNumber, rowId, textOf } from "./store/values.ts";
import { read } from "./store/writer.ts";

/** The rows in state `dead`. */
export class SqliteDeadLetters implements DeadLetters {
  readonly #shared: SqliteShared;
  readonly #list: SqliteStatement;
  readonly #get: SqliteStatement;
  readonly #queues: SqliteStatement;
  readonly #newestOf: SqliteStatement;
  readonly #error: SqliteStatement;
  readonly #retry: SqliteStatement;
  readonly #retryAll: SqliteStatement;
  readonly #remove: SqliteStatement;
  readonly #removeAll: SqliteStatement;

  constructor(shared: SqliteShared) {
    this.#shared = shared;
    const { file } = shared;
    const text = (column: string) => `substr(${asBytes(column)}, 1, ${MAX_TEXT_BYTES}) AS ${column}`;
    const columns = `id, ${asBytes("queue")} AS queue, ${asBytes("payload")} AS payload,
      ${text("headers")}, attempts, max_attempts AS maxAttempts, created_at AS createdAt, due_at AS diedAt, ${
      text("error")
    }, ${text("errors")}`;
    const exact = { bigInts: true };
    this.#list = file.prepare(
      `
      SELECT ${columns} FROM fervo_jobs
      WHERE state = 'dead' AND (?1 IS NULL OR fervo_jobs.queue = ?1)
        AND (?3 IS NULL OR (due_at, id) < (?2, ?3))
      ORDER BY due_at DESC, id DESC`,
      exact,
    );
    this.#get = file.prepare(`SELECT ${columns} FROM fervo_jobs WHERE state = 'dead' AND id = ?`, exact);
    // Each queue by an index search: else all entries would be read.
    this.#queues = file.prepare(`
      WITH RECURSIVE q (queue) AS (
        SELECT min(queue) FROM fervo_jobs WHERE state = 'dead'
        UNION ALL
        SELECT (SELECT min(queue) FROM fervo_jobs WHERE state = 'dead' AND fervo_jobs.queue > q.queue) FROM q
        WHERE q.queue IS NOT NULL)
      SELECT ${asBytes("queue")} AS queue FROM q WHERE queue IS NOT NULL`);
    this.#newestOf = file.prepare(
      `SELECT id, due_at AS diedAt FROM fervo_jobs WHERE state = 'dead' AND queue = CAST(? AS TEXT) ORDER BY due_at DESC, id DESC LIMIT ?`,
      exact,
    );
    this.#error = file.prepare(
      `SELECT length(${asBytes("payload")}) AS bytes, ${text("error")} FROM fervo_jobs WHERE id = ?`,
    );
    const revive = "UPDATE fervo_jobs SET state = 'ready', attempts = 0, due_at = ? WHERE state = 'dead'";
    this.#retry = file.prepare(`${revive} AND id = ?`);
    this.#retryAll = file.prepare(revive);
    this.#remove = file.prepare("DELETE FROM fervo_jobs WHERE state = 'dead' AND id = ?");
    this.#removeAll = file.prepare("DELETE FROM fervo_jobs WHERE state = 'dead'");
  }

  list({ queue, matches, limit, after }: Parameters<DeadLetters["list"]>[0]): Promise<DeadLetter[]> {
    return read(this.#shared.file, () => {
      const letters: DeadLetter[] = [];
      const { diedAt, id } = after === undefined ? { diedAt: null, id: null } : this.#placeOf(after);
      for (const row of this.#list.iterate(queue ?? null, diedAt, id)) {
        const letter = toDeadLetter(row);
        if (matches?.(letter) ?? true) letters.push(letter);
        if (letters.length >= limit) break;
      }
      return letters;
    });
  }

  groups({ queue }: Parameters<NonNullable<DeadLetters["groups"]>>[0]): Promise<DeadGroups> {
    return read(this.#shared.file, () => {
      const newest = this.#newest(queue);
      const grouping = new DeadGrouping();
      let bytes = 0;
      for (const { id, diedAt } of newest.slice(0, GROUPED_LETTERS)) {
        const row = this.#error.get(id as bigint)!;
        bytes += Number(row["bytes"]);
        if (bytes > GROUPED_BYTES) return grouping.result(false);
        const error = storedError(textOf(row["error"] ?? NO_BYTES));
        grouping.add({ id: String(id), diedAtMs: nearestNumber(diedAt), error });
      }
      return grouping.result(newest.length <= GROUPED_LETTERS);
    });
  }

  /** One more than are grouped, of each queue by the index, the newest first. */
  #newest(queue: string | undefined): Record<string, unknown>[] {
    const queues = queue === undefined ? this.#queues.all().map((row) => row["queue"]) : [queue];
    return queues.flatMap((one) => this.#newestOf.all(one as SQLInputValue, GROUPED_LETTERS + 1))
      .sort((a, b) => nearestNumber(b["diedAt"]) - nearestNumber(a["diedAt"]))
      .slice(0, GROUPED_LETTERS + 1);
  }

  get(id: string): Promise<DeadLetter | undefined> {
    return read(this.#shared.file, () => {
      const row = this.#get.get(rowId(id));
      return row && toDeadLetter(row);
    });
  }

  find(ids: readonly string[]): Promise<DeadLetter[]> {
    return read(this.#shared.file, () => {
      const rows = ids.map((id) => this.#get.get(rowId(id)));
      return rows.filter((row) => row !== undefined).map(toDeadLetter);
    });
  }

  /** A person may have written a time that is no number: it is known only while the letter exists. */
  #placeOf(text: string): { diedAt: SQLInputValue; id: bigint } {
    const [, time, number] = /^([^:]*):(-?\d+)$/.exec(text) ?? [];
    const id = number === undefined ? null : rowId(number);
    if (id === null) throw noPlace(text);
    const known = rowId(time!) ?? (time === "" ? NaN : Number(time));
    if (typeof known === "bigint" || !Number.isNaN(known)) return { diedAt: known, id };
    const row = this.#get.get(id);
    if (row === undefined) throw noPlace(text);
    return { diedAt: row["diedAt"] as SQLInputValue, id };
  }

  retry(ids: readonly string[] | "all"): Promise<number> {
    const nowMs = this.#shared.clock.nowMs();
    return this.#change(() => {
      this.#shared.changes.announceOwn();
      if (ids === "all") return Number(this.#retryAll.run(nowMs).changes);
      return ids.reduce((sum, id) => sum + Number(this.#retry.run(nowMs, rowId(id)).changes), 0);
    });
  }

  remove(ids: readonly string[] | "all"): Promise<number> {
    return this.#change(() => {
      if (ids === "all") return Number(this.#removeAll.run().changes);
      return ids.reduce((sum, id) => sum + Number(this.#remove.run(rowId(id)).changes), 0);
    });
  }

  /** A person asked for it and relies on it: it survives a power failure. */
  #change(apply: () => number): Promise<number> {
    return this.#shared.writer.write(apply, true);
  }
}

function toDeadLetter(row: Record<string, unknown>): DeadLetter {
  return {
    id: String(row["id"]),
    place: `${nearestText(row["diedAt"])}:${row["id"]}`,
    queue: textOf(row["queue"]),
    payload: row["payload"] as Uint8Array,
    headers: listedHeaders(textOf(row["headers"] ?? NO_BYTES)),
    attempts: nearestNumber(row["attempts"]),
    ...(row["maxAttempts"] !== null && { maxAttempts: nearestNumber(row["maxAttempts"]) }),
    enqueuedAtMs: nearestNumber(row["createdAt"]),
    diedAtMs: nearestNumber(row["diedAt"]),
    error: storedError(textOf(row["error"] ?? NO_BYTES)),
    earlierErrors: earlierErrors(textOf(row["errors"] ?? NO_BYTES)),
  };
}

/** A number as it is; any other value is not a text. */
function nearestText(value: unknown): string {
  return typeof value === "bigint" || typeof value === "number" ? String(value) : "";
}

const NO_BYTES = new Uint8Array(0);
