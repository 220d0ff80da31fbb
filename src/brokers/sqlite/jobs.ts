import {
  type JobPage,
  type JobState,
  LISTED_PAYLOAD_BYTES,
  type ListedJob,
  noJobPlace,
} from "../../core/admin.ts";
import type { SqliteFile, SqliteStatement } from "./store/file.ts";
import { asBytes, rowId, textOf, wholeNumber } from "./store/values.ts";

/** The index on `due_at` is for all queues: a page looks at no more than this many of its entries. */
const SCANNED = 10_000;

type Row = Record<string, unknown>;

/** Pages of waiting and running jobs, each by the index of its state. */
export class SqliteJobs {
  readonly #first: SqliteStatement;
  readonly #ready: SqliteStatement;
  readonly #due: SqliteStatement;
  readonly #lastScanned: SqliteStatement;

  constructor(file: SqliteFile) {
    const columns = `id, priority, due_at AS dueAt, created_at AS createdAt, attempts,
      substr(${asBytes("payload")}, 1, ${LISTED_PAYLOAD_BYTES}) AS payload, length(${
      asBytes("payload")
    }) AS bytes`;
    const prepare = (sql: string) => file.prepare(sql, { bigInts: true });
    const ready = `SELECT ${columns} FROM fervo_jobs WHERE state = 'ready' AND queue = ?1`;
    // The entries after a place in the index, each part by a search: a comparison of several columns would read all that are
    // due at the same time.
    const behind = [
      "due_at = ?1 AND queue = ?2 AND state = ?3 AND id > ?4 ORDER BY id",
      "due_at = ?1 AND queue = ?2 AND state = 'reserved' AND ?3 = 'delayed' ORDER BY id",
      "due_at = ?1 AND queue > ?2 ORDER BY queue, state, id",
      "due_at > ?1 ORDER BY due_at, queue, state, id",
    ].map((part) =>
      `SELECT * FROM (
        SELECT id, queue, state, due_at FROM fervo_jobs WHERE state IN ('delayed', 'reserved') AND ${part} LIMIT ${SCANNED})`
    );
    const scanned = `${behind.join(" UNION ALL ")} LIMIT ${SCANNED}`;
    this.#first = prepare(`${ready} ORDER BY priority DESC, id LIMIT ?2`);
    this.#ready = prepare(`
      SELECT * FROM (${ready} AND priority = ?3 AND id > ?4 ORDER BY id LIMIT ?2)
      UNION ALL SELECT * FROM (${ready} AND priority < ?3 ORDER BY priority DESC, id LIMIT ?2)
      LIMIT ?2`);
    this.#due = prepare(`
      SELECT ${columns} FROM fervo_jobs WHERE id IN (
        SELECT id FROM (${scanned}) WHERE queue = ?5 AND state = ?6 LIMIT ?7)
      ORDER BY due_at, id`);
    this.#lastScanned = prepare(
      `SELECT due_at AS dueAt, ${asBytes("queue")} AS queue, state, id FROM (${scanned}) LIMIT 1 OFFSET ${
        SCANNED - 1
      }`,
    );
  }

  page(
    queue: string,
    state: JobState,
    { limit, after }: { readonly limit: number; readonly after?: string | undefined },
  ): JobPage {
    if (state === "ready") {
      const rows = after === undefined
        ? this.#first.all(queue, limit)
        : this.#ready.all(queue, limit, ...placeOf(after, 2));
      return pageOf(rows, state, rows.length < limit ? [] : [rows.at(-1)!["priority"], rows.at(-1)!["id"]]);
    }
    const place = after === undefined ? ["-1", "", "", "0"] : placeOf(after, 4);
    const rows = this.#due.all(...place, queue, state, limit);
    if (rows.length === limit) {
      return pageOf(rows, state, [rows.at(-1)!["dueAt"], queue, state, rows.at(-1)!["id"]]);
    }
    const last = this.#lastScanned.get(...place);
    return pageOf(
      rows,
      state,
      last === undefined ? [] : [last["dueAt"], textOf(last["queue"]), last["state"], last["id"]],
    );
  }
}

/** @param place The beginning of the next page; empty at the end. */
function pageOf(rows: readonly Row[], state: JobState, place: readonly unknown[]): JobPage {
  const jobs = rows.map((row) => toJob(row, state));
  return place.length === 0 ? { jobs } : { jobs, next: place.map(String).map(encodeURIComponent).join(":") };
}

/** The values of a place, as texts: SQLite compares them by the columns' types. */
function placeOf(text: string, count: number): string[] {
  const parts = text.split(":");
  if (parts.length !== count || rowId(parts.at(-1)!) === null) throw noJobPlace(text);
  try {
    return parts.map(decodeURIComponent);
  } catch {
    throw noJobPlace(text);
  }
}

function toJob(row: Row, state: JobState): ListedJob {
  const [attempts, enqueuedAtMs, readyAtMs] = [row["attempts"], row["createdAt"], row["dueAt"]].map(
    wholeNumber,
  );
  return {
    id: String(row["id"]),
    payload: row["payload"] as Uint8Array,
    payloadBytes: Number(row["bytes"]),
    ...(attempts !== undefined && { attempts }),
    ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
    ...(readyAtMs !== undefined && state !== "reserved" && { readyAtMs }),
  };
}
