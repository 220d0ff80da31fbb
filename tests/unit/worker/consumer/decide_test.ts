import assert from "node:assert/strict";
import { JobError } from "../../../../src/core/errors.ts";
import { DEFAULT_RETRY_POLICY } from "../../../../src/core/retry.ts";
import { decide } from "../../../../src/worker/consumer/in_flight.ts";

const error = new JobError("JOB_FAILED", "It went wrong");
const NOW_MS = 1_700_000_000_000;
const job = {
  attempt: 2,
  maxAttempts: 3,
  nowMs: NOW_MS,
  retry: { ...DEFAULT_RETRY_POLICY, jitter: 0 },
  random: () => 0.5,
};
const withRule = {
  ...job,
  format: { retryDelayMs: (attempt: number, random: number) => attempt * 1_000 + random },
};

Deno.test("decide() takes PHP's delay, then the rule of the format, then the policy", {
  permissions: "none",
}, () => {
  const asked = { kind: "retry", error, delayMs: 7 } as const;
  const unasked = { kind: "retry", error } as const;
  assert.deepEqual(decide(asked, withRule), asked);
  assert.deepEqual(decide(unasked, withRule), { ...unasked, delayMs: 2_000.5 });
  assert.deepEqual(decide(unasked, { ...job, format: {} }), { ...unasked, delayMs: 4_000 });
});

Deno.test("decide() buries after the last try, whatever the delay", { permissions: "none" }, () => {
  const outcome = { kind: "retry", error, delayMs: 7 } as const;
  assert.deepEqual(decide(outcome, { ...withRule, attempt: 3 }), { kind: "bury", error });
});

Deno.test("decide() buries when the time for attempts is over, whatever their count", {
  permissions: "none",
}, () => {
  const outcome = { kind: "retry", error, delayMs: 7 } as const;
  assert.deepEqual(decide(outcome, { ...withRule, retryUntilMs: NOW_MS }), outcome);
  assert.deepEqual(decide(outcome, { ...withRule, retryUntilMs: NOW_MS - 1 }), { kind: "bury", error });
  const ack = { kind: "ack" } as const;
  assert.deepEqual(decide(ack, { ...withRule, retryUntilMs: NOW_MS - 1 }), ack);
});

Deno.test("decide() refuses a message with headers where the broker keeps none: the attempt has failed", {
  permissions: "none",
}, () => {
  const message = { body: new Uint8Array(0), headers: { "X-Stamp": "a" } };
  const outcome = { kind: "replace", message, delayMs: 7, error } as const;
  assert.deepEqual(decide(outcome, { ...withRule, keepsHeaders: true }), outcome);
  const refused = decide(outcome, { ...withRule, keepsHeaders: false });
  assert.ok(refused.kind === "retry" && refused.delayMs === 2_000.5);
  assert.deepEqual([refused.error.code, refused.error.message], [
    "JOB_MALFORMED",
    "The replacement message has headers (X-Stamp), and the broker stores none: put them into its body",
  ]);
  assert.equal(decide(outcome, { ...withRule, attempt: 3, keepsHeaders: false }).kind, "bury");
  const bare = { ...outcome, message: { ...message, headers: {} } };
  assert.deepEqual(decide(bare, { ...withRule, keepsHeaders: false }), bare);
});
