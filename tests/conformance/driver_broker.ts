import assert from "node:assert/strict";
import type { Delivery } from "../../src/core/delivery.ts";
import type { DeadLetter, Driver, DriverCapabilities } from "../../src/core/driver.ts";
import { type ErrorCode, FervoError, JobError } from "../../src/core/errors.ts";
import { soon, WAIT_MS } from "../support/soon.ts";
import { bury } from "../support/verdicts.ts";

export { soon };

/** A broker of one's own for one test, empty at first and gone with the scope that holds it. */
export interface TestBroker extends AsyncDisposable {
  /** Lease of the drivers that `open` gives, milliseconds: longer than any test that does not let time pass. */
  readonly leaseMs: number;
  /** Opens the driver on this broker; each time as one more process would. */
  open(): Promise<Driver>;
  /** Lets so much time pass, for the broker and for every driver opened on it. */
  passTime(ms: number): Promise<void>;
}

/** What a driver brings to be tested. */
export interface DriverFixture {
  /** What the driver must declare. Tests of what it cannot do say so in their names. */
  readonly capabilities: DriverCapabilities;
  /** Names that queues may have; by default names of any characters. */
  readonly queueNames?: readonly string[];
  /** Delays are kept in steps of so many milliseconds; 1 when absent. */
  readonly delayStepMs?: number;
  start(): Promise<TestBroker>;
  /** Where the broker takes only messages of a format: how a payload of the suite travels. */
  readonly messages?: {
    encode(payload: Uint8Array): Uint8Array;
    decode(raw: Uint8Array): Uint8Array;
  };
}

/**
 * A driver that carries the suite's payloads as messages of a format: they are encoded when they are pushed, and decoded
 * in deliveries and dead letters. All else is the driver's own.
 */
export function inMessages(
  driver: Driver,
  { encode, decode }: NonNullable<DriverFixture["messages"]>,
): Driver {
  const deadLetter = (letter: DeadLetter) => ({ ...letter, payload: decode(letter.payload) });
  const { schedule } = driver;
  return overlay(driver, {
    ...(schedule && {
      schedule: overlay(schedule, {
        push: (slot, queue, payload, options) => schedule.push(slot, queue, encode(payload), options),
      }),
    }),
    push: (queue, payload, options) => driver.push(queue, encode(payload), options),
    receive: async (request) =>
      (await driver.receive(request)).map((delivery) => overlay(delivery, { raw: decode(delivery.raw) })),
    dead: overlay(driver.dead, {
      list: async ({ matches, ...o }) => {
        const isWanted = matches && { matches: (letter: DeadLetter) => matches(deadLetter(letter)) };
        return (await driver.dead.list({ ...o, ...isWanted })).map(deadLetter);
      },
      get: async (id) => {
        const letter = await driver.dead.get(id);
        return letter && deadLetter(letter);
      },
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

/** Registers a test of the suite; its broker is ready and new. */
export type BrokerTest = (claim: string, run: (broker: TestBroker) => Promise<void>) => void;

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

/** Receives, and waits if need be; from queue "q" unless told otherwise. */
export function take(driver: Driver, wanted: Wanted = {}): Promise<Delivery[]> {
  return driver.receive({
    queues: wanted.queues ?? ["q"],
    max: wanted.max ?? 1,
    ...(wanted.maxBytes !== undefined && { maxBytes: wanted.maxBytes }),
    waitMs: wanted.waitMs ?? WAIT_MS,
    signal: wanted.signal ?? new AbortController().signal,
  });
}

/** Receives exactly one delivery. */
export async function takeOne(driver: Driver, wanted: Wanted = {}): Promise<Delivery> {
  const deliveries = await take(driver, wanted);
  assert.equal(deliveries.length, 1, "expected one delivery");
  return deliveries[0]!;
}

/** What there is right now, without waiting. */
export function takeNow(driver: Driver, wanted: Wanted = {}): Promise<Delivery[]> {
  return take(driver, { max: 100, ...wanted, waitMs: 0 });
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

export function textOf({ raw }: { raw: Uint8Array }): string {
  return new TextDecoder().decode(raw);
}

export const FAILED = new JobError("JOB_FAILED", "It went wrong", { details: { stderr: "PHP Warning: oh" } });

/** Pushes jobs one after another, each with its name as payload. */
export async function pushAll(driver: Driver, names: readonly string[], queue = "q"): Promise<string[]> {
  const ids: string[] = [];
  for (const name of names) ids.push(await driver.push(queue, bytes(name)));
  return ids;
}

/** Pushes a job and buries it. */
export async function buryNew(driver: Driver, name: string, queue = "q"): Promise<string> {
  const id = await driver.push(queue, bytes(name));
  const delivery = await takeOne(driver, { queues: [queue] });
  assert.equal(delivery.id, id);
  await delivery.settle(bury(FAILED));
  return id;
}
