import assert from "node:assert/strict";
import type { Delivery } from "../../src/core/delivery.ts";
import type { BrokerAdmin, DeadLetter, QueueDepth } from "../../src/core/admin.ts";
import type { Broker, Capabilities, Subscription } from "../../src/core/broker.ts";
import { type ErrorCode, FervoError, JobError } from "../../src/core/errors.ts";
import { isUnreadable, type JobHead } from "../../src/core/format.ts";
import type { Ownership } from "../../src/brokers/broker_type.ts";
import { soon, WAIT_MS } from "../support/soon.ts";
import { bury } from "../support/verdicts.ts";

export { soon };

/** A server of one's own for one test, empty at first and gone with the scope that holds it. */
export interface TestBroker extends AsyncDisposable {
  /** Lease of the brokers that `open` gives, milliseconds: longer than any test that does not let time pass. */
  readonly leaseMs: number;
  /** Opens the broker on this server; each time as one more process would. */
  open(): Promise<Broker>;
  /** What the server has, seen past the broker; for those that cannot be looked into. */
  readonly inspect?: { depth(queue: string): QueueDepth; queues(): string[] };
  /**
   * The next removal of a job fails, and with it the connection that holds the job: between the two steps of a broker that replaces
   * in two.
   */
  cutBeforeRemoval?(): void;
  /** Lets so much time pass, for the server and for every broker opened on it. */
  passTime(ms: number): Promise<void>;
}

/** What a broker brings to be tested. */
export interface BrokerFixture {
  /** What the broker must declare. Tests of what it cannot do say so in their names. */
  readonly capabilities: Capabilities;
  /** What its type tells of the format. */
  readonly ownership: Ownership;
  /** False where a broker that is closed gives its jobs back; what is lost with its process is then for its own tests. */
  readonly isLostByClosing?: boolean;
  /** Names that queues may have; by default names of any characters. */
  readonly queueNames?: readonly string[];
  start(): Promise<TestBroker>;
  /** Where the server takes only messages of a format: how a payload of the suite travels. */
  readonly messages?: {
    encode(payload: Uint8Array): Uint8Array;
    decode(raw: Uint8Array): Uint8Array;
  };
}

/**
 * A broker that carries the suite's payloads as messages of a format: they are encoded when they are pushed, and decoded
 * in deliveries and dead letters. All else is the broker's own.
 */
export function inMessages(
  broker: Broker,
  { encode, decode }: NonNullable<BrokerFixture["messages"]>,
): Broker {
  const deadLetter = (letter: DeadLetter) => ({ ...letter, payload: decode(letter.payload) });
  const { schedule, dead, jobs } = broker.admin;
  return overlay(broker, {
    push: (queue, payload, options) => broker.push(queue, encode(payload), options),
    subscribe: (options) => {
      const subscription = broker.subscribe(options);
      return overlay(subscription, {
        receive: async (request, signal) =>
          (await subscription.receive(request, signal)).map((delivery) =>
            overlay(delivery, {
              message: { ...delivery.message, body: decode(delivery.message.body) },
              settle: (verdict) => {
                if (verdict.kind !== "replace") return delivery.settle(verdict);
                const { message } = verdict;
                return delivery.settle({ ...verdict, message: { ...message, body: encode(message.body) } });
              },
            })
          ),
      });
    },
    admin: overlay(broker.admin, {
      ...(schedule && {
        schedule: overlay(schedule, {
          push: (slot, queue, payload, options) => schedule.push(slot, queue, encode(payload), options),
        }),
      }),
      ...(jobs && {
        jobs: async (...args) => {
          const page = await jobs.apply(broker.admin, args);
          const listed = page.jobs.map((job) =>
            // One that is cut is no message.
            job.payload.length < job.payloadBytes ? job : { ...job, payload: decode(job.payload) }
          );
          return { ...page, jobs: listed };
        },
      }),
      ...(dead && {
        dead: overlay(dead, {
          list: async ({ matches, ...o }) => {
            const isWanted = matches && { matches: (letter: DeadLetter) => matches(deadLetter(letter)) };
            return (await dead.list({ ...o, ...isWanted })).map(deadLetter);
          },
          get: async (id) => {
            const letter = await dead.get(id);
            return letter && deadLetter(letter);
          },
        }),
      }),
    }),
  });
}

/** An object of which some members are others. */
function overlay<T extends object>(object: T, members: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      if (name in members) return members[name as keyof T];
      const value = target[name as keyof T];
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** What a test asks of a broker that not all have. */
export const NEEDS = {
  "attempts": ({ attempts }: Capabilities) => attempts,
  "counts": ({ counts }: Capabilities) => counts !== "none",
  "dead letters": ({ dead }: Capabilities) => dead !== "none",
  "strict order": ({ orders }: Capabilities) => orders.includes("strict"),
  "delays": ({ pushDelay }: Capabilities) => pushDelay.maxMs > 0,
  "priorities": ({ priority }: Capabilities) => priority,
  "headers": ({ headers }: Capabilities) => headers,
  "unique keys": ({ unique }: Capabilities) => unique,
  "timed leases": ({ lease }: Capabilities) => lease === "timed",
  "uncounted releases": ({ release }: Capabilities) => release === "uncounted",
  "schedules": ({ schedule }: Capabilities) => schedule,
  "pages of jobs": ({ jobs }: Capabilities) => jobs,
  "purge": ({ purge }: Capabilities) => purge,
  "pauses": ({ pauses }: Capabilities) => pauses !== "none",
  "reasons of pauses": ({ pauseReasons }: Capabilities) => pauseReasons,
} as const;
export type Need = keyof typeof NEEDS;

/** Registers a test of the suite, for a broker that has what it needs; its server is ready and new. */
export type BrokerTest = (
  claim: string,
  run: (server: TestBroker) => Promise<void>,
  needs?: readonly Need[],
) => void;

/** The tests with this need, too. */
export function needing(test: BrokerTest, need: Need): BrokerTest {
  return (claim, run, needs = []) => test(claim, run, [need, ...needs]);
}

/** Past the broker, where it cannot be looked into. */
const inspectors = new WeakMap<Broker, NonNullable<TestBroker["inspect"]>>();

/** An instance on this server. */
export async function openOn(server: TestBroker): Promise<Broker> {
  const broker = await server.open();
  if (server.inspect !== undefined) inspectors.set(broker, server.inspect);
  return broker;
}

/** How many jobs a queue holds. */
export async function depthOf(broker: Broker, queue = "q"): Promise<QueueDepth> {
  return inspectors.get(broker)?.depth(queue) ?? await adminOf(broker).depth(queue);
}

/** The queues that hold a job. */
export async function queuesOf(broker: Broker): Promise<string[]> {
  return inspectors.get(broker)?.queues() ?? await adminOf(broker).queues();
}

/** Which attempt a delivery is, where that is known. */
export function assertAttempt({ attempt }: Delivery, expected: number, { attempts }: Capabilities): void {
  assert.equal(attempt, attempts ? expected : undefined);
}

/** A wait that no test outlives: what it waits for has to end it. */
export const FOREVER_MS = 2 ** 31 - 1;
/** Of delayed jobs. Half of it is longer than what a test does in the meantime. */
export const DELAY_MS = 20_000;

export interface Wanted {
  readonly queues?: readonly string[];
  readonly max?: number;
  readonly maxBytes?: number;
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

/** A subscription of an instance, and what it has given that is not settled. */
interface OpenSubscription {
  readonly subscription: Subscription;
  readonly deliveries: Set<Delivery>;
  /** How many more it is asked for now. */
  asked: number;
}

/** By the queues. */
const subscriptions = new WeakMap<Broker, Map<string, OpenSubscription>>();

function subscriptionTo(broker: Broker, queues: readonly string[]): OpenSubscription {
  const all = subscriptions.get(broker) ?? new Map<string, OpenSubscription>();
  subscriptions.set(broker, all);
  const key = queues.toSorted().join("\n");
  const known = all.get(key);
  if (known !== undefined) return known;
  const deliveries = new Set<Delivery>();
  const onLost = (gone: readonly Delivery[]) => gone.forEach((delivery) => deliveries.delete(delivery));
  const held = { subscription: broker.subscribe({ queues, capacity: 0, onLost }), deliveries, asked: 0 };
  all.set(key, held);
  return held;
}

/** Receives, and waits if need be; from queue "q" unless told otherwise. */
export async function take(broker: Broker, wanted: Wanted = {}): Promise<Delivery[]> {
  const { queues = ["q"], max = 1, maxBytes, waitMs = WAIT_MS, signal = new AbortController().signal } =
    wanted;
  const held = subscriptionTo(broker, queues);
  const { subscription, deliveries } = held;
  // Nothing is to be sent to an instance that does not receive.
  const resize = () => subscription.resize(deliveries.size + held.asked);
  held.asked += max;
  resize();
  try {
    const taken = await subscription.receive(
      { queues, max, waitMs, ...(maxBytes !== undefined && { maxBytes }) },
      signal,
    );
    return taken.map((delivery) => {
      deliveries.add(delivery);
      return overlay(delivery, {
        async settle(verdict) {
          deliveries.delete(delivery);
          resize();
          await delivery.settle(verdict);
        },
      });
    });
  } finally {
    held.asked -= max;
    resize();
  }
}

/** What people ask a broker. A test that asks for a part which the broker lacks fails, and says which part. */
export function adminOf({ admin }: Broker): Required<BrokerAdmin> {
  return new Proxy(admin as Required<BrokerAdmin>, {
    get(parts, name) {
      const part = parts[name as keyof BrokerAdmin];
      assert.ok(
        part !== undefined,
        `the broker has no admin.${String(name)}, and its capabilities promise it`,
      );
      return typeof part === "function" ? part.bind(parts) : part;
    },
  });
}

/** Receives exactly one delivery. */
export async function takeOne(broker: Broker, wanted: Wanted = {}): Promise<Delivery> {
  const deliveries = await take(broker, wanted);
  assert.equal(deliveries.length, 1, "expected one delivery");
  return deliveries[0]!;
}

/** What there is right now, without waiting. */
export function takeNow(broker: Broker, wanted: Wanted = {}): Promise<Delivery[]> {
  return take(broker, { max: 100, ...wanted, waitMs: 0 });
}

export async function rejectsWith(code: ErrorCode, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof FervoError, `not a FervoError: ${error}`);
    assert.equal(error.code, code, error.message);
    return true;
  });
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function textOf({ message: { body } }: Pick<Delivery, "message">): string {
  return new TextDecoder().decode(body);
}

/** What a delivery's message says of its job. */
export function headOf({ job }: Pick<Delivery, "job">): JobHead {
  assert.ok(!isUnreadable(job));
  return job;
}

/** Why a delivery carries no job; undefined when it carries one. */
export function problemOf({ job }: Pick<Delivery, "job">): FervoError | undefined {
  return isUnreadable(job) ? job.error : undefined;
}

export const FAILED = new JobError("JOB_FAILED", "It went wrong", { details: { stderr: "PHP Warning: oh" } });

/** Pushes jobs one after another, each with its name as payload. */
export async function pushAll(broker: Broker, names: readonly string[], queue = "q"): Promise<string[]> {
  const ids: string[] = [];
  for (const name of names) ids.push(await broker.push(queue, bytes(name)));
  return ids;
}

/** Pushes a job and buries it. */
export async function buryNew(broker: Broker, name: string, queue = "q"): Promise<string> {
  const id = await broker.push(queue, bytes(name));
  const delivery = await takeOne(broker, { queues: [queue] });
  assert.equal(delivery.id, id);
  await delivery.settle(bury(FAILED));
  return id;
}
