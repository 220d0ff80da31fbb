import assert from "node:assert/strict";
import type { Delivery } from "../../src/core/delivery.ts";
import type { Driver, DriverCapabilities } from "../../src/core/driver.ts";
import { type ErrorCode, FervoError, JobError } from "../../src/core/errors.ts";

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
  start(): Promise<TestBroker>;
}

/** Registers a test of the suite; its broker is ready and new. */
export type BrokerTest = (claim: string, run: (broker: TestBroker) => Promise<void>) => void;

/** So long a receive waits for what must come; only a failing test waits to the end. */
const WAIT_MS = 20_000;
/** A wait that no test outlives: what it waits for has to end it. */
export const FOREVER_MS = 2 ** 31 - 1;
/** Of delayed jobs. Half of it is longer than what a test does in the meantime. */
export const DELAY_MS = 20_000;

export interface Wanted {
  readonly queues?: readonly string[];
  readonly max?: number;
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

/** Receives, and waits if need be; from queue "q" unless told otherwise. */
export function take(driver: Driver, wanted: Wanted = {}): Promise<Delivery[]> {
  return driver.receive({
    queues: wanted.queues ?? ["q"],
    max: wanted.max ?? 1,
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

/** The value of a promise that has to settle soon. */
export async function soon<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`Not in ${WAIT_MS} ms: ${what}`)), WAIT_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
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
  await delivery.bury(FAILED);
  return id;
}
