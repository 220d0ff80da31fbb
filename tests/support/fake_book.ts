import type { ScheduleBeginning, ScheduleBook, ScheduleSlot } from "../../src/core/admin.ts";
import type { PushOptions } from "../../src/core/format.ts";
import type { FervoError } from "../../src/core/errors.ts";
import {
  begun,
  claimed,
  type ClaimResult,
  claimsAt,
  type ScheduleClaims,
  type ScheduleRecord,
  setAside,
} from "../../src/core/schedule_claims.ts";

/** A broker's schedule, that several workers of a test may share. */
export class FakeBook implements ScheduleBook {
  /** What is kept of each schedule. */
  readonly records = new Map<string, ScheduleRecord>();
  /** The due times of the jobs that were pushed, in order. */
  readonly pushedMs: number[] = [];
  /** The jobs themselves, as texts, with their queue and what was told beside them. */
  readonly pushed: { queue: string; message: string; options: Omit<PushOptions, "delayMs"> }[] = [];
  /** Calls of any kind. */
  calls = 0;
  /** Every call fails while it is set. */
  outage: FervoError | undefined;
  /** The answers to the next pushes are lost: the broker has done them. */
  lostAnswers = 0;

  /** Enters a schedule as claimed up to then. */
  enter(schedule: string, rule: string, toMs: number): void {
    this.records.set(schedule, { rule, spans: [{ fromMs: toMs, toMs, isAside: false }] });
  }

  begin(beginning: ScheduleBeginning): Promise<ScheduleClaims> {
    return this.#answer(() => {
      const record = begun(this.records.get(beginning.schedule), beginning);
      this.records.set(beginning.schedule, record);
      return claimsAt(record, beginning.nowMs);
    });
  }

  push(
    slot: ScheduleSlot,
    queue: string,
    payload: Uint8Array,
    options: Omit<PushOptions, "delayMs"> = {},
  ): Promise<{ result: ClaimResult; id?: string }> {
    return this.#answer(() => {
      const result = this.#claim(slot);
      if (result !== "ours") return { result };
      this.pushed.push({ queue, message: new TextDecoder().decode(payload), options });
      return { result, id: `${this.pushedMs.push(slot.dueMs)}` };
    }, this.lostAnswers-- > 0);
  }

  skip(slot: ScheduleSlot): Promise<ClaimResult> {
    return this.#answer(() => this.#claim(slot));
  }

  setAside(schedule: string, ahead: { untilMs: number; nowMs: number }): Promise<boolean> {
    return this.#answer(() => {
      const record = setAside(this.records.get(schedule)!, ahead);
      if (record !== undefined) this.records.set(schedule, record);
      return record !== undefined;
    });
  }

  look(schedule: string, nowMs: number): Promise<ScheduleClaims | undefined> {
    return this.#answer(() => {
      const record = this.records.get(schedule);
      return record && claimsAt(record, nowMs);
    });
  }

  #claim(slot: ScheduleSlot): ClaimResult {
    const record = claimed(this.records.get(slot.schedule), slot);
    if (typeof record === "string") return record;
    this.records.set(slot.schedule, record);
    return "ours";
  }

  async #answer<T>(act: () => T, isLost = false): Promise<T> {
    this.calls++;
    if (this.outage !== undefined) throw this.outage;
    // Another worker may ask in between.
    await Promise.resolve();
    const result = act();
    if (isLost) throw new Error("The connection is lost");
    return result;
  }
}
