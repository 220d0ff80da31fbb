import { JobError } from "../../core/errors.ts";
import type { Outcome, Verdict } from "../../core/outcome.ts";
import { retryDelayMs, type RetryPolicy } from "../../core/retry.ts";
import type { Format } from "../../core/format.ts";

/**
 * What is to be done with a delivery whose job had this outcome: a retry gets its delay where it brings none, from the rule of
 * the job's format or else from the policy, and after the last attempt, or when the time for attempts is over, becomes a
 * burial; so does a message to take its place that the broker cannot keep as it is. Pure.
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
    /** Whether the broker keeps headers; without them a message that has some is another one. */
    keepsHeaders?: boolean;
  },
): Verdict {
  if (outcome.kind === "replace") {
    const names = Object.keys(outcome.message.headers);
    if (job.keepsHeaders === false && names.length > 0) {
      return decide({ kind: "retry", error: headersRefused(names) }, job);
    }
    return outcome;
  }
  if (outcome.kind !== "retry") return outcome;
  const { attempt, maxAttempts, retryUntilMs = Infinity, nowMs, retry, format, random } = job;
  if (attempt >= maxAttempts || nowMs > retryUntilMs) return { kind: "bury", error: outcome.error };
  const delayMs = outcome.delayMs ?? format.retryDelayMs?.(attempt, random()) ??
    retryDelayMs(retry, attempt, random());
  return { ...outcome, delayMs };
}

function headersRefused(names: readonly string[]): JobError {
  return new JobError(
    "JOB_MALFORMED",
    `The message that is to take the job's place has headers (${
      names.join(", ").slice(0, 200)
    }), and the broker keeps none: put them ` +
      "into its body",
  );
}
