import assert from "node:assert/strict";
import type { Capabilities } from "../../src/core/broker.ts";
import {
  type BrokerFixture,
  type BrokerTest,
  depthOf,
  FOREVER_MS,
  needing,
  pushAll,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
  type TestBroker,
} from "./fixture.ts";
import { SETTLES } from "./settling.ts";
import { ACK, RELEASE } from "../support/verdicts.ts";

/** Whose a job is, and for how long; invariants 2 and 10. */
export function leaseTests(all: BrokerTest, { capabilities, isLostByClosing = true }: BrokerFixture): void {
  if (isLostByClosing) redeliveryTests(all, capabilities);
  const test = needing(all, "timed leases");

  test("A job whose lease ends goes to another instance, and the lost attempt counts", async (server) => {
    await using holder = await server.open();
    await using another = await server.open();
    await pushAll(holder, ["a job"]);
    const lost = await takeOne(holder);
    assert.deepEqual(await takeNow(another), []);
    await server.passTime(server.leaseMs);
    const found = await takeOne(another);
    assert.equal(found.id, lost.id);
    assert.equal(found.attempt, 2);
    assert.deepEqual([...found.message.body], [...lost.message.body]);
    await found.settle(ACK);
  });

  test("A job that loses its lease again and again is counted each time", async (server) => {
    await using one = await server.open();
    await using other = await server.open();
    await pushAll(one, ["a poison pill"]);
    const attempts = [];
    for (const broker of [one, other, one, other]) {
      attempts.push((await takeOne(broker)).attempt);
      await server.passTime(server.leaseMs);
    }
    assert.deepEqual(attempts, [1, 2, 3, 4]);
  });

  test("An instance never gets a job again that it holds, however late it is with the lease", async (server) => {
    await using holder = await server.open();
    await pushAll(holder, ["a job"]);
    const held = await takeOne(holder);
    for (let i = 0; i < 3; i++) {
      await server.passTime(2 * server.leaseMs);
      assert.deepEqual(await takeNow(holder), []);
    }
    await held.settle(ACK);
    assert.deepEqual(await depthOf(holder), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
  });

  test("A job whose holder was lost is a repeat, where the broker can tell", async (server) => {
    await using holder = await server.open();
    await using another = await server.open();
    await pushAll(holder, ["a job"]);
    await takeOne(holder);
    await server.passTime(server.leaseMs);
    const found = await takeOne(another);
    assert.deepEqual([found.attempt, found.isRepeat], [2, capabilities.repeats ? true : undefined]);
    await found.settle(ACK);
  });

  test("receive() is woken by a lease that ends", async (server) => {
    await using holder = await server.open();
    await using another = await server.open();
    await pushAll(holder, ["a job"]);
    await takeOne(holder);
    const waiting = take(another, { waitMs: FOREVER_MS });
    await server.passTime(server.leaseMs);
    assert.equal((await soon("the wake-up", waiting)).length, 1);
  });

  test("A job goes back when its instance was closed without settling it", async (server) => {
    await using another = await server.open();
    {
      await using holder = await server.open();
      await pushAll(holder, ["a job"]);
      await takeOne(holder);
    }
    await server.passTime(server.leaseMs);
    assert.equal((await takeOne(another)).attempt, 2);
  });

  for (
    const [what, settle] of Object.entries(
      { ...SETTLES, "extend()": (d) => d.lease!.extend() } as typeof SETTLES,
    )
  ) {
    test(`${what} rejects with LEASE_LOST and changes nothing once another instance took the job`, async (server) => {
      await using holder = await server.open();
      await using taker = await server.open();
      await pushAll(holder, ["a job"]);
      const lost = await takeOne(holder);
      await server.passTime(server.leaseMs);
      const found = await takeOne(taker);
      await rejectsWith("LEASE_LOST", settle(lost));
      assert.deepEqual(await depthOf(taker), { ready: 0, delayed: 0, reserved: 1, dead: 0 });
      // The new holder has lost nothing by it.
      await found.settle(ACK);
      assert.deepEqual(await depthOf(taker), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
    });
  }

  test("ack() after the lease ended counts, or rejects with LEASE_LOST and the job runs again", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    const late = await takeOne(broker);
    await server.passTime(server.leaseMs);
    const isDone = await late.settle(ACK).then(() => true, async (error) => {
      await rejectsWith("LEASE_LOST", Promise.reject(error));
      return false;
    });
    assert.equal((await takeNow(broker)).length, isDone ? 0 : 1);
  });

  test("extend() keeps the job, each time for a whole lease", async (server) => {
    await using holder = await server.open();
    await using another = await server.open();
    await pushAll(holder, ["a job"]);
    const held = await takeOne(holder);
    for (let i = 0; i < 3; i++) {
      await server.passTime(server.leaseMs * 0.7);
      await held.lease!.extend();
      assert.deepEqual(await takeNow(another), []);
      assert.equal((await depthOf(another)).reserved, 1);
    }
    await server.passTime(server.leaseMs * 0.7);
    assert.deepEqual(await takeNow(another), []);
    await held.settle(ACK);
    assert.deepEqual(await depthOf(another), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
  });

  test("extend() does not keep the job for longer than a lease", async (server) => {
    await using holder = await server.open();
    await using another = await server.open();
    await pushAll(holder, ["a job"]);
    await (await takeOne(holder)).lease!.extend();
    await server.passTime(server.leaseMs);
    assert.equal((await takeOne(another)).attempt, 2);
  });
}

/** How often a job has lost who held it. */
function redeliveryTests(test: BrokerTest, { lease, redeliveries }: Capabilities): void {
  /** Ends a holder that has taken a job. */
  const lose = async (server: TestBroker) => {
    const holder = await server.open();
    await takeOne(holder);
    if (lease === "timed") await server.passTime(server.leaseMs);
    await holder.close();
  };

  test(`A job that has lost its holder tells so: ${redeliveries}`, async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    const seen: (number | undefined)[] = [];
    for (let i = 0; i < 3; i++) {
      const delivery = await takeOne(broker);
      seen.push(delivery.redeliveries);
      if (i === 2) break;
      // As whoever takes it next has it.
      await delivery.settle(RELEASE);
      await lose(server);
    }
    const expected = { counted: [0, 1, 2], flagged: [0, 1, 1], unknown: [undefined, undefined, undefined] };
    assert.deepEqual(seen, expected[redeliveries]);
  });
}
