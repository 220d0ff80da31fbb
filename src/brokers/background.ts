import { BrokerState } from "../core/broker_state.ts";
import type { BrokerWork, Observer } from "../core/observer.ts";
import type { Clock, Timer } from "../core/time/clock.ts";

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

/** Background work that is done once more after each time: from its start until it is closed, and never twice at once. */
export class RepeatedWork {
  readonly #clock: Clock;
  readonly #background: BackgroundWork;
  readonly #work: () => Promise<unknown>;
  readonly #waitMs: (failure?: unknown) => number;
  #running: Promise<void> | undefined;
  #telling: Promise<void> | undefined;
  #timer: Timer | undefined;
  #isStarted = false;
  #isClosed = false;

  /** @param options.waitMs How long to wait when the work has ended, milliseconds; `failure` is what it has thrown. */
  constructor(
    { clock, observe }: { clock: Clock; observe: Observer },
    options: { during: Work; work: () => Promise<unknown>; waitMs: (failure?: unknown) => number },
  ) {
    this.#clock = clock;
    this.#background = new BackgroundWork(observe, options.during);
    this.#work = options.work;
    this.#waitMs = options.waitMs;
  }

  /** From now on there is a next time. Returns whether that was not so before. */
  start(): boolean {
    const isFirst = !this.#isStarted;
    this.#isStarted = true;
    return isFirst;
  }

  get isUnderWay(): boolean {
    return this.#running !== undefined;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Does it now, unless it is under way; rejects with what it throws. */
  do(): Promise<void> {
    return this.#running ??= this.#once().finally(() => this.#running = undefined);
  }

  /** The same; what it throws is told. Never rejects. */
  run(): Promise<void> {
    return this.#telling ??= this.#background.run(() => this.do()).finally(() => this.#telling = undefined);
  }

  /** The next time is after this many milliseconds; nothing before it is started. */
  next(delayMs: number): void {
    if (!this.#isStarted || this.#isClosed) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(() => void this.run(), delayMs);
  }

  /** Resolves when none of it is under way, or has just ended. Never rejects. */
  async ended(): Promise<void> {
    await this.#running?.catch(() => {});
  }

  /** No further time; waits for what is under way. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.ended();
  }

  async #once(): Promise<void> {
    try {
      await this.#work();
    } catch (failure) {
      this.next(this.#waitMs(failure));
      throw failure;
    }
    this.next(this.#waitMs());
  }
}
