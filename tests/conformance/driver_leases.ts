import assert from "node:assert/strict";
import type { DriverCapabilities } from "../../src/core/driver.ts";
import {
  type BrokerTest,
  FOREVER_MS,
  pushAll,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
} from "./driver_broker.ts";
import { SETTLES } from "./driver_settling.ts";
import { ACK } from "../support/verdicts.ts";

/** Whose a job is, and for how long; invariants 2 and 10. */
export function leaseTests(test: BrokerTest, capabilities: DriverCapabilities): void {
  if (capabilities.lease !== "timed") {
    const { lease } = capabilities;
    test(`leases end with the ${lease}, not with the time: to be tested by the driver itself`, async (broker) => {
      await using driver = await broker.open();
      assert.equal(driver.capabilities.lease, lease);
    });
    return;
  }

  test("A job whose lease ends goes to another instance, and the lost attempt counts", async (broker) => {
    await using holder = await broker.open();
    await using another = await broker.open();
    await pushAll(holder, ["a job"]);
    const lost = await takeOne(holder);
    assert.deepEqual(await takeNow(another), []);
    await broker.passTime(broker.leaseMs);
    const found = await takeOne(another);
    assert.equal(found.id, lost.id);
    assert.equal(found.attempt, 2);
    assert.deepEqual([...found.raw], [...lost.raw]);
    await found.settle(ACK);
  });

  test("A job that loses its lease again and again is counted each time", async (broker) => {
    await using one = await broker.open();
    await using other = await broker.open();
    await pushAll(one, ["a poison pill"]);
    const attempts = [];
    for (const driver of [one, other, one, other]) {
      attempts.push((await takeOne(driver)).attempt);
      await broker.passTime(broker.leaseMs);
    }
    assert.deepEqual(attempts, [1, 2, 3, 4]);
  });

  test("An instance never gets a job again that it holds, however late it is with the lease", async (broker) => {
    await using holder = await broker.open();
    await pushAll(holder, ["a job"]);
    const held = await takeOne(holder);
    for (let i = 0; i < 3; i++) {
      await broker.passTime(2 * broker.leaseMs);
      assert.deepEqual(await takeNow(holder), []);
    }
    await held.settle(ACK);
    assert.deepEqual(await holder.depth("q"), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
  });

  test("A job whose holder was lost is a repeat", async (broker) => {
    await using holder = await broker.open();
    await using another = await broker.open();
    await pushAll(holder, ["a job"]);
    await takeOne(holder);
    await broker.passTime(broker.leaseMs);
    const found = await takeOne(another);
    assert.deepEqual([found.attempt, found.isRepeat], [2, true]);
    await found.settle(ACK);
  });

  test("receive() is woken by a lease that ends", async (broker) => {
    await using holder = await broker.open();
    await using another = await broker.open();
    await pushAll(holder, ["a job"]);
    await takeOne(holder);
    const waiting = take(another, { waitMs: FOREVER_MS });
    await broker.passTime(broker.leaseMs);
    assert.equal((await soon("the wake-up", waiting)).length, 1);
  });

  test("A job goes back when its instance was closed without settling it", async (broker) => {
    await using another = await broker.open();
    {
      await using holder = await broker.open();
      await pushAll(holder, ["a job"]);
      await takeOne(holder);
    }
    await broker.passTime(broker.leaseMs);
    assert.equal((await takeOne(another)).attempt, 2);
  });

  for (
    const [what, settle] of Object.entries({ ...SETTLES, "extend()": (d) => d.extend!() } as typeof SETTLES)
  ) {
    test(`${what} rejects with LEASE_LOST and changes nothing once another instance took the job`, async (broker) => {
      await using holder = await broker.open();
      await using taker = await broker.open();
      await pushAll(holder, ["a job"]);
      const lost = await takeOne(holder);
      await broker.passTime(broker.leaseMs);
      const found = await takeOne(taker);
      await rejectsWith("LEASE_LOST", settle(lost));
      assert.deepEqual(await taker.depth("q"), { ready: 0, delayed: 0, reserved: 1, dead: 0 });
      // The new holder has lost nothing by it.
      await found.settle(ACK);
      assert.deepEqual(await taker.depth("q"), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
    });
  }

  test("ack() after the lease ended counts, or rejects with LEASE_LOST and the job runs again", async (broker) => {
    await using driver = await broker.open();
    await pushAll(driver, ["a job"]);
    const late = await takeOne(driver);
    await broker.passTime(broker.leaseMs);
    const isDone = await late.settle(ACK).then(() => true, async (error) => {
      await rejectsWith("LEASE_LOST", Promise.reject(error));
      return false;
    });
    assert.equal((await takeNow(driver)).length, isDone ? 0 : 1);
  });

  test("extend() keeps the job, each time for a whole lease", async (broker) => {
    await using holder = await broker.open();
    await using another = await broker.open();
    await pushAll(holder, ["a job"]);
    const held = await takeOne(holder);
    for (let i = 0; i < 3; i++) {
      await broker.passTime(broker.leaseMs * 0.7);
      await held.extend!();
      assert.deepEqual(await takeNow(another), []);
      assert.equal((await another.depth("q")).reserved, 1);
    }
    await broker.passTime(broker.leaseMs * 0.7);
    assert.deepEqual(await takeNow(another), []);
    await held.settle(ACK);
    assert.deepEqual(await another.depth("q"), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
  });

  test("extend() does not keep the job for longer than a lease", async (broker) => {
    await using holder = await broker.open();
    await using another = await broker.open();
    await pushAll(holder, ["a job"]);
    await (await takeOne(holder)).extend!();
    await broker.passTime(broker.leaseMs);
    assert.equal((await takeOne(another)).attempt, 2);
  });
}
