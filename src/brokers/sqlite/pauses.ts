import type { PausedQueue, PauseOptions, Pauses } from "../../core/admin.ts";
import type { SqliteShared } from "./shared.ts";
import type { SqliteStatement } from "./store/file.ts";
import { asBytes, MAX_TEXT_BYTES, textOf, wholeNumber } from "./store/values.ts";
import { read } from "./store/writer.ts";

/** The rows of `fervo_paused`. The first reader deletes a pause whose time is over, for workers of versions without times. */
export class SqlitePauses implements Pauses {
  readonly isEnforced = false;
  readonly #shared: SqliteShared;
  readonly #list: SqliteStatement;
  readonly #pause: SqliteStatement;
  readonly #resume: SqliteStatement;
  readonly #end: SqliteStatement;

  constructor(shared: SqliteShared) {
    this.#shared = shared;
    const { file } = shared;
    this.#list = file.prepare(
      `
      SELECT ${asBytes("queue")} AS queue, until_at AS untilAt, substr(${
        asBytes("reason")
      }, 1, ${MAX_TEXT_BYTES}) AS reason
      FROM fervo_paused ORDER BY fervo_paused.queue`,
      { bigInts: true },
    );
    this.#pause = file.prepare(
      "INSERT OR REPLACE INTO fervo_paused (queue, paused_at, until_at, reason) VALUES (?, ?, ?, ?)",
    );
    this.#resume = file.prepare("DELETE FROM fervo_paused WHERE queue = ?");
    // A value that is not a number never ends.
    this.#end = file.prepare("DELETE FROM fervo_paused WHERE until_at <= ?");
  }

  async list(): Promise<PausedQueue[]> {
    const { file, clock } = this.#shared;
    const rows = await read(file, () => this.#list.all().map(toPausedQueue));
    const nowMs = clock.nowMs();
    const isOver = ({ untilMs = Infinity }: PausedQueue) => untilMs <= nowMs;
    if (rows.some(isOver)) await this.#change(() => this.#end.run(nowMs));
    return rows.filter((row) => !isOver(row));
  }

  async pause(queue: string, { untilMs, reason }: PauseOptions = {}): Promise<void> {
    const nowMs = this.#shared.clock.nowMs();
    await this.#change(() => this.#pause.run(queue, nowMs, untilMs ?? null, reason ?? null));
  }

  async resume(queue: string): Promise<boolean> {
    return (await this.#change(() => this.#resume.run(queue))).changes > 0;
  }

  #change<T>(apply: () => T): Promise<T> {
    return this.#shared.writer.write(apply, true);
  }
}

function toPausedQueue({ queue, untilAt, reason }: Record<string, unknown>): PausedQueue {
  const untilMs = wholeNumber(untilAt);
  return {
    queue: textOf(queue),
    ...(reason !== null && { reason: textOf(reason) }),
    ...(untilMs !== undefined && { untilMs }),
  };
}
