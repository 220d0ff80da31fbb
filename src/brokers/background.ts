import { BrokerState } from "../core/broker_state.ts";
import type { BrokerWork, Observer } from "../core/observer.ts";

type Work = Exclude<BrokerWork["during"], "receive" | "settle" | "extend">;

/** Work that nobody waits for, and that is done again and again: it must not fail in silence. */
export class BackgroundWork {
  readonly #state: BrokerState;

  constructor(observe: Observer, during: Work) {
    this.#state = new BrokerState(observe, { during });
  }

  /** Resolves when the work has ended, well or not. */
  async run(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
      this.#state.worked();
    } catch (thrown) {
      this.#state.failed(thrown);
    }
  }
}
