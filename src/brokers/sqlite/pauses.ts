import type { Pauses } from "../../core/admin.ts";
import type { SqliteShared } from "./shared.ts";
import type { SqliteStatement } from "./file.ts";
import { asBytes, textOf } from "./values.ts";
import { read } from "./writer.ts";

/** While jobs flow, the table is read so often, milliseconds; a receive that is about to wait reads it each time. */
const READ_EVERY_MS = 1_000;

/**
 * The rows of `fervo_paused`.
 *
 * The claim does not look at them, which would cost each job: what was read is good for a second. A worker that waits
 * is woken by a change of the database anyway.
 */
export class SqlitePauses implements Pauses {
  readonly #shared: SqliteShared;
  readonly #list: SqliteStatement;
  readonly #pause: SqliteStatement;
  readonly #resume: SqliteStatement;
  #paused: ReadonlySet<string> = new Set();
  #readAtMs = -Infinity;

  constructor(shared: SqliteShared) {
    this.#shared = shared;
    const { file } = shared;
    this.#list = file.prepare(
      `SELECT ${asBytes("queue")} AS queue FROM fervo_paused ORDER BY fervo_paused.queue`,
    );
    this.#pause = file.prepare("INSERT OR IGNORE INTO fervo_paused (queue, paused_at) VALUES (?, ?)");
    this.#resume = file.prepare("DELETE FROM fervo_paused WHERE queue = ?");
  }

  list(): Promise<string[]> {
    return read(this.#shared.file, () => this.#read());
  }

  async pause(queue: string): Promise<void> {
    await this.#change(() => this.#pause.run(queue, this.#shared.clock.nowMs()));
  }

  async resume(queue: string): Promise<boolean> {
    return (await this.#change(() => this.#resume.run(queue))).changes > 0;
  }

  /** Those of `queues` that jobs may be taken from, as the database has it now. */
  openNow(queues: readonly string[]): readonly string[] {
    this.#paused = new Set(this.#read());
    this.#readAtMs = this.#shared.clock.monotonicMs();
    return this.#open(queues);
  }

  /** Those of `queues` that jobs may be taken from, as the database had it in the last second. */
  open(queues: readonly string[]): readonly string[] {
    const isStale = this.#shared.clock.monotonicMs() - this.#readAtMs >= READ_EVERY_MS;
    return isStale ? this.openNow(queues) : this.#open(queues);
  }

  #open(queues: readonly string[]): readonly string[] {
    return this.#paused.size === 0 ? queues : queues.filter((queue) => !this.#paused.has(queue));
  }

  #read(): string[] {
    return this.#list.all().map(({ queue }) => textOf(queue));
  }

  #change<T>(apply: () => T): Promise<T> {
    return this.#shared.writer.write(() => {
      this.#readAtMs = -Infinity;
      this.#shared.changes.announceOwn();
      return apply();
    }, true);
  }
}
