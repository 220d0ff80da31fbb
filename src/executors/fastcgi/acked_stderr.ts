import { FervoError, JobError } from "../../core/errors.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { ACK, type Outcome } from "../../core/outcome.ts";
import { failureDetails } from "../failure_details.ts";
import { MAX_REASON_LENGTH } from "../told_outcome.ts";

export const STDERR_LEVELS = ["debug", "info", "warn", "error", "off"] as const;

/** What to do with the STDERR of successful jobs. */
export interface StderrOptions {
  /** Its log level; "off" for none. */
  readonly stderrLevel: typeof STDERR_LEVELS[number];
  /** The meaning of a PHP fatal error in it: a warning in the log, or a failed job. */
  readonly fatalAfterAck: "warn" | "fail";
}

export const DEFAULT_STDERR_OPTIONS: StderrOptions = { stderrLevel: "info", fatalAfterAck: "warn" };

/** PHP's names of errors that end a script (main.c, php_error_cb); a colon follows. */
const FATAL = String.raw`(?:Fatal|Recoverable fatal|Parse) error: +`;
/** As PHP logs it (log_errors). php-fpm begins its lines with "PHP message: " and joins them with "; "; a file has the time. */
const LOGGED = new RegExp(
  String.raw`(?:^|; )(?:PHP message: |\[[^\]\n]{1,40}\] )?(PHP ${FATAL}.*)`,
  "m",
);
/** As PHP's command line shows it (display_errors = stderr). */
const SHOWN = new RegExp(String.raw`^(${FATAL}(?:Uncaught .*|.* on line \d+))$`, "m");

/** The line with a fatal error of PHP; undefined without one. */
export function fatalErrorIn(stderr: string): string | undefined {
  return (LOGGED.exec(stderr) ?? SHOWN.exec(stderr))?.[1]?.slice(0, MAX_REASON_LENGTH);
}

/**
 * Examines the STDERR of jobs that reported success.
 *
 * 1. Logs it, at its own level.
 * 2. Logs a fatal error as a warning, or makes the job a failed one.
 * 3. After a batch's last record, when all jobs are settled, reports STDERR for all of them: PHP then runs work that any of
 *    them left for the end, and does not say whose it is.
 */
export class AckedStderr {
  readonly #observe: Observer;
  readonly #options: StderrOptions;

  constructor(deps: { observe: Observer }, options: StderrOptions) {
    this.#observe = deps.observe;
    this.#options = options;
  }

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
   * @param jobs All jobs of a batch; each has its outcome.
   * @param error Why the answer was incomplete.
   */
  afterBatch(jobs: readonly Job[], stderr: string, error?: unknown): void {
    if (!(error instanceof FervoError)) return this.#tell(jobs, stderr, fatalErrorIn(stderr));
    const written = error.details.stderr ?? "";
    // A shutdown is not their fault.
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
