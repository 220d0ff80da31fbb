import type { ErrorCode, FervoError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import type { Outcome } from "../core/outcome.ts";

/** What an executor reports about a run. */
export interface Run {
  /** When the job began, monotonic milliseconds. */
  readonly beganMs: number;
  /** Called, possibly often, when the job has not begun yet: its time begins now. */
  notBegun(): void;
}

/** Jobs that run together: one after the other, or for a framework several at once. */
export interface Batch {
  /** In the order of their beginning; at least one. */
  readonly jobs: readonly Job[];
  /** How long each may take from the end of the previous one, milliseconds. Then the signal ends the run. */
  readonly timeoutMs: number;
  /** Called with each job that ended, as soon as it has, while the batch goes on. Must not throw. */
  readonly onOutcome: (outcome: Outcome, job: Job) => void;
  /** Called with each job of a framework that began, before any other call for it. Must not throw. */
  readonly onBegun?: (job: Job) => void;
}

/** The early end of a batch. */
export interface BatchEnd {
  readonly outcome: Outcome;
  /** The jobs that ran then, with this outcome; at least one. Jobs without any report did not begin. */
  readonly jobs: readonly Job[];
  /** Whether their process has ended for certain; false if nobody has checked. */
  readonly hasEnded: boolean;
}

/** How a framework's job died, for its post-mortem. */
export interface JobFailure {
  /** The same in each post-mortem of this failure. */
  readonly id: string;
  readonly code: ErrorCode;
  readonly message: string;
}

/**
 * Runs jobs.
 *
 * 1. Runs each job at most once a call, and returns its outcome; a failure is an outcome, not an exception.
 * 2. Counts only a positive answer of the job as success.
 * 3. Finds out when jobs can run again.
 */
export interface Executor extends AsyncDisposable {
  /** How long a run may go on after its abort, milliseconds; 0 when absent. */
  readonly abortMs?: number;
  /**
   * @param signal Ends the run. Its reason is a `FervoError`: JOB_TIMEOUT makes a failed attempt, SHUTDOWN a release.
   * @param run Receives observations of the run.
   */
  execute(job: Job, signal: AbortSignal, run?: Run): Promise<Outcome>;
  /**
   * Runs several jobs together; absent where that is impossible. A failure of one does not end the others, unless it ends their
   * shared process.
   *
   * @param signal As above; its reason applies to the running jobs.
   * @returns Undefined when no job ran as the batch ended.
   */
  executeBatch?(batch: Batch, signal: AbortSignal, run?: Run): Promise<BatchEnd | undefined>;
  /**
   * Sends a job's framework the post-mortem of the job, because PHP could not report its death; runs no job. Absent where that
   * is impossible.
   *
   * @param signal As above.
   * @returns The framework's outcome; a release when the post-mortem could not be sent; undefined when the application died of
   * it.
   */
  tellFailure?(job: Job, failure: JobFailure, signal: AbortSignal): Promise<Outcome | undefined>;
  /**
   * Probes whether jobs can run, without running one. Ends within seconds; never rejects.
   *
   * @param cause The reason in the last outcome or probe.
   * @param signal Ends it; its result is not used then.
   * @returns Why they still cannot run; undefined when they can, as far as a probe shows.
   */
  probe(cause: FervoError, signal: AbortSignal): Promise<FervoError | undefined>;
  /** Waits for running jobs, then closes. Idempotent. */
  close(): Promise<void>;
}
