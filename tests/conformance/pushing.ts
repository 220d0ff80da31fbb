import assert from "node:assert/strict";
import {
  assertAttempt,
  type BrokerFixture,
  type BrokerTest,
  bytes,
  DELAY_MS,
  depthOf,
  headOf,
  needing,
  problemOf,
  pushAll,
  queuesOf,
  rejectsWith,
  take,
  takeNow,
  takeOne,
  textOf,
} from "./fixture.ts";
import { ACK } from "../support/verdicts.ts";

const EVERY_BYTE = Uint8Array.from({ length: 256 }, (_, i) => i);

/** What goes in comes out: bytes, headers, order. */
export function pushTests(test: BrokerTest, fixture: BrokerFixture): void {
  const { capabilities } = fixture;
  const payloads: Readonly<Record<string, Uint8Array>> = {
    "every byte value": EVERY_BYTE,
    "no byte at all": new Uint8Array(0),
    "a part of a larger buffer": EVERY_BYTE.subarray(100, 200),
    "5 MB": Uint8Array.from({ length: 5_000_000 }, (_, i) => i * 31 >> 3),
  };
  for (const [what, payload] of Object.entries(payloads)) {
    test(`push() and receive() carry ${what} unchanged`, async (server) => {
      await using producer = await server.open();
      await using consumer = await server.open();
      const expected = payload.slice();
      const id = await producer.push("q", payload);
      const delivery = await takeOne(consumer);
      assert.ok(delivery.message.body instanceof Uint8Array);
      assert.equal(delivery.message.body.length, expected.length);
      assert.ok(delivery.message.body.every((byte, i) => byte === expected[i]));
      assert.equal(delivery.id, id);
      assert.equal(delivery.queue, "q");
      assertAttempt(delivery, 1, capabilities);
      assert.equal(problemOf(delivery), undefined);
      await delivery.settle(ACK);
    });
  }

  pushHeaderTests(needing(test, "headers"));
  if (!capabilities.headers) {
    test("push() refuses headers instead of losing them", async (server) => {
      await using broker = await server.open();
      await assert.rejects(broker.push("q", bytes("job"), { headers: { traceparent: "00-ab-cd-01" } }));
      assert.deepEqual(await queuesOf(broker), []);
    });
  }

  test("push() keeps a limit of attempts, or refuses it", async (server) => {
    await using broker = await server.open();
    const push = broker.push("q", bytes("job"), { maxAttempts: 3 });
    if (await push.then(() => true, () => false)) {
      assert.equal(headOf(await takeOne(broker)).maxAttempts, 3);
    } else {
      await rejectsWith("JOB_MALFORMED", push);
      assert.deepEqual(await queuesOf(broker), []);
    }
  });

  test("push() and receive() carry queue names of all characters that they may have", async (server) => {
    await using broker = await server.open();
    const queues = fixture.queueNames ??
      ["mail", "Mail", "mail.high-prio:eu/1", "größe 😀", 'it\'s "quoted"', "%"];
    for (const queue of queues) await broker.push(queue, bytes(queue));
    for (const queue of queues) {
      const delivery = await takeOne(broker, { queues: [queue] });
      assert.equal(delivery.queue, queue);
      assert.equal(textOf(delivery), queue);
    }
    assert.deepEqual(await queuesOf(broker), queues.toSorted());
  });

  test("receive() tells times in epoch milliseconds, where it knows them", async (server) => {
    await using broker = await server.open();
    await broker.push("q", bytes("job"));
    const { enqueuedAtMs, readyAtMs } = await takeOne(broker);
    for (const timeMs of [enqueuedAtMs, readyAtMs]) {
      if (timeMs === undefined) continue;
      assert.ok(timeMs > Date.UTC(2025, 0, 1) && timeMs < Date.UTC(2200, 0, 1), `${timeMs}`);
    }
  });

  test("push() gives each job an id of its own", async (server) => {
    await using one = await server.open();
    await using other = await server.open();
    const ids = await Promise.all(
      Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? one : other).push("q", bytes(`${i}`))),
    );
    assert.equal(new Set(ids).size, 200);
    assert.deepEqual((await take(one, { max: 200 })).map((delivery) => delivery.id).sort(), ids.sort());
  });

  test("receive() hands jobs out in the order in which they were pushed", async (server) => {
    await using broker = await server.open();
    const names = Array.from({ length: 30 }, (_, i) => `job ${i}`);
    await pushAll(broker, names);
    const received = [];
    while (received.length < 30) received.push(...(await take(broker, { max: 7 })).map(textOf));
    assert.deepEqual(received, names);
  });

  if (!capabilities.priority) {
    test("push() refuses a priority, which would have no effect", async (server) => {
      await using broker = await server.open();
      await rejectsWith("JOB_MALFORMED", broker.push("q", bytes("job"), { priority: 1 }));
      assert.deepEqual(await queuesOf(broker), []);
    });
  }

  {
    test("receive() hands out higher priorities first, and equal ones in their order", async (server) => {
      await using broker = await server.open();
      const priorities: [string, number | undefined][] = [
        ["e", -5],
        ["c", undefined],
        ["a", 10],
        ["d", 0],
        ["b", 10],
      ];
      for (const [name, priority] of priorities) {
        await broker.push("q", bytes(name), priority === undefined ? {} : { priority });
      }
      assert.deepEqual((await take(broker, { max: 5 })).map(textOf), ["a", "b", "c", "d", "e"]);
    }, ["priorities"]);
  }

  {
    test("receive() hands a delayed job out when its time has come and not before", async (server) => {
      await using broker = await server.open();
      await broker.push("q", bytes("later"), { delayMs: DELAY_MS });
      await broker.push("q", bytes("now"));
      const now = await takeOne(broker);
      assert.equal(textOf(now), "now");
      await now.settle(ACK);
      assert.deepEqual(await takeNow(broker), []);
      assert.equal((await depthOf(broker)).delayed, 1);
      await server.passTime(DELAY_MS / 2);
      assert.deepEqual(await takeNow(broker), []);
      await server.passTime(DELAY_MS / 2);
      const later = await takeOne(broker);
      assert.equal(textOf(later), "later");
      assertAttempt(later, 1, capabilities);
    }, ["delays"]);

    test(
      "receive() with waitMs 0 gives delayed jobs that fall due one soon after another",
      async (server) => {
        await using broker = await server.open();
        const stepMs = Math.max(capabilities.pushDelay.stepMs, 5);
        for (let i = 1; i <= 3; i++) {
          await broker.push("q", bytes(`${i}`), {
            delayMs: DELAY_MS + i * stepMs,
          });
        }
        // A due time is rounded up to a step.
        await server.passTime(DELAY_MS + capabilities.pushDelay.stepMs);
        for (let i = 1; i <= 3; i++) {
          await server.passTime(stepMs);
          for (const delivery of await takeNow(broker)) await delivery.settle(ACK);
          const { ready, delayed, reserved } = await depthOf(broker);
          assert.ok(ready! + delayed! + reserved! <= 3 - i);
        }
      },
      ["delays"],
    );
  }

  test("push() refuses a delay beyond the longest, and takes the longest", async (server) => {
    await using broker = await server.open();
    const { maxMs } = capabilities.pushDelay;
    await rejectsWith("JOB_MALFORMED", broker.push("q", bytes("too late"), { delayMs: maxMs + 1 }));
    assert.deepEqual(await queuesOf(broker), []);
    if (maxMs === 0) return;
    await broker.push("q", bytes("late"), { delayMs: maxMs });
    assert.deepEqual(await takeNow(broker), []);
    assert.equal((await depthOf(broker)).delayed, 1);
  });
}

function pushHeaderTests(test: BrokerTest): void {
  test("push() and receive() carry headers unchanged, and none as none", async (server) => {
    await using broker = await server.open();
    const headers = {
      traceparent: "00-ab-cd-01",
      "x-note": 'ä€😀 "quoted" \\ \n\t\u0000 end',
      "x-empty": "",
    };
    await broker.push("q", bytes("with"), { headers });
    await broker.push("q", bytes("without"));
    assert.deepEqual({ ...(await takeOne(broker)).message.headers }, headers);
    assert.deepEqual({ ...(await takeOne(broker)).message.headers }, {});
  });

  test("push() passes on the job's own limit of tries, and none as none", async (server) => {
    await using broker = await server.open();
    await broker.push("q", bytes("three"), { maxAttempts: 3 });
    await broker.push("q", bytes("default"));
    assert.equal(headOf(await takeOne(broker)).maxAttempts, 3);
    assert.equal(headOf(await takeOne(broker)).maxAttempts, undefined);
  });
}
