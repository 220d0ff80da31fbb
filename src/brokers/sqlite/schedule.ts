import type { ScheduleBeginning, ScheduleBook, ScheduleSlot } from "../../core/admin.ts";
import type { PushOptions } from "../../core/format.ts";
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
} from "../../core/schedule_claims.ts";
import type { SqliteShared } from "./shared.ts";
import type { SqliteStatement } from "./store/file.ts";
import { read } from "./store/writer.ts";

/** Adds a job within a transaction; returns its id. */
export type InsertJob = (queue: string, payload: Uint8Array, options: PushOptions) => string;

/** The rows of `fervo_schedule`. A slot is claimed in the transaction that inserts its job. */
export class SqliteSchedule implements ScheduleBook {
  readonly #shared: SqliteShared;
  readonly #insertJob: InsertJob;
  readonly #record: SqliteStatement;
  readonly #keep: SqliteStatement;

  constructor(
    shared: SqliteShared,
    deps: { insertJob: InsertJob },
  ) {
    this.#shared = shared;
    this.#insertJob = deps.insertJob;
    const { file } = shared;
    this.#keep = file.prepare(`
      INSERT INTO fervo_schedule (name, rule, claimed_to, spans) VALUES (?, ?, ?, ?)
      ON CONFLICT (name) DO UPDATE SET rule = excluded.rule, claimed_to = excluded.claimed_to, spans = excluded.spans`);
    // Any stored value becomes a readable number.
    this.#record = file.prepare(
      `SELECT CAST(rule AS TEXT) AS rule, CAST(spans AS TEXT) AS spans,
         min(max(CAST(claimed_to AS INTEGER), 0), ${LATEST_MS}) AS claimed_to
       FROM fervo_schedule WHERE name = ?`,
    );
  }

  async begin(beginning: ScheduleBeginning): Promise<ScheduleClaims> {
    const { schedule, nowMs } = beginning;
    const known = await read(this.#shared.file, () => this.#recordOf(schedule));
    if (known !== undefined && begun(known, beginning) === known) return claimsAt(known, nowMs);
    return await this.#shared.writer.write(() => {
      const record = begun(this.#recordOf(schedule), beginning);
      this.#write(schedule, record);
      return claimsAt(record, nowMs);
    }, true);
  }

  push(
    slot: ScheduleSlot,
    queue: string,
    payload: Uint8Array,
    options: PushOptions = {},
  ): Promise<{ result: ClaimResult; id?: string }> {
    return this.#shared.writer.write(() => {
      const record = claimed(this.#recordOf(slot.schedule), slot);
      if (typeof record === "string") return { result: record };
      // The job first, because the database may refuse it: a failed change must not have begun.
      const id = this.#insertJob(queue, payload, options);
      this.#write(slot.schedule, record);
      return { result: "ours", id };
    }, true);
  }

  skip(slot: ScheduleSlot): Promise<ClaimResult> {
    return this.#shared.writer.write(() => {
      const record = claimed(this.#recordOf(slot.schedule), slot);
      if (typeof record === "string") return record;
      this.#write(slot.schedule, record);
      return "ours";
    }, true);
  }

  setAside(schedule: string, ahead: { untilMs: number; nowMs: number }): Promise<boolean> {
    return this.#shared.writer.write(() => {
      const known = this.#recordOf(schedule);
      const record = known && setAside(known, ahead);
      if (record !== undefined) this.#write(schedule, record);
      return record !== undefined;
    }, true);
  }

  look(schedule: string, nowMs: number): Promise<ScheduleClaims | undefined> {
    return read(this.#shared.file, () => {
      const record = this.#recordOf(schedule);
      return record && claimsAt(record, nowMs);
    });
  }

  #recordOf(schedule: string): ScheduleRecord | undefined {
    const row = this.#record.get(schedule);
    if (row === undefined) return undefined;
    const { rule, claimed_to, spans } = row;
    return storedRecord(rule as string, claimed_to as number, spans as string | null ?? "");
  }

  /** Within a transaction. */
  #write(schedule: string, { rule, spans }: ScheduleRecord): void {
    this.#keep.run(schedule, rule, latestClaimMs(spans), spansText(spans));
  }
}
