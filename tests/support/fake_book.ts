import type { PushOptions, ScheduleBook, ScheduleSlot } from "../../src/core/driver.ts";
import type { FervoError } from "../../src/core/errors.ts";

/** A broker's schedule, that several workers of a test may share. */
export class FakeBook implements ScheduleBook {
  /** Up to when the slots of each schedule are claimed, and its rule. */
  readonly claimed = new Map<string, { rule: string; toMs: number }>();
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

  begin({ schedule, rule, dueMs }: ScheduleSlot): Promise<number> {
    return this.#answer(() => {
      const known = this.claimed.get(schedule);
      if (known?.rule === rule) return known.toMs;
      this.claimed.set(schedule, { rule, toMs: dueMs });
      return dueMs;
    });
  }

  push(
    slot: ScheduleSlot,
    queue: string,
    payload: Uint8Array,
    options: Omit<PushOptions, "delayMs"> = {},
  ): Promise<string | undefined> {
    return this.#answer(() => {
      if (!this.#claim(slot)) return undefined;
      this.pushed.push({ queue, message: new TextDecoder().decode(payload), options });
      return `${this.pushedMs.push(slot.dueMs)}`;
    }, this.lostAnswers-- > 0);
  }

  skip(slot: ScheduleSlot): Promise<boolean> {
    return this.#answer(() => this.#claim(slot));
  }

  #claim({ schedule, rule, dueMs }: ScheduleSlot): boolean {
    if ((this.claimed.get(schedule)?.toMs ?? -Infinity) >= dueMs) return false;
    this.claimed.set(schedule, { rule, toMs: dueMs });
    return true;
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
