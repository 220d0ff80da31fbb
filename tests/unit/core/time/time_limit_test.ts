import assert from "node:assert/strict";
import { inTime } from "../../../../src/core/time/time_limit.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

function setUp() {
  const clock = new FakeClock();
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const discarded: string[] = [];
  const limit = { ms: 100, discard: (late: string) => void discarded.push(late) };
  return { clock, promise, resolve, reject, discarded, limit };
}

Deno.test("inTime() gives what comes in time, and nothing is discarded", async () => {
  const { clock, promise, resolve, discarded, limit } = setUp();
  const result = inTime(clock, promise, limit);
  resolve("here");
  assert.equal(await result, "here");
  assert.deepEqual(discarded, []);
});

Deno.test("inTime() rejects as the promise does", async () => {
  const { clock, promise, reject, limit } = setUp();
  const result = inTime(clock, promise, limit);
  reject(new Error("refused"));
  await assert.rejects(result, /refused/);
});

Deno.test("inTime() rejects when the time is up, and discards what comes later", async () => {
  const { clock, promise, resolve, discarded, limit } = setUp();
  const result = inTime(clock, promise, limit);
  const rejected = assert.rejects(result, /no answer in 100 ms/);
  await clock.advance(100);
  await rejected;
  resolve("late");
  await promise;
  assert.deepEqual(discarded, ["late"]);
});

Deno.test("inTime() rejects with the signal's reason, also when that was aborted before", async () => {
  for (const isBefore of [true, false]) {
    const { clock, promise, resolve, discarded, limit } = setUp();
    const abort = new AbortController();
    if (isBefore) abort.abort(new Error("enough"));
    const result = inTime(clock, promise, { ...limit, signal: abort.signal });
    abort.abort(new Error("enough"));
    await assert.rejects(result, /enough/);
    resolve("late");
    await promise;
    assert.deepEqual(discarded, ["late"]);
  }
});
