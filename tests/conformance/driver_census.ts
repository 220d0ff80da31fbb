import assert from "node:assert/strict";
import { CENSUS_LIMIT, type DriverCapabilities } from "../../src/core/driver.ts";
import { type BrokerTest, bytes, FAILED, pushAll, rejectsWith, takeNow, takeOne } from "./driver_broker.ts";
import { ACK, bury, RELEASE, retry } from "../support/verdicts.ts";

/** What a worker is told of its jobs every few seconds. */
export function censusTests(test: BrokerTest, { delay }: DriverCapabilities): void {
  test("census() counts what is ready, a queue by itself, and none that runs, waits or is dead", async (broker) => {
    await using driver = await broker.open();
    await pushAll(driver, ["1", "2", "3"], "a");
    await pushAll(driver, ["4"], "b");
    if (delay) await driver.push("a", bytes("5"), { delayMs: 3_600_000 });
    await (await takeOne(driver, { queues: ["a"] })).settle(bury(FAILED));
    await takeOne(driver, { queues: ["a"] });
    const { ready } = await driver.census(["a", "none"]);
    assert.deepEqual([...ready], [["a", 1], ["none", 0]]);
  });

  test("census() tells how many jobs this process has, where it knows, and none of another's", async (broker) => {
    await using driver = await broker.open();
    await using other = await broker.open();
    const inFlight = async () => (await driver.census([])).inFlight;
    await pushAll(driver, ["1", "2", "3", "4"], "a");
    await pushAll(driver, ["5"], "b");
    const held = await takeNow(driver, { queues: ["a"], max: 3 });
    held.push(await takeOne(driver, { queues: ["b"] }));
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

  test("latencyMs() tells for how long the next job of a queue has been ready", async (broker) => {
    await using driver = await broker.open();
    assert.equal(await driver.latencyMs("a"), undefined);
    await pushAll(driver, ["1"], "a");
    if (delay) await driver.push("b", bytes("2"), { delayMs: 3_600_000 });
    // beanstalkd counts in seconds.
    assert.ok((await driver.latencyMs("a"))! <= 1_000);
    await broker.passTime(2_000);
    assert.ok((await driver.latencyMs("a"))! >= 1_000);
    assert.equal(await driver.latencyMs("b"), undefined);
    const first = await takeOne(driver, { queues: ["a"] });
    assert.equal(await driver.latencyMs("a"), undefined);
    await first.settle(ACK);
  });

  test("census() counts no further than it has to", async (broker) => {
    await using driver = await broker.open();
    const jobs = Array.from({ length: CENSUS_LIMIT + 1 }, () => driver.push("a", bytes("x")));
    await Promise.all(jobs);
    const ready = (await driver.census(["a"])).ready.get("a")!;
    assert.ok(ready === CENSUS_LIMIT || ready === CENSUS_LIMIT + 1, String(ready));
  });
}
