import type { FpmControlOptions } from "../fpm/control.ts";

/** How long a request may take: one job, or all of a batch. */
export interface RequestLimit {
  readonly ms: number;
  /** Its name in the configuration. */
  readonly name: "timeout_ms" | "timeout_ms × batch_size";
}

/** A php-fpm pool with the expectations of the configuration. */
export interface PoolToCheck extends FpmControlOptions {
  readonly killOnTimeout: boolean;
  /** The pool's `pm.max_children`, if configured. */
  readonly children: number | undefined;
  /** How many jobs its consumers run at once. */
  readonly jobs: number;
  /** The longest that a request of its consumers may take. */
  readonly limit: RequestLimit;
  /** The worker's user, as far as known: the user of `check`. */
  readonly uid: number | null;
  /** Every script of the configuration at this address. */
  readonly scripts: readonly string[];
}

/** What is missing without the status page. */
export const WHY_STATUS_PAGE =
  "check cannot compare the number of children with the jobs, and a job that a reload kills costs an attempt";
