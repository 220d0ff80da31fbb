import { formatAddress } from "../../net/address.ts";
import { Backoff } from "../../core/time/backoff.ts";
import { type Clock, sleep } from "../../core/time/clock.ts";
import { QueueError } from "../../core/errors.ts";
import type { Format } from "../../core/format.ts";
import { BeanstalkdConnection, type BeanstalkdConnectionOptions } from "./connection.ts";
import { Replaced } from "../replaced.ts";
import { BeanstalkdSession } from "./session.ts";

/** The longest pause after a failed connect, milliseconds. */
const LONGEST_PAUSE_MS = 500;
/** At most this many connections without jobs are kept for the next waits. */
const KEPT_IDLE = 4;

/**
 * The connections of a broker: one that never waits, and one for each wait. A waiting connection takes no command, and only the
 * connection that reserved a job can settle it. So:
 *
 * 1. `main` pushes, answers questions, takes ready jobs, and settles those.
 * 2. A waiter waits, and settles the job of its wait; after that it can wait again.
 * 3. A lost connection is reopened when it is needed, without giving up. After a failure there is a pause of 50 to 500 ms, 20 %
 *    shorter or longer, so that many workers do not come back at once.
 */
export class BeanstalkdSessions {
  readonly #clock: Clock;
  readonly #format: Format;
  readonly #replaced = new Replaced();
  readonly #options: BeanstalkdConnectionOptions;
  readonly #all = new Set<BeanstalkdSession>();
  readonly #idle = new Set<BeanstalkdSession>();
  /** Those that wait now. */
  readonly #waiting = new Set<BeanstalkdSession>();
  readonly #closing = new AbortController();
  #main: Promise<BeanstalkdSession> | undefined;
  readonly #backoff = new Backoff({ random: Math.random }, { maxMs: LONGEST_PAUSE_MS });
  #notBeforeMs = 0;

  constructor(deps: { clock: Clock; format: Format }, options: BeanstalkdConnectionOptions) {
    this.#clock = deps.clock;
    this.#format = deps.format;
    this.#options = options;
  }

  /** @throws {QueueError} QUEUE_UNAVAILABLE */
  main(): Promise<BeanstalkdSession> {
    return this.#main ??= this.#openMain();
  }

  /**
   * A connection without jobs, for the caller until it is given back.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  async waiter(): Promise<BeanstalkdSession> {
    for (const session of this.#idle) {
      this.#idle.delete(session);
      this.#waiting.add(session);
      return session;
    }
    const session = await this.#open();
    session.onEmpty = () => this.#keepIdle(session);
    this.#waiting.add(session);
    return session;
  }

  /** The end of a wait. Its job may still be reserved. */
  giveBack(session: BeanstalkdSession): void {
    this.#waiting.delete(session);
    this.#keepIdle(session);
  }

  #keepIdle(session: BeanstalkdSession): void {
    if (session.connection.isLost || !session.isEmpty || this.#waiting.has(session)) return;
    if (this.#idle.size < KEPT_IDLE) this.#idle.add(session);
    else session.connection.close();
  }

  /** Releases all reserved jobs uncounted, and closes all connections. Never rejects. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#main?.catch(() => {});
    await Promise.all([...this.#all].map((session) => session.close()));
  }

  async #openMain(): Promise<BeanstalkdSession> {
    try {
      const session = await this.#open();
      void session.connection.ended.then(() => this.#main = undefined);
      return session;
    } catch (error) {
      this.#main = undefined;
      throw error;
    }
  }

  async #open(): Promise<BeanstalkdSession> {
    const pauseMs = this.#notBeforeMs - this.#clock.monotonicMs();
    if (pauseMs > 0) await sleep(this.#clock, pauseMs, this.#closing.signal);
    if (this.#closing.signal.aborted) throw closedError(this.#options);
    let connection: BeanstalkdConnection;
    try {
      connection = await BeanstalkdConnection.open(this.#clock, this.#options);
    } catch (error) {
      this.#notBeforeMs = this.#clock.monotonicMs() + this.#backoff.nextMs();
      throw error;
    }
    this.#backoff.reset();
    const session = new BeanstalkdSession(
      { connection, clock: this.#clock, format: this.#format, replaced: this.#replaced },
      this.#options,
    );
    this.#all.add(session);
    void connection.ended.then(() => {
      this.#all.delete(session);
      this.#idle.delete(session);
    });
    return session;
  }
}

export function closedError(
  { address }: { readonly address: BeanstalkdConnectionOptions["address"] },
): QueueError {
  return new QueueError(
    "QUEUE_UNAVAILABLE",
    `Cannot use beanstalkd at "${formatAddress(address)}": this worker has closed it`,
  );
}
