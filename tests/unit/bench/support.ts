import type { BenchRun, MeasuredRound, ModeRun } from "../../../src/bench/bench.ts";
import { evaluate } from "../../../src/bench/evaluate.ts";
import type { LoadResult } from "../../../src/bench/load.ts";
import type { BenchResult, Conditions, ModeName } from "../../../src/bench/result.ts";

export const CONDITIONS: Conditions = {
  fervo_worker_version: "1.2.3",
  runtime: "Deno 2.9.6",
  cpu_model: "A CPU",
  cpu_cores: 2,
  memory_bytes: 8 * 2 ** 30,
  kernel: "6.1.0",
  load_average: 0.25,
  php_version: "8.2.29",
  php_fpm_version: "8.2.29",
  pool: "own",
  address: "/tmp/x/fpm.sock",
  transport: "unix",
  pm: "static",
  children: 4,
  script: "/tmp/x/job.php",
  process_command: ["/usr/bin/php8.2", "/tmp/x/job.php"],
  queue: "bench",
  payload_bytes: 7,
  jobs: 4,
  concurrency: 4,
  warmup: 10,
  repeat: 1,
  rate_per_s: null,
  timeout_ms: 60_000,
  started_at: "2026-01-01T00:00:00.000Z",
  duration_s: 12.5,
  complete: true,
};

/** Jobs that took so long, one after the other. */
export function load(runMs: readonly number[], fields: Partial<LoadResult> = {}): LoadResult {
  return {
    jobs: runMs.length,
    failed: 0,
    elapsedMs: runMs.reduce((sum, ms) => sum + ms, 0),
    startMs: Float64Array.from(runMs.keys()),
    runMs: Float64Array.from(runMs),
    lateMs: new Float64Array(0),
    failures: new Map(),
    isComplete: true,
    ...fields,
  };
}

export function round(runMs: readonly number[], fields: Partial<LoadResult> = {}): MeasuredRound {
  return { load: load(runMs, fields), workerCpuUs: 100 * runMs.length, phpCpuUs: 200 * runMs.length };
}

export function modeRun(
  mode: ModeName,
  rounds: readonly MeasuredRound[],
  fields: Partial<ModeRun> = {},
): ModeRun {
  return {
    mode,
    rounds,
    memory: { bytes: 30 * 2 ** 20, kind: "pss" },
    workerMemoryBytes: 100 * 2 ** 20,
    atChildren: undefined,
    ...fields,
  };
}

export function benchRun(modes: readonly ModeRun[], isComplete = true): BenchRun {
  return { modes, processFailure: undefined, isComplete };
}

export function resultOf(
  modes: readonly ModeRun[],
  conditions: Partial<Conditions> = {},
  notes: readonly string[] = [],
): BenchResult {
  return evaluate(benchRun(modes), { ...CONDITIONS, ...conditions }, notes);
}
