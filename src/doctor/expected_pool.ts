import type { FpmControlOptions } from "../executors/fpm_control.ts";

/** A php-fpm pool, and what is expected of it. */
export interface PoolToCheck extends FpmControlOptions {
  readonly killOnTimeout: boolean;
  /** The pool's `pm.max_children`, where the configuration says it. */
  readonly children: number | undefined;
  /** How many jobs its consumers run at once. */
  readonly jobs: number;
  /** The longest `timeout_ms` of its consumers. */
  readonly timeoutMs: number;
  /** Every script that the configuration has run at this address. */
  readonly scripts: readonly string[];
}

/** What is not to be had without the status page. */
export const WHY_STATUS_PAGE =
  "the number of children cannot be compared with the jobs, and a job that a reload has killed costs an attempt";
