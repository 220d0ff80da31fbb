import assert from "node:assert/strict";
import { type BrokerFixture, type BrokerTest, bytes, inMessages, takeOne } from "./fixture.ts";
import { censusTests } from "./census.ts";
import { deadLetterTests } from "./dead_letters.ts";
import { leaseTests } from "./leases.ts";
import { pauseTests } from "./pauses.ts";
import { pushTests } from "./pushing.ts";
import { receiveTests } from "./receiving.ts";
import { scheduleTests } from "./schedule.ts";
import { settleTests } from "./settling.ts";
import { sharingTests } from "./sharing.ts";

/**
 * The contract of src/core/server.ts and delivery.ts as tests, the same for every broker: design.md §4.
 *
 * A broker's own test file calls it once, and tests beside it only what is special to its server.
 */
export function brokerConformance(name: string, fixture: BrokerFixture): void {
  const test: BrokerTest = (claim, run) =>
    Deno.test(`${name} broker: ${claim}`, async () => {
      await using server = await fixture.start();
      const { messages } = fixture;
      await run(
        messages === undefined ? server : {
          leaseMs: server.leaseMs,
          open: async () => inMessages(await server.open(), messages),
          passTime: (ms) => server.passTime(ms),
          [Symbol.asyncDispose]: () => Promise.resolve(),
        },
      );
    });

  test("capabilities are those that the suite was told", async (server) => {
    await using broker = await server.open();
    assert.deepEqual(broker.capabilities, fixture.capabilities);
    await broker.push("q", bytes("job"));
    const { lease } = await takeOne(broker);
    assert.equal(lease?.ms, fixture.capabilities.lease === "timed" ? server.leaseMs : undefined);
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
