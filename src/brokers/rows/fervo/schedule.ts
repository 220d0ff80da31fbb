import type { ScheduleBeginning, ScheduleBook, ScheduleSlot } from "../../../core/admin.ts";
import type { PushOptions } from "../../../core/format.ts";
import {
  begun,
  claimed,
  type ClaimResult,
  claimsAt,
  LATEST_MS,
  latestClaimMs,
  type ScheduleClaims,
  type ScheduleRecord,
  setAside,
  spansText,
  storedRecord,
} from "../../../core/schedule_claims.ts";
import type { SqlSession } from "../../../sql/driver.ts";
import type { Layout } from "../layout.ts";
import type { RowsShared } from "../shared.ts";
import type { FervoTables } from "./tables.ts";

/** The rows of the table of schedules. A slot is claimed in the transaction that inserts its job. */
export class FervoSchedule implements ScheduleBook {
  readonly #shared: RowsShared;
  readonly #layout: Layout;
  readonly #schedule: string;

  constructor(shared: RowsShared, { layout, tables }: { layout: Layout; tables: FervoTables }) {
    this.#shared = shared;
    this.#layout = layout;
    this.#schedule = tables.schedule.quoted;
  }

  async begin(beginning: ScheduleBeginning): Promise<ScheduleClaims> {
    const { schedule, nowMs } = beginning;
    const known = await this.#recordOf(this.#shared.side, schedule);
    if (known !== undefined && begun(known, beginning) === known) return claimsAt(known, nowMs);
    return await this.#change(schedule, (stored) => {
      const record = begun(stored, beginning);
      return { record, result: claimsAt(record, nowMs) };
    });
  }

  async push(
    slot: ScheduleSlot,
    queue: string,
    payload: Uint8Array,
    options: PushOptions = {},
  ): Promise<{ result: ClaimResult; id?: string }> {
    const insert = this.#layout.push(queue, payload, options);
    const pushed = await this.#change<{ result: ClaimResult; id?: string }>(
      slot.schedule,
      async (stored, session) => {
        const record = claimed(stored, slot);
        if (typeof record === "string") return { result: { result: record } };
        const pushed = await (await insert(session)).result;
        return { record, result: { result: "ours", id: pushed.id } };
      },
    );
    if (pushed.id !== undefined) this.#shared.wakeups.announce();
    return pushed;
  }

  skip(slot: ScheduleSlot): Promise<ClaimResult> {
    return this.#change<ClaimResult>(slot.schedule, (stored) => {
      const record = claimed(stored, slot);
      return typeof record === "string" ? { result: record } : { record, result: "ours" };
    });
  }

  setAside(schedule: string, ahead: { untilMs: number; nowMs: number }): Promise<boolean> {
    return this.#change(schedule, (stored) => {
      const record = stored && setAside(stored, ahead);
      return { ...(record && { record }), result: record !== undefined };
    });
  }

  async look(schedule: string, nowMs: number): Promise<ScheduleClaims | undefined> {
    const record = await this.#recordOf(this.#shared.side, schedule);
    return record && claimsAt(record, nowMs);
  }

  /** Changes a record in one transaction; without a `record` nothing changes. */
  #change<T>(
    schedule: string,
    change: (
      stored: ScheduleRecord | undefined,
      session: SqlSession,
    ) => Promise<Changed<T>> | Changed<T>,
  ): Promise<T> {
    return this.#shared.side.transaction(async (session) => {
      await this.#lock(session, schedule);
      const { record, result } = await change(await this.#recordOf(session, schedule), session);
      if (record !== undefined) {
        await session.run(`UPDATE ${this.#schedule} SET rule = ?, claimed_to = ?, spans = ? WHERE name = ?`, [
          record.rule,
          latestClaimMs(record.spans),
          spansText(record.spans),
          schedule,
        ]);
      } else {
        // The row that was entered for the lock.
        await session.run(`DELETE FROM ${this.#schedule} WHERE name = ? AND rule = ''`, [schedule]);
      }
      return result;
    });
  }

  /** Enters an empty row where there is none: it is what workers wait for. */
  async #lock(session: SqlSession, schedule: string): Promise<void> {
    const insert = `INTO ${this.#schedule} (name, rule, claimed_to) VALUES (?, '', 0)`;
    await session.run(
      session.dialect.name === "mysql"
        ? `INSERT IGNORE ${insert}`
        : `INSERT ${insert} ON CONFLICT (name) DO NOTHING`,
      [schedule],
    );
    if (session.dialect.name === "sqlite") return;
    await session.run(`SELECT name FROM ${this.#schedule} WHERE name = ? FOR UPDATE`, [schedule]);
  }

  async #recordOf(session: SqlSession, schedule: string): Promise<ScheduleRecord | undefined> {
    const { rows } = await session.run(
      `SELECT rule, claimed_to, spans FROM ${this.#schedule} WHERE name = ? AND rule <> ''`,
      [schedule],
    );
    const row = rows[0];
    if (row === undefined) return undefined;
    const claimedToMs = Math.min(Math.max(Number(row["claimed_to"]), 0), LATEST_MS);
    return storedRecord(String(row["rule"]), claimedToMs, row["spans"] as string | null ?? "");
  }
}

interface Changed<T> {
  readonly record?: ScheduleRecord;
  readonly result: T;
}
