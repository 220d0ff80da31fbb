import type { StatementSync } from "node:sqlite";
import type { DeadLetter, DeadLetters, Failure } from "../core/driver.ts";
import type { SqliteShared } from "./sqlite_delivery.ts";
import { read } from "./sqlite_writer.ts";

/** The rows in state `dead`. */
export class SqliteDeadLetters implements DeadLetters {
  readonly #shared: SqliteShared;
  readonly #list: StatementSync;
  readonly #get: StatementSync;
  readonly #retry: StatementSync;
  readonly #retryAll: StatementSync;
  readonly #remove: StatementSync;
  readonly #removeAll: StatementSync;

  constructor(shared: SqliteShared) {
    this.#shared = shared;
    const { db } = shared;
    const columns =
      "id, queue, CAST(payload AS BLOB) AS payload, CAST(headers AS TEXT) AS headers, attempts, " +
      "max_attempts AS maxAttempts, created_at AS createdAt, due_at AS diedAt, error, errors";
    this.#list = db.prepare(`
      SELECT ${columns} FROM fervo_jobs
      WHERE state = 'dead' AND (?1 IS NULL OR queue = ?1)
        AND (?2 IS NULL OR (due_at, id) < (SELECT due_at, id FROM fervo_jobs WHERE id = ?2))
      ORDER BY due_at DESC, id DESC`);
    this.#get = db.prepare(`SELECT ${columns} FROM fervo_jobs WHERE state = 'dead' AND id = ?`);
    const revive = "UPDATE fervo_jobs SET state = 'ready', attempts = 0, due_at = ? WHERE state = 'dead'";
    this.#retry = db.prepare(`${revive} AND id = ?`);
    this.#retryAll = db.prepare(revive);
    this.#remove = db.prepare("DELETE FROM fervo_jobs WHERE state = 'dead' AND id = ?");
    this.#removeAll = db.prepare("DELETE FROM fervo_jobs WHERE state = 'dead'");
  }

  list({ queue, matches, limit, afterId }: Parameters<DeadLetters["list"]>[0]): Promise<DeadLetter[]> {
    const after = afterId === undefined ? null : rowId(afterId);
    return read(this.#shared.path, () => {
      const letters: DeadLetter[] = [];
      for (const row of this.#list.iterate(queue ?? null, after)) {
        const letter = toDeadLetter(row);
        if (matches?.(letter) ?? true) letters.push(letter);
        if (letters.length >= limit) break;
      }
      return letters;
    });
  }

  get(id: string): Promise<DeadLetter | undefined> {
    return read(this.#shared.path, () => {
      const row = this.#get.get(rowId(id));
      return row && toDeadLetter(row);
    });
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

  /** A person asked for it and takes it for done: it survives a power failure. */
  #change(apply: () => number): Promise<number> {
    return this.#shared.writer.write(apply, true);
  }
}

/** An id that no row can have when the text is not one of ours. */
function rowId(id: string): number {
  return /^\d{1,15}$/.test(id) ? Number(id) : -1;
}

function toDeadLetter(row: Record<string, unknown>): DeadLetter {
  const earlier = readJson(row["errors"] as string | null);
  return {
    id: String(row["id"]),
    queue: row["queue"] as string,
    payload: row["payload"] as Uint8Array,
    headers: headersOf(readJson(row["headers"] as string | null)),
    attempts: row["attempts"] as number,
    ...(typeof row["maxAttempts"] === "number" && { maxAttempts: row["maxAttempts"] }),
    enqueuedAtMs: row["createdAt"] as number,
    diedAtMs: row["diedAt"] as number,
    error: readError(row["error"] as string | null),
    earlierErrors: Array.isArray(earlier) ? earlier.flatMap((error) => toFailure(error) ?? []) : [],
  };
}

/** What is no text belongs to a job that died of its headers. */
function headersOf(value: unknown): Record<string, string> {
  const entries = Object.entries(value ?? {}).filter((entry): entry is [string, string] =>
    typeof entry[1] === "string"
  );
  return Object.fromEntries(entries);
}

/** A person may have set the state by hand, with no error or with one in other words. */
function readError(text: string | null): Failure {
  return toFailure(readJson(text)) ?? { code: "JOB_FAILED", message: text || "No error was recorded" };
}

function toFailure(value: unknown): Failure | undefined {
  const { code, message, stderr, attempt, at } = (value ?? {}) as Record<string, unknown>;
  if (typeof code !== "string" || typeof message !== "string") return undefined;
  return {
    code,
    message,
    ...(typeof stderr === "string" && { stderr }),
    ...(typeof attempt === "number" && { attempt }),
    ...(typeof at === "number" && { atMs: at }),
  };
}

/** Undefined when it is not JSON. */
function readJson(text: string | null): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}
