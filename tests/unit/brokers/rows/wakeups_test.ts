import assert from "node:assert/strict";
import { Wakeups } from "../../../../src/brokers/rows/wakeups.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";

const NEVER = new AbortController().signal;

/** How long a wait lasts when nothing happens, milliseconds. */
async function waitedMs(
  wakeups: Wakeups,
  clock: FakeClock,
  step: number,
  timeoutMs = 60_000,
): Promise<number> {
  const startMs = clock.monotonicMs();
  let endMs: number | undefined;
  void wakeups.wait(wakeups.mark(), { timeoutMs, step }, NEVER).then(() => endMs = clock.monotonicMs());
  while (endMs === undefined) await clock.advance(1);
  return endMs - startMs;
}

Deno.test("Wakeups.wait() lasts longer from step to step, up to a second; a second with notifications", async () => {
  const clock = new FakeClock();
  const wakeups = new Wakeups(clock);
  const waits = [];
  for (let step = 0; step < 10; step++) waits.push(await waitedMs(wakeups, clock, step));
  assert.deepEqual(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
  wakeups.isListening = true;
  assert.equal(await waitedMs(wakeups, clock, 0), 1_000);
  assert.equal(await waitedMs(wakeups, clock, 0, 300), 300);
});

Deno.test("Wakeups.wait() ends at a wake-up after its mark, also at one before the wait, and when its signal aborts", async () => {
  const clock = new FakeClock();
  const wakeups = new Wakeups(clock);
  wakeups.isListening = true;
  const ended: string[] = [];
  const before = wakeups.mark();
  wakeups.announce();
  void wakeups.wait(before, { timeoutMs: 60_000, step: 0 }, NEVER).then(() => ended.push("before"));
  void wakeups.wait(wakeups.mark(), { timeoutMs: 60_000, step: 0 }, NEVER).then(() => ended.push("after"));
  const aborting = new AbortController();
  void wakeups.wait(wakeups.mark(), { timeoutMs: 60_000, step: 0 }, aborting.signal).then(() =>
    ended.push("abort")
  );
  await settlePromises();
  assert.deepEqual(ended, ["before"]);
  aborting.abort();
  await settlePromises();
  assert.deepEqual(ended, ["before", "abort"]);
  wakeups.announce();
  await settlePromises();
  assert.deepEqual(ended, ["before", "abort", "after"]);
  assert.equal(clock.pendingTimers, 0);
});
