/** How often and how soon a failed job runs again. */
export interface RetryPolicy {
  /** Attempts in all, the first included. At least 1. */
  readonly attempts: number;
  /** The wait before the second attempt, milliseconds. */
  readonly delayMs: number;
  /** Each further wait is this many times longer. At least 1. */
  readonly factor: number;
  /** No wait is longer than this, milliseconds (before jitter). */
  readonly maxDelayMs: number;
  /** Each wait varies by this share up and down, 0 to 1, so that jobs that failed together do not return together. */
  readonly jitter: number;
}

export const DEFAULT_RETRY_POLICY: RetryPolicy = {
  attempts: 5,
  delayMs: 1_000,
  factor: 4,
  maxDelayMs: 3_600_000,
  jitter: 0.2,
};

/**
 * The wait before the next attempt, in whole milliseconds.
 *
 * @param attempt The attempt that has just failed, 1-based.
 * @param random A number in [0, 1) that chooses within the jitter.
 */
export function retryDelayMs(policy: RetryPolicy, attempt: number, random: number): number {
  // factor ** attempt overflows to Infinity at some point, and 0 times Infinity is NaN.
  const growth = Math.min(policy.factor ** (attempt - 1), Number.MAX_SAFE_INTEGER);
  const delayMs = Math.min(policy.delayMs * growth, policy.maxDelayMs);
  return Math.round(delayMs * (1 + policy.jitter * (2 * random - 1)));
}
