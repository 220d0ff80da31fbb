import { FervoError, JobError } from "../../core/errors.ts";
import { ACK, type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { FastCgiResponse } from "../../fastcgi/response.ts";
import { failureDetails } from "../failure_details.ts";
import { lastRecord, outcomeOfLast } from "./record.ts";
import { fpmsOwnAnswer } from "./fpm_answer.ts";
import { failedOutcome, pidOf } from "../told_outcome.ts";

/* The meaning of php-fpm's answers, and of failed requests, for a job: the table in docs/protocol.md. */

export interface AnswerOptions {
  /** What counts as success: the outcome header; or any 2xx, for a script that cannot send it. */
  readonly ackOn: "outcome" | "status";
  /** The front controller, as php-fpm sees it; for messages. */
  readonly script: string;
}

/**
 * The answer's meaning. php-fpm answered, but only some answers prove anything: see docs/protocol.md.
 *
 * @param jobId Of the job that ran; a check has none.
 */
export function outcomeOf(
  response: FastCgiResponse,
  { ackOn, script }: AnswerOptions,
  jobId = "",
): Outcome {
  const word = response.headers.get("x-fervo-outcome");
  if (word === "ack") return ACK;
  if (word === "retry" || word === "bury") {
    const delay = response.headers.get("x-fervo-delay-ms");
    return failedOutcome(word, {
      reason: response.headers.get("x-fervo-error"),
      delayMs: delay !== undefined && /^\d{1,12}$/.test(delay) ? Number(delay) : undefined,
      pid: pidOf(response.headers.get("x-fervo-pid")),
      stderr: response.stderr,
    });
  }
  // A record counts only without the header, which was no longer possible. With a header, whatever it says, the body is output.
  const record = word === undefined ? lastRecord(response.end ?? response.body, jobId) : undefined;
  if (record !== undefined) return outcomeOfLast(record, response.stderr);
  const misconfigured = fpmsOwnAnswer(response, script);
  if (misconfigured !== undefined) return { kind: "release", reason: "misconfigured", error: misconfigured };
  // An unknown word comes from a script that can send the header, and may have meant anything.
  const isStatusEnough = ackOn === "status" && word === undefined && response.appStatus === 0;
  if (isStatusEnough && response.status >= 200 && response.status < 300) return ACK;
  return noOutcome(response, word);
}

/**
 * The meaning of an answer to a batch for the job that ran at its end: the first one without a record.
 *
 * @param script As in {@link AnswerOptions}.
 */
export function outcomeOfBatchEnd(response: FastCgiResponse, script: string): Outcome {
  const word = response.headers.get("x-fervo-outcome");
  const error = word === "ack" || word === "retry" || word === "bury"
    ? new FervoError(
      "FPM_MISCONFIGURED",
      `The script "${script}" does not support batches: it answered a batch with the outcome "${word}"; set ` +
        `"batch_size = 1", or use a script that supports them`,
    )
    : fpmsOwnAnswer(response, script);
  if (error !== undefined) return { kind: "release", reason: "misconfigured", error };
  return noOutcome(response, word === "batch" ? undefined : word);
}

/**
 * The outcome of a framework's job that did not begin, from the outcome that it would have had: it did nothing, so nothing
 * counts. A job that cannot even be sent says nothing about its application.
 */
export function notBegun(outcome: Outcome): Outcome {
  if (outcome.kind !== "retry") return outcome;
  return { kind: "release", reason: "misconfigured", error: notStarted(outcome.error) };
}

/** A front controller ended before it began a job, or reports that the application does not start. */
export function notStarted(cause: FervoError): FervoError {
  const text =
    `The application did not start: its front controller ended before it began a job: ${cause.message}`;
  return new FervoError("APPLICATION_NOT_STARTED", text, { details: cause.details, cause });
}

/** The script ended without an outcome. */
export function noOutcome(response: FastCgiResponse, word?: string): Outcome {
  return { kind: "retry", error: noOutcomeError(response, word) };
}

function noOutcomeError(response: FastCgiResponse, word: string | undefined): JobError {
  const said = word === undefined ? "without an outcome" : `with the unknown outcome "${word.slice(0, 40)}"`;
  return new JobError(
    "JOB_NO_OUTCOME",
    `The script ended ${said}: it answered status ${response.status}; possible causes: a fatal error, exit(), or a ` +
      `script that does not send X-Fervo-Outcome`,
    { details: { status: response.status, ...failureDetails(response.stderr) } },
  );
}

/** The meaning of a failed request for its job. */
export function outcomeOfError(error: unknown): Outcome {
  if (!(error instanceof FervoError)) return outcomeOfFault(error);
  switch (error.code) {
    case "FASTCGI_CONNECT_FAILED":
    case "FASTCGI_OVERLOADED":
      return { kind: "release", reason: "unavailable", error };
    case "SHUTDOWN":
      return { kind: "release", reason: "shutdown", error };
    case "FASTCGI_PARAM_TOO_LARGE":
    case "JOB_MALFORMED":
      // The same message would fail each time.
      return { kind: "bury", error };
    case "FASTCGI_CONNECTION_LOST":
      return {
        kind: "retry",
        error: new JobError("JOB_CRASHED", `The PHP process died while it ran the job: ${error.message}`, {
          details: error.details,
          cause: error,
        }),
      };
    default:
      return { kind: "retry", error };
  }
}
