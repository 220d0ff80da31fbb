import assert from "node:assert/strict";
import { ClockWatch, MAX_TIMER_MS, sleep, systemClock } from "../../../../src/core/time/clock.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";

/** Whether a promise has settled yet. */
function watch(promise: Promise<unknown>): { isSettled: boolean } {
  const watched = { isSettled: false };
  void promise.then(() => watched.isSettled = true);
  return watched;
}

Deno.test("sleep() resolves when the delay has passed and not before", async () => {
  const clock = new FakeClock();
  const sleeping = watch(sleep(clock, 100));
  await clock.advance(99);
  assert.equal(sleeping.isSettled, false);
  await clock.advance(1);
  assert.equal(sleeping.isSettled, true);
});

Deno.test("sleep() resolves at once when its signal aborts, and takes its timer back", async () => {
  const clock = new FakeClock();
  const controller = new AbortController();
  const sleeping = sleep(clock, 100, controller.signal);
  assert.equal(clock.pendingTimers, 1);
  controller.abort();
  await sleeping;
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("sleep() sets no timer when its signal has aborted before", async () => {
  const clock = new FakeClock();
  await sleep(clock, 100, AbortSignal.abort());
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("sleep() leaves no listener on its signal", async () => {
  const clock = new FakeClock();
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    listeners++;
    addEventListener.apply(signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    listeners--;
    removeEventListener.apply(signal, args);
  };
  const sleeping = sleep(clock, 5, signal);
  assert.equal(listeners, 1);
  await clock.advance(5);
  await sleeping;
  assert.equal(listeners, 0);
});

Deno.test("systemClock tells epoch milliseconds and a monotonic time that is not the epoch's", () => {
  assert.ok(systemClock.nowMs() > Date.UTC(2020, 0, 1));
  assert.ok(systemClock.monotonicMs() < Date.UTC(2020, 0, 1));
});

Deno.test("systemClock.setTimer() does not fire a delay beyond the runtime's longest at once", async () => {
  let hasFired = false;
  const timer = systemClock.setTimer(() => hasFired = true, MAX_TIMER_MS + 1);
  await settlePromises();
  await settlePromises();
  timer.cancel();
  assert.equal(hasFired, false);
});

Deno.test("systemClock.setTimer() fires a negative delay, and never after cancel()", async () => {
  const fired: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const cancelled = systemClock.setTimer(() => fired.push("cancelled"), -1);
  cancelled.cancel();
  systemClock.setTimer(() => {
    fired.push("kept");
    resolve();
  }, -1);
  await promise;
  assert.deepEqual(fired, ["kept"]);
});

Deno.test("FakeClock.advance() fires timers by due time, then by the order they were set in", async () => {
  const clock = new FakeClock();
  const fired: string[] = [];
  clock.setTimer(() => fired.push(`c at ${clock.monotonicMs()}`), 20);
  clock.setTimer(() => fired.push(`a at ${clock.monotonicMs()}`), 10);
  clock.setTimer(() => fired.push(`b at ${clock.monotonicMs()}`), 10);
  clock.setTimer(() => fired.push("never"), 31);
  await clock.advance(30);
  assert.deepEqual(fired, ["a at 10", "b at 10", "c at 20"]);
  assert.equal(clock.monotonicMs(), 30);
});

Deno.test("FakeClock.advance() also fires timers that promise chains set on the way", async () => {
  const clock = new FakeClock(1_000);
  const woke: number[] = [];
  const loop = async () => {
    for (let i = 0; i < 3; i++) {
      await sleep(clock, 10);
      woke.push(clock.nowMs());
    }
  };
  const done = loop();
  await clock.advance(35);
  await done;
  assert.deepEqual(woke, [1_010, 1_020, 1_030]);
});

Deno.test("ClockWatch.stepMs() tells once how far the time of day was set, forward or back", async () => {
  const clock = new FakeClock();
  const watch = new ClockWatch(clock);
  await clock.advance(86_400_000);
  assert.equal(watch.stepMs(), 0);
  clock.setTimeOfDay(clock.nowMs() + 5_000);
  assert.equal(watch.stepMs(), 5_000);
  assert.equal(watch.stepMs(), 0);
  await clock.advance(10_000);
  clock.setTimeOfDay(clock.nowMs() - 3_600_000);
  assert.equal(watch.stepMs(), -3_600_000);
  assert.equal(watch.stepMs(), 0);
});

Deno.test("ClockWatch.stepMs() adds small steps up until they matter", async () => {
  const clock = new FakeClock();
  const watch = new ClockWatch(clock);
  const steps: number[] = [];
  for (let i = 0; i < 10; i++) {
    clock.setTimeOfDay(clock.nowMs() + 100);
    await clock.advance(1_000);
    steps.push(watch.stepMs());
  }
  assert.deepEqual(steps, [0, 0, 300, 0, 0, 300, 0, 0, 300, 0]);
});

Deno.test("ClockWatch.stepMs() takes no pause of the process between the two clocks for a step", () => {
  const clock = new FakeClock();
  const watch = new ClockWatch(clock);
  const halting = Object.assign(Object.create(clock), {
    nowMs: () => (clock.jump(60_000), clock.nowMs()),
    monotonicMs: () => clock.monotonicMs(),
  });
  assert.equal(new ClockWatch(halting).stepMs(), 0);
  assert.equal(watch.stepMs(), 0);
});
