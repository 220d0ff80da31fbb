import assert from "node:assert/strict";
import { ServerTime } from "../../../../src/brokers/rows/server_time.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

const LEASE_MS = 30_000;
const SERVER_MS = 1_700_000_000_000;

function start() {
  const clock = new FakeClock();
  const steps: number[] = [];
  const time = new ServerTime({ clock, onStep: (byMs) => steps.push(byMs) }, { leaseMs: LEASE_MS });
  return { clock, steps, time };
}

Deno.test("ServerTime trusts a server whose time goes on, however far it is from ours", async () => {
  const { clock, steps, time } = start();
  for (let i = 0; i < 5; i++) {
    time.note(SERVER_MS + clock.monotonicMs(), clock.monotonicMs());
    await clock.advance(60_000);
    assert.ok(time.isTrusted);
  }
  assert.deepEqual(steps, []);
});

Deno.test("ServerTime ends no leases of others for as long as a lease once the server's time was set ahead", async () => {
  const { clock, steps, time } = start();
  time.note(SERVER_MS, clock.monotonicMs());
  await clock.advance(1_000);
  time.note(SERVER_MS + 1_000 + 3_600_000, clock.monotonicMs());
  assert.deepEqual(steps, [3_600_000]);
  await clock.advance(LEASE_MS - 1);
  assert.equal(time.isTrusted, false);
  await clock.advance(1);
  assert.ok(time.isTrusted);
  time.note(SERVER_MS + 1_000 + LEASE_MS + 3_600_000, clock.monotonicMs());
  assert.deepEqual([steps.length, time.isTrusted], [1, true]);
});

Deno.test("ServerTime takes neither a late answer nor a time that was set back for a step ahead", async () => {
  const { clock, steps, time } = start();
  time.note(SERVER_MS, clock.monotonicMs());
  const askedMs = clock.monotonicMs();
  await clock.advance(10_000);
  // The server wrote it just before it came.
  time.note(SERVER_MS + 10_000, askedMs);
  time.note(SERVER_MS - 3_600_000, clock.monotonicMs());
  assert.deepEqual([steps, time.isTrusted], [[], true]);
});
