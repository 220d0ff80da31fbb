import { FervoError, JobError } from "../../src/core/errors.ts";
import type { Job } from "../../src/core/job.ts";
import type { Outcome } from "../../src/core/outcome.ts";
import type { Batch, BatchEnd, Executor, JobFailure } from "../../src/executors/executor.ts";

/** One call of `execute`. */
export interface FakeRun {
  readonly job: Job;
  readonly signal: AbortSignal;
  /** Ends the run. */
  end(outcome: Outcome): void;
}

/** One call of `executeBatch`. */
export interface FakeBatch {
  readonly jobs: readonly Job[];
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** A framework's job has begun. */
  begin(job: Job): void;
  /** A job has ended, the first one of which nothing was told unless another is given, and the batch goes on. */
  tell(outcome: Outcome, job?: Job): void;
  /** Ends the batch; with the outcome of the jobs that ran, where some did: of one, unless they are given. */
  end(outcome?: Outcome, jobs?: readonly Job[]): void;
}

/**
 * Runs jobs as a test says: each waits until the test ends it, or ends at once with what `answer` gives. An abort ends
 * it as it does the real ones, unless `isDeaf`.
 */
export class FakeExecutor implements Executor {
  readonly runs: FakeRun[] = [];
  readonly batches: FakeBatch[] = [];
  answer: ((job: Job) => Outcome | undefined) | undefined;
  isDeaf = false;
  /** What batches say of what ran them. */
  hasEnded = true;
  /** What each probe was told, and what it says. */
  readonly probes: FervoError[] = [];
  probeAnswer: FervoError | undefined;
  /** Called as a run is aborted. */
  onAbort: (job: Job) => void = () => {};
  #running = 0;
  /** The most runs that there ever were at the same time. */
  peak = 0;

  /** Runs that have not ended. */
  get running(): number {
    return this.#running;
  }

  /** The ids of the jobs of each batch. */
  get batchIds(): string[][] {
    return this.batches.map(({ jobs }) => jobs.map(({ id }) => id));
  }

  /** The ids of the jobs that were run, in order. */
  get ids(): string[] {
    return this.runs.map((run) => run.job.id);
  }

  async execute(job: Job, signal: AbortSignal): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.runs.push({ job, signal, end: resolve });
    this.peak = Math.max(this.peak, ++this.#running);
    const abort = () => {
      this.onAbort(job);
      if (!this.isDeaf) resolve(outcomeOfAbort(signal.reason));
    };
    signal.addEventListener("abort", abort);
    const answer = this.answer?.(job);
    if (answer !== undefined) resolve(answer);
    const outcome = await promise;
    signal.removeEventListener("abort", abort);
    this.#running--;
    return outcome;
  }

  async executeBatch(
    { jobs, timeoutMs, onOutcome, onBegun }: Batch,
    signal: AbortSignal,
  ): Promise<BatchEnd | undefined> {
    const { promise, resolve } = Promise.withResolvers<BatchEnd | undefined>();
    const untold = new Set(jobs);
    const first = () => [...untold][0];
    const end = (outcome?: Outcome, ran: readonly Job[] = [first()!]) =>
      resolve(outcome && { outcome, jobs: ran, hasEnded: this.hasEnded });
    const tell = (outcome: Outcome, job: Job = first()!) => {
      untold.delete(job);
      onOutcome(outcome, job);
    };
    this.batches.push({ jobs, timeoutMs, signal, begin: (job) => onBegun?.(job), tell, end });
    this.peak = Math.max(this.peak, ++this.#running);
    signal.addEventListener("abort", () => {
      this.onAbort(jobs[0]!);
      if (!this.isDeaf) end(untold.size > 0 ? outcomeOfAbort(signal.reason) : undefined);
    });
    const outcome = await promise;
    this.#running--;
    return outcome;
  }

  /** What each failure that was told becomes; a test may change it. */
  failureAnswer: (job: Job, failure: JobFailure) => Outcome | undefined | Promise<Outcome | undefined> = () =>
    undefined;
  /** What was told. */
  readonly failures: { readonly job: Job; readonly failure: JobFailure }[] = [];

  async tellFailure(job: Job, failure: JobFailure, _signal: AbortSignal): Promise<Outcome | undefined> {
    this.failures.push({ job, failure });
    return await this.failureAnswer(job, failure);
  }

  probe(cause: FervoError, _signal: AbortSignal): Promise<FervoError | undefined> {
    this.probes.push(cause);
    return Promise.resolve(this.probeAnswer);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function outcomeOfAbort(reason: FervoError): Outcome {
  return reason.code === "SHUTDOWN"
    ? { kind: "release", reason: "shutdown", error: reason }
    : { kind: "retry", error: reason };
}

export function failed(delayMs?: number): Outcome {
  const error = new JobError("JOB_FAILED", "The job failed: because", { details: { stderr: "PHP message" } });
  return delayMs === undefined ? { kind: "retry", error } : { kind: "retry", error, delayMs };
}

export function buried(): Outcome {
  return { kind: "bury", error: new JobError("JOB_FAILED", "The job failed: no handler") };
}

export function executorAway(): Outcome {
  return {
    kind: "release",
    reason: "unavailable",
    error: new FervoError(
      "FASTCGI_CONNECT_FAILED",
      `Cannot connect to php-fpm at "/run/fpm.sock": no such socket`,
    ),
  };
}

export function misconfigured(): Outcome {
  return { kind: "release", reason: "misconfigured", error: scriptMissing() };
}

/** What a probe says while jobs would end as {@link misconfigured}. */
export function scriptMissing(): FervoError {
  return new FervoError(
    "FPM_MISCONFIGURED",
    `php-fpm cannot find the script "/srv/fervo.php": file not found`,
  );
}
