import assert from "node:assert/strict";
import type { Delivery } from "../../src/core/delivery.ts";
import type { Driver, DriverCapabilities } from "../../src/core/driver.ts";
import {
  type BrokerTest,
  buryNew,
  bytes,
  DELAY_MS,
  FAILED,
  FOREVER_MS,
  pushAll,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "./driver_broker.ts";
import { ACK, RELEASE, retry } from "../support/verdicts.ts";

/** What a receive gives, how long it waits and what ends the wait. */
export function receiveTests(test: BrokerTest, capabilities: DriverCapabilities): void {
  test("receive() with waitMs 0 gives [] when nothing is ready, and what is ready else", async (broker) => {
    await using driver = await broker.open();
    assert.deepEqual(await takeNow(driver), []);
    await pushAll(driver, ["a job"], "other-queue");
    assert.deepEqual(await takeNow(driver), []);
    assert.deepEqual((await takeNow(driver, { queues: ["other-queue"] })).map(textOf), ["a job"]);
  });

  test("receive() gives no more than it was asked for, in order, also when that is a lot", async (broker) => {
    await using driver = await broker.open();
    const pushed = Array.from({ length: 150 }, (_, i) => `job ${i}`);
    await pushAll(driver, pushed);
    const first = await takeNow(driver, { max: 100 });
    assert.deepEqual(first.map(textOf), pushed.slice(0, 100));
    const rest = await takeNow(driver, { max: 100 });
    assert.deepEqual(rest.map(textOf), pushed.slice(100));
    assert.deepEqual(await takeNow(driver, { max: 100 }), []);
  });

  test("receive() gives no further job when those that it gives have maxBytes, and always one", async (broker) => {
    await using driver = await broker.open();
    const payload = new Uint8Array(1_000);
    for (const queue of ["a", "b"]) {
      for (let i = 0; i < 5; i++) await driver.push(queue, payload);
    }
    // Of Sidekiq's form a message is longer than its payload, and less than twice as long.
    const queuesOf = async (maxBytes: number) =>
      (await takeNow(driver, { queues: ["a", "b"], maxBytes })).map(({ queue }) => queue);
    assert.deepEqual(await queuesOf(1), ["a"]);
    assert.deepEqual(await queuesOf(1), ["a"]);
    assert.deepEqual(await queuesOf(2_000), ["a", "a"], "the second one reaches the limit");
    assert.deepEqual(await queuesOf(2_000), ["a", "b"], "of all queues together");
    assert.deepEqual(await queuesOf(1e6), ["b", "b", "b", "b"]);
  });

  test("receive() gives [] when its wait is over", async (broker) => {
    await using driver = await broker.open();
    assert.deepEqual(await soon("the end of the wait", take(driver, { waitMs: 30 })), []);
  });

  test("receive() gives [] when its signal aborts", async (broker) => {
    await using driver = await broker.open();
    const abort = new AbortController();
    const waiting = take(driver, { waitMs: FOREVER_MS, signal: abort.signal });
    await turns(5);
    abort.abort();
    assert.deepEqual(await soon("the end of the aborted wait", waiting), []);
  });

  test("receive() takes nothing when its signal has aborted before", async (broker) => {
    await using driver = await broker.open();
    await pushAll(driver, ["a job"]);
    const waiting = take(driver, { waitMs: FOREVER_MS, signal: AbortSignal.abort() });
    assert.deepEqual(await soon("the end of the aborted wait", waiting), []);
    assert.deepEqual(await driver.depth("q"), { ready: 1, delayed: 0, reserved: 0, dead: 0 });
  });

  test("receive() loses no job when its signal aborts just then", async (broker) => {
    await using consumer = await broker.open();
    await using producer = await broker.open();
    let received = 0;
    for (let round = 0; round < 60; round++) {
      const abort = new AbortController();
      const waiting = take(consumer, { waitMs: FOREVER_MS, signal: abort.signal });
      const pushing = producer.push("q", bytes("job"));
      if (round % 3 === 0) await pushing;
      await turns(round % 5);
      abort.abort();
      for (const delivery of await soon("the end of the aborted wait", waiting)) {
        received++;
        await delivery.settle(ACK);
      }
      await pushing;
    }
    const { ready, reserved } = await consumer.depth("q");
    assert.equal(reserved, 0, "a job that was taken and handed to nobody");
    assert.equal(received + ready, 60);
  });

  test("receive() never gives more than max", async (broker) => {
    await using driver = await broker.open();
    await pushAll(driver, ["1", "2", "3", "4", "5"], "a");
    await pushAll(driver, ["6", "7", "8"], "b");
    const sizes = [];
    for (let i = 0; i < 4; i++) sizes.push((await takeNow(driver, { queues: ["a", "b"], max: 2 })).length);
    assert.deepEqual(sizes, [2, 2, 2, 2]);
  });

  test("receive() looks into a later queue only when the earlier ones have nothing ready", async (broker) => {
    await using driver = await broker.open();
    await pushAll(driver, ["low 1", "low 2"], "low");
    await pushAll(driver, ["high 1", "high 2"], "high");
    const received = [];
    for (let i = 0; i < 4; i++) received.push(textOf(await takeOne(driver, { queues: ["high", "low"] })));
    assert.deepEqual(received, ["high 1", "high 2", "low 1", "low 2"]);
  });

  /** Each brings the broker to the state before, and returns what wakes. */
  const wakers: Readonly<Record<string, (driver: Driver) => Promise<() => Promise<unknown>>>> = {
    "a push": (driver) => Promise.resolve(() => driver.push("q", bytes("job"))),
    "a retry without delay": async (driver) => {
      const held = await heldJob(driver);
      return () => held.settle(retry(0, FAILED));
    },
    "a release": async (driver) => {
      const held = await heldJob(driver);
      return () => held.settle(RELEASE);
    },
    "the retry of a dead letter": async (driver) => {
      const id = await buryNew(driver, "job");
      return () => driver.dead.retry([id]);
    },
  };
  for (const [what, prepare] of Object.entries(wakers)) {
    for (const from of ["the same instance", "another instance"] as const) {
      test(`receive() is woken by ${what} from ${from}`, async (broker) => {
        await using consumer = await broker.open();
        await using another = await broker.open();
        const actor = from === "the same instance" ? consumer : another;
        for (let round = 0; round < 3; round++) {
          const act = await prepare(actor);
          const waiting = take(consumer, { waitMs: FOREVER_MS });
          await turns(round);
          await act();
          const [delivery] = await soon("the wake-up", waiting);
          await delivery!.settle(ACK);
        }
      });
    }
  }

  if (capabilities.delay) {
    test("receive() is woken by a delayed job that falls due", async (broker) => {
      await using driver = await broker.open();
      await driver.push("q", bytes("later"), { delayMs: DELAY_MS });
      const waiting = take(driver, { waitMs: FOREVER_MS });
      await turns(3);
      await broker.passTime(DELAY_MS);
      assert.equal((await soon("the wake-up", waiting)).length, 1);
    });
  }

  test("receive() is woken by a retried job that falls due", async (broker) => {
    await using driver = await broker.open();
    await (await heldJob(driver)).settle(retry(DELAY_MS, FAILED));
    const waiting = take(driver, { waitMs: FOREVER_MS });
    await turns(3);
    await broker.passTime(DELAY_MS);
    assert.equal((await soon("the wake-up", waiting)).length, 1);
  });

  test("depth() counts by state and queue, and queues() names those that hold a job", async (broker) => {
    await using driver = await broker.open();
    assert.deepEqual(await driver.queues(), []);
    assert.deepEqual(await driver.depth("mixed"), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
    await buryNew(driver, "dead", "mixed");
    await buryNew(driver, "dead", "a-dead-queue");
    await pushAll(driver, ["1", "2", "3", "4", "5", "6"], "mixed");
    const [first, second] = await take(driver, { queues: ["mixed"], max: 4 });
    await first!.settle(ACK);
    await second!.settle(retry(DELAY_MS, FAILED));
    assert.deepEqual(await driver.depth("mixed"), { ready: 2, delayed: 1, reserved: 2, dead: 1 });
    assert.deepEqual(await driver.depth("a-dead-queue"), { ready: 0, delayed: 0, reserved: 0, dead: 1 });
    assert.deepEqual(await driver.queues(), ["a-dead-queue", "mixed"]);
  });
}

async function heldJob(driver: Driver): Promise<Delivery> {
  await driver.push("q", bytes("held"));
  return await takeOne(driver);
}

/** Lets the event loop turn, so that what waits gets a chance to go on. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setTimeout(resolve, 0));
}
