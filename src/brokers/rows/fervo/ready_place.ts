import type { Clock } from "../../../core/time/clock.ts";
import type { SqlRow } from "../../../sql/driver.ts";

/** A claim may begin behind the latest one once this many in a row have found as many jobs as they wanted. */
const LEAST_IN_A_ROW = 32;
/** For this long, milliseconds: then a claim looks at all ready jobs again, for a higher priority or a job that was put back. */
const VALID_MS = 20;

/** The last job of a claim in the order of the queue. */
export interface Place {
  readonly priority: bigint;
  readonly id: bigint;
}

interface Progress {
  inARow: number;
  /** When a claim looked at all ready jobs, monotonic milliseconds. */
  wholeAtMs: number;
  place: Place | undefined;
}

/**
 * Where the ready jobs of a queue begin, while jobs flow. A job that was taken stays in the index, marked as deleted, until the
 * server removes it in the background: MariaDB and MySQL by their purge, PostgreSQL by VACUUM, which comes once a minute at best. A
 * claim that begins at the head of the queue has to pass all of them: under load these are thousands, which cost more than all other
 * work of the claim.
 */
export class ReadyPlaces {
  readonly #clock: Clock;
  readonly #progress = new Map<string, Progress>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The place behind which the next claim of the queue may begin. */
  of(queue: string): Place | undefined {
    const progress = this.#progress.get(queue);
    if (progress === undefined || progress.inARow < LEAST_IN_A_ROW) return undefined;
    return this.#clock.monotonicMs() - progress.wholeAtMs < VALID_MS ? progress.place : undefined;
  }

  /** Notes a claim. @param isWhole It looked at all ready jobs. @param isFull It found as many as it wanted. */
  note(
    queue: string,
    rows: readonly SqlRow[],
    { isWhole, isFull }: { isWhole: boolean; isFull: boolean },
  ): void {
    if (!isFull) return void this.#progress.delete(queue);
    const progress = this.#progress.get(queue) ?? { inARow: 0, wholeAtMs: 0, place: undefined };
    progress.inARow++;
    if (isWhole) progress.wholeAtMs = this.#clock.monotonicMs();
    const { priority, id } = rows.at(-1)!;
    // A table without our constraints may have it.
    if (priority === null) return void this.#progress.delete(queue);
    progress.place = { priority: BigInt(String(priority)), id: BigInt(String(id)) };
    this.#progress.set(queue, progress);
  }
}
