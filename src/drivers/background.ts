import { asFervoError } from "../core/errors.ts";
import type { Observer, WorkerEvent } from "../core/observer.ts";

type Work = Exclude<
  Extract<WorkerEvent, { type: "broker_failed" }>["during"],
  "receive" | "settle" | "extend"
>;

/**
 * Work that nobody waits for, and that is done again and again: it must not fail in silence, nor say the same each time.
 * Tells of a failure, and then of no further one until the work has gone well again.
 */
export class BackgroundWork {
  readonly #observe: Observer;
  readonly #during: Work;
  #isFailing = false;

  constructor(observe: Observer, during: Work) {
    this.#observe = observe;
    this.#during = during;
  }

  /** Resolves when the work has ended, well or not. */
  async run(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
      this.#isFailing = false;
    } catch (thrown) {
      const isFirst = !this.#isFailing;
      this.#isFailing = true;
      if (isFirst) {
        this.#observe({ type: "broker_failed", during: this.#during, error: asFervoError(thrown) });
      }
    }
  }
}
