import assert from "node:assert/strict";
import fc from "fast-check";
import {
  BUCKETS_PER_DECADE,
  histogram,
  median,
  percentile,
  summarize,
} from "../../../src/bench/statistics.ts";

const samples = fc.array(fc.double({ min: 1e-6, max: 1e4, noNaN: true }), { minLength: 1, maxLength: 200 });

Deno.test("summarize() gives the textbook's figures: population stdev, nearest-rank percentiles", () => {
  assert.deepEqual(
    summarize(Float64Array.of(9, 2, 5, 4, 12, 7, 8, 11, 9, 3, 7, 4, 12, 5, 4, 10, 9, 6, 9, 4)),
    {
      mean: 7,
      median: 7,
      min: 2,
      max: 12,
      stdev: Math.sqrt(178 / 20),
      p95: 12,
      p99: 12,
    },
  );
  const hundred = Float64Array.from({ length: 100 }, (_, i) => 100 - i);
  const { median, p95, p99 } = summarize(hundred)!;
  assert.deepEqual({ median, p95, p99 }, { median: 50.5, p95: 95, p99: 99 });
});

Deno.test("summarize() of one sample is that sample, without spread; of none there is nothing to say", () => {
  assert.deepEqual(summarize(Float64Array.of(3)), {
    mean: 3,
    median: 3,
    min: 3,
    max: 3,
    stdev: 0,
    p95: 3,
    p99: 3,
  });
  assert.equal(summarize(new Float64Array(0)), null);
});

Deno.test("summarize() does not depend on the order and leaves its samples as they are", () => {
  fc.assert(fc.property(samples, (values) => {
    const given = Float64Array.from(values);
    const told = summarize(given)!;
    assert.deepEqual([...given], values);
    const again = summarize(given.toReversed())!;
    for (const name of ["median", "min", "max", "p95", "p99"] as const) assert.equal(again[name], told[name]);
    assert.ok(
      told.min <= told.median && told.median <= told.p95 && told.p95 <= told.p99 && told.p99 <= told.max,
    );
    assert.ok(told.stdev <= (told.max - told.min) / 2 + 1e-9);
  }));
});

Deno.test("percentile() is the smallest sample that so many percent do not exceed", () => {
  fc.assert(fc.property(samples, fc.integer({ min: 1, max: 100 }), (values, percent) => {
    const value = percentile(values, percent);
    const notAbove = (limit: number) => values.filter((other) => other <= limit).length;
    assert.ok(notAbove(value) >= values.length * percent / 100);
    const smaller = values.filter((other) => other < value);
    if (smaller.length > 0) assert.ok(notAbove(Math.max(...smaller)) < values.length * percent / 100);
  }));
});

Deno.test("median() of an even number is the mean of the middle two", () => {
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(median(new Set([3, 1, 2])), 2);
});

Deno.test("histogram() counts every sample once, in a bucket that holds it", () => {
  fc.assert(fc.property(samples, (values) => {
    const buckets = histogram(Float64Array.from(values));
    assert.equal(buckets.reduce((sum, { jobs }) => sum + jobs, 0), values.length);
    for (const { from_s, to_s, jobs } of buckets) {
      const inside = values.filter((value) => value >= from_s * (1 - 1e-9) && value < to_s * (1 + 1e-9));
      assert.ok(inside.length >= jobs);
      assert.ok(Math.abs(to_s / from_s - 10 ** (1 / BUCKETS_PER_DECADE)) < 1e-9);
    }
  }));
});
