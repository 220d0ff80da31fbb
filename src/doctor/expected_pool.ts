import type { FpmControlOptions } from "../fpm/control.ts";

/** How long a request may take: one job, or all of a batch. */
export interface RequestLimit {
  readonly ms: number;
  /** What it is in the configuration. */
  readonly name: "timeout_ms" | "timeout_ms × batch_size";
}

/** A php-fpm pool, and what is expected of it. */
export interface PoolToCheck extends FpmControlOptions {
  readonly killOnTimeout: boolean;
  /** The pool's `pm.max_children`, where the configuration says it. */
  readonly children: number | undefined;
  /** How many jobs its consumers run at once. */
  readonly jobs: number;
  /** The longest that a request of its consumers may take. */
  readonly limit: RequestLimit;
  /** Who runs the worker, as far as is known: whoever runs `check`. */
  readonly uid: number | null;
  /** Every script that the configuration has run at this address. */
  readonly scripts: readonly string[];
}

/** What is not to be had without the status page. */
export const WHY_STATUS_PAGE =
  "check cannot compare the number of children with the jobs, and a job that a reload kills costs an attempt";
