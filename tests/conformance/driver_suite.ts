import assert from "node:assert/strict";
import { type BrokerTest, type DriverFixture, inMessages } from "./driver_broker.ts";
import { censusTests } from "./driver_census.ts";
import { deadLetterTests } from "./driver_dead_letters.ts";
import { leaseTests } from "./driver_leases.ts";
import { pauseTests } from "./driver_pauses.ts";
import { pushTests } from "./driver_pushing.ts";
import { receiveTests } from "./driver_receiving.ts";
import { scheduleTests } from "./driver_schedule.ts";
import { settleTests } from "./driver_settling.ts";
import { sharingTests } from "./driver_sharing.ts";

/**
 * The contract of src/core/driver.ts and delivery.ts as tests, the same for every driver: design.md §4.
 *
 * A driver's own test file calls it once, and tests beside it only what is special to its broker.
 */
export function driverConformance(name: string, fixture: DriverFixture): void {
  const test: BrokerTest = (claim, run) =>
    Deno.test(`${name} driver: ${claim}`, async () => {
      await using broker = await fixture.start();
      const { messages } = fixture;
      await run(
        messages === undefined ? broker : {
          leaseMs: broker.leaseMs,
          open: async () => inMessages(await broker.open(), messages),
          passTime: (ms) => broker.passTime(ms),
          [Symbol.asyncDispose]: () => Promise.resolve(),
        },
      );
    });

  test("capabilities are those that the suite was told", async (broker) => {
    await using driver = await broker.open();
    assert.deepEqual(driver.capabilities, fixture.capabilities);
    assert.equal(driver.leaseMs, fixture.capabilities.lease === "timed" ? broker.leaseMs : undefined);
  });
  pushTests(test, fixture);
  receiveTests(test, fixture.capabilities);
  settleTests(test, fixture.capabilities);
  leaseTests(test, fixture.capabilities);
  deadLetterTests(test, fixture.capabilities);
  sharingTests(test, fixture.capabilities);
  pauseTests(test, fixture.capabilities);
  scheduleTests(test, fixture.capabilities);
  censusTests(test, fixture.capabilities);
}
