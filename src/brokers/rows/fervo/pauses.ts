import type { PausedQueue, PauseOptions, Pauses } from "../../../core/admin.ts";
import type { RowsShared } from "../shared.ts";
import { parsed } from "../../job_columns.ts";
import type { FervoTables } from "./tables.ts";

/** A look for jobs says for this long that no queue is paused, milliseconds; an idle consumer looks as often. */
const VALID_MS = 1_200;

/** The rows of the table of paused queues. The first reader deletes a pause whose time is over. */
export class FervoPauses implements Pauses {
  readonly isEnforced = false;
  readonly #shared: RowsShared;
  readonly #paused: string;

  constructor(shared: RowsShared, { paused }: FervoTables) {
    this.#shared = shared;
    this.#paused = paused.quoted;
  }

  async list(): Promise<PausedQueue[]> {
    const { side, clock } = this.#shared;
    const { rows } = await side.run(`SELECT queue, until_at, reason FROM ${this.#paused}`);
    const nowMs = clock.nowMs();
    const isOver = ({ untilMs = Infinity }: PausedQueue) => untilMs <= nowMs;
    const paused = rows.map(({ queue, until_at: untilAt, reason }): PausedQueue => ({
      queue: String(queue),
      ...(reason != null && { reason: reasonOf(String(reason)) }),
      ...(untilAt != null && { untilMs: Number(untilAt) }),
    }));
    if (paused.some(isOver)) await side.run(`DELETE FROM ${this.#paused} WHERE until_at <= ?`, [nowMs]);
    return paused.filter((one) => !isOver(one)).sort((a, b) => a.queue < b.queue ? -1 : 1);
  }

  get latest(): readonly PausedQueue[] | undefined {
    const { clock, latest: { atMs, hasPauses } } = this.#shared;
    return !hasPauses && clock.monotonicMs() - atMs <= VALID_MS ? [] : undefined;
  }

  async pause(queue: string, { untilMs, reason }: PauseOptions = {}): Promise<void> {
    const { side, clock } = this.#shared;
    await side.transaction(async (session) => {
      await session.run(`DELETE FROM ${this.#paused} WHERE queue = ?`, [queue]);
      await session.run(
        `INSERT INTO ${this.#paused} (queue, paused_at, until_at, reason) VALUES (?, ?, ?, ?)`,
        [queue, clock.nowMs(), untilMs ?? null, reason === undefined ? null : JSON.stringify(reason)],
      );
    });
  }

  async resume(queue: string): Promise<boolean> {
    const { changes } = await this.#shared.side.run(`DELETE FROM ${this.#paused} WHERE queue = ?`, [queue]);
    return changes > 0;
  }
}

/** The column is a JSON string, because some servers store no NUL; a person may have written a plain text. */
function reasonOf(column: string): string {
  const value = parsed(column);
  return typeof value === "string" ? value : column;
}
