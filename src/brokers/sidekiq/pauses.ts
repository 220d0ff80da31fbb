import type { Buffer } from "node:buffer";
import type { Timer } from "../../core/time/clock.ts";
import type { Pauses } from "../../core/admin.ts";
import { BackgroundWork } from "../background.ts";
import type { Calls } from "../../redis/calls.ts";
import type { RedisShared } from "./shared.ts";

/** How often to look what others have paused and resumed, milliseconds. */
const LOOK_EVERY_MS = 1_000;

/**
 * The set `paused`, which is Sidekiq Pro's own.
 *
 * A take does not look at it, and a command that waits for a job could not: so it is read once a second, beside the
 * jobs, and whoever waits is told when it has changed.
 */
export class RedisPauses implements Pauses {
  readonly #shared: RedisShared;
  readonly #calls: Calls;
  readonly #background: BackgroundWork;
  readonly #listeners = new Set<() => void>();
  #paused: ReadonlySet<string> | undefined;
  #version = 0;
  #first: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  #timer: Timer | undefined;
  #isStarted = false;
  #isClosed = false;

  constructor(shared: RedisShared, calls: Calls) {
    this.#shared = shared;
    this.#calls = calls;
    this.#background = new BackgroundWork(shared.observe, "pauses");
  }

  list(): Promise<string[]> {
    return this.#calls.run(async () => (await this.#members()).sort());
  }

  pause(queue: string): Promise<void> {
    return this.#calls.run(async () => {
      const { connection, keys } = this.#shared;
      await connection.send(["SADD", keys.paused, queue], [keys.paused]);
      if (this.#isStarted) await this.#read();
    });
  }

  resume(queue: string): Promise<boolean> {
    return this.#calls.run(async () => {
      const { connection, keys } = this.#shared;
      const removed = await connection.send<number>(["SREM", keys.paused, queue], [keys.paused]);
      if (this.#isStarted) await this.#read();
      return removed === 1;
    });
  }

  /** Begins to look. Idempotent. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#lookLater();
  }

  /** Whether the set was read, so that jobs may be taken. */
  get isKnown(): boolean {
    return this.#paused !== undefined;
  }

  /** Resolves when {@link isKnown}. */
  async know(): Promise<void> {
    if (!this.isKnown) await (this.#first ??= this.#read().finally(() => this.#first = undefined));
  }

  /** Those of `queues` that jobs may be taken from; the same list when none is paused. */
  open(queues: readonly string[]): readonly string[] {
    const paused = this.#paused;
    return paused === undefined || paused.size === 0 ? queues : queues.filter((queue) => !paused.has(queue));
  }

  /** Another number after each change. */
  get version(): number {
    return this.#version;
  }

  /** Calls `listener` at each change, until it is disposed of. */
  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Ends the looking, and waits for what is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await Promise.allSettled([this.#first, this.#looking]);
  }

  #lookLater(): void {
    if (this.#isClosed) return;
    this.#timer = this.#shared.clock.setTimer(() => {
      this.#looking = this.#background.run(() => this.#read()).then(() => this.#lookLater());
    }, LOOK_EVERY_MS);
  }

  async #read(): Promise<void> {
    const before = this.#paused ?? new Set();
    const paused = this.#paused = new Set(await this.#members());
    if (paused.size === before.size && paused.isSubsetOf(before)) return;
    this.#version++;
    for (const listener of this.#listeners) listener();
  }

  async #members(): Promise<string[]> {
    const { connection, keys } = this.#shared;
    return (await connection.send<Buffer[]>(["SMEMBERS", keys.paused], [keys.paused])).map(String);
  }
}
