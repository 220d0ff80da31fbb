/** A broker in memory that can do what most can: for the conformance suite, and for commands without a server. */
import {
  type BrokerAdmin,
  type DeadLetter,
  type DeadLetters,
  type JobPage,
  LISTED_PAYLOAD_BYTES,
  noJobPlace,
  noPlace,
  type PauseOptions,
  type Pauses,
  type QueueDepth,
} from "../../../src/core/admin.ts";
import type { Broker, Capabilities, ReceiveRequest, Subscription } from "../../../src/core/broker.ts";
import type { Delivery, Lease } from "../../../src/core/delivery.ts";
import { JobError, QueueError } from "../../../src/core/errors.ts";
import {
  type JobHead,
  type Message,
  type PlainFormat,
  type PushOptions,
  readJob,
  type Unreadable,
} from "../../../src/core/format.ts";
import { isUnreadable } from "../../../src/core/format.ts";
import { text, wholeNumber } from "../../../src/core/option.ts";
import type { Verdict } from "../../../src/core/outcome.ts";
import { type Clock, sleep } from "../../../src/core/time/clock.ts";
import type { BrokerType, Ownership } from "../../../src/brokers/broker_type.ts";
import { DeadGrouping } from "../../../src/brokers/dead_grouping.ts";
import { raw } from "../../../src/formats/raw.ts";
import { written } from "../../../src/formats/written.ts";

const DAY_MS = 86_400_000;

export const PLAIN_CAPABILITIES: Capabilities = {
  lease: "timed",
  redeliveries: "counted",
  attempts: true,
  repeats: false,
  release: "uncounted",
  delayedRelease: "uncounted",
  releasePlace: "back",
  replace: "one-step",
  fence: "token",
  orders: ["strict", "weighted"],
  pushDelay: { maxMs: 10 * DAY_MS, stepMs: 1 },
  retryDelay: { maxMs: DAY_MS, stepMs: 1 },
  priority: false,
  headers: true,
  unique: false,
  counts: "exact",
  jobs: true,
  dead: "errors",
  pauses: "kept",
  pauseReasons: true,
  purge: true,
  schedule: false,
};

export const PLAIN_OWNERSHIP: Ownership = { attempts: "broker", retry: "worker", dead: "broker" };

interface StoredJob {
  readonly id: string;
  readonly queue: string;
  message: Message;
  maxAttempts: number | undefined;
  readonly pushedAtMs: number;
  state: "waiting" | "reserved" | "dead";
  dueAtMs: number;
  attempts: number;
  redeliveries: number;
  /** Who has it; another one each time. */
  holder: PlainDelivery | undefined;
  letter: Pick<DeadLetter, "diedAtMs" | "error"> | undefined;
}

/** What all brokers on it share, as a server would keep it. */
export class PlainStore {
  /** The first one is the next. */
  jobs: StoredJob[] = [];
  readonly paused = new Map<string, PauseOptions>();
  readonly clock: Clock;
  ids = 0;
  #changed = Promise.withResolvers<void>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  changed(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  get change(): Promise<void> {
    return this.#changed.promise;
  }

  /** Leases that have ended: their jobs are ready again, unless one asks who holds them. */
  expire(but: PlainBroker): void {
    const nowMs = this.clock.nowMs();
    for (const job of this.jobs) {
      if (job.state !== "reserved" || job.dueAtMs > nowMs || job.holder?.broker === but) continue;
      job.state = "waiting";
      job.holder = undefined;
      job.redeliveries++;
    }
  }

  /** When something falls due next, epoch milliseconds. */
  get nextDueMs(): number {
    const nowMs = this.clock.nowMs();
    return Math.min(
      ...this.jobs.filter(({ state, dueAtMs }) => state !== "dead" && dueAtMs > nowMs)
        .map(({ dueAtMs }) => dueAtMs),
    );
  }
}

class PlainDelivery implements Delivery, Lease {
  readonly id: string;
  readonly queue: string;
  readonly message: Message;
  readonly job: JobHead | Unreadable;
  readonly attempt: number;
  readonly redeliveries: number;
  readonly enqueuedAtMs: number;
  readonly readyAtMs: number;
  readonly ms: number;
  readonly broker: PlainBroker;
  readonly #stored: StoredJob;

  constructor(broker: PlainBroker, stored: StoredJob, ms: number) {
    this.broker = broker;
    this.#stored = stored;
    this.id = stored.id;
    this.queue = stored.queue;
    this.message = stored.message;
    const job = readJob(broker.format, stored.message);
    const { maxAttempts } = stored;
    this.job = isUnreadable(job) || maxAttempts === undefined ? job : { maxAttempts, ...job };
    this.attempt = stored.attempts;
    this.redeliveries = stored.redeliveries;
    this.enqueuedAtMs = stored.pushedAtMs;
    this.readyAtMs = stored.dueAtMs;
    this.ms = ms;
  }

  get lease(): Lease {
    return this;
  }

  // Not until the next turn, as with any server.
  async extend(): Promise<void> {
    await this.broker.ask(() => void (this.#ours().dueAtMs = this.broker.store.clock.nowMs() + this.ms));
  }

  async settle(verdict: Verdict): Promise<void> {
    await this.broker.ask(() => this.#settle(verdict));
  }

  #settle(verdict: Verdict): void {
    const { store } = this.broker;
    const job = this.#ours();
    const nowMs = store.clock.nowMs();
    job.holder = undefined;
    const wait = (delayMs: number) => {
      job.state = "waiting";
      job.dueAtMs = nowMs + delayMs;
    };
    switch (verdict.kind) {
      case "ack":
      case "handled":
        store.jobs = store.jobs.filter((one) => one !== job);
        break;
      case "replace":
        job.message = verdict.message;
        job.attempts = 0;
        job.redeliveries = 0;
        wait(verdict.delayMs);
        break;
      case "retry":
        wait(verdict.delayMs);
        break;
      case "bury": {
        const { code, message, details: { stderr } } = verdict.error;
        job.state = "dead";
        job.letter = { diedAtMs: nowMs, error: { code, message, ...(stderr !== undefined && { stderr }) } };
        break;
      }
      case "release":
        job.attempts--;
        wait(verdict.delayMs ?? 0);
        store.jobs = [...store.jobs.filter((one) => one !== job), job];
    }
    store.changed();
  }

  #ours(): StoredJob {
    if (this.#stored.holder === this) return this.#stored;
    throw new QueueError("LEASE_LOST", `Job "${this.id}" is no longer ours`);
  }
}

export class PlainBroker implements Broker {
  readonly capabilities = PLAIN_CAPABILITIES;
  readonly format: PlainFormat;
  readonly store: PlainStore;
  readonly admin: BrokerAdmin;
  readonly #leaseMs: number;
  readonly #closed = new AbortController();
  readonly #calls = new Set<Promise<void>>();

  constructor(store: PlainStore, { format = raw, leaseMs }: { format?: PlainFormat; leaseMs: number }) {
    this.store = store;
    this.format = format;
    this.#leaseMs = leaseMs;
    this.admin = new PlainAdmin(this);
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
    const { delayMs = 0, priority = 0 } = options;
    const { store } = this;
    if (delayMs > PLAIN_CAPABILITIES.pushDelay.maxMs) return refuse(`a delay of ${delayMs} ms`);
    if (priority !== 0) return refuse("priorities");
    if (options.unique !== undefined) return refuse("unique keys");
    const nowMs = store.clock.nowMs();
    const { message, maxAttempts } = written(this.format, payload.slice(), options, nowMs);
    return this.ask(() => {
      const id = String(++store.ids);
      store.jobs.push({
        id,
        queue,
        message,
        maxAttempts,
        pushedAtMs: nowMs,
        state: "waiting",
        dueAtMs: nowMs + delayMs,
        attempts: 0,
        redeliveries: 0,
        holder: undefined,
        letter: undefined,
      });
      store.changed();
      return id;
    });
  }

  subscribe(): Subscription {
    return {
      receive: (request, signal) => this.#receive(request, signal),
      resize: () => {},
      stop: () => Promise.resolve(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  async #receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]> {
    const { store } = this;
    const { clock } = store;
    const untilMs = clock.monotonicMs() + request.waitMs;
    const ending = AbortSignal.any([signal, this.#closed.signal]);
    for (;;) {
      await Promise.resolve();
      if (ending.aborted) return [];
      const { change } = store;
      const taken = this.#take(request);
      const leftMs = untilMs - clock.monotonicMs();
      if (taken.length > 0 || leftMs <= 0) return taken;
      const waiting = new AbortController();
      const ms = Math.min(leftMs, store.nextDueMs - clock.nowMs());
      await Promise.race([change, sleep(clock, ms, AbortSignal.any([ending, waiting.signal]))]);
      waiting.abort();
    }
  }

  #take({ queues, max, maxBytes = Infinity }: ReceiveRequest): Delivery[] {
    const { store } = this;
    store.expire(this);
    const nowMs = store.clock.nowMs();
    const taken: Delivery[] = [];
    let roomBytes = maxBytes;
    for (const queue of queues) {
      for (const job of store.jobs) {
        if (taken.length === max || roomBytes <= 0) return taken;
        if (job.queue !== queue || job.state !== "waiting" || job.dueAtMs > nowMs) continue;
        job.attempts++;
        job.state = "reserved";
        const delivery = job.holder = new PlainDelivery(this, job, this.#leaseMs);
        job.dueAtMs = nowMs + this.#leaseMs;
        roomBytes -= job.message.body.length;
        taken.push(delivery);
      }
    }
    return taken;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await Promise.all(this.#calls);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

class PlainAdmin implements BrokerAdmin {
  readonly #broker: PlainBroker;

  constructor(broker: PlainBroker) {
    this.#broker = broker;
  }

  get #jobs(): readonly StoredJob[] {
    return this.#broker.store.jobs;
  }

  queues(): Promise<string[]> {
    return this.#broker.ask(() => [...new Set(this.#jobs.map(({ queue }) => queue))].sort());
  }

  depth(queue: string): Promise<QueueDepth> {
    return this.#broker.ask(() => {
      const nowMs = this.#broker.store.clock.nowMs();
      const count = (isMeant: (job: StoredJob) => boolean) =>
        this.#jobs.filter((job) => job.queue === queue && isMeant(job)).length;
      return {
        ready: count(({ state, dueAtMs }) => state === "waiting" && dueAtMs <= nowMs),
        delayed: count(({ state, dueAtMs }) => state === "waiting" && dueAtMs > nowMs),
        reserved: count(({ state }) => state === "reserved"),
        dead: count(({ state }) => state === "dead"),
      };
    });
  }

  jobs(
    ...[queue, state, { limit, after = "0" }]: Parameters<NonNullable<BrokerAdmin["jobs"]>>
  ): Promise<JobPage> {
    return this.#broker.ask(() => {
      if (!/^\d+$/.test(after)) throw noJobPlace(after);
      const nowMs = this.#broker.store.clock.nowMs();
      const stateOf = ({ state, dueAtMs }: StoredJob) =>
        state === "waiting" ? dueAtMs <= nowMs ? "ready" : "delayed" : state;
      const all = this.#jobs.filter((job) =>
        job.queue === queue && stateOf(job) === state && Number(job.id) > Number(after)
      );
      const jobs = all.slice(0, limit).map((job) => ({
        id: job.id,
        payload: job.message.body.subarray(0, LISTED_PAYLOAD_BYTES),
        payloadBytes: job.message.body.length,
        attempts: job.attempts,
        enqueuedAtMs: job.pushedAtMs,
        ...(state !== "reserved" && { readyAtMs: job.dueAtMs }),
      }));
      return { jobs, ...(all.length > limit && { next: jobs.at(-1)!.id }) };
    });
  }

  latencyMs(queue: string): Promise<number | undefined> {
    return this.#broker.ask(() => {
      const nowMs = this.#broker.store.clock.nowMs();
      const next = this.#jobs.find((job) =>
        job.queue === queue && job.state === "waiting" && job.dueAtMs <= nowMs
      );
      return next && nowMs - next.dueAtMs;
    });
  }

  purge(queue: string): Promise<number> {
    return this.#broker.ask(() => {
      const { store } = this.#broker;
      const nowMs = store.clock.nowMs();
      const isMeant = (job: StoredJob) =>
        job.queue === queue && job.state === "waiting" && job.dueAtMs <= nowMs;
      const count = store.jobs.filter(isMeant).length;
      store.jobs = store.jobs.filter((job) => !isMeant(job));
      return count;
    });
  }

  async census(queues: readonly string[]) {
    const ready = new Map<string, number>();
    for (const queue of queues) ready.set(queue, (await this.depth(queue)).ready!);
    return { ready, inFlight: this.#jobs.filter(({ holder }) => holder?.broker === this.#broker).length };
  }

  readonly pauses: Pauses = {
    isEnforced: false,
    list: () =>
      this.#broker.ask(() => {
        const { paused, clock } = this.#broker.store;
        const nowMs = clock.nowMs();
        for (const [queue, { untilMs = Infinity }] of paused) if (untilMs <= nowMs) paused.delete(queue);
        return [...paused].sort().map(([queue, pause]) => ({ queue, ...pause }));
      }),
    pause: (queue, options = {}) =>
      this.#broker.ask(() => void this.#broker.store.paused.set(queue, options)),
    resume: (queue) => this.#broker.ask(() => this.#broker.store.paused.delete(queue)),
  };

  readonly dead: DeadLetters = {
    list: ({ queue, matches = () => true, limit, after }) =>
      this.#broker.ask(() => {
        const behind = after === undefined ? () => true : isBehind(after);
        return this.#letters().filter((letter) =>
          (queue === undefined || letter.queue === queue) && behind(letter) && matches(letter)
        ).slice(0, limit);
      }),
    groups: ({ queue }) =>
      this.#broker.ask(() => {
        const grouping = new DeadGrouping();
        const letters = this.#letters().filter((letter) => queue === undefined || letter.queue === queue);
        for (const letter of letters) grouping.add(letter);
        return grouping.result(true);
      }),
    get: (id) => this.#broker.ask(() => this.#letters().find((letter) => letter.id === id)),
    find: (ids) => this.#broker.ask(() => this.#letters().filter(({ id }) => ids.includes(id))),
    retry: (ids) =>
      this.#change(ids, (job) => {
        job.state = "waiting";
        job.attempts = 0;
        job.redeliveries = 0;
        job.dueAtMs = this.#broker.store.clock.nowMs();
      }),
    remove: (ids) =>
      this.#change(ids, (job) => {
        const { store } = this.#broker;
        store.jobs = store.jobs.filter((one) => one !== job);
      }),
  };

  /** The most recent first; of those that died together the newest. */
  #letters(): DeadLetter[] {
    return this.#jobs.filter(({ state }) => state === "dead").map((job): DeadLetter => ({
      id: job.id,
      place: `${job.letter!.diedAtMs}:${job.id}`,
      queue: job.queue,
      payload: job.message.body,
      headers: job.message.headers,
      attempts: job.attempts,
      ...(job.maxAttempts !== undefined && { maxAttempts: job.maxAttempts }),
      enqueuedAtMs: job.pushedAtMs,
      diedAtMs: job.letter!.diedAtMs!,
      error: job.letter!.error,
    })).sort((a, b) => b.diedAtMs! - a.diedAtMs! || Number(b.id) - Number(a.id));
  }

  #change(ids: readonly string[] | "all", change: (job: StoredJob) => void): Promise<number> {
    return this.#broker.ask(() => {
      const meant = this.#jobs.filter(({ id, state }) =>
        state === "dead" && (ids === "all" || ids.includes(id))
      );
      meant.forEach(change);
      this.#broker.store.changed();
      return meant.length;
    });
  }
}

function isBehind(place: string): (letter: DeadLetter) => boolean {
  const [, diedAtMs, id] = /^(\d+):(\d+)$/.exec(place) ?? [];
  if (id === undefined) throw noPlace(place);
  return (letter) =>
    letter.diedAtMs! < Number(diedAtMs) ||
    letter.diedAtMs === Number(diedAtMs) && Number(letter.id) < Number(id);
}

function refuse(what: string): Promise<never> {
  return Promise.reject(new JobError("JOB_MALFORMED", `This broker keeps no place for ${what}`));
}

const options = {
  store: text(/^[a-z]+$/, "a name of small letters"),
  lease_ms: wholeNumber(1, 3_600_000, 30_000),
};

/** Its type, for a table of types: all that open a store of the same name share it. */
export function plainType(clock: Clock): BrokerType<typeof options, { store: string; leaseMs: number }> {
  const stores = new Map<string, PlainStore>();
  return {
    driver: "plain",
    page: "plain",
    formats: { raw },
    defaultFormat: "raw",
    capabilities: PLAIN_CAPABILITIES,
    ownership: () => PLAIN_OWNERSHIP,
    options,
    settings: ({ store, lease_ms: leaseMs }) => ({ store, leaseMs }),
    open(_deps, { store: name, leaseMs }) {
      const store = stores.get(name) ?? new PlainStore(clock);
      stores.set(name, store);
      return new PlainBroker(store, { leaseMs });
    },
    fixOf: (_error, _settings, place) => `${place} store = another name`,
    descriptors: () => 0,
    findings: {},
    units: [],
    isShared: false,
  };
}
