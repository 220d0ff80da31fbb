import assert from "node:assert/strict";
import { Probe } from "../../../src/monitor/probe.ts";
import { FakeClock, settlePromises } from "../../support/fake_clock.ts";

/** A probe whose questions a test answers. */
function start() {
  const clock = new FakeClock();
  const asked: PromiseWithResolvers<string>[] = [];
  const ask = () => {
    asked.push(Promise.withResolvers());
    return asked.at(-1)!.promise;
  };
  return { clock, asked, probe: new Probe({ clock }, ask) };
}

Deno.test("Probe asks once for all who ask at the same time", { permissions: "none" }, async () => {
  const { asked, probe } = start();
  const answers = [probe.get(), probe.get(), probe.get()];
  assert.equal(asked.length, 1);
  asked[0]!.resolve("well");
  assert.deepEqual(await Promise.all(answers), ["well", "well", "well"]);
});

Deno.test("Probe keeps an answer for a while, and asks again then", { permissions: "none" }, async () => {
  const { clock, asked, probe } = start();
  const first = probe.get();
  asked[0]!.resolve("well");
  await first;
  await clock.advance(999);
  assert.equal(await probe.get(), "well");
  assert.equal(asked.length, 1);
  await clock.advance(1);
  const second = probe.get();
  assert.equal(asked.length, 2);
  asked[1]!.resolve("away");
  assert.equal(await second, "away");
});

Deno.test("Probe lets nobody wait beyond the limit, and asks no second time while the first is unanswered", {
  permissions: "none",
}, async () => {
  const { clock, asked, probe } = start();
  const first = probe.get();
  await clock.advance(2_000);
  assert.equal(await first, undefined);
  await clock.advance(60_000);
  assert.equal(await probe.get(), undefined, "at once: it has been waited for long enough");
  assert.equal(asked.length, 1);
  asked[0]!.resolve("late");
  await settlePromises();
  assert.equal(await probe.get(), "late");
  assert.equal(asked.length, 1);
});

Deno.test("Probe leaves no timer behind when it has its answer", { permissions: "none" }, async () => {
  const { clock, asked, probe } = start();
  const first = probe.get();
  asked[0]!.resolve("well");
  await first;
  assert.equal(clock.pendingTimers, 0);
});
