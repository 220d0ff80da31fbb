import assert from "node:assert/strict";
import type { Broker, Capabilities } from "../../src/core/broker.ts";
import { adminOf, type BrokerTest, depthOf, needing, pushAll, takeOne, type TestBroker } from "./fixture.ts";
import { ACK, RELEASE } from "../support/verdicts.ts";

/** What people have paused, which a broker keeps, and workers heed: tests/integration/worker/pauses_test.ts. */
export function pauseTests(all: BrokerTest, capabilities: Capabilities): void {
  if (capabilities.pauses === "none") {
    all("There are no pauses", async (server) => {
      await using broker = await server.open();
      assert.equal(broker.admin.pauses, undefined);
    });
  }
  const test = needing(all, "pauses");

  test("pauses.list() names the queues that are paused, and each is paused once", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    for (const queue of ["c", "a", "b"]) await pushAll(broker, ["a job"], queue);
    assert.deepEqual(await adminOf(broker).pauses.list(), []);
    for (const queue of ["b", "a", "b"]) await adminOf(broker).pauses.pause(queue);
    assert.deepEqual(await adminOf(other).pauses.list(), ["a", "b"]);
    assert.equal(await adminOf(other).pauses.resume("b"), true);
    assert.equal(await adminOf(broker).pauses.resume("b"), false);
    assert.equal(await adminOf(broker).pauses.resume("never"), false);
    assert.deepEqual(await adminOf(broker).pauses.list(), ["a"]);
  });

  test("A job that is held when its queue is paused is settled as ever", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["to ack", "to release"]);
    const [one, two] = [await takeOne(broker), await takeOne(broker)];
    await adminOf(broker).pauses.pause("q");
    await one.settle(ACK);
    await two.settle(RELEASE);
    assert.deepEqual(await depthOf(broker), { ready: 1, delayed: 0, reserved: 0, dead: 0 });
  });

  test("A pause outlives its broker's instance, as long as its queue holds a job", async (server) => {
    await outlives(server, (broker) => pushAll(broker, ["a job"]));
  });

  if (capabilities.pauses === "kept") {
    test("A pause of an empty queue outlives its broker's instance", async (server) => {
      await outlives(server, () => Promise.resolve([]));
    });
  } else {
    test("A pause of an empty queue ends by itself when nobody uses it", async (server) => {
      {
        await using broker = await server.open();
        await adminOf(broker).pauses.pause("q");
        assert.deepEqual(await adminOf(broker).pauses.list(), ["q"]);
      }
      await using later = await server.open();
      assert.deepEqual(await adminOf(later).pauses.list(), []);
    });
  }
}

async function outlives(server: TestBroker, before: (broker: Broker) => Promise<unknown>): Promise<void> {
  {
    await using broker = await server.open();
    await before(broker);
    await adminOf(broker).pauses.pause("q");
  }
  await server.passTime(24 * 3_600_000);
  await using later = await server.open();
  assert.deepEqual(await adminOf(later).pauses.list(), ["q"]);
}
