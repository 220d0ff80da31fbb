import assert from "node:assert/strict";
import type { Capabilities } from "../../src/core/broker.ts";
import {
  adminOf,
  type BrokerTest,
  bytes,
  DELAY_MS,
  depthOf,
  needing,
  pushAll,
  takeNow,
  takeOne,
  textOf,
} from "./fixture.ts";
import { ACK, RELEASE } from "../support/verdicts.ts";

/** What deletes the jobs of a queue. */
export function purgeTests(all: BrokerTest, { purge }: Capabilities): void {
  if (!purge) {
    all("Jobs of a queue cannot be deleted", async (server) => {
      await using broker = await server.open();
      assert.equal(broker.admin.purge, undefined);
    });
  }
  const test = needing(all, "purge");

  test("purge() deletes the ready jobs of one queue, and nothing else", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    await pushAll(broker, ["running", "one", "two", "three"]);
    await pushAll(broker, ["of another"], "r");
    await broker.push("q", bytes("later"), { delayMs: DELAY_MS });
    const running = await takeOne(broker);
    assert.equal(textOf(running), "running");
    assert.equal(await adminOf(other).purge("q"), 3);
    assert.deepEqual(await depthOf(broker), { ready: 0, delayed: 1, reserved: 1, dead: 0 });
    assert.deepEqual(await takeNow(other), []);
    assert.equal(await adminOf(other).purge("q"), 0);
    assert.equal(await adminOf(other).purge("never"), 0);
    await running.settle(RELEASE);
    await (await takeOne(broker)).settle(ACK);
    const [left] = await takeNow(broker, { queues: ["r"] });
    assert.equal(textOf(left!), "of another");
  }, ["delays"]);

  test("purge() of a long queue deletes each job that was there", async (server) => {
    await using broker = await server.open();
    const count = 10_500;
    for (let i = 0; i < count; i += 500) {
      await Promise.all(Array.from({ length: 500 }, () => broker.push("q", bytes("a job"))));
    }
    assert.equal(await adminOf(broker).purge("q"), count);
    assert.deepEqual(await depthOf(broker), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
  });
}
