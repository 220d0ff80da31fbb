import assert from "node:assert/strict";
import { isUnreadable } from "../../../../src/core/format.ts";
import { raw } from "../../../../src/formats/raw.ts";
import { sidekiq7 } from "../../../../src/formats/sidekiq.ts";
import { jobOf } from "../../../../src/worker/consumer/slot_runner.ts";
import { FakeDelivery } from "../../../support/fake_broker.ts";

/** What becomes of a Sidekiq job that was taken back from this many workers that died, the last one just now. */
function triedAgain(fields: string, deaths: number, attempts: number): string {
  return tried(`${fields},"fervo_recovered":${deaths},"fervo_lost":true`, attempts);
}

/** What becomes of a Sidekiq job with this many attempts by the consumer. */
function tried(fields: string, attempts: number): string {
  const text = `{"class":"X","args":[]${fields}}`;
  const raw = new TextEncoder().encode(text);
  const delivery = new FakeDelivery("1", { raw, attempt: sidekiq7.facts(sidekiq7.parse(raw)).attempts + 1 })
    .read(sidekiq7);
  const job = jobOf(delivery, { maxAttempts: attempts, timeoutMs: 1_000, nowMs: 0, format: sidekiq7 });
  return isUnreadable(job) ? job.error.code : `try ${job.attempt} of ${job.maxAttempts}`;
}

Deno.test("jobOf() lets a Sidekiq job with `retry` be lost with its worker beside its tries, and one without within them", () => {
  assert.equal(triedAgain(',"retry":false', 1, 1), "try 2 of 2");
  assert.equal(triedAgain(',"retry":false', 2, 1), "try 3 of 3");
  assert.equal(triedAgain(',"retry":3', 1, 1), "try 2 of 5");
  assert.equal(triedAgain("", 1, 1), "JOB_CRASHED");
  assert.equal(triedAgain("", 1, 2), "try 2 of 2");
  assert.equal(triedAgain("", 2, 2), "JOB_CRASHED");
});

Deno.test("jobOf() runs a Sidekiq job that somebody has put back after its last attempt, once more", () => {
  // "Retry" takes one off the count of a job that had no retries, whose only attempt made it 0.
  for (const retry of ["0", "false", "-3"]) {
    assert.equal(tried(`,"retry":${retry},"retry_count":-1`, 5), "try 1 of 1", retry);
  }
  assert.equal(tried(',"retry":1,"retry_count":-1', 5), "try 1 of 2");
  assert.equal(tried(',"retry":1,"retry_count":0', 5), "try 2 of 2");
  assert.equal(tried(',"retry_count":3', 5), "try 5 of 5");
  // The limit was lowered, or its worker had died in all that it had.
  assert.equal(tried(',"retry_count":3', 2), "try 5 of 5");
  assert.equal(tried(',"retry_count":-1,"fervo_recovered":1', 1), "try 2 of 2");
  assert.equal(tried(',"retry":false,"retry_count":1e300', 1), "try 2147483649 of 2147483649");
});

/** The job of a message in the format `raw` with these headers. */
function rawJob(headers: Record<string, string>, times: { enqueuedAtMs?: number } = {}) {
  const delivery = new FakeDelivery("1", { headers, ...times });
  const job = jobOf(delivery, { maxAttempts: 1, timeoutMs: 1_000, nowMs: 5, format: raw });
  assert.ok(!isUnreadable(job));
  return job;
}

Deno.test("jobOf() hands on a trace that keeps its rules, and names what does not", () => {
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const { traceparent: parent, tracestate, ignored } = rawJob({ traceparent, tracestate: "a=1" });
  assert.deepEqual([parent, tracestate, ignored], [traceparent, "a=1", undefined]);
  const evil = rawJob({ traceparent: `${traceparent}\r\nX: y`, tracestate: "a=1" });
  assert.deepEqual([evil.traceparent, evil.tracestate, evil.ignored], [undefined, undefined, [
    "traceparent",
  ]]);
});

Deno.test("jobOf() takes now for the time of pushing where the message's can be none", () => {
  for (const odd of [1e300, -Infinity, NaN]) assert.equal(rawJob({}, { enqueuedAtMs: odd }).enqueuedAtMs, 5);
  assert.equal(rawJob({}, { enqueuedAtMs: 1.5 }).enqueuedAtMs, 2);
});

Deno.test("jobOf() says of a job that its former run may not have ended", () => {
  const limits = { maxAttempts: 1, timeoutMs: 1_000, nowMs: 5, format: raw };
  const isRepeat = (fields: { isRepeat?: boolean }) => {
    const job = jobOf(new FakeDelivery("1", fields), limits);
    return isUnreadable(job) ? job : job.isRepeat;
  };
  assert.deepEqual([isRepeat({ isRepeat: true }), isRepeat({})], [true, undefined]);
});
