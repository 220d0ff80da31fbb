import type { Clock, Timer } from "../../core/time/clock.ts";
import type { InFlightJob } from "./in_flight.ts";

/** Deliveries that wait here to begin, because a release would cost an attempt: they could not run, or asked to run later. */
export class Kept {
  readonly #clock: Clock;
  readonly #onDue: () => void;
  #all: InFlightJob[] = [];
  readonly #later = new Map<InFlightJob, Timer>();

  /** @param deps.onDue Called when a postponed delivery may begin. */
  constructor(deps: { clock: Clock; onDue: () => void }) {
    this.#clock = deps.clock;
    this.#onDue = deps.onDue;
  }

  /** @param delayMs They may not begin before this time, milliseconds. */
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

  /** Postponed deliveries that may not begin yet. */
  get postponed(): number {
    return this.#later.size;
  }

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  /** Removes and returns up to `max` that may begin now, the first ones first. */
  take(max: number, mayBegin: (entry: InFlightJob) => boolean): InFlightJob[] {
    const taken: InFlightJob[] = [];
    for (let at = 0; at < this.#all.length && taken.length < max;) {
      const entry = this.#all[at]!;
      if (this.#later.has(entry) || !mayBegin(entry)) at++;
      else taken.push(...this.#all.splice(at, 1));
    }
    return taken;
  }

  /** Removes and returns the matching ones, postponed or not. */
  takeThose(isMeant: (entry: InFlightJob) => boolean): InFlightJob[] {
    const meant = this.#all.filter(isMeant);
    this.#all = this.#all.filter((entry) => !isMeant(entry));
    for (const entry of meant) {
      this.#later.get(entry)?.cancel();
      this.#later.delete(entry);
    }
    return meant;
  }

  /** Removes and returns all. */
  takeAll(): InFlightJob[] {
    return this.takeThose(() => true);
  }
}
