import { type BenchRun, type MeasuredRound, type ModeRun, roundResult, throughputOf } from "./bench.ts";
import type { LoadResult } from "./load.ts";
import type {
  BenchResult,
  Conditions,
  Failure,
  ModeName,
  ModeResult,
  RateResult,
  Ratio,
  Waiting,
  WaitingTimes,
} from "./result.ts";
import { histogram, mean, median, percentile, summarize } from "./statistics.ts";

/** At most this many failures of each mode are reported. */
const MAX_FAILURES = 3;

/**
 * A rate counts as kept when the last job was late by at most this share of the planned time of all starts, or by this many
 * milliseconds, the delay of a busy machine's timers, whichever is more.
 */
const LATE_SHARE = 0.01;
const LATE_MS = 20;

/** Computes the figures from the measurements. */
export function evaluate(run: BenchRun, conditions: Conditions, notes: readonly string[]): BenchResult {
  return deepRounded({
    version: 1,
    conditions,
    modes: run.modes.map((mode) => modeResult(mode, conditions.rate_per_s)),
    ratios: conditions.rate_per_s === null ? ratiosOf(run.modes) : [],
    waiting: run.modes.flatMap((mode) => waitingOf(mode, conditions)),
    notes,
  });
}

function modeResult(
  { mode, rounds, memory, workerMemoryBytes }: ModeRun,
  ratePerS: number | null,
): ModeResult {
  const seconds = concat(rounds.map(({ load }) => load.runMs)).map((ms) => ms / 1_000);
  const jobs = rounds.reduce((sum, { load }) => sum + load.jobs, 0);
  const results = rounds.map(roundResult);
  const perJob = (total: (round: MeasuredRound) => number | null): number | null => {
    const totals = rounds.map(total);
    return totals.includes(null) ? null : (totals as number[]).reduce((sum, us) => sum + us, 0) / jobs;
  };
  return {
    mode,
    jobs,
    failed: rounds.reduce((sum, { load }) => sum + load.failed, 0),
    failures: failuresOf(rounds),
    throughput_per_s: median(wholeOrAll(rounds).map(({ load }) => throughputOf(load))),
    run_time_s: summarize(seconds),
    worker_cpu_us_per_job: perJob(({ workerCpuUs }) => workerCpuUs),
    php_cpu_us_per_job: perJob(({ phpCpuUs }) => phpCpuUs),
    peak_memory_bytes: memory?.bytes ?? null,
    memory_kind: memory?.kind ?? null,
    worker_memory_bytes: workerMemoryBytes,
    rounds: results,
    rate: ratePerS === null ? null : rateOf(rounds, ratePerS),
    histogram: histogram(seconds),
  };
}

/** The complete rounds; without any, all. */
function wholeOrAll(rounds: readonly MeasuredRound[]): readonly MeasuredRound[] {
  const whole = rounds.filter(({ load }) => load.isComplete);
  return whole.length > 0 ? whole : rounds;
}

function failuresOf(rounds: readonly MeasuredRound[]): Failure[] {
  const all = new Map<string, Failure>();
  for (const { load } of rounds) {
    for (const [message, { error, count }] of load.failures) {
      all.set(message, { code: error.code, message, count: count + (all.get(message)?.count ?? 0) });
    }
  }
  return [...all.values()].slice(0, MAX_FAILURES);
}

/** From the round that kept the rate worst. */
function rateOf(rounds: readonly MeasuredRound[], asked: number): RateResult {
  const results = rounds.map(({ load: { lateMs } }): RateResult => {
    const lastMs = (lateMs.length - 1) * 1_000 / asked;
    const lastLateMs = lateMs.at(-1) ?? 0;
    return {
      asked_per_s: asked,
      achieved_per_s: lateMs.length < 2 ? asked : (lateMs.length - 1) / (lastMs + lastLateMs) * 1_000,
      met: lastLateMs <= Math.max(LATE_SHARE * lastMs, LATE_MS),
      late_start_s: {
        mean: mean(lateMs) / 1_000,
        p99: percentile(lateMs, 99) / 1_000,
        max: percentile(lateMs, 100) / 1_000,
      },
    };
  });
  return results.sort((a, b) => a.achieved_per_s - b.achieved_per_s)[0]!;
}

/** Each mode against `process`, and the client against its ceiling; from rounds that both have completely. */
function ratiosOf(modes: readonly ModeRun[]): Ratio[] {
  const pairs: [of: ModeName, to: ModeName][] = [
    ...modes.filter(({ mode }) => mode !== "process").map((
      { mode },
    ): [ModeName, ModeName] => [mode, "process"]),
    ["fastcgi", "raw"],
  ];
  return pairs.flatMap(([of, to]) => {
    const [a, b] = [of, to].map((name) => modes.find(({ mode }) => mode === name)?.rounds ?? []);
    const values = a!.flatMap((round, index) => {
      const other = b![index];
      if (!round.load.isComplete || !other?.load.isComplete) return [];
      const value = throughputOf(round.load) / throughputOf(other.load);
      return Number.isFinite(value) ? [value] : [];
    });
    if (values.length === 0) return [];
    return [{
      of,
      to,
      throughput: { median: median(values), min: Math.min(...values), max: Math.max(...values) },
    }];
  });
}

/**
 * By Little's law, throughput times mean run time is the average number of jobs in progress. At most as many as children ran,
 * so the others waited. With fewer in progress, for instance at the end of a burst while kept connections occupy idle children,
 * it says nothing.
 */
function waitingOf({ mode, rounds, atChildren }: ModeRun, { children, concurrency }: Conditions): Waiting[] {
  if (atChildren === undefined || children === null) return [];
  const at_concurrency = timesOf(wholeOrAll(rounds).map(({ load }) => load));
  const at_children = timesOf([atChildren]);
  if (at_concurrency === undefined || at_children === undefined) return [];
  const underWay = at_concurrency.throughput_per_s * at_concurrency.mean_s;
  const waiting_share = underWay > children ? 1 - children / underWay : null;
  return [{ mode, children, concurrency, at_concurrency, at_children, waiting_share }];
}

function timesOf(loads: readonly LoadResult[]): WaitingTimes | undefined {
  const times = summarize(concat(loads.map(({ runMs }) => runMs)));
  if (times === null) return undefined;
  return {
    throughput_per_s: median(loads.map(throughputOf)),
    mean_s: times.mean / 1_000,
    stdev_s: times.stdev / 1_000,
    p99_s: times.p99 / 1_000,
  };
}

function concat(arrays: readonly Float64Array[]): Float64Array {
  const all = new Float64Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    all.set(array, at);
    at += array.length;
  }
  return all;
}

/** Six digits: more would pretend to a precision that no clock here has. */
function deepRounded<T>(value: T): T {
  if (typeof value === "number") return (Number.isInteger(value) ? value : Number(value.toPrecision(6))) as T;
  if (Array.isArray(value)) return value.map(deepRounded) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, deepRounded(inner)])) as T;
}
