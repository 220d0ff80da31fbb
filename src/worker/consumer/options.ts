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
  /** Names it in logs and metrics. */
  readonly name: string;
  readonly queues: readonly WeightedQueue[];
  readonly order: "strict" | "weighted";
  /** Slots: jobs, or batches, at the same time; unless there is a limit that changes. */
  readonly concurrency: number;
  /** How many jobs a slot runs as one batch; 1 for each job by itself. More need an executor that runs batches. */
  readonly batchSize: number;
  /** Once the messages that are in flight have this many bytes, no further one is taken. */
  readonly maxInFlightBytes: number;
  /** How long one attempt may take, milliseconds. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  /** How many jobs may start in which time; undefined for as many as there are slots for. */
  readonly rateLimit: RateLimitOptions | undefined;
  /** How long the application may take to hear of a job that died, milliseconds, where its framework is told. */
  readonly postMortemTimeoutMs: number;
  /**
   * Such a job, whose worker was lost more often, is not run again; nor is one whose worker was lost once, where the broker does not
   * count that.
   */
  readonly redeliveriesMax: number;
  /** The longest pause between two looks whether the executor or the broker is back, milliseconds. */
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
  /** Numbers in [0, 1). */
  readonly random: () => number;
  /** What the application says of whole queues, to all consumers on this broker; to this one alone, when absent. */
  readonly queuePauses?: QueuePauses;
  /** How many slots there are, where that changes; else as many as `concurrency` says. */
  readonly limit?: SlotLimit;
  /** Why it can run no jobs at first, where that is known; it looks by itself whether it still is so. */
  readonly problem?: FervoError;
  /** Names the span of each attempt, which PHP gets as its parent; without, PHP gets what the message says. */
  readonly tracer?: Tracer;
}
