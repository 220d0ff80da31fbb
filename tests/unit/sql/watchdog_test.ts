import assert from "node:assert/strict";
import { Watchdog } from "../../../src/sql/watchdog.ts";
import { FakeClock, settlePromises } from "../../support/fake_clock.ts";

const LIMIT_MS = 10_000;

Deno.test("Watchdog reports statements of which none has ended within the limit, and again after another one", async () => {
  const clock = new FakeClock();
  let hangs = 0;
  const watchdog = new Watchdog(clock, LIMIT_MS, () => hangs++);
  void watchdog.during(() => new Promise(() => {}));
  await clock.advance(LIMIT_MS);
  assert.equal(hangs, 0);
  await clock.advance(LIMIT_MS);
  assert.equal(hangs, 1);
  await clock.advance(2 * LIMIT_MS);
  assert.equal(hangs, 2);
  watchdog.stop();
});

Deno.test("Watchdog reports nothing while statements end, and sets no timer when none runs", async () => {
  const clock = new FakeClock();
  const watchdog = new Watchdog(clock, LIMIT_MS, () => assert.fail("it does not hang"));
  for (let i = 0; i < 20; i++) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const statement = watchdog.during(() => promise);
    await clock.advance(LIMIT_MS - 1);
    resolve();
    await statement;
  }
  await settlePromises();
  await clock.advance(LIMIT_MS);
  assert.equal(clock.pendingTimers, 0);
});
