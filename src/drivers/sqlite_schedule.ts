import type { PushOptions, ScheduleBook, ScheduleSlot } from "../core/driver.ts";
import type { SqliteShared } from "./sqlite_delivery.ts";
import type { SqliteStatement } from "./sqlite_file.ts";

/** The rows of `fervo_schedule`. A slot is claimed in the transaction that inserts its job. */
export class SqliteSchedule implements ScheduleBook {
  readonly #shared: SqliteShared;
  readonly #insertJob: (queue: string, payload: Uint8Array, options: PushOptions) => string;
  readonly #begin: SqliteStatement;
  readonly #claimedTo: SqliteStatement;
  readonly #claim: SqliteStatement;

  /** @param deps.insertJob Within a transaction; returns the job's id. */
  constructor(
    shared: SqliteShared,
    deps: { insertJob: (queue: string, payload: Uint8Array, options: PushOptions) => string },
  ) {
    this.#shared = shared;
    this.#insertJob = deps.insertJob;
    const { file } = shared;
    const upsert = `
      INSERT INTO fervo_schedule (name, rule, claimed_to) VALUES (?, ?, ?)
      ON CONFLICT (name) DO UPDATE SET rule = excluded.rule, claimed_to = max(claimed_to, excluded.claimed_to)`;
    this.#begin = file.prepare(`${upsert} WHERE rule <> excluded.rule`);
    this.#claim = file.prepare(upsert);
    this.#claimedTo = file.prepare(
      `SELECT min(max(CAST(claimed_to AS INTEGER), 0), ${Number.MAX_SAFE_INTEGER}) AS claimed_to
       FROM fervo_schedule WHERE name = ?`,
    );
  }

  begin({ schedule, rule, dueMs }: ScheduleSlot): Promise<number> {
    return this.#shared.writer.write(() => {
      this.#begin.run(schedule, rule, dueMs);
      return this.#claimedUpTo(schedule)!;
    }, true);
  }

  push(
    slot: ScheduleSlot,
    queue: string,
    payload: Uint8Array,
    options: PushOptions = {},
  ): Promise<string | undefined> {
    return this.#shared.writer.write(() => {
      if (this.#isClaimed(slot)) return undefined;
      // First the job, which the database may refuse: a change that fails must not have begun.
      const id = this.#insertJob(queue, payload, options);
      this.#claim.run(slot.schedule, slot.rule, slot.dueMs);
      return id;
    }, true);
  }

  skip(slot: ScheduleSlot): Promise<boolean> {
    return this.#shared.writer.write(() => {
      if (this.#isClaimed(slot)) return false;
      this.#claim.run(slot.schedule, slot.rule, slot.dueMs);
      return true;
    }, true);
  }

  #isClaimed({ schedule, dueMs }: ScheduleSlot): boolean {
    return (this.#claimedUpTo(schedule) ?? -Infinity) >= dueMs;
  }

  #claimedUpTo(schedule: string): number | undefined {
    return this.#claimedTo.get(schedule)?.["claimed_to"] as number | undefined;
  }
}
