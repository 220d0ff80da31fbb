import type { SlotLimit } from "../../core/slot_limit.ts";

/**
 * Slots that several consumers share; their number may change.
 *
 * Each has at least one, even with fewer slots than consumers: jobs then wait for their turn where they run. Beyond that a
 * consumer may use what the others do not, but it leaves each busy one room for one more, up to an equal share: so a busy
 * consumer gets there job by job, and an idle one blocks nobody.
 */
export class SharedSlots {
  readonly #busy: (() => number)[] = [];
  /** The number of slots in all. */
  total: number;

  constructor(total: number) {
    this.total = total;
  }

  /** How many are in use. */
  get busy(): number {
    return this.#busy.reduce((sum, busy) => sum + busy(), 0);
  }

  /**
   * Adds a consumer.
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

  /** The slots that a consumer with this many slots in use keeps from the others. */
  #claim(busy: number): number {
    if (busy === 0) return 0;
    const equal = Math.floor(this.total / this.#busy.length);
    return Math.max(busy, Math.min(busy + 1, equal));
  }
}
