import type { Buffer } from "node:buffer";
import type { PausedQueue, PauseOptions, Pauses } from "../../core/admin.ts";
import type { Calls } from "../calls.ts";
import { DROP_NOTE, PAUSE, RESUME } from "./scripts/pause_scripts.ts";
import type { RedisShared } from "./shared.ts";

/**
 * The set `paused`, which is Sidekiq Pro's, and beside it our notes with the reason and the end. If somebody else resumes a
 * queue, for instance in the Web UI, its note stays, and the next reader drops it. The next reader also ends a pause whose time
 * is over.
 */
export class RedisPauses implements Pauses {
  readonly isEnforced = false;
  readonly #shared: RedisShared;
  readonly #calls: Calls;
  /** KEYS of all scripts. */
  readonly #keys: readonly [paused: string, notes: string];

  constructor(shared: RedisShared, calls: Calls) {
    this.#shared = shared;
    this.#calls = calls;
    this.#keys = [shared.keys.paused, shared.keys.pauseNotes];
  }

  list(): Promise<PausedQueue[]> {
    return this.#calls.run(async () => {
      const { connection, clock } = this.#shared;
      const [paused, notes] = this.#keys;
      const [members, entries] = await Promise.all([
        connection.send<Buffer[]>(["SMEMBERS", paused], [paused]),
        connection.send<Buffer[]>(["HGETALL", notes], [notes]),
      ]);
      const queues = new Map(members.map((member) => [String(member), {} as PauseOptions]));
      const nowMs = clock.nowMs();
      for (let i = 0; i < entries.length; i += 2) {
        const [queue, text] = [String(entries[i]), String(entries[i + 1])];
        const note = readNote(text);
        const isOver = (note.untilMs ?? Infinity) <= nowMs;
        if (!isOver && queues.has(queue)) {
          queues.set(queue, note);
          continue;
        }
        await connection.run(DROP_NOTE, this.#keys, [queue, text, isOver ? "over" : ""]);
        queues.delete(queue);
      }
      return [...queues].map(([queue, note]) => ({ queue, ...note })).sort(byName);
    });
  }

  pause(queue: string, { untilMs, reason }: PauseOptions = {}): Promise<void> {
    const note = untilMs === undefined && reason === undefined
      ? []
      : [JSON.stringify({ until: untilMs, reason })];
    return this.#calls.run(async () => {
      await this.#shared.connection.run(PAUSE, this.#keys, [queue, ...note]);
    });
  }

  resume(queue: string): Promise<boolean> {
    return this.#calls.run(async () =>
      await this.#shared.connection.run<number>(RESUME, this.#keys, [queue]) === 1
    );
  }
}

/** Foreign values are ignored. */
function readNote(text: string): PauseOptions {
  try {
    const { until, reason } = JSON.parse(text) ?? {};
    return {
      ...(typeof reason === "string" && { reason }),
      ...(typeof until === "number" && { untilMs: until }),
    };
  } catch {
    return {};
  }
}

function byName(a: PausedQueue, b: PausedQueue): number {
  return a.queue < b.queue ? -1 : 1;
}
