import assert from "node:assert/strict";
import { CENSUS_LIMIT } from "../../src/core/admin.ts";
import { type Capabilities } from "../../src/core/broker.ts";
import {
  adminOf,
  type BrokerTest,
  bytes,
  FAILED,
  needing,
  pushAll,
  rejectsWith,
  takeNow,
  takeOne,
} from "./fixture.ts";
import { ACK, bury, RELEASE, retry } from "../support/verdicts.ts";

/** What a worker is told of its jobs every few seconds. */
export function censusTests(all: BrokerTest, { pushDelay }: Capabilities): void {
  const test = needing(all, "counts");
  test("census() counts what is ready, a queue by itself, and none that runs, waits or is dead", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["1", "2", "3"], "a");
    await pushAll(broker, ["4"], "b");
    if (pushDelay.maxMs > 0) await broker.push("a", bytes("5"), { delayMs: 3_600_000 });
    await (await takeOne(broker, { queues: ["a"] })).settle(bury(FAILED));
    await takeOne(broker, { queues: ["a"] });
    const { ready } = await adminOf(broker).census(["a", "none"]);
    assert.deepEqual([...ready], [["a", 1], ["none", 0]]);
  });

  test("census() tells how many jobs this process has, where it knows, and none of another's", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    const inFlight = async () => (await adminOf(broker).census([])).inFlight;
    await pushAll(broker, ["1", "2", "3", "4"], "a");
    await pushAll(broker, ["5"], "b");
    const held = await takeNow(broker, { queues: ["a"], max: 3 });
    held.push(await takeOne(broker, { queues: ["b"] }));
    await takeOne(other, { queues: ["a"] });
    if (await inFlight() === undefined) return;
    assert.equal(await inFlight(), 4);
    await held[0]!.settle(ACK);
    await held[1]!.settle(RELEASE);
    await held[2]!.settle(retry(0, FAILED));
    assert.equal(await inFlight(), 1);
    await held[3]!.settle(bury(FAILED));
    assert.equal(await inFlight(), 0);
    await rejectsWith("LEASE_LOST", held[3]!.settle(ACK));
  });

  test("latencyMs() tells for how long the next job of a queue has been ready", async (server) => {
    await using broker = await server.open();
    assert.equal(await adminOf(broker).latencyMs("a"), undefined);
    await pushAll(broker, ["1"], "a");
    if (pushDelay.maxMs > 0) await broker.push("b", bytes("2"), { delayMs: 3_600_000 });
    // beanstalkd counts in seconds.
    assert.ok((await adminOf(broker).latencyMs("a"))! <= 1_000);
    await server.passTime(2_000);
    assert.ok((await adminOf(broker).latencyMs("a"))! >= 1_000);
    assert.equal(await adminOf(broker).latencyMs("b"), undefined);
    const first = await takeOne(broker, { queues: ["a"] });
    assert.equal(await adminOf(broker).latencyMs("a"), undefined);
    await first.settle(ACK);
  });

  test("census() counts no further than it has to", async (server) => {
    await using broker = await server.open();
    const jobs = Array.from({ length: CENSUS_LIMIT + 1 }, () => broker.push("a", bytes("x")));
    await Promise.all(jobs);
    const ready = (await adminOf(broker).census(["a"])).ready.get("a")!;
    assert.ok(ready === CENSUS_LIMIT || ready === CENSUS_LIMIT + 1, String(ready));
  });
}
