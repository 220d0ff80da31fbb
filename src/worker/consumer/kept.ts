import type { Clock, Timer } from "../../core/time/clock.ts";
import type { Held } from "./held.ts";

/**
 * Deliveries that wait here to be begun, for it would cost an attempt to give them back: those that could not be run, or that asked
 * to come later.
 */
export class Kept {
  readonly #clock: Clock;
  readonly #onDue: () => void;
  readonly #all: Held[] = [];
  readonly #later = new Map<Held, Timer>();

  /** @param deps.onDue Called when one that asked to come later may be begun. */
  constructor(deps: { clock: Clock; onDue: () => void }) {
    this.#clock = deps.clock;
    this.#onDue = deps.onDue;
  }

  /** @param delayMs Not to be begun before that time, milliseconds. */
  add(jobs: readonly Held[], delayMs = 0): void {
    for (const held of jobs) {
      if (held.isSettling) continue;
      held.startedMs = undefined;
      this.#all.push(held);
      if (delayMs <= 0) continue;
      const due = () => {
        this.#later.delete(held);
        this.#onDue();
      };
      this.#later.set(held, this.#clock.setTimer(due, delayMs));
    }
  }

  /** How many there are that asked to come later, and may not be begun yet. */
  get postponed(): number {
    return this.#later.size;
  }

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  /** Up to `max` of those that may be begun now, the first of them first. */
  take(max: number, mayBegin: (held: Held) => boolean): Held[] {
    const taken: Held[] = [];
    for (let at = 0; at < this.#all.length && taken.length < max;) {
      const held = this.#all[at]!;
      if (this.#later.has(held) || !mayBegin(held)) at++;
      else taken.push(...this.#all.splice(at, 1));
    }
    return taken;
  }

  /** Those that are meant, whether they may be begun or not. */
  takeThose(isMeant: (held: Held) => boolean): Held[] {
    const meant = this.#all.filter(isMeant);
    for (const held of meant) {
      this.#all.splice(this.#all.indexOf(held), 1);
      this.#later.get(held)?.cancel();
      this.#later.delete(held);
    }
    return meant;
  }

  /** All of them; none waits after that. */
  takeAll(): Held[] {
    return this.takeThose(() => true);
  }
}
