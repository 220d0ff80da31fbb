import assert from "node:assert/strict";
import { StallDetector } from "../../../../src/worker/consumer/stall_detector.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";

const GRACE_MS = 120_000;

Deno.test(
  "StallDetector tells of a wait that has gone on for two minutes longer than it may",
  { permissions: "none" },
  async () => {
    const clock = new FakeClock();
    const stalls = new StallDetector({ clock });
    assert.equal(stalls.stall, undefined);
    const { promise, resolve } = Promise.withResolvers<number>();
    const waiting = stalls.during("receive", 30_000, promise);
    clock.jump(30_000 + GRACE_MS);
    assert.equal(stalls.stall, undefined);
    clock.jump(1_000);
    assert.equal(stalls.stall, "its receive has gone on for 151 s and should have ended after 30 s");
    resolve(7);
    assert.equal(await waiting, 7);
    clock.jump(10 * GRACE_MS);
    assert.equal(stalls.stall, undefined);
  },
);

Deno.test("StallDetector is not stuck after a wait that failed", { permissions: "none" }, async () => {
  const clock = new FakeClock();
  const stalls = new StallDetector({ clock });
  await assert.rejects(stalls.during("receive", 0, Promise.reject(new Error("away"))), /away/);
  clock.jump(10 * GRACE_MS);
  assert.equal(stalls.stall, undefined);
});

Deno.test(
  "StallDetector waits to be woken for as long as that takes, unless it is due",
  { permissions: "none" },
  async () => {
    const clock = new FakeClock();
    const stalls = new StallDetector({ clock });
    let isDue = false;
    let isWoken = false;
    const waiting = stalls.untilWoken("wait for a free slot", () => isDue).then(() => isWoken = true);
    clock.jump(100 * GRACE_MS);
    assert.equal(stalls.stall, undefined);
    isDue = true;
    assert.match(stalls.stall!, /^its wait for a free slot has gone on for 12000 s/);
    await settlePromises();
    assert.equal(isWoken, false);
    stalls.wake();
    await waiting;
    assert.equal(stalls.stall, undefined);
  },
);

Deno.test(
  "StallDetector.wake() without anybody who waits is not remembered",
  { permissions: "none" },
  async () => {
    const stalls = new StallDetector({ clock: new FakeClock() });
    stalls.wake();
    let isWoken = false;
    const waiting = stalls.untilWoken("", () => false).then(() => isWoken = true);
    await settlePromises();
    assert.equal(isWoken, false);
    stalls.wake();
    await waiting;
  },
);
