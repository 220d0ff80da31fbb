import type { Clock } from "../../../core/time/clock.ts";
import type { SqlSession } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import type { LastingVerdict, Miss } from "../layout.ts";
import { errorsColumns, headersColumn } from "./columns.ts";
import { idOf, type JobTable } from "./job_table.ts";
import { CUT_OFF, type FervoRow } from "./row.ts";

/** From reserved to every other state. */
export class FervoSettles {
  readonly #table: JobTable;
  readonly #clock: Clock;

  constructor(table: JobTable, clock: Clock) {
    this.#table = table;
    this.#clock = clock;
  }

  async remove(session: SqlSession, rows: readonly FervoRow[]): Promise<number> {
    const { sql, values } = this.#table.ours(rows.map(({ id }) => id));
    return (await session.run(`DELETE FROM ${this.#table.name} WHERE ${sql}`, values)).changes;
  }

  async misses(session: SqlSession, rows: readonly FervoRow[]): Promise<ReadonlyMap<string, Miss>> {
    const { sql, values } = this.#table.dialect.isOneOf("id", rows.map(({ id }) => id));
    const found = await session.run(
      `SELECT id, lease, state FROM ${this.#table.name} WHERE ${sql}${this.#table.waiting}`,
      values,
    );
    const misses = new Map<string, Miss>(rows.map(({ id }) => [id, "gone"]));
    for (const row of found.rows) {
      if (row["lease"] === this.#table.owner) misses.delete(idOf(row));
      else misses.set(idOf(row), row["state"] === "reserved" ? "taken" : "free");
    }
    return misses;
  }

  async settle(session: SqlSession, row: FervoRow, verdict: LastingVerdict): Promise<boolean> {
    const { nowMs } = this.#table.dialect;
    const ours = this.#table.ours([row.id]);
    const update = async (columns: string, ...values: SqlValue[]) =>
      (await session.run(`UPDATE ${this.#table.name} SET ${columns} WHERE ${ours.sql}`, [
        ...values,
        ...ours.values,
      ]))
        .changes > 0;
    if (verdict.kind === "bury") {
      const [error, errors] = errorsColumns(row, verdict.error, this.#clock.nowMs());
      return await update(
        `state = 'dead', due_at = ${nowMs}, errors = ?, error = ?, lease = NULL`,
        errors,
        error,
      );
    }
    const { delayMs = 0 } = verdict;
    const state = delayMs > 0 ? "delayed" : "ready";
    const waiting = `state = '${state}', due_at = ${nowMs} + ?`;
    const isOurs = await this.#requeue(update, waiting, row, verdict);
    if (isOurs && row.uniqueKey !== undefined) await this.#table.restoreKeys(session, [row.id]);
    return isOurs;
  }

  async #requeue(
    update: (columns: string, ...values: SqlValue[]) => Promise<boolean>,
    waiting: string,
    row: FervoRow,
    verdict: Exclude<LastingVerdict, { kind: "bury" }>,
  ): Promise<boolean> {
    const { delayMs = 0 } = verdict;
    switch (verdict.kind) {
      case "release":
        return await update(
          `${waiting}, attempts = attempts - 1, lease = ?`,
          delayMs,
          verdict.mayRunOn ? CUT_OFF : null,
        );
      case "replace":
        return await update(
          `${waiting}, payload = ?, headers = ?, attempts = 0, error = NULL, errors = NULL, lease = NULL`,
          delayMs,
          verdict.message.body,
          headersColumn(verdict.message.headers),
        );
      case "retry": {
        const [error, errors] = errorsColumns(row, verdict.error, this.#clock.nowMs());
        return await update(`${waiting}, errors = ?, error = ?, lease = NULL`, delayMs, errors, error);
      }
    }
  }
}
