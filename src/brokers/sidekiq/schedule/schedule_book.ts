import type { Buffer } from "node:buffer";
import type { ScheduleBeginning, ScheduleBook, ScheduleSlot } from "../../../core/admin.ts";
import type { PushOptions } from "../../../core/format.ts";
import {
  begun,
  claimed,
  type ClaimResult,
  claimsAt,
  type ScheduleClaims,
  type ScheduleRecord,
  setAside,
  spansOf,
  spansText,
} from "../../../core/schedule_claims.ts";
import type { Calls } from "../../calls.ts";
import type { RedisShared } from "../shared.ts";
import { CHANGE_SCHEDULE } from "../scripts/scripts.ts";

/** Makes the job that enters its queue. */
export type NewJob = (
  queue: string,
  payload: Uint8Array,
  options: PushOptions,
) => { readonly raw: Uint8Array; readonly id: string };

/** A record, and its text, which shows a script whether it is unchanged. */
interface Known {
  readonly text: Uint8Array;
  readonly record: ScheduleRecord | undefined;
}

/** The hash of schedules. A slot is claimed in the script that pushes its job. */
export class RedisScheduleBook implements ScheduleBook {
  readonly #shared: RedisShared;
  readonly #calls: Calls;
  readonly #newJob: NewJob;

  /** @param deps.newJob Makes the job that enters its queue. */
  constructor(shared: RedisShared, calls: Calls, deps: { newJob: NewJob }) {
    this.#shared = shared;
    this.#calls = calls;
    this.#newJob = deps.newJob;
  }

  begin(beginning: ScheduleBeginning): Promise<ScheduleClaims> {
    const { schedule, nowMs } = beginning;
    return this.#calls.run(async () => {
      for (;;) {
        const known = await this.#read(schedule);
        const record = begun(known.record, beginning);
        if (record === known.record || await this.#change(schedule, known, record)) {
          return claimsAt(record, nowMs);
        }
      }
    });
  }

  push(
    slot: ScheduleSlot,
    queue: string,
    payload: Uint8Array,
    options: PushOptions = {},
  ): Promise<{ result: ClaimResult; id?: string }> {
    return this.#calls.run(async () => {
      const { raw, id } = this.#newJob(queue, payload, options);
      const result = await this.#claim(slot, { queue, raw });
      return result === "ours" ? { result, id } : { result };
    });
  }

  skip(slot: ScheduleSlot): Promise<ClaimResult> {
    return this.#calls.run(() => this.#claim(slot));
  }

  setAside(schedule: string, ahead: { untilMs: number; nowMs: number }): Promise<boolean> {
    return this.#calls.run(async () => {
      for (;;) {
        const known = await this.#read(schedule);
        const record = known.record && setAside(known.record, ahead);
        if (record === undefined) return false;
        if (await this.#change(schedule, known, record)) return true;
      }
    });
  }

  look(schedule: string, nowMs: number): Promise<ScheduleClaims | undefined> {
    return this.#calls.run(async () => {
      const { record } = await this.#read(schedule);
      return record && claimsAt(record, nowMs);
    });
  }

  /** Whoever changed the record in between has claimed or reported a slot: so this loop ends. */
  async #claim(slot: ScheduleSlot, job?: { queue: string; raw: Uint8Array }): Promise<ClaimResult> {
    for (;;) {
      const known = await this.#read(slot.schedule);
      const record = claimed(known.record, slot);
      if (typeof record === "string") return record;
      if (await this.#change(slot.schedule, known, record, job)) return "ours";
    }
  }

  async #read(schedule: string): Promise<Known> {
    const { connection, keys } = this.#shared;
    const text = await connection.send<Buffer | null>(["HGET", keys.schedules, schedule], [keys.schedules]);
    return { text: text ?? new Uint8Array(), record: text === null ? undefined : recordOf(String(text)) };
  }

  /** False when it has changed. */
  async #change(
    schedule: string,
    { text }: Known,
    { rule, spans }: ScheduleRecord,
    job?: { queue: string; raw: Uint8Array },
  ): Promise<boolean> {
    const { connection, keys } = this.#shared;
    const places = job === undefined ? [] : [keys.queue(job.queue), keys.queues];
    const args = [schedule, text, `${spansText(spans)} ${rule}`];
    const pushed = job === undefined ? [] : [job.queue, job.raw];
    return await connection.run(CHANGE_SCHEDULE, [keys.schedules, ...places], [...args, ...pushed]) === 1;
  }
}

/** Undefined for an invalid text: the schedule is entered again. */
function recordOf(text: string): ScheduleRecord | undefined {
  const [, numbers, rule] = /^(\S*) (.*)$/s.exec(text) ?? [];
  const spans = spansOf(numbers ?? "");
  return spans === undefined ? undefined : { rule: rule!, spans };
}
