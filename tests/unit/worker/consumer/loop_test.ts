import assert from "node:assert/strict";
import { Loop } from "../../../../src/worker/consumer/loop.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";

const GRACE_MS = 120_000;

Deno.test(
  "Loop tells of a wait that has gone on for two minutes longer than it may",
  { permissions: "none" },
  async () => {
    const clock = new FakeClock();
    const loop = new Loop({ clock });
    assert.equal(loop.stall, undefined);
    const { promise, resolve } = Promise.withResolvers<number>();
    const waiting = loop.ends("its receive", 30_000, promise);
    clock.jump(30_000 + GRACE_MS);
    assert.equal(loop.stall, undefined);
    clock.jump(1_000);
    assert.equal(loop.stall, "its receive has gone on for 151 s and should have ended after 30 s");
    resolve(7);
    assert.equal(await waiting, 7);
    clock.jump(10 * GRACE_MS);
    assert.equal(loop.stall, undefined);
  },
);

Deno.test("Loop is not stuck after a wait that failed", { permissions: "none" }, async () => {
  const clock = new FakeClock();
  const loop = new Loop({ clock });
  await assert.rejects(loop.ends("its receive", 0, Promise.reject(new Error("away"))), /away/);
  clock.jump(10 * GRACE_MS);
  assert.equal(loop.stall, undefined);
});

Deno.test(
  "Loop waits to be woken for as long as that takes, unless it is due",
  { permissions: "none" },
  async () => {
    const clock = new FakeClock();
    const loop = new Loop({ clock });
    let isDue = false;
    let isWoken = false;
    const waiting = loop.woken("its wait for a free slot", () => isDue).then(() => isWoken = true);
    clock.jump(100 * GRACE_MS);
    assert.equal(loop.stall, undefined);
    isDue = true;
    assert.match(loop.stall!, /^its wait for a free slot has gone on for 12000 s/);
    await settlePromises();
    assert.equal(isWoken, false);
    loop.wake();
    await waiting;
    assert.equal(loop.stall, undefined);
  },
);

Deno.test("Loop.wake() without anybody who waits is not remembered", { permissions: "none" }, async () => {
  const loop = new Loop({ clock: new FakeClock() });
  loop.wake();
  let isWoken = false;
  const waiting = loop.woken("", () => false).then(() => isWoken = true);
  await settlePromises();
  assert.equal(isWoken, false);
  loop.wake();
  await waiting;
});
