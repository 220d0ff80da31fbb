import type { Clock, Timer } from "../../core/time/clock.ts";
import type { InFlightJob } from "./in_flight.ts";

/**
 * Deliveries that wait here to be begun, for it would cost an attempt to give them back: those that could not be run, or that asked
 * to come later.
 */
export class Kept {
  readonly #clock: Clock;
  readonly #onDue: () => void;
  readonly #all: InFlightJob[] = [];
  readonly #later = new Map<InFlightJob, Timer>();

  /** @param deps.onDue Called when one that asked to come later may be begun. */
  constructor(deps: { clock: Clock; onDue: () => void }) {
    this.#clock = deps.clock;
    this.#onDue = deps.onDue;
  }

  /** @param delayMs Not to be begun before that time, milliseconds. */
  add(jobs: readonly InFlightJob[], delayMs = 0): void {
    for (const entry of jobs) {
      if (entry.isSettling) continue;
      entry.startedMs = undefined;
      this.#all.push(entry);
      if (delayMs <= 0) continue;
      const due = () => {
        this.#later.delete(entry);
        this.#onDue();
      };
      this.#later.set(entry, this.#clock.setTimer(due, delayMs));
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
  take(max: number, mayBegin: (entry: InFlightJob) => boolean): InFlightJob[] {
    const taken: InFlightJob[] = [];
    for (let at = 0; at < this.#all.length && taken.length < max;) {
      const entry = this.#all[at]!;
      if (this.#later.has(entry) || !mayBegin(entry)) at++;
      else taken.push(...this.#all.splice(at, 1));
    }
    return taken;
  }

  /** Those that are meant, whether they may be begun or not. */
  takeThose(isMeant: (entry: InFlightJob) => boolean): InFlightJob[] {
    const meant = this.#all.filter(isMeant);
    for (const entry of meant) {
      this.#all.splice(this.#all.indexOf(entry), 1);
      this.#later.get(entry)?.cancel();
      this.#later.delete(entry);
    }
    return meant;
  }

  /** All of them; none waits after that. */
  takeAll(): InFlightJob[] {
    return this.takeThose(() => true);
  }
}
