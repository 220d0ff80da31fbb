import assert from "node:assert/strict";
import { censusTests } from "./census.ts";
import { deadLetterTests } from "./dead_letters.ts";
import {
  type BrokerFixture,
  type BrokerTest,
  bytes,
  DELAY_MS,
  inMessages,
  NEEDS,
  openOn,
  takeOne,
  type TestBroker,
} from "./fixture.ts";
import { jobTests } from "./jobs.ts";
import { leaseTests } from "./leases.ts";
import { ownershipTests } from "./ownership.ts";
import { pauseTests } from "./pauses.ts";
import { pushTests } from "./pushing.ts";
import { purgeTests } from "./purging.ts";
import { receiveTests } from "./receiving.ts";
import { scheduleTests } from "./schedule.ts";
import { settleTests } from "./settling.ts";
import { sharingTests } from "./sharing.ts";
import { uniqueTests } from "./unique.ts";

const NOT_ASKED = new URL("not_asked/", import.meta.url);

/**
 * The contract of src/core/broker.ts, delivery.ts and admin.ts as tests, the same for every broker: each is asked what its capabilities
 * say. What it is not asked is in `not_asked/NAME.txt`, with what it lacks for that; with UPDATE_NOT_ASKED=1 the file is written anew.
 *
 * A broker's own test file calls it once, and tests beside it only what is special to its server.
 */
export function brokerConformance(name: string, fixture: BrokerFixture): void {
  const { capabilities } = fixture;
  const notAsked: string[] = [];
  const test: BrokerTest = (claim, run, needs = []) => {
    const lacking = needs.filter((need) => !NEEDS[need](capabilities));
    if (lacking.length > 0) return void notAsked.push(`${claim} (${lacking.join(", ")})`);
    Deno.test(`${name} broker: ${claim}`, async () => {
      await using server = await fixture.start();
      await run(seen(server, fixture));
    });
  };

  test("capabilities are no less than those that its type tells", async (server) => {
    await using broker = await server.open();
    assert.deepEqual(broker.capabilities, capabilities);
    assert.ok(
      capabilities.retryDelay.maxMs >= DELAY_MS,
      "without delays a job that fails runs again at once, for ever",
    );
    await broker.push("q", bytes("job"));
    const { lease } = await takeOne(broker);
    assert.equal(lease?.ms, capabilities.lease === "timed" ? server.leaseMs : undefined);
  });
  pushTests(test, fixture);
  receiveTests(test, capabilities);
  settleTests(test, capabilities);
  leaseTests(test, fixture);
  deadLetterTests(test, capabilities);
  sharingTests(test, capabilities);
  pauseTests(test, capabilities);
  jobTests(test, capabilities);
  purgeTests(test, capabilities);
  scheduleTests(test, capabilities);
  censusTests(test, capabilities);
  uniqueTests(test, capabilities);
  ownershipTests(name, fixture);

  Deno.test(`${name} broker: what it is not asked is known`, async () => {
    const file = new URL(`${name}.txt`, NOT_ASKED);
    const text = notAsked.map((line) => `${line}\n`).join("");
    if (Deno.env.get("UPDATE_NOT_ASKED") === "1") await Deno.writeTextFile(file, text);
    const known = await Deno.readTextFile(file).catch(() => "");
    assert.equal(known, text, `write it with: UPDATE_NOT_ASKED=1 deno test -A THIS_FILE (${file.pathname})`);
  });
}

/** The server as the tests see it: payloads travel as messages of the broker's format. */
function seen(server: TestBroker, { messages }: BrokerFixture): TestBroker {
  const { inspect, cutBeforeRemoval } = server;
  return {
    leaseMs: server.leaseMs,
    ...(inspect && { inspect }),
    ...(cutBeforeRemoval && { cutBeforeRemoval: () => cutBeforeRemoval.call(server) }),
    async open() {
      const broker = await openOn(server);
      return messages === undefined ? broker : inMessages(broker, messages);
    },
    passTime: (ms) => server.passTime(ms),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
