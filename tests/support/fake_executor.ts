import { FervoError, JobError } from "../../src/core/errors.ts";
import type { Job } from "../../src/core/job.ts";
import type { Outcome } from "../../src/core/outcome.ts";
import type { Batch, Executor } from "../../src/executors/executor.ts";

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
  /** The job that runs has ended, and the batch goes on. */
  tell(outcome: Outcome): void;
  /** Ends the batch; with the outcome of the job that ran, where one did. */
  end(outcome?: Outcome): void;
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
    { jobs, timeoutMs, onOutcome }: Batch,
    signal: AbortSignal,
  ): Promise<Outcome | undefined> {
    const { promise, resolve } = Promise.withResolvers<Outcome | undefined>();
    let told = 0;
    const tell = (outcome: Outcome) => {
      told++;
      onOutcome(outcome);
    };
    this.batches.push({ jobs, timeoutMs, signal, tell, end: resolve });
    this.peak = Math.max(this.peak, ++this.#running);
    signal.addEventListener("abort", () => {
      this.onAbort(jobs[0]!);
      if (!this.isDeaf) resolve(told < jobs.length ? outcomeOfAbort(signal.reason) : undefined);
    });
    const outcome = await promise;
    this.#running--;
    return outcome;
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
