import type { Outcome, Verdict } from "../../core/outcome.ts";
import { retryDelayMs, type RetryPolicy } from "../../core/retry.ts";
import type { Format } from "../../core/format.ts";

/**
 * What is to be done with a delivery whose job had this outcome: a retry gets its delay where it brings none, from the rule of
 * the job's format or else from the policy, and after the last attempt, or when the time for attempts is over, becomes a
 * burial. Pure.
 */
export function decide(
  outcome: Outcome,
  job: {
    attempt: number;
    maxAttempts: number;
    /** Epoch milliseconds. */
    retryUntilMs?: number | undefined;
    nowMs: number;
    retry: RetryPolicy;
    format: Pick<Format, "retryDelayMs">;
    random: () => number;
    /** What the broker keeps at most; a longer delay is cut to it. */
    longestDelayMs?: number;
  },
): Verdict {
  if (outcome.kind === "replace") {
    return { ...outcome, delayMs: Math.min(outcome.delayMs, job.longestDelayMs ?? Infinity) };
  }
  if (outcome.kind !== "retry") return outcome;
  const { attempt, maxAttempts, retryUntilMs = Infinity, nowMs, retry, format, random } = job;
  if (attempt >= maxAttempts || nowMs > retryUntilMs) return { kind: "bury", error: outcome.error };
  const delayMs = outcome.delayMs ?? format.retryDelayMs?.(attempt, random()) ??
    retryDelayMs(retry, attempt, random());
  return { ...outcome, delayMs: Math.min(delayMs, job.longestDelayMs ?? Infinity) };
}
