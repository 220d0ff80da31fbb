/**
 * A broker in memory of the kind that makes it hard: it sends jobs by itself, keeps them as long as a connection lives, counts what is
 * given back, replaces in two steps, knows of no attempts, and nobody can look into it. RabbitMQ is much like it.
 */
import type {
  Broker,
  Capabilities,
  ReceiveRequest,
  SubscribeOptions,
  Subscription,
} from "../../../src/core/broker.ts";
import type { Delivery } from "../../../src/core/delivery.ts";
import { JobError, QueueError } from "../../../src/core/errors.ts";
import {
  type Format,
  type JobHead,
  type Message,
  type PushOptions,
  readJob,
  type Unreadable,
} from "../../../src/core/format.ts";
import type { Verdict } from "../../../src/core/outcome.ts";
import { text } from "../../../src/core/option.ts";
import { type Clock, sleep } from "../../../src/core/time/clock.ts";
import type { BrokerType, Ownership } from "../../../src/brokers/broker_type.ts";
import { Replaced } from "../../../src/brokers/replaced.ts";
import { raw } from "../../../src/formats/raw.ts";

const DELAYS = { maxMs: 60_000, stepMs: 1_000 };

export const AWKWARD_CAPABILITIES: Capabilities = {
  lease: "connection",
  redeliveries: "flagged",
  attempts: false,
  repeats: false,
  release: "counted",
  delayedRelease: "uncounted",
  releasePlace: "front",
  replace: "two-step",
  fence: "connection",
  orders: ["mixed"],
  pushDelay: DELAYS,
  retryDelay: DELAYS,
  priority: false,
  headers: false,
  unique: false,
  counts: "none",
  jobs: false,
  dead: "none",
  pauses: "none",
  pauseReasons: false,
  purge: false,
  schedule: false,
};

export const AWKWARD_OWNERSHIP: Ownership = { attempts: "application", retry: "worker", dead: "broker" };

interface StoredJob {
  readonly id: string;
  readonly queue: string;
  readonly message: Message;
  dueAtMs: number;
  isRedelivered: boolean;
}

/** The server: what is ready, whose connection has what, and what is dead. */
export class AwkwardServer {
  readonly clock: Clock;
  ready: StoredJob[] = [];
  readonly dead: StoredJob[] = [];
  readonly connections = new Set<Connection>();
  /** The next removal fails, and the connection with it. */
  failsAtRemoval = false;
  #ids = 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  put(queue: string, message: Message, delayMs: number): string {
    const id = String(++this.#ids);
    const stepped = Math.ceil(delayMs / DELAYS.stepMs) * DELAYS.stepMs;
    this.ready.push({ id, queue, message, dueAtMs: this.clock.nowMs() + stepped, isRedelivered: false });
    this.send();
    return id;
  }

  giveBack(jobs: readonly StoredJob[]): void {
    for (const job of jobs) job.isRedelivered = true;
    this.ready.unshift(...jobs);
    this.send();
  }

  /** Sends what is due to the connections that have room. */
  send(): void {
    const nowMs = this.clock.nowMs();
    for (const connection of this.connections) {
      for (const job of this.ready.filter(({ dueAtMs }) => dueAtMs <= nowMs)) {
        if (connection.take(job)) this.ready.splice(this.ready.indexOf(job), 1);
      }
    }
  }

  depth(queue: string) {
    const nowMs = this.clock.nowMs();
    const ofQueue = (jobs: readonly StoredJob[]) => jobs.filter((job) => job.queue === queue);
    const [buffered, received] = [
      [...this.connections].flatMap(({ buffer }) => buffer),
      [...this.connections]
        .flatMap(({ held }) => [...held.values()]),
    ];
    const waiting = ofQueue(this.ready);
    return {
      ready: waiting.filter(({ dueAtMs }) => dueAtMs <= nowMs).length + ofQueue(buffered).length,
      delayed: waiting.filter(({ dueAtMs }) => dueAtMs > nowMs).length,
      reserved: ofQueue(received).length,
      dead: ofQueue(this.dead).length,
    };
  }

  queues(): string[] {
    const all = [
      ...this.ready,
      ...this.dead,
      ...[...this.connections].flatMap(({ buffer, held }) => [...buffer, ...held.values()]),
    ];
    return [...new Set(all.map(({ queue }) => queue))].sort();
  }
}

/** What the server has sent to one subscription. */
class Connection {
  /** Sent, and received by nobody. */
  buffer: StoredJob[] = [];
  readonly held = new Map<AwkwardDelivery, StoredJob>();
  capacity: number;
  queues: readonly string[];
  isOpen = true;
  #arrived = Promise.withResolvers<void>();
  readonly server: AwkwardServer;
  readonly broker: AwkwardBroker;
  readonly onLost: SubscribeOptions["onLost"];

  constructor(broker: AwkwardBroker, { queues, capacity, onLost }: SubscribeOptions) {
    this.broker = broker;
    this.server = broker.server;
    this.queues = queues;
    this.capacity = capacity;
    this.onLost = onLost;
    this.server.connections.add(this);
    this.server.send();
  }

  /** False when there is no room for it. */
  take(job: StoredJob): boolean {
    const isWanted = this.queues.includes(job.queue) && this.buffer.length + this.held.size < this.capacity;
    if (!isWanted) return false;
    this.buffer.push(job);
    this.#arrived.resolve();
    return true;
  }

  get arrival(): Promise<void> {
    if (this.buffer.length > 0) return Promise.resolve();
    this.#arrived = Promise.withResolvers();
    return this.#arrived.promise;
  }

  /** Is sent jobs of these queues only, and gives back what it has of others. */
  want(queues: readonly string[]): void {
    this.queues = queues;
    const others = this.buffer.filter(({ queue }) => !queues.includes(queue));
    this.buffer = this.buffer.filter(({ queue }) => queues.includes(queue));
    if (others.length > 0) this.server.giveBack(others);
    this.server.send();
  }

  stop(): void {
    this.want([]);
  }

  end(isLost: boolean): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.server.connections.delete(this);
    const gone = [...this.held.keys()];
    this.server.giveBack([...this.buffer.splice(0), ...this.held.values()]);
    this.held.clear();
    this.#arrived.resolve();
    if (isLost) this.onLost(gone);
  }
}

class AwkwardDelivery implements Delivery {
  readonly id: string;
  readonly queue: string;
  readonly message: Message;
  readonly job: JobHead | Unreadable;
  readonly redeliveries: number;
  readonly #connection: Connection;
  readonly #stored: StoredJob;
  #isSettling = false;

  constructor(connection: Connection, stored: StoredJob) {
    this.#connection = connection;
    this.#stored = stored;
    this.id = stored.id;
    this.queue = stored.queue;
    this.message = stored.message;
    this.job = readJob(connection.broker.format, stored.message);
    this.redeliveries = stored.isRedelivered ? 1 : 0;
  }

  settle(verdict: Verdict): Promise<void> {
    return this.#connection.broker.ask(() => this.#settle(verdict));
  }

  #settle(verdict: Verdict): void {
    const connection = this.#connection;
    const { server, broker } = connection;
    if (this.#isSettling || !connection.held.has(this)) throw lost(this.id);
    this.#isSettling = true;
    try {
      if (!connection.held.has(this)) throw lost(this.id);
      switch (verdict.kind) {
        case "ack":
        case "handled":
          return this.#remove();
        case "retry":
          return this.#replace(this.message, verdict.delayMs);
        case "replace":
          return this.#replace(verdict.message, verdict.delayMs);
        case "bury":
          if (!broker.replaced.has(this.id)) server.dead.push(this.#stored);
          broker.replaced.add(this.id);
          return this.#remove();
        case "release":
          if (verdict.delayMs) return this.#replace(this.message, verdict.delayMs);
          connection.held.delete(this);
          return server.giveBack([this.#stored]);
      }
    } finally {
      this.#isSettling = false;
    }
  }

  /** Puts the message, and removes the job then. */
  #replace(message: Message, delayMs: number): void {
    const { server, broker } = this.#connection;
    if (!broker.replaced.has(this.id)) {
      server.put(this.queue, message, delayMs);
      broker.replaced.add(this.id);
    }
    this.#remove();
  }

  #remove(): void {
    const connection = this.#connection;
    if (connection.server.failsAtRemoval) {
      connection.server.failsAtRemoval = false;
      connection.end(true);
      throw new QueueError("QUEUE_UNAVAILABLE", "The connection was lost");
    }
    connection.held.delete(this);
    connection.broker.replaced.delete(this.id);
    connection.server.send();
  }
}

function lost(id: string): QueueError {
  return new QueueError("LEASE_LOST", `Job "${id}" is no longer ours`);
}

export class AwkwardBroker implements Broker {
  readonly capabilities = AWKWARD_CAPABILITIES;
  readonly format: Format;
  readonly admin = {};
  readonly server: AwkwardServer;
  /** Removed when they come back. */
  readonly replaced = new Replaced();
  readonly #connections = new Set<() => Connection>();
  readonly #closed = new AbortController();
  readonly #calls = new Set<Promise<void>>();

  constructor(server: AwkwardServer, format: Format = raw) {
    this.server = server;
    this.format = format;
  }

  /** Does it in a later turn, unless this is closed by now. */
  ask<T>(work: () => T): Promise<T> {
    if (this.#closed.signal.aborted) {
      return Promise.reject(new QueueError("QUEUE_UNAVAILABLE", "The broker is closed"));
    }
    const call = Promise.resolve().then(work);
    const ended = call.catch(() => {}).then(() => void this.#calls.delete(ended));
    this.#calls.add(ended);
    return call;
  }

  push(queue: string, payload: Uint8Array, options: PushOptions = {}): Promise<string> {
    const body = payload.slice();
    return this.ask(() => this.#put(queue, body, options));
  }

  #put(queue: string, body: Uint8Array, options: PushOptions): string {
    const { delayMs = 0, headers, maxAttempts, priority = 0, unique } = options;
    const isStored = headers === undefined && maxAttempts === undefined && priority === 0 &&
      unique === undefined && delayMs <= DELAYS.maxMs;
    if (!isStored) {
      throw new JobError("JOB_MALFORMED", "This broker has no place for that");
    }
    return this.server.put(queue, { body, headers: {} }, delayMs);
  }

  subscribe(options: SubscribeOptions): Subscription {
    let connection = new Connection(this, options);
    let { capacity } = options;
    // A connection that is lost is opened again when it is needed.
    const current = () =>
      connection.isOpen ? connection : connection = new Connection(this, { ...options, capacity });
    const ofThis = () => connection;
    this.#connections.add(ofThis);
    return {
      receive: (request, signal) => this.#receive(current, request, signal),
      resize: (to) => {
        capacity = connection.capacity = to;
        this.server.send();
      },
      stop: () => Promise.resolve(connection.stop()),
      [Symbol.asyncDispose]: () => {
        this.#connections.delete(ofThis);
        return Promise.resolve(connection.end(false));
      },
    };
  }

  async #receive(
    current: () => Connection,
    { queues, max, maxBytes = Infinity, waitMs }: ReceiveRequest,
    signal: AbortSignal,
  ): Promise<Delivery[]> {
    const { clock } = this.server;
    const untilMs = clock.monotonicMs() + waitMs;
    const ending = AbortSignal.any([signal, this.#closed.signal]);
    for (;;) {
      await Promise.resolve();
      if (ending.aborted) return [];
      const connection = current();
      connection.want(queues);
      const taken: Delivery[] = [];
      let roomBytes = maxBytes;
      while (taken.length < max && roomBytes > 0 && connection.buffer.length > 0) {
        const stored = connection.buffer.shift()!;
        // It was replaced, and could not be removed then.
        if (this.replaced.has(stored.id)) {
          this.replaced.delete(stored.id);
          continue;
        }
        const delivery = new AwkwardDelivery(connection, stored);
        connection.held.set(delivery, stored);
        roomBytes -= stored.message.body.length;
        taken.push(delivery);
      }
      const leftMs = untilMs - clock.monotonicMs();
      if (taken.length > 0 || leftMs <= 0) return taken;
      const waiting = new AbortController();
      const nextMs = Math.min(
        ...this.server.ready.map(({ dueAtMs }) => Math.max(dueAtMs - clock.nowMs(), 0)),
      );
      const ms = Math.min(leftMs, nextMs === 0 ? Infinity : nextMs);
      await Promise.race([
        connection.arrival,
        sleep(clock, ms, AbortSignal.any([ending, waiting.signal])),
      ]);
      waiting.abort();
    }
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await Promise.all(this.#calls);
    for (const connection of this.#connections) connection().end(false);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const options = { server: text(/^[a-z]+$/, "a name of small letters") };

/** Its type, for a table of types: all that open a server of the same name share it. */
export function awkwardType(clock: Clock): BrokerType<typeof options, { server: string }> {
  const servers = new Map<string, AwkwardServer>();
  return {
    driver: "awkward",
    page: "awkward",
    formats: { raw },
    defaultFormat: "raw",
    capabilities: AWKWARD_CAPABILITIES,
    ownership: () => AWKWARD_OWNERSHIP,
    options,
    settings: ({ server }) => ({ server }),
    open(_deps, { server: name }) {
      const server = servers.get(name) ?? new AwkwardServer(clock);
      servers.set(name, server);
      return new AwkwardBroker(server);
    },
    fixOf: (_error, _settings, place) => `${place} server = another name`,
    descriptors: () => 1,
    findings: {},
    units: ["awkward.service"],
    isShared: true,
  };
}
