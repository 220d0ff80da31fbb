import assert from "node:assert/strict";
import { FervoError } from "../../../src/core/errors.ts";
import { load, modeRun, resultOf, round } from "./support.ts";

Deno.test("evaluate() takes run times over all rounds, and the throughput as the median of the rounds", () => {
  const [mode] = resultOf([modeRun("fastcgi", [round([1, 3]), round([10, 10]), round([2, 2])])]).modes;
  assert.deepEqual(mode!.run_time_s, {
    mean: 0.00466667,
    median: 0.0025,
    min: 0.001,
    max: 0.01,
    stdev: 0.00381517,
    p95: 0.01,
    p99: 0.01,
  });
  assert.deepEqual(mode!.rounds.map(({ throughput_per_s }) => throughput_per_s), [500, 100, 500]);
  assert.equal(mode!.throughput_per_s, 500);
  assert.equal(mode!.jobs, 6);
  assert.equal(mode!.worker_cpu_us_per_job, 100);
  assert.equal(mode!.php_cpu_us_per_job, 200);
  assert.equal(mode!.peak_memory_bytes, 30 * 2 ** 20);
  assert.equal(mode!.memory_kind, "pss");
});

Deno.test("evaluate() counts only jobs that went well as throughput, and tells the failures", () => {
  const error = new FervoError("JOB_FAILED", "The job failed: because");
  const failures = new Map([["The job failed: because", { error, count: 1 }]]);
  const [mode] = resultOf([
    modeRun("fastcgi", [
      round([1, 1], { jobs: 3, failed: 1, elapsedMs: 10, failures }),
      round([1, 1], { jobs: 3, failed: 1, elapsedMs: 10, failures }),
    ]),
  ]).modes;
  assert.equal(mode!.throughput_per_s, 200);
  assert.equal(mode!.failed, 2);
  assert.deepEqual(mode!.failures, [{ code: "JOB_FAILED", message: "The job failed: because", count: 2 }]);
});

Deno.test("evaluate() says null, not 0, of what was not measured", () => {
  const [mode] = resultOf([
    modeRun("fastcgi", [{
      ...round([]),
      load: load([], { jobs: 2, failed: 2, elapsedMs: 5 }),
      phpCpuUs: null,
    }], {
      memory: null,
      workerMemoryBytes: null,
    }),
  ]).modes;
  const { run_time_s, php_cpu_us_per_job, peak_memory_bytes, memory_kind, worker_memory_bytes } = mode!;
  assert.deepEqual([run_time_s, php_cpu_us_per_job, peak_memory_bytes, memory_kind, worker_memory_bytes], [
    null,
    null,
    null,
    null,
    null,
  ]);
});

Deno.test("evaluate() takes ratios round by round: each mode to process, and fastcgi to raw", () => {
  const { ratios } = resultOf([
    modeRun("fastcgi", [round([1]), round([2]), round([1])]),
    modeRun("process", [round([100]), round([100]), round([400])]),
    modeRun("raw", [round([0.5]), round([0.5]), round([0.5])]),
  ]);
  assert.deepEqual(ratios, [
    { of: "fastcgi", to: "process", throughput: { median: 100, min: 50, max: 400 } },
    { of: "raw", to: "process", throughput: { median: 200, min: 200, max: 800 } },
    { of: "fastcgi", to: "raw", throughput: { median: 0.5, min: 0.25, max: 0.5 } },
  ]);
});

Deno.test("evaluate() leaves an interrupted round out of ratios and throughput, and keeps its samples", () => {
  const { ratios, modes } = resultOf([
    modeRun("fastcgi", [round([1]), round([1, 1], { elapsedMs: 100, isComplete: false })]),
    modeRun("process", [round([100]), round([200])]),
  ]);
  assert.deepEqual(ratios, [{
    of: "fastcgi",
    to: "process",
    throughput: { median: 100, min: 100, max: 100 },
  }]);
  assert.equal(modes[0]!.throughput_per_s, 1_000);
  assert.equal(modes[0]!.jobs, 3);
  assert.deepEqual(modes[0]!.rounds.map(({ complete }) => complete), [true, false]);
});

Deno.test("evaluate() makes no ratio of a mode of which no job went well", () => {
  const nothing = round([], { jobs: 2, failed: 2, elapsedMs: 5 });
  assert.deepEqual(resultOf([modeRun("fastcgi", [round([1])]), modeRun("process", [nothing])]).ratios, []);
});

/** 101 jobs at 100/s, of which the last starts so late. */
function late(lastMs: number) {
  const lateMs = new Float64Array(101);
  lateMs[100] = lastMs;
  return round(new Array(101).fill(1), { lateMs });
}

Deno.test("evaluate() tells how a rate was kept, of the worst round", () => {
  const { modes, ratios } = resultOf([
    modeRun("fastcgi", [late(0), late(250), late(3)]),
    modeRun("process", [late(3)]),
  ], {
    rate_per_s: 100,
  });
  assert.deepEqual(modes[0]!.rate, {
    asked_per_s: 100,
    achieved_per_s: 80,
    met: false,
    late_start_s: { mean: 0.00247525, p99: 0, max: 0.25 },
  });
  assert.equal(modes[1]!.rate!.met, true);
  assert.deepEqual(ratios, []);
});

Deno.test("evaluate() compares more jobs at once than children with as many, and takes the wait from Little's law", () => {
  // 8 jobs of 4 ms in 4 ms: 8 under way; 2 children run 2 of them.
  const crowded = round(new Array(8).fill(4), { elapsedMs: 4 });
  const fitting = load([1, 1, 1, 1], { elapsedMs: 2 });
  const run = modeRun("fastcgi-fresh", [crowded], { atChildren: fitting });
  assert.deepEqual(resultOf([run], { children: 2, concurrency: 8 }).waiting, [{
    mode: "fastcgi-fresh",
    children: 2,
    concurrency: 8,
    at_concurrency: { throughput_per_s: 2_000, mean_s: 0.004, stdev_s: 0, p99_s: 0.004 },
    at_children: { throughput_per_s: 2_000, mean_s: 0.001, stdev_s: 0, p99_s: 0.001 },
    waiting_share: 0.75,
  }]);
  const idle = modeRun("fastcgi", [round([4, 4], { elapsedMs: 100 })], { atChildren: fitting });
  assert.equal(resultOf([idle], { children: 2, concurrency: 8 }).waiting[0]!.waiting_share, null);
  assert.deepEqual(resultOf([run], { children: null }).waiting, []);
});
