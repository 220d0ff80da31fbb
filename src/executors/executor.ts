import type { FervoError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import type { Outcome } from "../core/outcome.ts";

/** What an executor may say of a run under way. */
export interface Run {
  /** When the job began, monotonic milliseconds. */
  readonly beganMs: number;
  /** It is told that the job has not begun yet: its time begins now. May be said again and again. */
  notBegun(): void;
}

/** Jobs that are run one after the other, in one go. */
export interface Batch {
  /** In the order in which they run; at least one. */
  readonly jobs: readonly Job[];
  /** How long each of them may take from the end of the one before, milliseconds. The signal ends the run then. */
  readonly timeoutMs: number;
  /** Is told of each job that has ended while the batch goes on, in their order, as soon as it has. Must not throw. */
  readonly onOutcome: (outcome: Outcome) => void;
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
   * @param signal As above; its reason goes for the job that runs.
   * @returns The outcome of the first job of which `onOutcome` was not told: it ran when the batch came to an early end,
   * and those behind it were not begun. Undefined when all have ended.
   */
  executeBatch?(batch: Batch, signal: AbortSignal, run?: Run): Promise<Outcome | undefined>;
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
