import type { Job } from "../core/job.ts";
import type { Outcome } from "../core/outcome.ts";

/**
 * Runs jobs.
 *
 * 1. Runs each job at most once a call, and says what became of it; a failure is an outcome, not an exception.
 * 2. Takes nothing for success but the job's own positive word.
 */
export interface Executor extends AsyncDisposable {
  /**
   * @param signal Ends the run. Its reason is a `FervoError`: JOB_TIMEOUT makes a failed attempt, SHUTDOWN a release.
   */
  execute(job: Job, signal: AbortSignal): Promise<Outcome>;
  /** Waits for runs under way, then closes. Idempotent. */
  close(): Promise<void>;
}
