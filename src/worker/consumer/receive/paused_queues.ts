import type { PausedQueue, Pauses } from "../../../core/admin.ts";
import { BrokerState } from "../../../core/broker_state.ts";
import type { Observer } from "../../../core/observer.ts";
import type { Clock, Timer } from "../../../core/time/clock.ts";

/** How often pauses are read, milliseconds. */
const LOOK_EVERY_MS = 1_000;

/** The paused queues of a broker, at most a second old. */
export class PausedQueues {
  readonly #clock: Clock;
  readonly #pauses: Pauses | undefined;
  readonly #onChange: () => void;
  readonly #looking: BrokerState;
  readonly #observe: Observer;
  readonly #options: { readonly name: string; readonly queues: readonly string[] };
  #paused: ReadonlyMap<string, PausedQueue> | undefined;
  #timer: Timer | undefined;
  #isClosed = false;

  /**
   * @param deps.pauses Undefined for a broker without pauses.
   * @param deps.onChange Called when queues were paused or resumed.
   * @param options.name The consumer's.
   * @param options.queues All queues of the consumer.
   */
  constructor(
    deps: { clock: Clock; observe: Observer; pauses: Pauses | undefined; onChange: () => void },
    options: { name: string; queues: readonly string[] },
  ) {
    this.#clock = deps.clock;
    // A wait for jobs of a queue can be what keeps its pause: such a broker is always asked for all queues.
    this.#pauses = deps.pauses?.isEnforced === true ? undefined : deps.pauses;
    this.#onChange = deps.onChange;
    this.#observe = deps.observe;
    this.#options = options;
    this.#looking = new BrokerState(deps.observe, { consumer: options.name, during: "pauses" });
  }

  /**
   * Reads the pauses, and from then on reads them again by itself.
   *
   * @throws {FervoError} QUEUE_UNAVAILABLE
   */
  async load(): Promise<void> {
    if (this.#paused !== undefined) return;
    this.#change(await this.#pauses?.list() ?? []);
    this.#lookLater();
  }

  /** `queues` without the paused ones; the same list if none is paused. */
  unpaused(queues: readonly string[]): readonly string[] {
    const paused = this.#paused;
    return paused === undefined || paused.size === 0 ? queues : queues.filter((queue) => !paused.has(queue));
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #lookLater(): void {
    if (this.#pauses === undefined || this.#isClosed) return;
    this.#timer = this.#clock.setTimer(async () => {
      await this.#look(this.#pauses!);
      this.#lookLater();
    }, LOOK_EVERY_MS);
  }

  /** Never rejects. */
  async #look(pauses: Pauses): Promise<void> {
    try {
      const paused = pauses.latest ?? await pauses.list();
      this.#looking.worked();
      this.#change(paused);
    } catch (thrown) {
      this.#looking.failed(thrown);
    }
  }

  #change(all: readonly PausedQueue[]): void {
    const { name, queues } = this.#options;
    const paused = all.filter(({ queue }) => queues.includes(queue));
    const isSame = JSON.stringify(paused) === JSON.stringify([...this.#paused?.values() ?? []]);
    this.#paused = new Map(paused.map((one) => [one.queue, one]));
    if (isSame) return;
    this.#observe({ type: "queues_paused", consumer: name, queues: paused });
    this.#onChange();
  }
}
