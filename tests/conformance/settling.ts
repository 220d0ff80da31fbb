import assert from "node:assert/strict";
import type { Delivery } from "../../src/core/delivery.ts";
import type { Capabilities } from "../../src/core/broker.ts";
import { aliveIn } from "../../src/core/admin.ts";
import type { Message, PushOptions } from "../../src/core/format.ts";
import { JobError } from "../../src/core/errors.ts";
import {
  adminOf,
  assertAttempt,
  type BrokerTest,
  bytes,
  DELAY_MS,
  depthOf,
  FAILED,
  headOf,
  pushAll,
  queuesOf,
  rejectsWith,
  take,
  takeNow,
  takeOne,
  textOf,
} from "./fixture.ts";
import { ACK, bury, CUT_OFF, RELEASE, retry } from "../support/verdicts.ts";

/** Every way to settle a delivery, by name. */
export const SETTLES: Readonly<Record<string, (delivery: Delivery) => Promise<void>>> = {
  "ack()": (delivery) => delivery.settle(ACK),
  "retry()": (delivery) => delivery.settle(retry(0, FAILED)),
  "bury()": (delivery) => delivery.settle(bury(FAILED)),
  "release()": (delivery) => delivery.settle(RELEASE),
};

const EVERY_BYTE = Uint8Array.from({ length: 256 }, (_, i) => i);

/** What becomes of a job by its settle; invariants 1, 2 and 6. */
export function settleTests(test: BrokerTest, capabilities: Capabilities): void {
  test("ack() removes the job", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    await (await takeOne(broker)).settle(ACK);
    assert.deepEqual(await depthOf(broker), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
    assert.deepEqual(await queuesOf(broker), []);
    await server.passTime(server.leaseMs);
    assert.deepEqual(await takeNow(broker), []);
  });

  test("retry() counts the attempt and keeps the job as it was pushed", async (server) => {
    await using broker = await server.open();
    const beside = besides(capabilities, { headers: { traceparent: "00-ab-cd-01" }, maxAttempts: 7 });
    await broker.push("q", EVERY_BYTE, beside);
    const first = await takeOne(broker);
    await first.settle(retry(0, FAILED));
    const second = await takeOne(broker);
    assertAttempt(second, 2, capabilities);
    if (capabilities.replace === "one-step") assert.equal(second.id, first.id);
    assert.deepEqual([...second.message.body], [...EVERY_BYTE]);
    assert.deepEqual({ ...second.message.headers }, beside.headers ?? {});
    assert.equal(headOf(second).maxAttempts, beside.maxAttempts);
    // A server may know the age of a job, in seconds.
    if (first.enqueuedAtMs === undefined) assert.equal(second.enqueuedAtMs, undefined);
    else assert.ok(Math.abs(second.enqueuedAtMs! - first.enqueuedAtMs) <= 1_100);
    await second.settle(retry(0, FAILED));
    assertAttempt(await takeOne(broker), 3, capabilities);
  });

  test("retry() holds the job back for its delay", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    await (await takeOne(broker)).settle(retry(DELAY_MS, FAILED));
    assert.equal((await depthOf(broker)).delayed, 1);
    await server.passTime(DELAY_MS / 2);
    assert.deepEqual(await takeNow(broker), []);
    await server.passTime(DELAY_MS / 2);
    assertAttempt(await takeOne(broker), 2, capabilities);
  });

  const place = capabilities.releasePlace;
  test(`release() puts the job to the ${place} of its queue`, async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["first", "second", "third"]);
    const [first, second] = await take(broker, { max: 2 });
    await second!.settle(RELEASE);
    await first!.settle(RELEASE);
    const again = (await take(broker, { max: 3 })).map(textOf);
    assert.deepEqual(again, place === "front" ? ["first", "second", "third"] : ["third", "second", "first"]);
  });

  const counted = capabilities.release === "counted";
  test(`release() ${counted ? "counts as" : "does not count as"} an attempt, or as a holder that was lost`, async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    const first = await takeOne(broker);
    await first.settle(RELEASE);
    const second = await takeOne(broker);
    const count = ({ attempt = 0, redeliveries = 0 }: Delivery) => attempt + redeliveries;
    assert.equal(count(second) > count(first), counted);
  });

  const countsDelayed = capabilities.delayedRelease === "counted";
  test(`release() with a delay holds the job back, and ${countsDelayed ? "counts" : "does not count"}`, async (server) => {
    await using broker = await server.open();
    await broker.push("q", EVERY_BYTE);
    const first = await takeOne(broker);
    await first.settle({ ...RELEASE, delayMs: DELAY_MS });
    await rejectsWith("LEASE_LOST", first.settle(ACK));
    assert.equal((await depthOf(broker)).delayed, 1);
    await server.passTime(DELAY_MS / 2);
    assert.deepEqual(await takeNow(broker), []);
    await server.passTime(DELAY_MS / 2);
    const second = await takeOne(broker);
    assert.deepEqual([...second.message.body], [...EVERY_BYTE]);
    const count = ({ attempt = 0, redeliveries = 0 }: Delivery) => attempt + redeliveries;
    assert.equal(count(second) > count(first), countsDelayed);
    await second.settle(ACK);
    assert.deepEqual(await queuesOf(broker), []);
  });

  test("A replacement takes the job's place, as it is and with no attempt counted, and the job is gone", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    await pushAll(broker, ["original"]);
    const original = await takeOne(broker);
    const headers = capabilities.headers ? { traceparent: "00-ab-cd-01" } : {};
    await original.settle({
      kind: "replace",
      message: messageOf("its successor", headers),
      delayMs: 0,
      error: FAILED,
    });
    await rejectsWith("LEASE_LOST", original.settle(ACK));
    const [replacement, ...more] = await takeNow(other);
    assert.deepEqual(more, []);
    assert.equal(textOf(replacement!), "its successor");
    assert.deepEqual({ ...replacement!.message.headers }, headers);
    assertAttempt(replacement!, 1, capabilities);
    await replacement!.settle(ACK);
    assert.deepEqual(await queuesOf(broker), []);
  });

  test("A replacement waits for its delay", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["original"]);
    const message = messageOf("later");
    await (await takeOne(broker)).settle({ kind: "replace", message, delayMs: DELAY_MS, error: FAILED });
    assert.deepEqual(await depthOf(broker), { ready: 0, delayed: 1, reserved: 0, dead: 0 });
    await server.passTime(DELAY_MS / 2);
    assert.deepEqual(await takeNow(broker), []);
    await server.passTime(DELAY_MS / 2);
    assert.equal(textOf(await takeOne(broker)), "later");
  });

  test("A job with which the application has dealt is gone", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    await (await takeOne(broker)).settle({ kind: "handled", error: FAILED });
    assert.deepEqual(await queuesOf(broker), []);
  });

  if (capabilities.replace === "two-step") {
    test("Between the two steps of a replacement both are there; who has begun it runs one of them", async (server) => {
      assert.ok(server.cutBeforeRemoval !== undefined, "the fixture cannot cut there");
      await using broker = await server.open();
      await pushAll(broker, ["original"]);
      const delivery = await takeOne(broker);
      server.cutBeforeRemoval();
      const message = messageOf("its successor");
      await assert.rejects(delivery.settle({ kind: "replace", message, delayMs: 0, error: FAILED }));
      assert.equal((await depthOf(broker)).ready, 2);
      const texts: string[] = [];
      for (let i = 0; i < 3; i++) {
        for (const one of await takeNow(broker)) {
          texts.push(textOf(one));
          await one.settle(ACK);
        }
      }
      assert.deepEqual(texts, ["its successor"]);
      assert.deepEqual(await queuesOf(broker), []);
    });

    test("A replacement whose second step is lost runs beside its original elsewhere", async (server) => {
      await using broker = await server.open();
      await using other = await server.open();
      await pushAll(broker, ["original"]);
      const delivery = await takeOne(broker);
      server.cutBeforeRemoval!();
      const message = messageOf("its successor");
      await assert.rejects(delivery.settle({ kind: "replace", message, delayMs: 0, error: FAILED }));
      assert.deepEqual((await takeNow(other)).map(textOf).toSorted(), ["its successor", "original"]);
    });
  } else {
    test("A replacement has no step at which both are there", async (server) => {
      assert.equal(server.cutBeforeRemoval, undefined);
      await using broker = await server.open();
      await using other = await server.open();
      await pushAll(broker, Array.from({ length: 50 }, () => "original"));
      const seen: string[] = [];
      const replacing = (await takeNow(broker)).map((delivery) =>
        delivery.settle({ kind: "replace", message: messageOf("successor"), delayMs: 0, error: FAILED })
      );
      const looking = (async () => {
        for (let i = 0; i < 20; i++) seen.push(String(aliveIn(await depthOf(other))));
      })();
      await Promise.all([...replacing, looking]);
      assert.deepEqual([...new Set(seen)], ["50"]);
    });
  }

  test("A retry waits no longer than its broker can keep, and no attempt is lost", async (server) => {
    await using broker = await server.open();
    const { maxMs } = capabilities.retryDelay;
    await pushAll(broker, ["a job"]);
    await (await takeOne(broker)).settle(retry(maxMs, FAILED));
    assert.deepEqual(await takeNow(broker), []);
    assert.equal((await depthOf(broker)).delayed, 1);
  });

  test("release() leaves the attempts that were counted before", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    await (await takeOne(broker)).settle(retry(0, FAILED));
    for (let i = 0; i < 3; i++) {
      const delivery = await takeOne(broker);
      assert.equal(delivery.attempt, 2);
      await delivery.settle(RELEASE);
    }
  }, ["attempts", "uncounted releases"]);

  test(
    "release() of a job that may run on makes its next deliveries repeats, until it is settled, where the broker can",
    async (server) => {
      await using broker = await server.open();
      const id = await broker.push("q", EVERY_BYTE);
      const first = await takeOne(broker);
      assert.equal(first.isRepeat, undefined);
      await first.settle(RELEASE);
      const second = await takeOne(broker);
      assert.equal(second.isRepeat, undefined);
      await second.settle(CUT_OFF);
      const isRepeat = capabilities.repeats ? true : undefined;
      const third = await takeOne(broker);
      assert.deepEqual([third.id, third.attempt, third.isRepeat], [id, 1, isRepeat]);
      await third.settle(retry(0, FAILED));
      const fourth = await takeOne(broker);
      assert.deepEqual([fourth.attempt, fourth.isRepeat], [2, undefined]);
      await fourth.settle(CUT_OFF);
      await rejectsWith("LEASE_LOST", fourth.settle(ACK));
      const fifth = await takeOne(broker);
      await fifth.settle(bury(FAILED));
      await adminOf(broker).dead.retry("all");
      assert.equal((await takeOne(broker)).isRepeat, undefined);
    },
    ["attempts", "dead letters"],
  );

  test("bury() makes a dead letter with the exact payload and all that is known", async (server) => {
    await using broker = await server.open();
    const id = await broker.push("q", EVERY_BYTE);
    await (await takeOne(broker)).settle(retry(0, FAILED));
    const stderr = 'PHP Fatal error:  "oh" \u0000 \\ ä€😀\nStack trace:';
    await (await takeOne(broker)).settle(
      bury(new JobError("JOB_CRASHED", 'It died of "x"\n', { details: { stderr } })),
    );
    assert.deepEqual(await depthOf(broker), { ready: 0, delayed: 0, reserved: 0, dead: 1 });
    const letter = await adminOf(broker).dead.get(id);
    assert.ok(letter !== undefined);
    if (capabilities.dead === "errors") {
      const { code, message, stderr: kept } = letter.error;
      assert.deepEqual({ code, message, stderr: kept }, {
        code: "JOB_CRASHED",
        message: 'It died of "x"\n',
        stderr,
      });
    }
    assert.deepEqual([...letter.payload], [...EVERY_BYTE]);
    assert.equal(letter.id, id);
    assert.equal(letter.queue, "q");
    assert.equal(letter.attempts, 2);
    assert.ok(letter.enqueuedAtMs! > Date.UTC(2025, 0, 1));
    if (letter.diedAtMs !== undefined) assert.ok(letter.diedAtMs >= letter.enqueuedAtMs!);
    await server.passTime(server.leaseMs);
    assert.deepEqual(await takeNow(broker), []);
  }, ["dead letters"]);

  test("bury() keeps the job where no worker takes it", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    await (await takeOne(broker)).settle(bury(FAILED));
    assert.deepEqual(await depthOf(broker), { ready: 0, delayed: 0, reserved: 0, dead: 1 });
    await server.passTime(server.leaseMs);
    assert.deepEqual(await takeNow(broker), []);
  });

  test("bury() without STDERR gives a dead letter without STDERR", async (server) => {
    await using broker = await server.open();
    const id = await broker.push("q", new Uint8Array(0));
    await (await takeOne(broker)).settle(bury(new JobError("JOB_MALFORMED", "No JSON")));
    const letter = await adminOf(broker).dead.get(id);
    assert.equal(letter!.error.stderr, undefined);
    assert.equal(letter!.payload.length, 0);
  }, ["dead letters"]);

  for (const [first, settleFirst] of Object.entries(SETTLES)) {
    test(`${first} ends the delivery: whatever is called after it rejects with LEASE_LOST`, async (server) => {
      await using broker = await server.open();
      await pushAll(broker, ["a job"]);
      const delivery = await takeOne(broker);
      await settleFirst(delivery);
      const before = await depthOf(broker);
      for (const settleAgain of Object.values(SETTLES)) {
        await rejectsWith("LEASE_LOST", settleAgain(delivery));
      }
      if (delivery.lease !== undefined) await rejectsWith("LEASE_LOST", delivery.lease.extend());
      assert.deepEqual(await depthOf(broker), before);
    });
  }

  test("Of two settles at the same time one is done, the other rejects with LEASE_LOST", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    const delivery = await takeOne(broker);
    const results = await Promise.allSettled([delivery.settle(ACK), delivery.settle(bury(FAILED))]);
    assert.deepEqual(results.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    const lost = results.find(({ status }) => status === "rejected") as PromiseRejectedResult;
    await rejectsWith("LEASE_LOST", Promise.reject(lost.reason));
    const { dead, ready, reserved } = await depthOf(broker);
    assert.deepEqual([ready, reserved, dead], [0, 0, results[1]!.status === "fulfilled" ? 1 : 0]);
  });

  test("A lost settle fails alone: those made with it are done", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["1", "2", "3"]);
    const [one, two, three] = await take(broker, { max: 3 });
    await two!.settle(ACK);
    const results = await Promise.allSettled([
      one!.settle(ACK),
      two!.settle(ACK),
      three!.settle(bury(FAILED)),
      broker.push("q", bytes("4")),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled", "fulfilled"],
    );
    assert.deepEqual(await depthOf(broker), { ready: 1, delayed: 0, reserved: 0, dead: 1 });
  });
}

function messageOf(text: string, headers: Message["headers"] = {}): Message {
  return { body: bytes(text), headers };
}

/** What can be stored beside the payload, of this. */
export function besides(capabilities: Capabilities, options: PushOptions): PushOptions {
  return capabilities.headers ? options : {};
}
