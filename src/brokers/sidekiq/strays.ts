import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { BackgroundWork } from "../background.ts";
import type { RedisSettler } from "./delivery.ts";
import type { RedisShared } from "./shared.ts";
import { scoreOf } from "./score.ts";
import { PUT_BACK_STRAYS } from "./scripts/scripts.ts";

/** A job that ran this often without a settle is not put back any more. */
const MAX_RETURNS = 3;
/** The returns of this many jobs are remembered. */
const MAX_REMEMBERED = 1_000;
/** A job's mark is made of this many bytes of each end. */
const MARK_BYTES = 65_536;

interface StraysDeps {
  readonly settler: RedisSettler;
  /** Whether a wait may move a job of this queue into its in-flight list at any moment. */
  readonly isArmed: (queue: string) => boolean;
}

/**
 * Strays: jobs in an in-flight list of this process that the process does not have. The answer that brought them was lost, or
 * their bytes arrived altered, so that no settle finds them. While this process lives, no other process takes them back.
 *
 * 1. Is told about queues that may have strays, and once within a lease compares the lists with the jobs in flight here.
 * 2. Puts strays back while no job of the queue is being taken or settled, so that no job on its way counts as a stray. The bytes
 *    here may be altered: so Redis compares marks, and moves its own bytes.
 * 3. Sends a job that has run three times without a settle to the dead letters.
 */
export class RedisStrays {
  readonly #shared: RedisShared;
  readonly #settler: RedisSettler;
  readonly #isArmed: StraysDeps["isArmed"];
  readonly #background: BackgroundWork;
  /** Queues to look into, with the current look; `unsettled` if jobs may have run. */
  readonly #uncertain = new Map<string, { unsettled: boolean; looking: Promise<void> | undefined }>();
  /** Lists that were longer than the jobs in flight here, at the last comparison. */
  #longer = new Set<string>();
  /** How often jobs that had run were put back, by their marks. */
  readonly #returns = new Map<string, number>();

  constructor(shared: RedisShared, { settler, isArmed }: StraysDeps) {
    this.#shared = shared;
    this.#settler = settler;
    this.#isArmed = isArmed;
    this.#background = new BackgroundWork(shared.observe, "recovery");
    settler.onMissing = (queue) => {
      this.markUncertain(queue, { unsettled: true });
      this.#lookSoon(queue);
    };
  }

  get hasUncertain(): boolean {
    return this.#uncertain.size > 0;
  }

  isUncertain(queue: string): boolean {
    return this.#uncertain.has(queue);
  }

  /** There may be strays of this queue. */
  markUncertain(queue: string, { unsettled = false } = {}): void {
    const uncertain = this.#uncertain.get(queue);
    if (uncertain !== undefined) uncertain.unsettled ||= unsettled;
    else this.#uncertain.set(queue, { unsettled, looking: undefined });
  }

  /** Resolves when these queues are certain, except where a job may be on its way: their wait looks. */
  async clearAll(queues: readonly string[]): Promise<void> {
    for (const queue of queues) if (!this.#isArmed(queue)) await this.clear(queue);
  }

  /** Puts back strays, if there may be some. */
  async clear(queue: string): Promise<void> {
    const uncertain = this.#uncertain.get(queue);
    if (uncertain === undefined) return;
    uncertain.looking ??= this.#settler.alone(queue, () => this.#putBack(queue, uncertain.unsettled)).then(
      () => void this.#uncertain.delete(queue),
      (error) => {
        uncertain.looking = undefined;
        throw error;
      },
    );
    await uncertain.looking;
  }

  /**
   * Compares the lists in Redis with the jobs in flight here; a list that is longer twice makes its queue uncertain. Called
   * once within a lease.
   */
  async compare(queues: Iterable<string>): Promise<void> {
    const { connection } = this.#shared;
    const names = [...queues];
    const lengths = await Promise.all(names.map((queue) => {
      const key = this.#settler.inflightKey(queue);
      return connection.send<number>(["LLEN", key], [key]);
    }));
    const inFlight = Map.groupBy(this.#settler.inFlight, ({ queue }) => queue);
    const longer = names.filter((queue, i) => lengths[i]! > (inFlight.get(queue)?.length ?? 0));
    for (const queue of longer) {
      if (!this.#longer.has(queue)) continue;
      this.markUncertain(queue);
      this.#lookSoon(queue);
    }
    this.#longer = new Set(longer);
  }

  /** An armed wait looks before its next round. */
  #lookSoon(queue: string): void {
    void this.#background.run(() => this.clearAll([queue]));
  }

  async #putBack(queue: string, unsettled: boolean): Promise<void> {
    const { connection, keys, clock, observe } = this.#shared;
    const inflight = this.#settler.inflightKey(queue);
    const inFlight = [...this.#settler.inFlight].filter((delivery) => delivery.queue === queue);
    const marksOf = (isExpected: boolean) =>
      inFlight.filter((delivery) => this.#settler.isExpected(delivery) === isExpected).map(({ raw }) =>
        markOf(raw)
      );
    const gone = marksOf(false);
    const spent = [...this.#returns].filter(([, count]) => count >= MAX_RETURNS - 1).map(([mark]) => mark);
    const [putBack, buried] = await connection.run<[Buffer[], number]>(
      PUT_BACK_STRAYS,
      [inflight, keys.queue(queue), keys.dead],
      [
        ...[scoreOf(clock.nowMs()), String(MARK_BYTES), String(spent.length)],
        ...spent,
        String(gone.length),
        ...gone,
        ...marksOf(true),
      ],
    );
    if (unsettled) { for (const mark of putBack) this.#countReturn(String(mark)); }
    if (putBack.length + buried > 0) {
      observe({ type: "strays_returned", queue, putBack: putBack.length, buried });
    }
  }

  #countReturn(mark: string): void {
    const count = (this.#returns.get(mark) ?? 0) + 1;
    this.#returns.delete(mark);
    this.#returns.set(mark, count);
    const [oldest] = this.#returns.keys();
    if (this.#returns.size > MAX_REMEMBERED) this.#returns.delete(oldest!);
  }
}

/** The mark of a job's bytes, as the script makes it; of the ends of a long one, so that Redis is not blocked. */
function markOf(raw: Buffer): string {
  return createHash("sha1").update(raw.subarray(0, MARK_BYTES)).update(raw.subarray(-MARK_BYTES)).digest(
    "hex",
  ) +
    raw.length;
}
