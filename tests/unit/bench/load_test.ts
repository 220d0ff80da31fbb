import assert from "node:assert/strict";
import { type Clock, sleep } from "../../../src/core/time/clock.ts";
import { FervoError } from "../../../src/core/errors.ts";
import type { Job } from "../../../src/core/job.ts";
import { ACK, type Outcome } from "../../../src/core/outcome.ts";
import { FIRST_JOB_ID, Load, type LoadOptions, type LoadResult } from "../../../src/bench/load.ts";
import type { Executor } from "../../../src/executors/executor.ts";
import { FakeClock, settlePromises } from "../../support/fake_clock.ts";
import { buried, executorAway, failed, FakeExecutor, misconfigured } from "../../support/fake_executor.ts";

const NEVER = new AbortController().signal;
const OPTIONS: LoadOptions = {
  jobs: 10,
  concurrency: 3,
  queue: "bench",
  payload: new TextEncoder().encode("payload"),
  timeoutMs: 60_000,
  ratePerS: undefined,
  firstId: FIRST_JOB_ID,
};

/** Takes as long for each job as `durationMs` says of its index, and acknowledges it. */
class TimedExecutor extends FakeExecutor implements Executor {
  constructor(readonly clock: Clock, readonly durationMs: (index: number) => number) {
    super();
  }

  override async execute(job: Job, signal: AbortSignal): Promise<Outcome> {
    const running = super.execute(job, signal);
    const run = this.runs.at(-1)!;
    await sleep(this.clock, this.durationMs(Number(job.id) - FIRST_JOB_ID), signal);
    run.end(ACK);
    return await running;
  }
}

/** Runs a load to its end with jobs that take so long. */
async function runTimed(
  durationMs: (index: number) => number,
  options: Partial<LoadOptions> = {},
): Promise<{ result: LoadResult; executor: TimedExecutor }> {
  const clock = new FakeClock();
  const executor = new TimedExecutor(clock, durationMs);
  const running = new Load({ executor, clock }, { ...OPTIONS, ...options }).run(NEVER);
  await clock.advance(1_000);
  return { result: await running, executor };
}

Deno.test("Load runs exactly the jobs asked for, each with an id of its own, at most `concurrency` at once", async () => {
  const { result, executor } = await runTimed(() => 5);
  assert.deepEqual(executor.ids, Array.from({ length: 10 }, (_, i) => String(FIRST_JOB_ID + i)));
  assert.equal(executor.peak, 3);
  assert.deepEqual([...result.runMs], new Array(10).fill(5));
  assert.deepEqual([...result.startMs], [0, 0, 0, 5, 5, 5, 10, 10, 10, 15]);
  const { jobs, failed, elapsedMs, isComplete } = result;
  assert.deepEqual({ jobs, failed, elapsedMs, isComplete }, {
    jobs: 10,
    failed: 0,
    elapsedMs: 20,
    isComplete: true,
  });
});

Deno.test("Load gives each job the payload, the first attempt of several, and a deadline", async () => {
  const { executor } = await runTimed(() => 0, { jobs: 1, timeoutMs: 1_000 });
  assert.deepEqual(executor.runs[0]!.job, {
    id: String(FIRST_JOB_ID),
    queue: "bench",
    payload: OPTIONS.payload,
    attempt: 1,
    maxAttempts: 5,
    enqueuedAtMs: Date.UTC(2026, 0, 1),
    deadlineMs: Date.UTC(2026, 0, 1) + 1_000,
  });
});

Deno.test("Load with more slots than jobs runs each job once", async () => {
  const { executor, result } = await runTimed(() => 1, { jobs: 2, concurrency: 50 });
  assert.equal(executor.runs.length, 2);
  assert.equal(result.elapsedMs, 1);
});

const STALL = (index: number) => index === 3 ? 50 : 1;

Deno.test("Load shows a stall once in a closed loop, where later jobs wait unseen", async () => {
  const { result } = await runTimed(STALL, { concurrency: 1 });
  assert.deepEqual([...result.runMs], [1, 1, 1, 50, 1, 1, 1, 1, 1, 1]);
  assert.equal(result.lateMs.length, 0);
});

Deno.test("Load at a fixed rate counts from when a job should have started: a stall shows in all that it holds up", async () => {
  const { result } = await runTimed(STALL, { concurrency: 1, ratePerS: 100 });
  assert.deepEqual([...result.runMs], [1, 1, 1, 50, 41, 32, 23, 14, 5, 1]);
  assert.deepEqual([...result.lateMs], [0, 0, 0, 0, 40, 31, 22, 13, 4, 0]);
  assert.deepEqual([...result.startMs], [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
});

Deno.test("Load at a fixed rate holds the jobs in flight to `concurrency`, and starts on time when slots are free", async () => {
  const { executor, result } = await runTimed(() => 25, { concurrency: 3, ratePerS: 100 });
  assert.equal(executor.peak, 3);
  assert.deepEqual([...result.lateMs], new Array(10).fill(0));
  const { executor: busy } = await runTimed(() => 25, { concurrency: 2, ratePerS: 100 });
  assert.equal(busy.peak, 2);
});

Deno.test("Load counts failures by their text, and keeps their times out of the samples", async () => {
  const clock = new FakeClock();
  const executor = new FakeExecutor();
  executor.answer = ({ id }) =>
    id.endsWith("3") ? buried() : id.endsWith("5") || id.endsWith("6") ? failed() : ACK;
  const result = await new Load({ executor, clock }, OPTIONS).run(NEVER);
  assert.equal(result.jobs, 10);
  assert.equal(result.failed, 3);
  assert.equal(result.runMs.length, 7);
  assert.deepEqual([...result.failures].map(([text, { error, count }]) => [text, error.code, count]), [
    ["The job failed: no handler", "JOB_FAILED", 1],
    ["The job failed: because", "JOB_FAILED", 2],
  ]);
});

Deno.test("Load keeps a bounded number of failure texts, and counts all", async () => {
  const executor = new FakeExecutor();
  executor.answer = ({ id }) => ({ kind: "bury", error: new FervoError("JOB_FAILED", `Job ${id} failed`) });
  const result = await new Load({ executor, clock: new FakeClock() }, { ...OPTIONS, jobs: 50 }).run(NEVER);
  assert.equal(result.failures.size, 10);
  assert.equal([...result.failures.values()].reduce((sum, { count }) => sum + count, 0), 50);
});

for (
  const [name, outcome, code] of [
    ["php-fpm is misconfigured", misconfigured(), "FPM_MISCONFIGURED"],
    ["php-fpm is not there", executorAway(), "FASTCGI_CONNECT_FAILED"],
  ] as const
) {
  Deno.test(`Load ends at the first job that shows that ${name}, with that error`, async () => {
    const executor = new FakeExecutor();
    executor.answer = () => outcome;
    const load = new Load({ executor, clock: new FakeClock() }, { ...OPTIONS, jobs: 1_000 });
    await assert.rejects(load.run(NEVER), { code });
    assert.ok(executor.runs.length <= OPTIONS.concurrency);
  });
}

Deno.test("Load fails a job that takes too long, and goes on with the next in its slot", async () => {
  const { result, executor } = await runTimed((index) => index === 1 ? 900 : 1, {
    jobs: 4,
    concurrency: 1,
    timeoutMs: 100,
  });
  assert.equal(executor.runs.length, 4);
  assert.equal(result.failed, 1);
  assert.deepEqual([...result.failures.keys()], ["The job took longer than 100 ms"]);
  assert.deepEqual([...result.failures.values()].map(({ error }) => error.code), ["JOB_TIMEOUT"]);
  assert.notEqual(executor.runs[2]!.signal, executor.runs[1]!.signal);
  assert.equal(executor.runs[3]!.signal, executor.runs[2]!.signal);
});

Deno.test("Load that is stopped keeps what has ended, aborts what runs and does not count it", async () => {
  const clock = new FakeClock();
  const executor = new TimedExecutor(clock, (index) => index < 4 ? 5 : 1_000);
  const stop = new AbortController();
  const running = new Load({ executor, clock }, OPTIONS).run(stop.signal);
  await clock.advance(20);
  stop.abort();
  const { jobs, failed, isComplete, runMs } = await running;
  assert.deepEqual({ jobs, failed, isComplete }, { jobs: 4, failed: 0, isComplete: false });
  assert.deepEqual([...runMs], [5, 5, 5, 5]);
  assert.equal(executor.running, 0);
  assert.equal((executor.runs.at(-1)!.signal.reason as FervoError).code, "SHUTDOWN");
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("Load that is stopped before a job's time starts no further one", async () => {
  const clock = new FakeClock();
  const executor = new TimedExecutor(clock, () => 1);
  const stop = new AbortController();
  const running = new Load({ executor, clock }, { ...OPTIONS, ratePerS: 10 }).run(stop.signal);
  await clock.advance(150);
  stop.abort();
  const { jobs, lateMs } = await running;
  assert.equal(jobs, 2);
  assert.equal(lateMs.length, 2);
  await settlePromises();
  assert.equal(executor.runs.length, 2);
});
