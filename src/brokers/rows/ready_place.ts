import type { Clock } from "../../core/time/clock.ts";

/** A claim may begin behind the latest one once this many in a row have found as many jobs as they wanted. */
const LEAST_IN_A_ROW = 32;

interface Progress<Place> {
  inARow: number;
  /** When a claim looked at all ready jobs, monotonic milliseconds. */
  wholeAtMs: number;
  place: Place;
}

/**
 * Where the ready jobs of a queue begin, while jobs flow. A job that was taken stays in the index, marked as deleted, until the
 * server removes it in the background: MariaDB and MySQL by their purge, PostgreSQL by VACUUM, which comes once a minute at best. A
 * claim that begins at the head of the queue has to pass all of them: under load these are thousands, which cost more than all other
 * work of the claim.
 *
 * @template Place The last job of a claim in the order of its queue.
 */
export class ReadyPlaces<Place> {
  readonly #clock: Clock;
  readonly #validMs: number;
  readonly #progress = new Map<string, Progress<Place>>();

  /**
   * @param options.validMs After this time a claim looks at all ready jobs again, for one that was put back or has come in front of the
   * others.
   */
  constructor(clock: Clock, options: { readonly validMs: number }) {
    this.#clock = clock;
    this.#validMs = options.validMs;
  }

  /** The place behind which the next claim of the queue may begin. */
  of(queue: string): Place | undefined {
    const progress = this.#progress.get(queue);
    if (progress === undefined || progress.inARow < LEAST_IN_A_ROW) return undefined;
    return this.#clock.monotonicMs() - progress.wholeAtMs < this.#validMs ? progress.place : undefined;
  }

  /**
   * Notes a claim.
   *
   * @param place Its last job; undefined when it has none.
   * @param did.isWhole It looked at all ready jobs.
   * @param did.isFull It found as many as it wanted.
   */
  note(
    queue: string,
    place: Place | undefined,
    { isWhole, isFull }: { readonly isWhole: boolean; readonly isFull: boolean },
  ): void {
    if (!isFull || place === undefined) return this.forget(queue);
    const { inARow = 0, wholeAtMs = 0 } = this.#progress.get(queue) ?? {};
    this.#progress.set(queue, {
      inARow: inARow + 1,
      wholeAtMs: isWhole ? this.#clock.monotonicMs() : wholeAtMs,
      place,
    });
  }

  /** The next claims of the queue look at all ready jobs. */
  forget(queue: string): void {
    this.#progress.delete(queue);
  }
}
