import assert from "node:assert/strict";
import type { Broker, Capabilities } from "../../src/core/broker.ts";
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
} from "./fixture.ts";
import { ACK, RELEASE } from "../support/verdicts.ts";

/** By then all workers have seen what was paused or resumed. */
const SEEN_MS = 2_000;

/** Queues that nobody takes jobs from. */
export function pauseTests(test: BrokerTest, capabilities: Capabilities): void {
  test("pauses.pause() keeps the jobs of a queue from everybody, until pauses.resume()", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["first"], "a");
    await pushAll(broker, ["other"], "b");
    await broker.pauses.pause("a");
    await pushAll(broker, ["second"], "a");
    await using later = await server.open();
    for (const one of [broker, later]) {
      await server.passTime(SEEN_MS);
      assert.deepEqual(await takeNow(one, { queues: ["a"] }), []);
    }
    assert.deepEqual((await takeNow(later, { queues: ["a", "b"] })).map(textOf), ["other"]);
    assert.equal((await broker.depth("a")).ready, 2);
    await broker.pauses.resume("a");
    assert.equal(textOf(await takeOne(broker, { queues: ["a"] })), "first");
    await server.passTime(SEEN_MS);
    assert.equal(textOf(await takeOne(later, { queues: ["a"] })), "second");
  });

  test("pauses.list() names the queues that are paused, and each is paused once", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    for (const queue of ["c", "a", "b"]) await pushAll(broker, ["a job"], queue);
    assert.deepEqual(await broker.pauses.list(), []);
    for (const queue of ["b", "a", "b"]) await broker.pauses.pause(queue);
    assert.deepEqual(await other.pauses.list(), ["a", "b"]);
    assert.equal(await other.pauses.resume("b"), true);
    assert.equal(await broker.pauses.resume("b"), false);
    assert.equal(await broker.pauses.resume("never"), false);
    assert.deepEqual(await broker.pauses.list(), ["a"]);
  });

  test("Another instance sees a pause and a resumption within two seconds", async (server) => {
    await using broker = await server.open();
    await using worker = await server.open();
    await pushAll(broker, ["a job"]);
    await (await takeOne(worker)).settle(ACK);
    await broker.pauses.pause("q");
    await becomes(server, broker, worker, "paused");
    await broker.pauses.resume("q");
    await becomes(server, broker, worker, "open");
  });

  test("A receive that waits on a paused queue gets its jobs when it is resumed", async (server) => {
    await using broker = await server.open();
    await using worker = await server.open();
    await pushAll(broker, ["a job"], "a");
    await broker.pauses.pause("a");
    const receiving = take(worker, { queues: ["a", "b"], waitMs: FOREVER_MS });
    assert.deepEqual(await worker.pauses.list(), ["a"]);
    await broker.pauses.resume("a");
    await server.passTime(SEEN_MS);
    assert.deepEqual((await soon("the job", receiving)).map(textOf), ["a job"]);
  });

  test("A receive that waits on a paused queue ends with its signal, and holds nothing", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    await broker.pauses.pause("q");
    const ending = new AbortController();
    const receiving = take(broker, { waitMs: FOREVER_MS, signal: ending.signal });
    await broker.pauses.list();
    ending.abort();
    assert.deepEqual(await soon("the end of the wait", receiving), []);
    assert.deepEqual(await broker.depth("q"), { ready: 1, delayed: 0, reserved: 0, dead: 0 });
  });

  test("A job that is held when its queue is paused is settled as ever", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["to ack", "to release"]);
    const [one, two] = [await takeOne(broker), await takeOne(broker)];
    await broker.pauses.pause("q");
    await one.settle(ACK);
    await two.settle(RELEASE);
    assert.deepEqual(await broker.depth("q"), { ready: 1, delayed: 0, reserved: 0, dead: 0 });
  });

  test("A pause outlives its driver, as long as its queue holds a job", async (server) => {
    await outlives(server, (broker) => pushAll(broker, ["a job"]));
  });

  if (capabilities.pauses === "kept") {
    test("A pause of an empty queue outlives its driver", async (server) => {
      await outlives(server, () => Promise.resolve([]));
    });
  }
}

async function outlives(server: TestBroker, before: (broker: Broker) => Promise<unknown>): Promise<void> {
  {
    await using broker = await server.open();
    await before(broker);
    await broker.pauses.pause("q");
  }
  await server.passTime(24 * 3_600_000);
  await using later = await server.open();
  assert.deepEqual(await later.pauses.list(), ["q"]);
  await later.push("q", bytes("a job"));
  assert.deepEqual(await takeNow(later), []);
}

/** Waits until `worker` takes the jobs of "q" or leaves them, by pushing some. */
async function becomes(
  server: TestBroker,
  broker: Broker,
  worker: Broker,
  wanted: "open" | "paused",
): Promise<void> {
  await server.passTime(SEEN_MS);
  await eventually(`the queue is ${wanted}`, async () => {
    await pushAll(broker, ["a job"]);
    const taken = await takeNow(worker);
    for (const delivery of taken) await delivery.settle(ACK);
    return (taken.length > 0 ? "open" : "paused") === wanted;
  });
}
