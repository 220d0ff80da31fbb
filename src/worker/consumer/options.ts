import type { Clock } from "../../core/time/clock.ts";
import type { Broker } from "../../core/broker.ts";
import type { FervoError } from "../../core/errors.ts";
import type { Observer } from "../../core/observer.ts";
import { DEFAULT_RETRY_POLICY, type RetryPolicy } from "../../core/retry.ts";
import type { Tracer } from "../../core/trace.ts";
import type { Executor } from "../../executors/executor.ts";
import type { WeightedQueue } from "./receive/queue_order.ts";
import type { QueuePauses } from "../queue_pauses.ts";
import type { RateLimitOptions } from "./rate_limit.ts";
import type { SlotLimit } from "../../core/slot_limit.ts";

export interface ConsumerOptions {
  /** Its name in logs and metrics. */
  readonly name: string;
  readonly queues: readonly WeightedQueue[];
  readonly order: "strict" | "weighted";
  /** Slots: jobs, or batches, at the same time. Overridden by a changing limit. */
  readonly concurrency: number;
  /** How many jobs a slot runs as one batch; 1 for single jobs. Batches need an executor that supports them. */
  readonly batchSize: number;
  /** No further job is taken once the messages in flight have this many bytes. */
  readonly maxInFlightBytes: number;
  /** How long one attempt may take, milliseconds. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  /** How many jobs may start in a period; undefined without a limit. */
  readonly rateLimit: RateLimitOptions | undefined;
  /** How long the application may take for a post-mortem, milliseconds. */
  readonly postMortemTimeoutMs: number;
  /**
   * A framework's job that lost its worker more often is not run again; once is the limit where the broker does not count that.
   */
  readonly redeliveriesMax: number;
  /** The longest pause between two probes of the executor or the broker, milliseconds. */
  readonly pauseMaxMs: number;
}

export const DEFAULT_CONSUMER_OPTIONS: Omit<ConsumerOptions, "name" | "queues"> = {
  order: "strict",
  concurrency: 4,
  batchSize: 1,
  maxInFlightBytes: 256 * 2 ** 20,
  timeoutMs: 60_000,
  retry: DEFAULT_RETRY_POLICY,
  rateLimit: undefined,
  postMortemTimeoutMs: 10_000,
  redeliveriesMax: 2,
  pauseMaxMs: 1_000,
};

export interface ConsumerDeps {
  readonly broker: Broker;
  readonly executor: Executor;
  readonly clock: Clock;
  readonly observe: Observer;
  readonly random: () => number;
  /** The held-back queues, shared by all consumers on this broker; own ones, when absent. */
  readonly queuePauses?: QueuePauses;
  /** A number of slots that changes; `concurrency`, when absent. */
  readonly limit?: SlotLimit;
  /** A known reason why it cannot run jobs at first; it tries again by itself. */
  readonly problem?: FervoError;
  /** Makes the span of each attempt, which becomes PHP's parent; without it, PHP gets the message's trace context. */
  readonly tracer?: Tracer;
}
