import type { Broker } from "../../src/core/broker.ts";
import { sleep, systemClock } from "../../src/core/time/clock.ts";
import type { DeadLetter, QueueDepth } from "../../src/core/admin.ts";
import type { SoakBroker } from "./broker.ts";
import { payloadOf } from "./jobs.ts";
import type { Ledger } from "./ledger.ts";
import { QUEUE } from "./workers.ts";

const PUSH_TOGETHER = 500;
const FULL_MS = 50;
const DEAD_PAGE = 1_000;

/** Who puts the jobs in, and looks into the queue: a user of the broker beside the workers. */
export class Pusher implements AsyncDisposable {
  readonly #open: () => Broker;
  readonly #soakBroker: SoakBroker;
  #broker: Broker;
  #number = 0;
  /** The pushes under way, or what they wait for. */
  #turn: Promise<void> = Promise.resolve();

  constructor(open: () => Broker, soakBroker: SoakBroker) {
    this.#open = open;
    this.#soakBroker = soakBroker;
    this.#broker = open();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#broker[Symbol.asyncDispose]();
  }

  /** Pushes until it is enough, and never so many that more than `maxReady` are ready. */
  async pushUntil(isEnough: () => boolean, maxReady: number, ledger: Ledger): Promise<void> {
    while (!isEnough()) {
      await this.#alone(async () => {
        const depth = await this.depth();
        if (depth === undefined || (depth.ready ?? 0) > maxReady) await sleep(systemClock, FULL_MS);
        else await this.#pushSome(ledger);
      });
    }
  }

  /** Runs `act` while nothing is pushed, and while it has not opened the broker; what it pushes then goes into the one that is there. */
  withoutPushes(act: () => Promise<void>): Promise<void> {
    return this.#alone(async () => {
      await this.#broker[Symbol.asyncDispose]();
      await act();
      this.#broker = this.#open();
    });
  }

  /** Undefined when the broker cannot be asked. */
  async depth(): Promise<QueueDepth | undefined> {
    return await this.#broker.admin.depth!(QUEUE).catch(() => undefined);
  }

  async deadLetters(): Promise<DeadLetter[]> {
    const letters: DeadLetter[] = [];
    for (;;) {
      const after = letters.at(-1)?.place;
      const page = await this.#broker.admin.dead!.list({
        queue: QUEUE,
        limit: DEAD_PAGE,
        ...(after !== undefined && { after }),
      });
      letters.push(...page);
      if (page.length < DEAD_PAGE) return letters;
    }
  }

  /** One after the other. */
  #alone(act: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(act);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #pushSome(ledger: Ledger): Promise<void> {
    const utf8 = new TextEncoder();
    await Promise.all(Array.from({ length: PUSH_TOGETHER }, async () => {
      const number = this.#number++;
      const payload = utf8.encode(this.#soakBroker.message(payloadOf(number)));
      try {
        await this.#broker.push(QUEUE, payload);
        ledger.confirm(number);
      } catch {
        // Whether the broker has it, nobody knows.
        ledger.doubt(number);
      }
    }));
  }
}
