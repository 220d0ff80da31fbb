import { asFervoError, type FervoError } from "./errors.ts";
import type { BrokerWork, Observer } from "./observer.ts";

/** Reports each failure of a broker at some work, and once that it works again. */
export class BrokerState {
  readonly #observe: Observer;
  readonly #work: BrokerWork;
  #isFailing = false;

  constructor(observe: Observer, work: BrokerWork) {
    this.#observe = observe;
    this.#work = work;
  }

  /** @param thrown A FervoError, unless it is a fault of ours. */
  failed(thrown: unknown): FervoError {
    const error = asFervoError(thrown);
    this.#isFailing = true;
    this.#observe({ type: "broker_failed", ...this.#work, error });
    return error;
  }

  get isFailing(): boolean {
    return this.#isFailing;
  }

  worked(): void {
    if (!this.#isFailing) return;
    this.#isFailing = false;
    this.#observe({ type: "broker_recovered", ...this.#work });
  }
}
