import type { Clock } from "../../core/time/clock.ts";
import type { Delivery } from "../../core/delivery.ts";
import type {
  Broker,
  Capabilities,
  ReceiveRequest,
  SubscribeOptions,
  Subscription,
} from "../../core/broker.ts";
import type { PushOptions } from "../../core/format.ts";
import { JobError } from "../../core/errors.ts";
import type { PlainFormat } from "../../core/format.ts";
import { written } from "../../formats/written.ts";
import { DEFAULT_KEEPALIVE_MS } from "../../net/keepalive.ts";
import { tooLarge } from "../../core/text/payload.ts";
import { refuseDelay } from "../delays.ts";
import { refuseUnique } from "../unique_keys.ts";
import { pullSubscription } from "../pull_subscription.ts";
import { BeanstalkdAdmin } from "./admin.ts";
import type { BeanstalkdConnection, BeanstalkdConnectionOptions } from "./connection.ts";
import type { BeanstalkdDelivery } from "./delivery.ts";
import { BeanstalkdSessions, closedError } from "./sessions.ts";
import { MAX_DELAY_MS, priOf, refuseTube, whyTubeIsRefused } from "./mapping.ts";
import { put } from "./put.ts";

export { whyTubeIsRefused };

export interface BeanstalkdBrokerOptions extends BeanstalkdConnectionOptions {
  /**
   * The "time to run" of jobs pushed here, milliseconds, in whole seconds. Workers renew it; when a worker hangs or loses its
   * network, its jobs run again after this time.
   */
  readonly ttrMs: number;
}

export const DEFAULT_BEANSTALKD_OPTIONS: BeanstalkdBrokerOptions = {
  address: { transport: "tcp", hostname: "127.0.0.1", port: 11_300 },
  ttrMs: 60_000,
  connectTimeoutMs: 2_000,
  keepaliveMs: DEFAULT_KEEPALIVE_MS,
  maxPayloadBytes: 64 * 1024 * 1024,
};

const DELAYS = { maxMs: MAX_DELAY_MS, stepMs: 1_000 };

export const BEANSTALKD_CAPABILITIES: Capabilities = {
  lease: "connection",
  redeliveries: "unknown",
  attempts: true,
  repeats: false,
  release: "uncounted",
  delayedRelease: "counted",
  releasePlace: "front",
  replace: "two-step",
  fence: "connection",
  orders: ["strict", "weighted"],
  pushDelay: DELAYS,
  retryDelay: DELAYS,
  priority: true,
  headers: false,
  unique: false,
  counts: "exact",
  jobs: false,
  dead: "bare",
  pauses: "loose",
  pauseReasons: false,
  purge: true,
  schedule: false,
};

type OnLost = SubscribeOptions["onLost"];

/** The longest single wait, milliseconds. */
const LONGEST_WAIT_MS = 60_000;

/**
 * A beanstalkd, version 1.12 or newer. Queues are its tubes, dead letters its buried jobs.
 *
 * 1. Takes ready jobs in the order of the queues, many in a round trip, and waits for more without polling.
 * 2. Keeps jobs while their connections live, and renews reservations in time.
 * 3. Counts attempts by the job's own statistics, so that all workers agree on them.
 * 4. Reopens lost connections when they are needed, without giving up.
 *
 * It refuses what beanstalkd cannot store: headers, and a limit of attempts beside the message.
 */
export class BeanstalkdBroker implements Broker {
  readonly capabilities = BEANSTALKD_CAPABILITIES;
  readonly format: PlainFormat;
  readonly admin: BeanstalkdAdmin;
  readonly #clock: Clock;
  readonly #options: BeanstalkdBrokerOptions;
  readonly #sessions: BeanstalkdSessions;
  /** Ends the current receives. */
  readonly #receives = new Set<AbortController>();
  readonly #calls = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;

  /** Connects at the first call. */
  constructor(deps: { clock: Clock; format: PlainFormat }, options: BeanstalkdBrokerOptions) {
    this.format = deps.format;
    this.#clock = deps.clock;
    this.#options = options;
    this.#sessions = new BeanstalkdSessions(deps, options);
    const call = <T>(run: (connection: BeanstalkdConnection) => Promise<T>) => this.#call(run);
    this.admin = new BeanstalkdAdmin({ clock: deps.clock, call }, options);
  }

  subscribe({ onLost }: SubscribeOptions): Subscription {
    return pullSubscription((request, signal) => this.#receiveUntil(request, signal, onLost));
  }

  async #receiveUntil(request: ReceiveRequest, signal: AbortSignal, onLost: OnLost): Promise<Delivery[]> {
    if (this.#closed !== undefined || signal.aborted) return [];
    const ending = new AbortController();
    const end = () => ending.abort();
    signal.addEventListener("abort", end);
    this.#receives.add(ending);
    try {
      return await this.#track(this.#receive(request, ending.signal, onLost));
    } finally {
      signal.removeEventListener("abort", end);
      this.#receives.delete(ending);
    }
  }

  async push(queue: string, payload: Uint8Array, options: PushOptions = {}): Promise<string> {
    const { maxPayloadBytes, ttrMs } = this.#options;
    refuseTube(queue);
    refuseUnique(queue, options);
    refuseDelay(queue, options.delayMs ?? 0, BEANSTALKD_CAPABILITIES.pushDelay);
    const { message: { body }, maxAttempts } = written(this.format, payload, options, this.#clock.nowMs());
    if (options.headers !== undefined || maxAttempts !== undefined) {
      throw new JobError(
        "JOB_MALFORMED",
        `Cannot push to queue "${queue}": beanstalkd stores no headers and no attempt limit with a job; use the ` +
          'message format "envelope", which carries them',
      );
    }
    if (body.length > maxPayloadBytes) throw tooLarge(queue, body.length, maxPayloadBytes);
    const place = { tube: queue, pri: priOf(options.priority ?? 0), delayMs: options.delayMs ?? 0, ttrMs };
    const texts = { message: `The message for queue "${queue}"`, failure: `Cannot push to queue "${queue}"` };
    return await this.#call((connection) => put(connection, place, body, texts));
  }

  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    for (const ending of this.#receives) ending.abort();
    while (this.#calls.size > 0) await Promise.allSettled(this.#calls);
    await this.#sessions.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #receive(request: ReceiveRequest, signal: AbortSignal, onLost: OnLost): Promise<Delivery[]> {
    const { queues, waitMs } = request;
    const untilMs = this.#clock.monotonicMs() + waitMs;
    for (let leftMs = waitMs;;) {
      const ready = await this.#takeReady(request, onLost);
      if (ready.length > 0) return ready;
      leftMs = untilMs - this.#clock.monotonicMs();
      if (leftMs <= 0 || signal.aborted) return [];
      const wait = { queues, waitMs: Math.min(leftMs, LONGEST_WAIT_MS), onLost };
      const delivery = await this.#wait(wait, signal);
      if (delivery !== undefined) return [delivery];
      // Less than beanstalkd's unit: not worth another connection.
      if (signal.aborted || untilMs - this.#clock.monotonicMs() < 1_000) return [];
    }
  }

  async #takeReady(
    { queues, max, maxBytes = Infinity }: ReceiveRequest,
    onLost: OnLost,
  ): Promise<BeanstalkdDelivery[]> {
    const main = await this.#sessions.main();
    const deliveries: BeanstalkdDelivery[] = [];
    let roomBytes = maxBytes;
    try {
      for (const queue of queues) {
        if (deliveries.length === max || roomBytes <= 0) break;
        const taken = await main.take(queue, { max: max - deliveries.length, maxBytes: roomBytes, onLost });
        deliveries.push(...taken);
        for (const { message } of taken) roomBytes -= message.body.length;
      }
      return deliveries;
    } catch (error) {
      // Reserved jobs that nobody has received go back to the tubes with their connection.
      main.connection.close();
      throw error;
    }
  }

  async #wait(
    { queues, waitMs, onLost }: { queues: readonly string[]; waitMs: number; onLost: OnLost },
    signal: AbortSignal,
  ): Promise<BeanstalkdDelivery | undefined> {
    const waiter = await this.#sessions.waiter();
    try {
      if (signal.aborted) return undefined;
      const taken = await waiter.wait({ queues, waitMs, onLost }, signal);
      if (typeof taken !== "string" || this.#closed !== undefined) {
        return typeof taken === "string" ? undefined : taken;
      }
      // The reservation counts as an attempt, so it should be one.
      const main = await this.#sessions.main();
      return await main.takeAgain(taken, { uncounted: 1, onLost }).catch(() => undefined);
    } finally {
      this.#sessions.giveBack(waiter);
    }
  }

  /** Calls `run` with the connection that never waits; `close` waits for it. */
  async #call<T>(run: (connection: BeanstalkdConnection) => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) throw closedError(this.#options);
    return await this.#track((async () => await run((await this.#sessions.main()).connection))());
  }

  async #track<T>(call: Promise<T>): Promise<T> {
    this.#calls.add(call);
    try {
      return await call;
    } finally {
      this.#calls.delete(call);
    }
  }
}
