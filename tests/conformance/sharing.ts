import assert from "node:assert/strict";
import type { Broker, Capabilities } from "../../src/core/broker.ts";
import {
  type BrokerTest,
  bytes,
  depthOf,
  FOREVER_MS,
  pushAll,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "./fixture.ts";
import { ACK } from "../support/verdicts.ts";

/** Several instances on one server, and their end. */
export function sharingTests(test: BrokerTest, capabilities: Capabilities): void {
  /** What becomes of a job that is held when its instance closes. */
  const held = capabilities.lease === "connection" ? { ready: 1, reserved: 0 } : { ready: 0, reserved: 1 };

  test("Thousands of jobs go to two instances, each job to one of them, once", async (server) => {
    await using one = await server.open();
    await using other = await server.open();
    const names = Array.from({ length: 3_000 }, (_, i) => `job ${i}`);
    const pushing = (async () => {
      for (let i = 0; i < names.length; i += 100) {
        await Promise.all(names.slice(i, i + 100).map((name) => one.push("q", bytes(name))));
      }
    })();
    const received: string[] = [];
    const done = new AbortController();
    const work = async (broker: Broker, max: number) => {
      while (!done.signal.aborted) {
        const deliveries = await take(broker, { max, waitMs: FOREVER_MS, signal: done.signal });
        assert.ok(deliveries.length <= max);
        received.push(...deliveries.map(textOf));
        await Promise.all(deliveries.map((delivery) => delivery.settle(ACK)));
        if (received.length >= names.length) done.abort();
      }
    };
    const workers = [work(one, 1), work(other, 7), work(one, 20), work(other, 3)];
    await soon("all jobs received", Promise.all([pushing, ...workers]));
    assert.equal(received.length, names.length);
    assert.deepEqual(received.toSorted(), names.toSorted());
    assert.deepEqual(await depthOf(one), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
  });

  test("push() loses none of many made at the same time", async (server) => {
    await using one = await server.open();
    await using other = await server.open();
    const names = Array.from({ length: 1_000 }, (_, i) => `job ${i}`);
    const ids = await Promise.all(
      names.map((name, i) => (i % 2 === 0 ? one : other).push(`q${i % 3}`, bytes(name))),
    );
    const found = new Map<string, string>();
    for (const queue of ["q0", "q1", "q2"]) {
      for (const delivery of await takeNow(one, { queues: [queue], max: 1_000 })) {
        found.set(delivery.id, textOf(delivery));
      }
    }
    assert.deepEqual(ids.map((id) => found.get(id)), names);
    assert.equal(found.size, names.length);
  });

  test("Jobs outlive the instance that pushed them", async (server) => {
    {
      await using producer = await server.open();
      await pushAll(producer, ["a job"]);
    }
    await using consumer = await server.open();
    assert.equal(textOf(await takeOne(consumer)), "a job");
  });

  test("close() gives a waiting receive() its []", async (server) => {
    const broker = await server.open();
    const waiting = [take(broker, { waitMs: FOREVER_MS }), take(broker, { waitMs: FOREVER_MS })];
    await broker.close();
    assert.deepEqual(await soon("the end of the waits", Promise.all(waiting)), [[], []]);
  });

  test("close() is idempotent, and each call waits for the end", async (server) => {
    const broker = await server.open();
    const pushing = broker.push("q", bytes("a job"));
    let isPushed = false;
    void pushing.then(() => isPushed = true, () => {});
    const first = broker.close();
    await broker.close();
    assert.equal(isPushed, true);
    await first;
    await broker.close();
    await broker[Symbol.asyncDispose]();
  });

  test("close() waits for the calls under way", async (server) => {
    const broker = await server.open();
    await pushAll(broker, ["to ack"]);
    const delivery = await takeOne(broker);
    const calls = [
      broker.push("q", bytes("pushed")),
      delivery.settle(ACK),
      ...(broker.admin.dead === undefined ? [] : [broker.admin.dead.retry("all")]),
    ];
    await broker.close();
    await Promise.all(calls);
    await using later = await server.open();
    assert.deepEqual((await takeNow(later)).map(textOf), ["pushed"]);
    assert.deepEqual(await depthOf(later), { ready: 0, delayed: 0, reserved: 1, dead: 0 });
  });

  test("close() in the middle of a receive() fails neither and loses no job", async (server) => {
    await using witness = await server.open();
    for (let round = 0; round < 12; round++) {
      const broker = await server.open();
      await pushAll(witness, ["a job"]);
      const receiving = take(broker, { waitMs: FOREVER_MS });
      for (let i = 0; i < round; i++) await Promise.resolve();
      await broker.close();
      const received = await soon("the end of the receive", receiving);
      const { ready, reserved } = await depthOf(witness);
      assert.deepEqual({ ready, reserved }, received.length === 1 ? held : { ready: 1, reserved: 0 });
      await server.passTime(server.leaseMs);
      await (await takeOne(witness)).settle(ACK);
    }
  });

  test("push(), depth() and a settle after close() reject with QUEUE_UNAVAILABLE", async (server) => {
    const broker = await server.open();
    await pushAll(broker, ["a job"]);
    const delivery = await takeOne(broker);
    await broker.close();
    await rejectsWith("QUEUE_UNAVAILABLE", broker.push("q", bytes("too late")));
    if (broker.admin.depth !== undefined) await rejectsWith("QUEUE_UNAVAILABLE", broker.admin.depth("q"));
    await rejectsWith("QUEUE_UNAVAILABLE", delivery.settle(ACK));
    await using later = await server.open();
    assert.deepEqual(await depthOf(later), { ...held, delayed: 0, dead: 0 });
  });
}
