import { BrokerState } from "../core/broker_state.ts";
import type { BrokerWork, Observer } from "../core/observer.ts";
import type { Clock, Timer } from "../core/time/clock.ts";

type Work = Exclude<BrokerWork["during"], "receive" | "settle" | "extend">;

/** Repeated work that nobody waits for: its failures must be reported. */
export class BackgroundWork {
  readonly #state: BrokerState;

  constructor(observe: Observer, during: Work) {
    this.#state = new BrokerState(observe, { during });
  }

  /** Resolves when the work has ended, with or without a failure. */
  async run(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
      this.#state.worked();
    } catch (thrown) {
      this.#state.failed(thrown);
    }
  }
}

/** Background work that repeats from its start until it is closed, and never runs twice at once. */
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

  /** @param options.waitMs The wait after each run, milliseconds; `failure` is the error of that run. */
  constructor(
    { clock, observe }: { clock: Clock; observe: Observer },
    options: { during: Work; work: () => Promise<unknown>; waitMs: (failure?: unknown) => number },
  ) {
    this.#clock = clock;
    this.#background = new BackgroundWork(observe, options.during);
    this.#work = options.work;
    this.#waitMs = options.waitMs;
  }

  /** Starts the repetition. Returns whether that is new. */
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

  /** Runs now, unless it is running; rejects with its error. */
  do(): Promise<void> {
    return this.#running ??= this.#once().finally(() => this.#running = undefined);
  }

  /** The same, and reports its error. Never rejects. */
  run(): Promise<void> {
    return this.#telling ??= this.#background.run(() => this.do()).finally(() => this.#telling = undefined);
  }

  /** The next run is after this many milliseconds; only after the start. */
  next(delayMs: number): void {
    if (!this.#isStarted || this.#isClosed) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(() => void this.run(), delayMs);
  }

  /** Resolves when no run is in progress. Never rejects. */
  async ended(): Promise<void> {
    await this.#running?.catch(() => {});
  }

  /** Starts no further run; waits for the current one. Never rejects. */
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
