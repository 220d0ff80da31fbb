import { DEFAULT_RETRY_POLICY, type RetryPolicy } from "../core/retry.ts";
import type { WeightedQueue } from "./queue_order.ts";
import type { RateLimitOptions } from "./rate_limit.ts";

export interface ConsumerOptions {
  /** Names it in logs and metrics. */
  readonly name: string;
  readonly queues: readonly WeightedQueue[];
  readonly order: "strict" | "weighted";
  /** Slots: jobs, or batches, at the same time. */
  readonly concurrency: number;
  /** How many jobs a slot runs as one batch; 1 for each job by itself. More need an executor that runs batches. */
  readonly batchSize: number;
  /** How long one try of a job may take, milliseconds. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  /** How many jobs may start in which time; undefined for as many as there are slots for. */
  readonly rateLimit: RateLimitOptions | undefined;
  /** The longest pause between two looks whether the executor or the broker is back, milliseconds. */
  readonly pauseMaxMs: number;
}

export const DEFAULT_CONSUMER_OPTIONS: Omit<ConsumerOptions, "name" | "queues"> = {
  order: "strict",
  concurrency: 4,
  batchSize: 1,
  timeoutMs: 60_000,
  retry: DEFAULT_RETRY_POLICY,
  rateLimit: undefined,
  pauseMaxMs: 1_000,
};
