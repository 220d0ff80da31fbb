import type { Buffer } from "node:buffer";
import type { PushOptions, ScheduleBook, ScheduleSlot } from "../core/driver.ts";
import type { Calls } from "./redis_calls.ts";
import type { RedisShared } from "./redis_delivery.ts";
import { BEGIN_SCHEDULE, CLAIM_SLOT } from "./redis_scripts.ts";

type NewJob = (
  queue: string,
  payload: Uint8Array,
  options: PushOptions,
) => { readonly raw: Uint8Array; readonly id: string };

/** The hash of schedules. A slot is claimed in the script that pushes its job. */
export class RedisScheduleBook implements ScheduleBook {
  readonly #shared: RedisShared;
  readonly #calls: Calls;
  readonly #newJob: NewJob;

  /** @param deps.newJob The job as it enters its queue. */
  constructor(shared: RedisShared, calls: Calls, deps: { newJob: NewJob }) {
    this.#shared = shared;
    this.#calls = calls;
    this.#newJob = deps.newJob;
  }

  begin(slot: ScheduleSlot): Promise<number> {
    return this.#calls.run(async () => {
      const { connection, keys } = this.#shared;
      return Number(await connection.run<Buffer>(BEGIN_SCHEDULE, [keys.schedules], argsOf(slot)));
    });
  }

  push(
    slot: ScheduleSlot,
    queue: string,
    payload: Uint8Array,
    options: PushOptions = {},
  ): Promise<string | undefined> {
    return this.#calls.run(async () => {
      const { connection, keys } = this.#shared;
      const { raw, id } = this.#newJob(queue, payload, options);
      const places = [keys.schedules, keys.queue(queue), keys.queues];
      return await connection.run(CLAIM_SLOT, places, [...argsOf(slot), queue, raw]) === 1 ? id : undefined;
    });
  }

  skip(slot: ScheduleSlot): Promise<boolean> {
    return this.#calls.run(async () => {
      const { connection, keys } = this.#shared;
      return await connection.run(CLAIM_SLOT, [keys.schedules], argsOf(slot)) === 1;
    });
  }
}

function argsOf({ schedule, dueMs, rule }: ScheduleSlot): string[] {
  return [schedule, String(dueMs), rule];
}
