import type { ErrorCode, FervoError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import type { Outcome } from "../core/outcome.ts";

/** What an executor may say of a run under way. */
export interface Run {
  /** When the job began, monotonic milliseconds. */
  readonly beganMs: number;
  /** It is told that the job has not begun yet: its time begins now. May be said again and again. */
  notBegun(): void;
}

/** Jobs that are run in one go: one after the other, unless they are a framework's, which may run several together. */
export interface Batch {
  /** In the order in which they begin; at least one. */
  readonly jobs: readonly Job[];
  /** How long each of them may take from the end of the one before, milliseconds. The signal ends the run then. */
  readonly timeoutMs: number;
  /** Is told of each job that has ended while the batch goes on, as soon as it has. Must not throw. */
  readonly onOutcome: (outcome: Outcome, job: Job) => void;
  /** Is told of each job of a framework that has begun, before anything else is told of it. Must not throw. */
  readonly onBegun?: (job: Job) => void;
}

/** How a batch came to an early end. */
export interface BatchEnd {
  readonly outcome: Outcome;
  /** Those that ran then, whose outcome it is; at least one. The others of which nothing was told were not begun. */
  readonly jobs: readonly Job[];
  /** Whether what ran them has ended for certain; false where nobody has looked. */
  readonly hasEnded: boolean;
}

/** How a job of a framework came to its end, for the application to count. */
export interface JobFailure {
  /** The same each time that this failure is told. */
  readonly id: string;
  readonly code: ErrorCode;
  readonly message: string;
}

/**
 * Runs jobs.
 *
 * 1. Runs each job at most once a call, and says what became of it; a failure is an outcome, not an exception.
 * 2. Takes nothing for success but the job's own positive word.
 * 3. Finds out whether jobs can be run again when one could not be.
 */
export interface Executor extends AsyncDisposable {
  /** How long a run may go on after its signal has aborted, milliseconds; 0 when absent. */
  readonly abortMs?: number;
  /**
   * @param signal Ends the run. Its reason is a `FervoError`: JOB_TIMEOUT makes a failed attempt, SHUTDOWN a release.
   * @param run Is told what is seen of the run.
   */
  execute(job: Job, signal: AbortSignal, run?: Run): Promise<Outcome>;
  /**
   * Runs several jobs in one go; absent where that is not possible. A failure of one does not end the others, except
   * when it ends the process that they share.
   *
   * @param signal As above; its reason goes for the jobs that run.
   * @returns Undefined when no job ran as the batch came to its end.
   */
  executeBatch?(batch: Batch, signal: AbortSignal, run?: Run): Promise<BatchEnd | undefined>;
  /**
   * Tells a job's framework that the job has died, which PHP could not say itself; runs no job. Absent where that is not possible.
   *
   * @param signal As above.
   * @returns What the framework makes of it; a release when it could not be told, which is not its fault; undefined when what was
   * told died of it.
   */
  tellFailure?(job: Job, failure: JobFailure, signal: AbortSignal): Promise<Outcome | undefined>;
  /**
   * Looks whether jobs can be run, and runs none. Ends in some seconds; never rejects.
   *
   * @param cause What a job's outcome, or the last probe, said of why they could not.
   * @param signal Ends it; nobody wants its result then.
   * @returns Why they still cannot; undefined when they can, as far as that shows without running one.
   */
  probe(cause: FervoError, signal: AbortSignal): Promise<FervoError | undefined>;
  /** Waits for runs under way, then closes. Idempotent. */
  close(): Promise<void>;
}
