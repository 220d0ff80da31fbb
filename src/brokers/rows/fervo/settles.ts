import type { Clock } from "../../../core/time/clock.ts";
import type { Given } from "../../../sql/database.ts";
import type { SqlSession } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import type { LastingVerdict } from "../layout.ts";
import { headersColumn } from "../../job_columns.ts";
import { errorsColumns } from "../error_columns.ts";
import { type JobTable, UNCOUNTED } from "./job_table.ts";
import { CUT_OFF, type FervoRow } from "./row.ts";
import { idOf } from "../row_values.ts";

/** From reserved to every other state. */
export class FervoSettles {
  readonly #table: JobTable;
  readonly #clock: Clock;

  constructor(table: JobTable, clock: Clock) {
    this.#table = table;
    this.#clock = clock;
  }

  async remove(session: SqlSession, rows: readonly FervoRow[]): Promise<ReadonlySet<string>> {
    const { deleteReturns, name } = this.#table;
    const { sql, values } = this.#table.ours(rows.map(({ id }) => id));
    if (deleteReturns) {
      const removed = await session.run(`DELETE FROM ${name} WHERE ${sql} RETURNING id`, values);
      return new Set(removed.rows.map(idOf));
    }
    const [removed] = await Promise.all([
      session.run(`SELECT id FROM ${name} WHERE ${sql} FOR UPDATE`, values),
      session.run(`DELETE FROM ${name} WHERE ${sql}`, values),
    ]);
    return new Set(removed.rows.map(idOf));
  }

  async isTaken(session: SqlSession, { id }: FervoRow): Promise<boolean> {
    const { rows } = await session.run(
      `SELECT 1 AS found FROM ${this.#table.name} WHERE id = ? AND state = 'reserved' AND lease <> ?`,
      [BigInt(id), this.#table.owner],
    );
    return rows.length > 0;
  }

  async settle(session: SqlSession, row: FervoRow, verdict: LastingVerdict): Promise<Given<boolean>> {
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
      return {
        result: update(
          `state = 'dead', due_at = ${nowMs}, errors = ?, error = ?, lease = NULL, unique_key = NULL`,
          errors,
          error,
        ),
      };
    }
    const { delayMs = 0 } = verdict;
    const state = delayMs > 0 ? "delayed" : "ready";
    const waiting = `state = '${state}', due_at = ${nowMs} + ?`;
    const result = this.#requeue(update, waiting, row, verdict);
    if (row.uniqueKey !== undefined && await result) await this.#table.restoreKeys(session, [row.id]);
    return { result };
  }

  async #requeue(
    update: (columns: string, ...values: SqlValue[]) => Promise<boolean>,
    waiting: string,
    row: FervoRow,
    verdict: Exclude<LastingVerdict, { kind: "bury" }>,
  ): Promise<boolean> {
    const delayMs = Math.ceil(verdict.delayMs ?? 0);
    switch (verdict.kind) {
      case "release":
        return await update(
          `${waiting}, attempts = ${UNCOUNTED}, lease = ?`,
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
