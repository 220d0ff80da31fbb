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
    assert.deepEqual(await pausedOn(broker), []);
    for (const queue of ["b", "a", "b"]) await adminOf(broker).pauses.pause(queue);
    assert.deepEqual(await pausedOn(other), ["a", "b"]);
    assert.equal(await adminOf(other).pauses.resume("b"), true);
    assert.equal(await adminOf(broker).pauses.resume("b"), false);
    assert.equal(await adminOf(broker).pauses.resume("never"), false);
    assert.deepEqual(await adminOf(broker).pauses.list(), [{ queue: "a" }]);
  });

  test("A pause with a time tells it, and is over by itself then, for all instances", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    await pushAll(broker, ["a job"]);
    const untilMs = Date.now() + 3_600_000;
    await adminOf(broker).pauses.pause("q", { untilMs });
    const [paused] = await adminOf(other).pauses.list();
    assert.equal(paused?.queue, "q");
    // Where the broker keeps it in whole seconds of its own.
    assert.ok(Math.abs(paused.untilMs! - untilMs) < 60_000, String(paused.untilMs! - untilMs));
    await server.passTime(1_800_000);
    assert.deepEqual(await pausedOn(other), ["q"]);
    await server.passTime(1_801_000);
    await using later = await server.open();
    for (const instance of [other, broker, later]) assert.deepEqual(await pausedOn(instance), []);
    assert.equal(await adminOf(later).pauses.resume("q"), false);
    await (await takeOne(later)).settle(ACK);
  });

  test("A pause takes the place of the one before, with its time and its reason", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["a job"]);
    const { pauses } = adminOf(broker);
    await pauses.pause("q", { untilMs: Date.now() + 3_600_000, reason: "first" });
    await pauses.pause("q");
    await server.passTime(3_601_000);
    assert.deepEqual(await pauses.list(), [{ queue: "q" }]);
    await pauses.pause("q", { untilMs: Date.now() + 36_000_000, reason: "second" });
    assert.equal(await pauses.resume("q"), true);
    await pauses.pause("q");
    assert.deepEqual(await pauses.list(), [{ queue: "q" }]);
  });

  if (capabilities.pauses !== "none" && !capabilities.pauseReasons) {
    test("A pause keeps no reason", async (server) => {
      await using broker = await server.open();
      await adminOf(broker).pauses.pause("q", { reason: "maintenance" });
      assert.deepEqual(await adminOf(broker).pauses.list(), [{ queue: "q" }]);
    });
  }
  needing(test, "reasons of pauses")(
    "A pause keeps its reason, whatever characters it has",
    async (server) => {
      await using broker = await server.open();
      await using other = await server.open();
      const reason = 'the "mail" server\nis \u001b[31mmoved, 20 %\0 ünd mehr';
      await adminOf(broker).pauses.pause("a", { reason });
      await adminOf(broker).pauses.pause("b");
      assert.deepEqual(await adminOf(other).pauses.list(), [{ queue: "a", reason }, { queue: "b" }]);
    },
  );

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
        assert.deepEqual(await pausedOn(broker), ["q"]);
      }
      await using later = await server.open();
      assert.deepEqual(await pausedOn(later), []);
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
  assert.deepEqual(await pausedOn(later), ["q"]);
}

/** The names of the queues that are paused. */
async function pausedOn(broker: Broker): Promise<string[]> {
  return (await adminOf(broker).pauses.list()).map(({ queue }) => queue);
}
