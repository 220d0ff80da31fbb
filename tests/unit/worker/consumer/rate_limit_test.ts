import assert from "node:assert/strict";
import { RateLimit } from "../../../../src/worker/consumer/rate_limit.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

Deno.test("RateLimit lets a whole period's jobs start at once after a quiet time, however long, and then the rate", async () => {
  const clock = new FakeClock();
  const limit = new RateLimit({ clock, onChange: () => {} }, { jobs: 5, periodMs: 1_000 });
  await clock.advance(60_000);
  assert.equal(limit.room(), 5);
  limit.take(5);
  assert.equal(limit.room(), 0);
  await clock.advance(600);
  assert.equal(limit.room(), 3);
  limit.close();
});

Deno.test("RateLimit tells once, when the next job may start", async () => {
  const clock = new FakeClock();
  let calls = 0;
  const limit = new RateLimit({ clock, onChange: () => calls++ }, { jobs: 3, periodMs: 1_000 });
  limit.take(3);
  assert.deepEqual([limit.room(), limit.room()], [0, 0]);
  await clock.advance(333);
  assert.equal(calls, 0);
  await clock.advance(1);
  assert.deepEqual([calls, limit.room()], [1, 1]);
  limit.take(1);
  limit.room();
  limit.close();
  await clock.advance(60_000);
  assert.equal(calls, 1);
});

Deno.test("RateLimit counts the quiet time before jobs were taken once, however long it was", async () => {
  const clock = new FakeClock();
  const limit = new RateLimit({ clock, onChange: () => {} }, { jobs: 5, periodMs: 1_000 });
  assert.equal(limit.room(), 5);
  // As when the broker was asked for them, and had none for a while.
  await clock.advance(30_000);
  limit.take(5);
  assert.equal(limit.room(), 0);
  limit.close();
});

Deno.test("RateLimit.giveBack() lets another job start at once, tells it, and forgets the wait", async () => {
  const clock = new FakeClock();
  let calls = 0;
  const limit = new RateLimit({ clock, onChange: () => calls++ }, { jobs: 2, periodMs: 1_000 });
  limit.take(2);
  assert.equal(limit.room(), 0);
  await clock.advance(400);
  limit.giveBack();
  assert.deepEqual([calls, limit.room(), clock.pendingTimers], [1, 1, 0]);
  limit.giveBack();
  assert.deepEqual([calls, limit.room()], [1, 2], "one might start before");
});

Deno.test("RateLimit.giveBack() never lets more jobs start than the bucket holds", async () => {
  const clock = new FakeClock();
  const limit = new RateLimit({ clock, onChange: () => {} }, { jobs: 3, periodMs: 1_000 });
  limit.take(2);
  await clock.advance(60_000);
  limit.giveBack();
  limit.giveBack();
  assert.equal(limit.room(), 3);
  limit.giveBack();
  limit.take(3);
  assert.equal(limit.room(), 0, "nor holds more than it tells");
  limit.close();
});
