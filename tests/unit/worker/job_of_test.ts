import assert from "node:assert/strict";
import { FervoError } from "../../../src/core/errors.ts";
import { sidekiq7 } from "../../../src/dialects/sidekiq.ts";
import { jobOf } from "../../../src/worker/job_of.ts";
import { FakeDelivery } from "../../support/fake_driver.ts";

/** What becomes of a Sidekiq job that was taken back from so many workers that died, with so many tries by the consumer. */
function triedAgain(fields: string, deaths: number, attempts: number): string {
  const text = `{"class":"X","args":[]${fields},"fervo_recovered":${deaths}}`;
  const raw = new TextEncoder().encode(text);
  const delivery = new FakeDelivery("1", { raw, attempt: sidekiq7.read(raw).tries + 1 });
  const job = jobOf(delivery, sidekiq7, { maxAttempts: attempts, timeoutMs: 1_000, nowMs: 0 });
  return job instanceof FervoError ? job.code : `try ${job.attempt} of ${job.maxAttempts}`;
}

Deno.test("jobOf() lets a Sidekiq job with `retry` be lost with its worker beside its tries, and one without within them", () => {
  assert.equal(triedAgain(',"retry":false', 1, 1), "try 2 of 2");
  assert.equal(triedAgain(',"retry":false', 2, 1), "try 3 of 3");
  assert.equal(triedAgain(',"retry":3', 1, 1), "try 2 of 5");
  assert.equal(triedAgain("", 1, 1), "JOB_CRASHED");
  assert.equal(triedAgain("", 1, 2), "try 2 of 2");
  assert.equal(triedAgain("", 2, 2), "JOB_CRASHED");
});
