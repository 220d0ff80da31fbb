import { FervoError, JobError } from "../../core/errors.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { ACK, type Outcome } from "../../core/outcome.ts";
import { failureDetails } from "../failure_details.ts";
import { MAX_REASON_LENGTH } from "../told_outcome.ts";

export const STDERR_LEVELS = ["debug", "info", "warn", "error", "off"] as const;

/** What becomes of the STDERR of jobs that said that they were done. */
export interface StderrOptions {
  /** The level at which the log has it; "off" for not at all. */
  readonly stderrLevel: typeof STDERR_LEVELS[number];
  /** What a fatal error of PHP in it means: a warning in the log, or that the job has failed. */
  readonly fatalAfterAck: "warn" | "fail";
}

export const DEFAULT_STDERR_OPTIONS: StderrOptions = { stderrLevel: "info", fatalAfterAck: "warn" };

/** PHP's names of the errors that end a script (main.c, php_error_cb), behind which it writes a colon. */
const FATAL = String.raw`(?:Fatal|Recoverable fatal|Parse) error: +`;
/** As PHP logs it (log_errors). php-fpm begins its lines with "PHP message: " and joins them with "; "; a file has the time. */
const LOGGED = new RegExp(
  String.raw`(?:^|; )(?:PHP message: |\[[^\]\n]{1,40}\] )?(PHP ${FATAL}.*)`,
  "m",
);
/** As PHP's command line shows it (display_errors = stderr). */
const SHOWN = new RegExp(String.raw`^(${FATAL}(?:Uncaught .*|.* on line \d+))$`, "m");

/** The line that tells of a fatal error of PHP; undefined where none does. */
export function fatalErrorIn(stderr: string): string | undefined {
  return (LOGGED.exec(stderr) ?? SHOWN.exec(stderr))?.[1]?.slice(0, MAX_REASON_LENGTH);
}

/**
 * Looks at what jobs wrote to STDERR that said that they were done.
 *
 * 1. Tells it, at a level of its own.
 * 2. Tells a fatal error as a warning, or takes the job for failed.
 * 3. Tells what comes behind a batch's last record, when all of its jobs are settled, of all of them: PHP runs what any of
 *    them has left for the end then, and does not say whose it is.
 */
export class AckedStderr {
  readonly #observe: Observer;
  readonly #options: StderrOptions;

  constructor(deps: { observe: Observer }, options: StderrOptions) {
    this.#observe = deps.observe;
    this.#options = options;
  }

  /** What becomes of the job. */
  outcomeOf(job: Job, stderr: string, pid?: number): Outcome {
    if (stderr === "") return ACK;
    const fatal = fatalErrorIn(stderr);
    if (fatal !== undefined && this.#options.fatalAfterAck === "fail") {
      const text = `The job reported success, and failed after that: ${fatal}`;
      return {
        kind: "retry",
        error: new JobError("JOB_FAILED", text, { details: failureDetails(stderr, pid) }),
      };
    }
    this.#tell([job], stderr, fatal);
    return ACK;
  }

  /**
   * @param jobs All of a batch; each has told its outcome.
   * @param error Why the answer did not come to its end.
   */
  afterBatch(jobs: readonly Job[], stderr: string, error?: unknown): void {
    if (!(error instanceof FervoError)) return this.#tell(jobs, stderr, fatalErrorIn(stderr));
    const written = error.details.stderr ?? "";
    // That we leave is no fault of theirs.
    const fault = error.code === "SHUTDOWN" ? undefined : error.message;
    this.#tell(jobs, written, fatalErrorIn(written) ?? fault);
  }

  #tell(jobs: readonly Job[], stderr: string, fatal: string | undefined): void {
    const { stderrLevel } = this.#options;
    const named = jobs.map(({ queue, id, attempt }) => ({ queue, id, attempt }));
    if (fatal !== undefined) {
      const level = stderrLevel === "error" ? "error" : "warn";
      this.#observe({ type: "job_stderr", jobs: named, stderr, level, fatal });
    } else if (stderr !== "" && stderrLevel !== "off") {
      this.#observe({ type: "job_stderr", jobs: named, stderr, level: stderrLevel });
    }
  }
}
