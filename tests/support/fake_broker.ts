import { type Clock, sleep } from "../../src/core/time/clock.ts";
import type { Delivery, Lease } from "../../src/core/delivery.ts";
import {
  type Format,
  isUnreadable,
  type JobHead,
  type Message,
  readJob,
  type Unreadable,
  unreadable,
} from "../../src/core/format.ts";
import { raw } from "../../src/formats/raw.ts";
import type { BrokerAdmin, QueueDepth } from "../../src/core/admin.ts";
import type {
  Broker,
  Capabilities,
  ReceiveRequest,
  SubscribeOptions,
  Subscription,
} from "../../src/core/broker.ts";
import { SQLITE_CAPABILITIES } from "../../src/brokers/sqlite/broker.ts";
import { type FervoError, QueueError } from "../../src/core/errors.ts";
import type { Verdict } from "../../src/core/outcome.ts";

/** What a delivery can be asked for, in a test's words, e.g. `retry 500 JOB_FAILED`. */
export type Settle = string;

/** What a test says of a delivery. */
export type FakeFields = Partial<Omit<Delivery, "id" | "message" | "job" | "lease">> & {
  readonly raw?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  /** Why there is no job in it. */
  readonly problem?: FervoError;
  /** The job's own limit, beside the message. */
  readonly maxAttempts?: number;
};

/** A delivery that keeps what was done with it. */
export class FakeDelivery implements Delivery {
  readonly id: string;
  readonly queue: string = "default";
  readonly message: Message = { body: new TextEncoder().encode("payload"), headers: {} };
  job!: JobHead | Unreadable;
  readonly attempt: number = 1;
  readonly enqueuedAtMs?: number;
  readonly readyAtMs?: number;
  /** The settle calls that the broker took. */
  readonly settled: Settle[] = [];
  /** The error that came with the last settle. */
  error: FervoError | undefined;
  extensions = 0;
  /** The next settle calls fail with these, in order. */
  readonly settleFailures: unknown[] = [];
  /** The next renewals fail with these, in order. */
  readonly extendFailures: unknown[] = [];
  /** Where calls are written down in the order in which they came. */
  calls: string[] = [];

  readonly lease?: Lease;
  readonly #fields: FakeFields;

  constructor(id: string, { raw: body, headers, ...fields }: FakeFields = {}) {
    this.id = id;
    this.#fields = fields;
    const { problem: _problem, maxAttempts: _maxAttempts, ...own } = fields;
    Object.assign(this, own);
    this.message = { body: body ?? this.message.body, headers: headers ?? {} };
    this.read(raw);
  }

  read(format: Format): this {
    const { problem, maxAttempts } = this.#fields;
    const head = problem === undefined ? readJob(format, this.message) : unreadable(problem);
    this.job = isUnreadable(head) || maxAttempts === undefined ? head : { maxAttempts, ...head };
    return this;
  }

  /** As a broker does when it hands it out. */
  given({ format, leaseMs, calls }: FakeBroker): void {
    this.calls = calls;
    this.read(format);
    if (leaseMs !== undefined) Object.assign(this, { lease: { ms: leaseMs, extend: () => this.#extend() } });
  }

  settle(verdict: Verdict): Promise<void> {
    switch (verdict.kind) {
      case "ack":
        return this.#settle("ack");
      case "release":
        return this.#settle(verdict.delayMs === undefined ? "release" : `release ${verdict.delayMs}`);
      case "retry":
        return this.#settle(`retry ${verdict.delayMs} ${verdict.error.code}`, verdict.error);
      case "replace":
        return this.#settle(`replace ${verdict.delayMs} ${verdict.error.code}`, verdict.error);
      case "bury":
      case "handled":
        return this.#settle(`${verdict.kind} ${verdict.error.code}`, verdict.error);
    }
  }

  #extend(): Promise<void> {
    this.extensions++;
    this.calls.push(`extend ${this.id}`);
    return this.extendFailures.length > 0 ? Promise.reject(this.extendFailures.shift()) : Promise.resolve();
  }

  #settle(call: Settle, error?: FervoError): Promise<void> {
    this.calls.push(`${call} ${this.id}`);
    if (this.settleFailures.length > 0) return Promise.reject(this.settleFailures.shift());
    this.settled.push(call);
    this.error = error;
    return Promise.resolve();
  }
}

/** A broker that hands out what a test puts into it. */
export class FakeBroker implements Broker {
  capabilities: Capabilities = SQLITE_CAPABILITIES;
  leaseMs: number | undefined = 30_000;
  format: Format = raw;
  /** Hands out jobs of the queues that are asked for only. */
  knowsQueues = false;
  readonly subscribed: SubscribeOptions[] = [];
  /** What was asked for, in order. */
  readonly requests: ReceiveRequest[] = [];
  /** When, monotonic milliseconds. */
  readonly askedAtMs: number[] = [];
  /** Settle and renewal calls of all deliveries, e.g. `ack 1`, in order; a test may add its own words. */
  readonly calls: string[] = [];
  /** The next receives fail with these, in order. */
  readonly receiveFailures: unknown[] = [];
  /** Receives fail while it is set. */
  outage: FervoError | undefined;
  /** Arrive at the moment at which the wait is given up. */
  readonly lastMoment: FakeDelivery[] = [];
  /** Jobs a queue holds; `depth` says so. */
  readonly depths = new Map<string, Partial<QueueDepth>>();
  /** Jobs that this process has, as the broker counts them. */
  inFlight: number | undefined;
  readonly #clock: Clock;
  readonly #ready: FakeDelivery[] = [];
  #arrival = Promise.withResolvers<void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Puts deliveries into the broker and returns them. */
  give<T extends FakeDelivery>(...deliveries: T[]): T[] {
    for (const delivery of deliveries) delivery.given(this);
    this.#ready.push(...deliveries);
    this.#arrival.resolve();
    return deliveries;
  }

  /** Deliveries that nobody has taken. */
  get left(): number {
    return this.#ready.length;
  }

  /** How many deliveries each receive asked for. */
  get asked(): number[] {
    return this.requests.map((request) => request.max);
  }

  subscribe(options: SubscribeOptions): Subscription {
    this.subscribed.push(options);
    return {
      receive: (request, signal) => this.receive(request, signal),
      resize: (capacity) => void this.calls.push(`resize ${capacity}`),
      stop: () => Promise.resolve(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  async receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]> {
    this.requests.push(request);
    this.askedAtMs.push(this.#clock.monotonicMs());
    if (this.receiveFailures.length > 0) throw this.receiveFailures.shift();
    if (this.outage !== undefined) throw this.outage;
    if (this.#next(request) < 0) await this.#wait(request, signal);
    if (signal.aborted) {
      for (const delivery of this.lastMoment) delivery.given(this);
      return this.lastMoment.splice(0, request.max);
    }
    const taken: FakeDelivery[] = [];
    let roomBytes = request.maxBytes ?? Infinity;
    for (
      let at = this.#next(request);
      at >= 0 && taken.length < request.max && roomBytes > 0;
      at = this.#next(request)
    ) {
      const [delivery] = this.#ready.splice(at, 1) as [FakeDelivery];
      taken.push(delivery);
      roomBytes -= delivery.message.body.length;
    }
    return taken;
  }

  /** Where the first one to be taken is; -1 for nowhere. */
  #next({ queues }: ReceiveRequest): number {
    return this.#ready.findIndex(({ queue }) => !this.knowsQueues || queues.includes(queue));
  }

  push(): Promise<string> {
    throw new Error("A worker pushes nothing");
  }

  admin: BrokerAdmin = {
    queues: () => Promise.resolve([...this.depths.keys()]),
    depth: (queue) => {
      if (this.outage !== undefined) return Promise.reject(this.outage);
      return Promise.resolve({ ready: 0, delayed: 0, reserved: 0, dead: 0, ...this.depths.get(queue) });
    },
    latencyMs: () => Promise.resolve(undefined),
    census: async (queues) => {
      const ready = queues.map(async (queue) =>
        [queue, (await this.admin.depth!(queue)).ready ?? 0] as const
      );
      return { ready: new Map(await Promise.all(ready)), inFlight: this.inFlight };
    },
  };

  close(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #wait({ waitMs }: ReceiveRequest, signal: AbortSignal): Promise<void> {
    this.#arrival = Promise.withResolvers();
    const waiting = new AbortController();
    await Promise.race([
      this.#arrival.promise,
      sleep(this.#clock, waitMs, AbortSignal.any([signal, waiting.signal])),
    ]);
    waiting.abort();
  }
}

export function unavailable(): QueueError {
  return new QueueError("QUEUE_UNAVAILABLE", `Cannot use the queue "fake": it is away`);
}

export function leaseLost(): QueueError {
  return new QueueError("LEASE_LOST", `Job "fake" is no longer ours`);
}
