import type { Buffer } from "node:buffer";
import type { Pauses } from "../../core/admin.ts";
import type { Calls } from "../../redis/calls.ts";
import type { RedisShared } from "./shared.ts";

/** The set `paused`, which is Sidekiq Pro's own. */
export class RedisPauses implements Pauses {
  readonly isEnforced = false;
  readonly #shared: RedisShared;
  readonly #calls: Calls;

  constructor(shared: RedisShared, calls: Calls) {
    this.#shared = shared;
    this.#calls = calls;
  }

  list(): Promise<string[]> {
    return this.#calls.run(async () => {
      const { connection, keys } = this.#shared;
      const members = await connection.send<Buffer[]>(["SMEMBERS", keys.paused], [keys.paused]);
      return members.map(String).sort();
    });
  }

  pause(queue: string): Promise<void> {
    return this.#calls.run(async () => {
      const { connection, keys } = this.#shared;
      await connection.send(["SADD", keys.paused, queue], [keys.paused]);
    });
  }

  resume(queue: string): Promise<boolean> {
    return this.#calls.run(async () => {
      const { connection, keys } = this.#shared;
      return await connection.send<number>(["SREM", keys.paused, queue], [keys.paused]) === 1;
    });
  }
}
