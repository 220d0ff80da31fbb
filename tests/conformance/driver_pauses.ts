import assert from "node:assert/strict";
import type { Driver, DriverCapabilities } from "../../src/core/driver.ts";
import { eventually } from "../support/eventually.ts";
import {
  type BrokerTest,
  bytes,
  FOREVER_MS,
  pushAll,
  soon,
  take,
  takeNow,
  takeOne,
  type TestBroker,
  textOf,
} from "./driver_broker.ts";
import { ACK, RELEASE } from "../support/verdicts.ts";

/** By then all workers have seen what was paused or resumed. */
const SEEN_MS = 2_000;

/** Queues that nobody takes jobs from. */
export function pauseTests(test: BrokerTest, capabilities: DriverCapabilities): void {
  test("pauses.pause() keeps the jobs of a queue from everybody, until pauses.resume()", async (broker) => {
    await using driver = await broker.open();
    await pushAll(driver, ["first"], "a");
    await pushAll(driver, ["other"], "b");
    await driver.pauses.pause("a");
    await pushAll(driver, ["second"], "a");
    await using later = await broker.open();
    for (const one of [driver, later]) {
      await broker.passTime(SEEN_MS);
      assert.deepEqual(await takeNow(one, { queues: ["a"] }), []);
    }
    assert.deepEqual((await takeNow(later, { queues: ["a", "b"] })).map(textOf), ["other"]);
    assert.equal((await driver.depth("a")).ready, 2);
    await driver.pauses.resume("a");
    assert.equal(textOf(await takeOne(driver, { queues: ["a"] })), "first");
    await broker.passTime(SEEN_MS);
    assert.equal(textOf(await takeOne(later, { queues: ["a"] })), "second");
  });

  test("pauses.list() names the queues that are paused, and each is paused once", async (broker) => {
    await using driver = await broker.open();
    await using other = await broker.open();
    for (const queue of ["c", "a", "b"]) await pushAll(driver, ["a job"], queue);
    assert.deepEqual(await driver.pauses.list(), []);
    for (const queue of ["b", "a", "b"]) await driver.pauses.pause(queue);
    assert.deepEqual(await other.pauses.list(), ["a", "b"]);
    assert.equal(await other.pauses.resume("b"), true);
    assert.equal(await driver.pauses.resume("b"), false);
    assert.equal(await driver.pauses.resume("never"), false);
    assert.deepEqual(await driver.pauses.list(), ["a"]);
  });

  test("Another instance sees a pause and a resumption within two seconds", async (broker) => {
    await using driver = await broker.open();
    await using worker = await broker.open();
    await pushAll(driver, ["a job"]);
    await (await takeOne(worker)).settle(ACK);
    await driver.pauses.pause("q");
    await becomes(broker, driver, worker, "paused");
    await driver.pauses.resume("q");
    await becomes(broker, driver, worker, "open");
  });

  test("A receive that waits on a paused queue gets its jobs when it is resumed", async (broker) => {
    await using driver = await broker.open();
    await using worker = await broker.open();
    await pushAll(driver, ["a job"], "a");
    await driver.pauses.pause("a");
    const receiving = take(worker, { queues: ["a", "b"], waitMs: FOREVER_MS });
    assert.deepEqual(await worker.pauses.list(), ["a"]);
    await driver.pauses.resume("a");
    await broker.passTime(SEEN_MS);
    assert.deepEqual((await soon("the job", receiving)).map(textOf), ["a job"]);
  });

  test("A receive that waits on a paused queue ends with its signal, and holds nothing", async (broker) => {
    await using driver = await broker.open();
    await pushAll(driver, ["a job"]);
    await driver.pauses.pause("q");
    const ending = new AbortController();
    const receiving = take(driver, { waitMs: FOREVER_MS, signal: ending.signal });
    await driver.pauses.list();
    ending.abort();
    assert.deepEqual(await soon("the end of the wait", receiving), []);
    assert.deepEqual(await driver.depth("q"), { ready: 1, delayed: 0, reserved: 0, dead: 0 });
  });

  test("A job that is held when its queue is paused is settled as ever", async (broker) => {
    await using driver = await broker.open();
    await pushAll(driver, ["to ack", "to release"]);
    const [one, two] = [await takeOne(driver), await takeOne(driver)];
    await driver.pauses.pause("q");
    await one.settle(ACK);
    await two.settle(RELEASE);
    assert.deepEqual(await driver.depth("q"), { ready: 1, delayed: 0, reserved: 0, dead: 0 });
  });

  test("A pause outlives its driver, as long as its queue holds a job", async (broker) => {
    await outlives(broker, (driver) => pushAll(driver, ["a job"]));
  });

  if (capabilities.pauses === "kept") {
    test("A pause of an empty queue outlives its driver", async (broker) => {
      await outlives(broker, () => Promise.resolve([]));
    });
  }
}

async function outlives(broker: TestBroker, before: (driver: Driver) => Promise<unknown>): Promise<void> {
  {
    await using driver = await broker.open();
    await before(driver);
    await driver.pauses.pause("q");
  }
  await broker.passTime(24 * 3_600_000);
  await using later = await broker.open();
  assert.deepEqual(await later.pauses.list(), ["q"]);
  await later.push("q", bytes("a job"));
  assert.deepEqual(await takeNow(later), []);
}

/** Waits until `worker` takes the jobs of "q" or leaves them, by pushing some. */
async function becomes(
  broker: TestBroker,
  driver: Driver,
  worker: Driver,
  wanted: "open" | "paused",
): Promise<void> {
  await broker.passTime(SEEN_MS);
  await eventually(`the queue is ${wanted}`, async () => {
    await pushAll(driver, ["a job"]);
    const taken = await takeNow(worker);
    for (const delivery of taken) await delivery.settle(ACK);
    return (taken.length > 0 ? "open" : "paused") === wanted;
  });
}
