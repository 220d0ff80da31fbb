import assert from "node:assert/strict";
import type { ScheduleSlot } from "../../src/core/admin.ts";
import type { Broker, Capabilities } from "../../src/core/broker.ts";
import type { PushOptions } from "../../src/core/format.ts";
import type { Verdict } from "../../src/core/outcome.ts";
import { ACK, bury, RELEASE, retry } from "../support/verdicts.ts";
import {
  adminOf,
  type BrokerTest,
  bytes,
  DELAY_MS,
  depthOf,
  FAILED,
  needing,
  queuesOf,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "./fixture.ts";

const LONGEST = `${"ä".repeat(254)}😀`;

const REQUEUES: Readonly<Record<string, Verdict>> = {
  "retried": retry(0, FAILED),
  "retried later": retry(DELAY_MS, FAILED),
  "released": RELEASE,
  "replaced": {
    kind: "replace",
    message: { body: bytes("next"), headers: {} },
    delayMs: 0,
    error: FAILED,
  },
};

/** One waiting job of a queue with a unique key. */
export function uniqueTests(all: BrokerTest, capabilities: Capabilities): void {
  if (!capabilities.unique) {
    all("push() refuses a unique key instead of pushing a second job", async (server) => {
      await using broker = await server.open();
      await rejectsWith("JOB_MALFORMED", broker.push("q", bytes("job"), { unique: "k" }));
      assert.deepEqual(await queuesOf(broker), []);
    });
  }
  const test = needing(all, "unique keys");

  test("push() with the key of a waiting job pushes nothing, and resolves with that job's id", async (server) => {
    await using one = await server.open();
    await using other = await server.open();
    const first = await pushed(one, "first");
    assert.equal(first.isNew, true);
    assert.deepEqual(await pushed(one, "second"), { id: first.id, isNew: false });
    assert.deepEqual(await pushed(other, "third", { priority: 7 }), { id: first.id, isNew: false });
    assert.equal(textOf(await takeOne(one)), "first");
    assert.deepEqual(await takeNow(one), []);
  });

  test("push() with a key is a push like any other for all jobs without one", async (server) => {
    await using broker = await server.open();
    const { id } = await pushed(broker, "keyed");
    const ids = [await broker.push("q", bytes("a")), await broker.push("q", bytes("b"))];
    assert.deepEqual((await take(broker, { max: 10 })).map((job) => job.id), [id, ...ids]);
  });

  test("push() tells keys apart byte by byte, and each queue has its own", async (server) => {
    await using broker = await server.open();
    const keys = ["k", "K", "k ", " k", "ä", "a", "a\u0308", "%", "'", LONGEST];
    for (const key of keys) assert.equal((await pushed(broker, key, { unique: key })).isNew, true);
    assert.equal((await pushed(broker, "other", {}, "q2")).isNew, true);
    for (const key of keys) assert.equal((await pushed(broker, key, { unique: key })).isNew, false);
    assert.deepEqual((await take(broker, { max: 100 })).map(textOf), keys);
  });

  test("push() refuses a key that is empty, too long or has a NUL", async (server) => {
    await using broker = await server.open();
    for (const unique of ["", `${LONGEST}x`, "a\0b"]) {
      await rejectsWith("JOB_MALFORMED", broker.push("q", bytes("job"), { unique }));
    }
    assert.deepEqual(await queuesOf(broker), []);
  });

  test("push() by many at the same time pushes one job for each key", async (server) => {
    await using stack = new AsyncDisposableStack();
    const brokers: Broker[] = [];
    for (let i = 0; i < 6; i++) brokers.push(stack.use(await server.open()));
    for (let round = 0; round < 30; round++) {
      const unique = `round ${round}`;
      // Several a process share a transaction, beside a job without a key.
      const results = await Promise.all(brokers.flatMap((broker) => [
        pushed(broker, unique, { unique }),
        pushed(broker, unique, { unique }),
        broker.push("q2", bytes("other")).then(() => undefined),
      ]));
      const keyed = results.filter((result) => result !== undefined);
      assert.equal(new Set(keyed.map(({ id }) => id)).size, 1);
      assert.equal(keyed.filter(({ isNew }) => isNew).length, 1);
    }
    assert.equal((await depthOf(brokers[0]!)).ready, 30);
    assert.equal((await depthOf(brokers[0]!, "q2")).ready, 30 * brokers.length);
  });

  test("A delayed job has its key while it waits for its time, and after it", async (server) => {
    await using broker = await server.open();
    const { id } = await pushed(broker, "later", { delayMs: DELAY_MS });
    assert.deepEqual(await pushed(broker, "now"), { id, isNew: false });
    await server.passTime(DELAY_MS);
    assert.deepEqual(await pushed(broker, "now"), { id, isNew: false });
    assert.equal((await takeOne(broker)).id, id);
    assert.equal((await pushed(broker, "next")).isNew, true);
  });

  test("The key is free as soon as the job is taken", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    await pushed(broker, "first");
    const running = await takeOne(broker);
    const second = await pushed(other, "second");
    assert.deepEqual([second.isNew, second.id === running.id], [true, false]);
    await running.settle(ACK);
    assert.deepEqual(await pushed(broker, "third"), { ...second, isNew: false });
  });

  for (const [what, verdict] of Object.entries(REQUEUES)) {
    test(`A job that is ${what} gets its key back`, async (server) => {
      await using broker = await server.open();
      const { id } = await pushed(broker, "job");
      for (let round = 0; round < 2; round++) {
        await (await takeOne(broker)).settle(verdict);
        assert.deepEqual(await pushed(broker, "another"), { id, isNew: false });
        await server.passTime(DELAY_MS);
      }
    });

    test(`A job that is ${what} leaves its key to another that got it meanwhile`, async (server) => {
      await using broker = await server.open();
      const first = await pushed(broker, "first");
      const running = await takeOne(broker);
      const second = await pushed(broker, "second");
      await running.settle(verdict);
      assert.deepEqual(await pushed(broker, "third"), { id: second.id, isNew: false });
      await server.passTime(DELAY_MS);
      assert.deepEqual(
        new Set((await take(broker, { max: 10 })).map(({ id }) => id)),
        new Set([first.id, second.id]),
      );
    });
  }

  test("A settle that gives a key back meets pushes of that key: one job waits with it", async (server) => {
    await using worker = await server.open();
    await using one = await server.open();
    await using other = await server.open();
    for (let round = 0; round < 60; round++) {
      const unique = `round ${round}`;
      await pushed(worker, "first", { unique });
      const running = await takeOne(worker);
      const [, a, b] = await Promise.all([
        running.settle(round % 2 === 0 ? RELEASE : retry(0, FAILED)),
        pushed(one, "second", { unique }),
        pushed(other, "third", { unique }),
      ]);
      assert.equal(a.id, b.id, "both pushes have found the same job");
      assert.deepEqual(await pushed(worker, "fourth", { unique }), { id: a.id, isNew: false });
      const waiting = await take(worker, { max: 10 });
      assert.equal(waiting.length, a.isNew || b.isNew ? 2 : 1);
      assert.equal(waiting.some(({ id }) => id === running.id), true);
      for (const job of waiting) await job.settle(ACK);
    }
  });

  test("Pushes of one key meet workers that take its jobs: each job runs once, and no push fails", async (server) => {
    await using stack = new AsyncDisposableStack();
    const brokers: Broker[] = [];
    for (let i = 0; i < 4; i++) brokers.push(stack.use(await server.open()));
    const [one, two, ...producers] = brokers as [Broker, Broker, ...Broker[]];
    const ids = new Set<string>();
    const done: string[] = [];
    let isOver = false;
    const work = async (broker: Broker) => {
      for (;;) {
        // One that has begun before the end may have missed the last job.
        const isLast = isOver;
        const jobs = await takeNow(broker);
        for (const job of jobs) {
          await job.settle(ACK);
          done.push(job.id);
        }
        if (isLast && jobs.length === 0) return;
      }
    };
    const produce = async (broker: Broker) => {
      for (let i = 0; i < 100; i++) ids.add((await pushed(broker, "job")).id);
    };
    const working = [work(one), work(two)];
    await soon("all pushes", Promise.all(producers.map(produce)));
    isOver = true;
    await soon("all jobs", Promise.all(working));
    assert.deepEqual(done.toSorted(), [...ids].toSorted());
  });

  needing(needing(test, "timed leases"), "priorities")(
    "A job whose lease ended has its key again, until a worker takes it",
    async (server) => {
      await using holder = await server.open();
      await using another = await server.open();
      const { id } = await pushed(holder, "job");
      await takeOne(holder);
      await server.passTime(server.leaseMs);
      // Looking for jobs of another priority makes the job wait again; it is the first one, and taken second.
      const urgent = await another.push("q", bytes("urgent"), { priority: 9 });
      assert.equal((await takeOne(another)).id, urgent);
      assert.deepEqual(await pushed(another, "again"), { id, isNew: false });
      assert.equal((await takeOne(another)).id, id);
      assert.equal((await pushed(another, "next")).isNew, true);
    },
  );

  needing(needing(test, "timed leases"), "priorities")(
    "A holder that is late and goes on leaves the key free",
    async (server) => {
      await using holder = await server.open();
      await using another = await server.open();
      for (const end of ["extend", "bury"] as const) {
        const first = await pushed(holder, "job");
        const late = await takeOne(holder);
        await server.passTime(server.leaseMs);
        const urgent = await another.push("q", bytes("urgent"), { priority: 9 });
        const taken = await takeOne(another);
        assert.equal(taken.id, urgent);
        await taken.settle(ACK);
        if (end === "extend") await late.lease!.extend();
        else await late.settle(bury(FAILED));
        const next = await pushed(another, "next");
        assert.deepEqual([next.isNew, next.id === first.id], [true, false]);
        if (end === "extend") await late.settle(ACK);
        await (await takeOne(another)).settle(ACK);
      }
    },
  );

  needing(test, "dead letters")(
    "A dead letter has no key, and gets it back when it is revived",
    async (server) => {
      await using broker = await server.open();
      const dead = [];
      for (const name of ["first", "second", "third"]) {
        const { id, isNew } = await pushed(broker, name);
        assert.equal(isNew, true);
        await (await takeOne(broker)).settle(bury(FAILED));
        dead.push(id);
      }
      const letters = adminOf(broker).dead;
      assert.equal(await letters.retry([dead[1]!]), 1);
      assert.deepEqual(await pushed(broker, "fourth"), { id: dead[1]!, isNew: false });
      assert.equal(await letters.retry("all"), 2);
      assert.deepEqual(await pushed(broker, "fifth"), { id: dead[1]!, isNew: false });
      assert.equal((await take(broker, { max: 10 })).length, 3);
      assert.equal((await pushed(broker, "sixth")).isNew, true);
    },
  );

  needing(test, "dead letters")(
    "Dead letters that are revived meet pushes of their key: one job waits with it",
    async (server) => {
      await using broker = await server.open();
      await using producer = await server.open();
      await using person = await server.open();
      for (let round = 0; round < 30; round++) {
        const { id } = await pushed(broker, "job");
        await (await takeOne(broker)).settle(bury(FAILED));
        const [retried, a] = await Promise.all([
          adminOf(person).dead.retry([id]),
          pushed(producer, "another"),
        ]);
        assert.equal(retried, 1);
        assert.deepEqual(await pushed(producer, "third"), { id: a.id, isNew: false });
        const waiting = await take(broker, { max: 10 });
        assert.equal(waiting.length, a.isNew ? 2 : 1);
        for (const job of waiting) await job.settle(ACK);
      }
    },
  );

  needing(test, "purge")("A purge frees the keys of the jobs that it deletes", async (server) => {
    await using broker = await server.open();
    await pushed(broker, "first");
    assert.equal(await adminOf(broker).purge("q"), 1);
    assert.equal((await pushed(broker, "second")).isNew, true);
  });

  needing(test, "schedules")("A schedule pushes its job beside one with a key", async (server) => {
    await using broker = await server.open();
    await pushed(broker, "keyed");
    const nowMs = Date.UTC(2026, 0, 31, 12);
    const slot: ScheduleSlot = { schedule: "s", rule: "hourly", dueMs: nowMs, firstMs: nowMs, nowMs };
    assert.equal((await adminOf(broker).schedule.push(slot, "q", bytes("scheduled"))).result, "ours");
    assert.equal((await pushed(broker, "again")).isNew, false);
    assert.deepEqual((await take(broker, { max: 10 })).map(textOf), ["keyed", "scheduled"]);
  });
}

/** Pushes with the key "k", unless the options have another. */
async function pushed(
  broker: Broker,
  name: string,
  options: PushOptions = {},
  queue = "q",
): Promise<{ readonly id: string; readonly isNew: boolean }> {
  let isNew = true;
  const id = await broker.push(queue, bytes(name), {
    unique: "k",
    ...options,
    onWaiting: () => isNew = false,
  });
  return { id, isNew };
}
