import assert from "node:assert/strict";
import type { Delivery } from "../../src/core/delivery.ts";
import type { Broker, Capabilities } from "../../src/core/broker.ts";
import {
  adminOf,
  type BrokerTest,
  buryNew,
  bytes,
  DELAY_MS,
  depthOf,
  FAILED,
  FOREVER_MS,
  type Need,
  pushAll,
  queuesOf,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "./fixture.ts";
import { WAIT_MS } from "../support/soon.ts";
import { ACK, RELEASE, retry } from "../support/verdicts.ts";

/** What a receive gives, how long it waits and what ends the wait. */
export function receiveTests(test: BrokerTest, capabilities: Capabilities): void {
  test("receive() with waitMs 0 gives [] when nothing is ready, and what is ready else", async (server) => {
    await using broker = await server.open();
    assert.deepEqual(await takeNow(broker), []);
    await pushAll(broker, ["a job"], "other-queue");
    assert.deepEqual(await takeNow(broker), []);
    assert.deepEqual((await takeNow(broker, { queues: ["other-queue"] })).map(textOf), ["a job"]);
  });

  test("receive() gives no more than it was asked for, in order, also when that is a lot", async (server) => {
    await using broker = await server.open();
    const pushed = Array.from({ length: 150 }, (_, i) => `job ${i}`);
    await pushAll(broker, pushed);
    const first = await takeNow(broker, { max: 100 });
    assert.deepEqual(first.map(textOf), pushed.slice(0, 100));
    const rest = await takeNow(broker, { max: 100 });
    assert.deepEqual(rest.map(textOf), pushed.slice(100));
    assert.deepEqual(await takeNow(broker, { max: 100 }), []);
  });

  test(
    "receive() gives no further job when those that it gives have maxBytes, and always one",
    async (server) => {
      await using broker = await server.open();
      const payload = new Uint8Array(1_000);
      for (const queue of ["a", "b"]) {
        for (let i = 0; i < 5; i++) await broker.push(queue, payload);
      }
      // Of Sidekiq's form a message is longer than its payload, and less than twice as long.
      const takenUpTo = async (maxBytes: number) =>
        (await takeNow(broker, { queues: ["a", "b"], maxBytes })).map(({ queue }) => queue);
      assert.deepEqual(await takenUpTo(1), ["a"]);
      assert.deepEqual(await takenUpTo(1), ["a"]);
      assert.deepEqual(await takenUpTo(2_000), ["a", "a"], "the second one reaches the limit");
      assert.deepEqual(await takenUpTo(2_000), ["a", "b"], "of all queues together");
      assert.deepEqual(await takenUpTo(1e6), ["b", "b", "b", "b"]);
    },
    ["strict order"],
  );

  test("receive() gives [] when its wait is over", async (server) => {
    await using broker = await server.open();
    assert.deepEqual(await soon("the end of the wait", take(broker, { waitMs: 30 })), []);
  });

  test("receive() gives [] when its signal aborts", async (server) => {
    await using broker = await server.open();
    const abort = new AbortController();
    const waiting = take(broker, { waitMs: FOREVER_MS, signal: abort.signal });
    await turns(5);
    abort.abort();
    assert.deepEqual(await soon("the end of the aborted wait", waiting), []);
  });

  test("receive() takes nothing when its signal has aborted before", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    const waiting = take(broker, { waitMs: FOREVER_MS, signal: AbortSignal.abort() });
    assert.deepEqual(await soon("the end of the aborted wait", waiting), []);
    assert.deepEqual(await depthOf(broker), { ready: 1, delayed: 0, reserved: 0, dead: 0 });
  });

  test("receive() loses no job when its signal aborts just then", async (server) => {
    await using consumer = await server.open();
    await using producer = await server.open();
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
    const { ready, reserved } = await depthOf(consumer);
    assert.equal(reserved, 0, "a job that was taken and handed to nobody");
    assert.equal(received + ready!, 60);
  });

  test("receive() never gives more than max", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["1", "2", "3", "4", "5"], "a");
    await pushAll(broker, ["6", "7", "8"], "b");
    const sizes = [];
    for (let i = 0; i < 4; i++) sizes.push((await takeNow(broker, { queues: ["a", "b"], max: 2 })).length);
    assert.deepEqual(sizes, [2, 2, 2, 2]);
  });

  test("receive() looks into a later queue only when the earlier ones have nothing ready", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["low 1", "low 2"], "low");
    await pushAll(broker, ["high 1", "high 2"], "high");
    const received = [];
    for (let i = 0; i < 4; i++) received.push(textOf(await takeOne(broker, { queues: ["high", "low"] })));
    assert.deepEqual(received, ["high 1", "high 2", "low 1", "low 2"]);
  }, ["strict order"]);

  test("receive() from several queues gives all that they hold, each queue in its order", async (server) => {
    await using broker = await server.open();
    for (const name of ["1", "2", "3"]) {
      for (const queue of ["a", "b"]) await broker.push(queue, bytes(`${queue}${name}`));
    }
    const received: string[] = [];
    while (received.length < 6) received.push(textOf(await takeOne(broker, { queues: ["b", "a"] })));
    for (const queue of ["a", "b"]) {
      const ofQueue = received.filter((name) => name.startsWith(queue));
      assert.deepEqual(ofQueue, [`${queue}1`, `${queue}2`, `${queue}3`]);
    }
  });

  test("receive() gives nothing of the queues that are not asked for now, and gives them when they are", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"], "a");
    await pushAll(broker, ["another"], "b");
    const subscription = broker.subscribe({ queues: ["a", "b"], capacity: 10, onLost: () => {} });
    const receive = async (queues: string[]) => {
      const taken = await subscription.receive({ queues, max: 10, waitMs: 0 }, new AbortController().signal);
      return taken.map(textOf);
    };
    assert.deepEqual(await receive(["b"]), ["another"]);
    assert.deepEqual(await receive(["a"]), ["a job"]);
    await subscription.stop();
    await subscription[Symbol.asyncDispose]();
  });

  test("A subscription that was stopped keeps no job that nobody has received; what was received can be settled", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    await pushAll(broker, ["1", "2", "3"]);
    const subscription = broker.subscribe({ queues: ["q"], capacity: 3, onLost: () => {} });
    const request = { queues: ["q"], max: 1, waitMs: WAIT_MS };
    const [delivery] = await subscription.receive(request, new AbortController().signal);
    await subscription.stop();
    assert.equal((await takeNow(other)).length, 2);
    await delivery!.settle(ACK);
    await subscription[Symbol.asyncDispose]();
    assert.equal((await depthOf(other)).reserved, 2);
  });

  /** Each brings the server to the state before, and returns what wakes. */
  const wakers: Readonly<Record<string, (broker: Broker) => Promise<() => Promise<unknown>>>> = {
    "a push": (broker) => Promise.resolve(() => broker.push("q", bytes("job"))),
    "a retry without delay": async (broker) => {
      const held = await heldJob(broker);
      return () => held.settle(retry(0, FAILED));
    },
    "a release": async (broker) => {
      const held = await heldJob(broker);
      return () => held.settle(RELEASE);
    },
    "the retry of a dead letter": async (broker) => {
      const id = await buryNew(broker, "job");
      return () => adminOf(broker).dead.retry([id]);
    },
  };
  for (const [what, prepare] of Object.entries(wakers)) {
    const needs: Need[] = what === "the retry of a dead letter" ? ["dead letters"] : [];
    for (const from of ["the same instance", "another instance"] as const) {
      test(`receive() is woken by ${what} from ${from}`, async (server) => {
        await using consumer = await server.open();
        await using another = await server.open();
        const actor = from === "the same instance" ? consumer : another;
        for (let round = 0; round < 3; round++) {
          const act = await prepare(actor);
          const waiting = take(consumer, { waitMs: FOREVER_MS });
          await turns(round);
          await act();
          const [delivery] = await soon("the wake-up", waiting);
          await delivery!.settle(ACK);
        }
      }, needs);
    }
  }

  {
    test("receive() is woken by a delayed job that falls due", async (server) => {
      await using broker = await server.open();
      await broker.push("q", bytes("later"), { delayMs: DELAY_MS });
      const waiting = take(broker, { waitMs: FOREVER_MS });
      await turns(3);
      await server.passTime(DELAY_MS);
      assert.equal((await soon("the wake-up", waiting)).length, 1);
    }, ["delays"]);
  }

  test("receive() is woken by a retried job that falls due", async (server) => {
    await using broker = await server.open();
    await (await heldJob(broker)).settle(retry(DELAY_MS, FAILED));
    const waiting = take(broker, { waitMs: FOREVER_MS });
    await turns(3);
    await server.passTime(DELAY_MS);
    assert.equal((await soon("the wake-up", waiting)).length, 1);
  });

  test("depth() counts by state and queue, and queues() names those that hold a job", async (server) => {
    await using broker = await server.open();
    assert.deepEqual(await queuesOf(broker), []);
    assert.deepEqual(await depthOf(broker, "mixed"), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
    await buryNew(broker, "dead", "mixed");
    await buryNew(broker, "dead", "a-dead-queue");
    await pushAll(broker, ["1", "2", "3", "4", "5", "6"], "mixed");
    const [first, second] = await take(broker, { queues: ["mixed"], max: 4 });
    await first!.settle(ACK);
    await second!.settle(retry(DELAY_MS, FAILED));
    assert.deepEqual(await depthOf(broker, "mixed"), { ready: 2, delayed: 1, reserved: 2, dead: 1 });
    assert.deepEqual(await depthOf(broker, "a-dead-queue"), {
      ready: 0,
      delayed: 0,
      reserved: 0,
      dead: 1,
    });
    assert.deepEqual(await queuesOf(broker), ["a-dead-queue", "mixed"]);
  }, ["counts"]);

  if (capabilities.counts === "none") {
    test("Its jobs cannot be counted, nor its queues named", async (server) => {
      await using broker = await server.open();
      const { depth, queues, census, latencyMs } = broker.admin;
      assert.deepEqual([depth, queues, census, latencyMs], [undefined, undefined, undefined, undefined]);
    });
  }
}

async function heldJob(broker: Broker): Promise<Delivery> {
  await broker.push("q", bytes("held"));
  return await takeOne(broker);
}

/** Lets the event loop turn, so that what waits gets a chance to go on. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setTimeout(resolve, 0));
}
