import assert from "node:assert/strict";
import { JobError } from "../../../src/core/errors.ts";
import { ACK, type Verdict } from "../../../src/core/outcome.ts";
import { Tally } from "../../../src/telemetry/tally.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const error = new JobError("JOB_FAILED", "The job failed");
const retry: Verdict = { kind: "retry", error, delayMs: 0 };
const bury: Verdict = { kind: "bury", error };
const release: Verdict = { kind: "release", reason: "shutdown", error };

async function tallyOf(clock = new FakeClock()) {
  const tally = await Tally.create(clock);
  const job = { consumer: "main", queue: "default", id: "1", attempt: 1 };
  return {
    clock,
    tally,
    settle: (verdict: Verdict, runMs: number) =>
      tally.observe({ type: "job_settled", ...job, verdict, waitMs: undefined, runMs }),
    job,
  };
}

/** Equal to three digits. */
function assertNear(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= expected / 1_000, `${actual} is not ${expected}`);
}

Deno.test("Tally counts what became of the tries", async () => {
  const { tally, settle, job } = await tallyOf();
  for (let i = 0; i < 4; i++) settle(ACK, 1);
  for (let i = 0; i < 3; i++) settle(retry, 1);
  for (let i = 0; i < 2; i++) settle(bury, 1);
  for (let i = 0; i < 5; i++) settle(release, 1);
  for (let i = 0; i < 6; i++) tally.observe({ type: "lease_lost", ...job, waitMs: undefined, runMs: 1 });
  const { done, retried, dead, released, leasesLost } = tally.summary();
  assert.deepEqual({ done, retried, dead, released, leasesLost }, {
    done: 4,
    retried: 3,
    dead: 2,
    released: 5,
    leasesLost: 6,
  });
});

Deno.test("Tally.finished counts the jobs that have reached their end", async () => {
  const { tally, settle } = await tallyOf();
  settle(ACK, 1);
  settle(retry, 1);
  settle(bury, 1);
  settle(release, 1);
  assert.equal(tally.finished, 2);
});

Deno.test("Tally counts jobs that were taken back; those that went to the dead letters have reached their end", async () => {
  const { tally } = await tallyOf();
  const from = { type: "jobs_recovered", queue: "default", process: "host:1:a" } as const;
  tally.observe({ ...from, putBack: 3, buried: 0 });
  tally.observe({ ...from, putBack: 1, buried: 2 });
  const { recovered, dead, done } = tally.summary();
  assert.deepEqual({ recovered, dead, done }, { recovered: 4, dead: 2, done: 0 });
  assert.equal(tally.finished, 2);
});

Deno.test("Tally takes no notice of other events", async () => {
  const { clock, tally, job } = await tallyOf();
  clock.jump(1_000);
  const before = tally.summary();
  tally.observe({ type: "job_started", ...job });
  tally.observe({ type: "consumer_paused", consumer: "main", error, forMs: 50 });
  tally.observe({ type: "broker_failed", consumer: "main", during: "settle", error });
  assert.deepEqual(tally.summary(), before);
});

Deno.test("Tally gives the jobs a second since its start", async () => {
  const { clock, tally, settle } = await tallyOf();
  for (let i = 0; i < 300; i++) settle(ACK, 1);
  settle(retry, 1);
  clock.jump(1_500);
  const { seconds, jobsPerSecond } = tally.summary();
  assert.deepEqual([seconds, jobsPerSecond], [1.5, 200]);
});

Deno.test("Tally gives percentiles of the run times to three digits", async () => {
  const { tally, settle } = await tallyOf();
  // 1 to 1000 ms in an order of no meaning.
  for (let i = 0; i < 1_000; i++) settle(i % 2 === 0 ? ACK : retry, ((i * 377) % 1_000) + 1);
  const { p50, p95, p99, max } = tally.summary().runMs;
  assertNear(p50, 500);
  assertNear(p95, 950);
  assertNear(p99, 990);
  assertNear(max, 1_000);
});

Deno.test("Tally gives no percentile above the longest run", async () => {
  const { tally, settle } = await tallyOf();
  for (const runMs of [500.7, 501.3, 501.9]) settle(ACK, runMs);
  const { p50, p99, max } = tally.summary().runMs;
  assert.ok(p50 <= max && p99 <= max, `${p50} ${p99} ${max}`);
});

Deno.test("Tally measures run times from microseconds to days", async () => {
  for (const runMs of [0.025, 1, 86_400_000]) {
    const { tally, settle } = await tallyOf();
    settle(ACK, runMs);
    assertNear(tally.summary().runMs.p50, runMs);
  }
});

Deno.test("Tally keeps run times beyond its range at its ends", async () => {
  const { tally, settle } = await tallyOf();
  settle(ACK, 0);
  settle(ACK, 10 * 86_400_000);
  const { p50, max } = tally.summary().runMs;
  assert.equal(p50, 0.001);
  assertNear(max, 86_400_000);
});

Deno.test("Tally does not count deliveries that were put back among the run times", async () => {
  const { tally, settle } = await tallyOf();
  settle(ACK, 5);
  settle(release, 5_000);
  assertNear(tally.summary().runMs.max, 5);
});
