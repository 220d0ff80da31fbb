import assert from "node:assert/strict";
import { Keepalive } from "../../../src/net/keepalive.ts";
import { FakeClock } from "../../support/fake_clock.ts";

Deno.test("Keepalive tells a silence before it is longer than the time, as long as it lasts", async () => {
  const clock = new FakeClock();
  let told = 0;
  const keepalive = new Keepalive(clock, 1_000, () => told++);
  for (
    const [ms, hasTraffic, expected] of [
      [499, true, 0],
      [1, true, 0],
      [499, true, 0],
      [1, false, 0],
      [500, false, 1],
      [500, true, 2],
      [500, false, 2],
      [500, false, 3],
    ] as const
  ) {
    await clock.advance(ms);
    if (hasTraffic) keepalive.note();
    assert.equal(told, expected);
  }
  keepalive.stop();
  keepalive.stop();
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("Keepalive can be stopped by who is told", async () => {
  const clock = new FakeClock();
  const keepalive: { stop(): void } = new Keepalive(clock, 1_000, () => keepalive.stop());
  assert.equal(clock.pendingTimers, 1);
  await clock.advance(1_000);
  assert.equal(clock.pendingTimers, 0);
  keepalive.stop();
});
