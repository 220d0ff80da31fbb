import assert from "node:assert/strict";
import { cpuBetween, type CpuTotal } from "../../../src/bench/usage.ts";

const total = (live: [pid: number, us: number][], endedUs: number): CpuTotal => ({
  liveUs: new Map(live),
  endedUs,
});

Deno.test("cpuBetween() is to the nanosecond as long as the same processes live", () => {
  // What ended meanwhile belongs to others, and its ticks are coarse.
  assert.equal(cpuBetween(total([[1, 10.5], [2, 20]], 1_000), total([[1, 15], [2, 21.25]], 11_000)), 5.75);
});

Deno.test("cpuBetween() adds what ended processes used, when one of them has ended", () => {
  // 2 had used 20 and ended with 10_020; 3 came.
  assert.equal(cpuBetween(total([[1, 10], [2, 20]], 50_000), total([[1, 15], [3, 7]], 60_020)), 10_012);
});

Deno.test("cpuBetween() of processes that all end is what ended", () => {
  assert.equal(cpuBetween(total([], 10_000), total([], 250_000)), 240_000);
});

Deno.test("cpuBetween() is null when either reading is missing", () => {
  assert.equal(cpuBetween(null, total([], 1)), null);
  assert.equal(cpuBetween(total([], 1), null), null);
});

Deno.test("cpuBetween() adds what ended processes used, when there are only new ones, of which some may have ended", () => {
  // A php-fpm whose children had all left when it was first looked at.
  assert.equal(cpuBetween(total([[1, 10]], 50_000), total([[1, 15], [3, 7]], 60_000)), 10_012);
});
