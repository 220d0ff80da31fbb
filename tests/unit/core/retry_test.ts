import assert from "node:assert/strict";
import fc from "fast-check";
import { DEFAULT_RETRY_POLICY, retryDelayMs, type RetryPolicy } from "../../../src/core/retry.ts";

const POLICY: RetryPolicy = { attempts: 9, delayMs: 100, factor: 3, maxDelayMs: 5_000, jitter: 0 };

Deno.test("retryDelayMs() multiplies the first delay by the factor for each further attempt, up to the maximum", () => {
  const delays = [1, 2, 3, 4, 5, 6].map((attempt) => retryDelayMs(POLICY, attempt, 0.5));
  assert.deepEqual(delays, [100, 300, 900, 2_700, 5_000, 5_000]);
});

Deno.test("retryDelayMs() spreads the delay by the jitter's share to both sides", () => {
  const policy = { ...POLICY, jitter: 0.2 };
  assert.equal(retryDelayMs(policy, 1, 0), 80);
  assert.equal(retryDelayMs(policy, 1, 0.5), 100);
  assert.equal(retryDelayMs(policy, 1, 0.75), 110);
});

Deno.test("retryDelayMs() stays at the maximum when the power overflows", () => {
  assert.equal(retryDelayMs(POLICY, 100_000, 0.5), 5_000);
  assert.equal(retryDelayMs({ ...POLICY, delayMs: 0 }, 100_000, 0.5), 0);
});

Deno.test("retryDelayMs() is a whole number of milliseconds within the jitter of the maximum for any policy", () => {
  fc.assert(fc.property(
    fc.record({
      attempts: fc.integer({ min: 1 }),
      delayMs: fc.double({ min: 0.001, max: 1e7, noNaN: true }),
      factor: fc.double({ min: 1, max: 100, noNaN: true }),
      maxDelayMs: fc.integer({ min: 1, max: 1e9 }),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    fc.integer({ min: 1, max: 10_000 }),
    fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    (policy, attempt, random) => {
      const delayMs = retryDelayMs(policy, attempt, random);
      assert.ok(Number.isSafeInteger(delayMs), `${delayMs} is not whole`);
      assert.ok(delayMs >= 0 && delayMs <= Math.round(policy.maxDelayMs * (1 + policy.jitter)), `${delayMs}`);
    },
  ));
});

Deno.test("DEFAULT_RETRY_POLICY waits 1, 4, 16 and 64 seconds", () => {
  const delays = [1, 2, 3, 4].map((attempt) => retryDelayMs(DEFAULT_RETRY_POLICY, attempt, 0.5));
  assert.deepEqual(delays, [1_000, 4_000, 16_000, 64_000]);
  assert.equal(DEFAULT_RETRY_POLICY.attempts, 5);
});
