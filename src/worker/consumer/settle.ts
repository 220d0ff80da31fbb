import type { Delivery } from "../../core/delivery.ts";
import type { Outcome } from "../../core/outcome.ts";
import { retryDelayMs, type RetryPolicy } from "../../core/retry.ts";
import type { Format } from "../../formats/format.ts";

/** An outcome that says all that the broker has to be told: a retry has its delay. */
export type FinalOutcome =
  | Exclude<Outcome, { kind: "retry" }>
  | Extract<Outcome, { kind: "retry" }> & { delayMs: number };

/**
 * A retry gets its delay where it brings none, from the rule of the job's format or else from the policy, and after the
 * last attempt, or when the time for attempts is over, becomes a burial.
 */
export function finalOutcome(
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
  },
): FinalOutcome {
  if (outcome.kind !== "retry") return outcome;
  const { attempt, maxAttempts, retryUntilMs = Infinity, nowMs, retry, format, random } = job;
  if (attempt >= maxAttempts || nowMs > retryUntilMs) return { kind: "bury", error: outcome.error };
  const delayMs = outcome.delayMs ?? format.retryDelayMs?.(attempt, random()) ??
    retryDelayMs(retry, attempt, random());
  return { ...outcome, delayMs };
}

/** The one place where a delivery is settled. Rejects as the delivery's own methods do. */
export function settle(delivery: Delivery, outcome: FinalOutcome): Promise<void> {
  switch (outcome.kind) {
    case "ack":
      return delivery.ack();
    case "retry":
      return delivery.retry(outcome.delayMs, outcome.error);
    case "bury":
      return delivery.bury(outcome.error);
    case "release":
      return delivery.release(outcome.mayRunOn);
  }
}
