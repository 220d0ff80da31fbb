import type { Clock, Timer } from "../../core/time/clock.ts";
import type { SlotLimit } from "../../core/slot_limit.ts";

/** Jobs are short when they take less than this on average, milliseconds. */
const SHORT_MS = 20;
/** The assumed average before any job has run: some sixty short jobs make it short. */
const FIRST_MEAN_MS = 1_000;
/** Each job moves the average by this share of the difference. */
const WEIGHT = 1 / 16;
/** The slots have work for this long, milliseconds, because a broker may take as long to hand out more. */
const AHEAD_MS = 5;
/** At most this many jobs are prefetched for each job that slots take at once. */
const MAX_AHEAD = 3;
/** Settles that may lag in each slot. */
const LAGGING_PER_SLOT = 3;
/** A job that has waited for a slot for this long is put back, milliseconds: jobs are not short any more. */
const STALE_MS = 100;

/**
 * Jobs that were taken before a slot was free, so that no slot waits for the broker (docs/adr/0008).
 *
 * 1. Prefetches only while slots are in use for a short time: as many jobs as all slots take at once, or up to three times as
 *    many where slots are in use for a few milliseconds only; and only when half of them are used up.
 * 2. Gives back jobs that no slot has taken in time, so that a long job does not keep others from other workers.
 */
export class Prefetch<T> {
  readonly #clock: Clock;
  readonly #onStale: (items: T[]) => void;
  readonly #limit: SlotLimit;
  readonly #perSlot: number;
  #items: { readonly item: T; readonly sinceMs: number }[] = [];
  #meanMs = FIRST_MEAN_MS;
  #timer: Timer | undefined;

  /**
   * @param deps.onStale Called with jobs that have waited too long.
   * @param options.perSlot How many jobs a slot takes at once.
   */
  constructor(
    deps: { clock: Clock; onStale: (items: T[]) => void },
    { limit, perSlot }: { limit: SlotLimit; perSlot: number },
  ) {
    this.#clock = deps.clock;
    this.#onStale = deps.onStale;
    this.#limit = limit;
    this.#perSlot = perSlot;
  }

  get size(): number {
    return this.#items.length;
  }

  /** How many more jobs may be prefetched now. */
  get room(): number {
    const capacity = this.#limit.slots * this.#perSlot * this.#ahead;
    const isLow = this.#items.length <= capacity >> 1;
    return isLow && this.#meanMs < SHORT_MS ? capacity - this.#items.length : 0;
  }

  /**
   * How many more deliveries may be in flight: prefetched jobs, and short jobs whose settle lags, because several jobs end in a
   * slot before the broker has answered.
   */
  get allowance(): number {
    return this.#meanMs < SHORT_MS ? this.#limit.slots * (this.#ahead * this.#perSlot + LAGGING_PER_SLOT) : 0;
  }

  /** How often the slots take jobs in the time for which jobs are prefetched; at least once. */
  get #ahead(): number {
    return Math.min(Math.max(Math.floor(AHEAD_MS / this.#meanMs), 1), MAX_AHEAD);
  }

  /** @param items At least one, received together. */
  add(items: readonly T[]): void {
    const sinceMs = this.#clock.monotonicMs();
    for (const item of items) this.#items.push({ item, sinceMs });
    this.#timer ??= this.#clock.setTimer(() => this.#giveBackStale(), STALE_MS);
  }

  /** Up to `max` jobs, the longest waiting first. */
  take(max: number): T[] {
    const taken: T[] = [];
    while (taken.length < max && this.#items.length > 0) taken.push(this.#items.shift()!.item);
    return taken;
  }

  /** Removes and returns the matching ones. */
  takeThose(isMeant: (item: T) => boolean): T[] {
    const taken = this.#items.filter(({ item }) => isMeant(item)).map(({ item }) => item);
    this.#items = this.#items.filter(({ item }) => !isMeant(item));
    return taken;
  }

  /** Removes and returns all. */
  takeAll(): T[] {
    this.#timer?.cancel();
    this.#timer = undefined;
    return this.#items.splice(0).map(({ item }) => item);
  }

  /** A slot was in use for this many milliseconds. */
  ran(ms: number): void {
    this.#meanMs += (ms - this.#meanMs) * WEIGHT;
  }

  #giveBackStale(): void {
    this.#timer = undefined;
    const [first] = this.#items;
    if (first === undefined) return;
    const leftMs = first.sinceMs + STALE_MS - this.#clock.monotonicMs();
    if (leftMs > 0) {
      this.#timer = this.#clock.setTimer(() => this.#giveBackStale(), leftMs);
      return;
    }
    this.#meanMs = FIRST_MEAN_MS;
    this.#onStale(this.takeAll());
  }
}
