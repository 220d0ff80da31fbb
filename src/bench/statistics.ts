/** Statistics of samples in typed arrays: exact, from all of them. */
import type { Bucket, RunTime } from "./result.ts";

/**
 * What the samples tell; null when there are none. In the samples' own unit.
 *
 * `stdev` is that of the population, for these are all the jobs that there were. A percentile is the smallest sample
 * that this many percent do not exceed; the median of an even number is the mean of the middle two.
 */
export function summarize(samples: Float64Array): RunTime | null {
  if (samples.length === 0) return null;
  const sorted = samples.toSorted();
  const mean = sum(sorted) / sorted.length;
  const variance = sorted.reduce((total, value) => total + (value - mean) ** 2, 0) / sorted.length;
  return {
    mean,
    median: medianOfSorted(sorted),
    min: sorted[0]!,
    max: sorted.at(-1)!,
    stdev: Math.sqrt(variance),
    p95: percentileOfSorted(sorted, 95),
    p99: percentileOfSorted(sorted, 99),
  };
}

export function median(values: Iterable<number>): number {
  return medianOfSorted(Float64Array.from(values).sort());
}

/** By nearest rank: the smallest value that `percent` percent of all do not exceed. */
export function percentile(values: Iterable<number>, percent: number): number {
  return percentileOfSorted(Float64Array.from(values).sort(), percent);
}

export function mean(values: Float64Array): number {
  return sum(values) / values.length;
}

/** How many buckets of the histogram make a factor of ten. */
export const BUCKETS_PER_DECADE = 20;

/** Counts positive samples in buckets of equal width on a log scale; empty buckets are left out. */
export function histogram(samples: Float64Array): Bucket[] {
  const counts = new Map<number, number>();
  for (const sample of samples) {
    const bucket = Math.floor(Math.log10(Math.max(sample, Number.MIN_VALUE)) * BUCKETS_PER_DECADE);
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  const edge = (bucket: number) => 10 ** (bucket / BUCKETS_PER_DECADE);
  return [...counts].sort(([a], [b]) => a - b)
    .map(([bucket, jobs]) => ({ from_s: edge(bucket), to_s: edge(bucket + 1), jobs }));
}

function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0);
}

function medianOfSorted(sorted: Float64Array): number {
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function percentileOfSorted(sorted: Float64Array, percent: number): number {
  return sorted[Math.max(Math.ceil(sorted.length * percent / 100), 1) - 1]!;
}
