import { asFervoError, type FervoError } from "./errors.ts";
import type { BrokerWork, Observer } from "./observer.ts";

/** Tells of a broker that fails at some work, each time, and once when it goes well again. */
export class BrokerState {
  readonly #observe: Observer;
  readonly #work: BrokerWork;
  #isFailing = false;

  constructor(observe: Observer, work: BrokerWork) {
    this.#observe = observe;
    this.#work = work;
  }

  /** @param thrown By the broker; a FervoError, unless it is a fault of ours. */
  failed(thrown: unknown): FervoError {
    const error = asFervoError(thrown);
    this.#isFailing = true;
    this.#observe({ type: "broker_failed", ...this.#work, error });
    return error;
  }

  /** Whether it failed last. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** It went well. */
  worked(): void {
    if (!this.#isFailing) return;
    this.#isFailing = false;
    this.#observe({ type: "broker_recovered", ...this.#work });
  }
}
