import type { SlotLimit } from "../../core/slot_limit.ts";

/**
 * Slots that several consumers share; how many there are may change.
 *
 * Each has one at least, even when there are fewer slots than consumers: where jobs run, the one too many waits for its
 * turn. Beyond that a consumer may use what the others do not, but it leaves each of those that are at work one more than
 * it has, up to an equal share: so one that has much to do gets there job by job, and one that has nothing to do keeps
 * nobody waiting.
 */
export class SharedSlots {
  readonly #busy: (() => number)[] = [];
  /** How many there are in all. */
  total: number;

  constructor(total: number) {
    this.total = total;
  }

  /** How many are in use. */
  get busy(): number {
    return this.#busy.reduce((sum, busy) => sum + busy(), 0);
  }

  /**
   * One more consumer's part.
   *
   * @param busy How many slots it has in use.
   */
  share(busy: () => number): SlotLimit {
    const others = (): number =>
      this.#busy.reduce((sum, other) => other === busy ? sum : sum + this.#claim(other()), 0);
    const slotsOf = () => this.#busy.length === 1 ? this.total : Math.max(this.total - others(), 1);
    this.#busy.push(busy);
    return {
      get slots() {
        return slotsOf();
      },
    };
  }

  /** What a consumer with this many slots in use keeps from the others. */
  #claim(busy: number): number {
    if (busy === 0) return 0;
    const equal = Math.floor(this.total / this.#busy.length);
    return Math.max(busy, Math.min(busy + 1, equal));
  }
}
