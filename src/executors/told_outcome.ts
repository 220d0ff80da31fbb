import { JobError } from "../core/errors.ts";
import type { Outcome } from "../core/outcome.ts";
import { failureDetails } from "./failure_details.ts";

/** A job's own report of its failure. */
export interface Failure {
  readonly reason: string | undefined;
  /** Undefined if the policy decides, milliseconds. */
  readonly delayMs: number | undefined;
  /** Of the PHP process, if the job reported it. */
  readonly pid: number | undefined;
  readonly stderr: string;
}

/** A failed job's reason is cut at this length, characters: it goes into logs and dead letters. */
export const MAX_REASON_LENGTH = 1_000;

/** The error of a job that reported a failure. */
export function failureOf({ reason, pid, stderr }: Omit<Failure, "delayMs">): JobError {
  const text = reason?.slice(0, MAX_REASON_LENGTH) ?? "the job gave no reason";
  return new JobError("JOB_FAILED", `The job failed: ${text}`, { details: failureDetails(stderr, pid) });
}

/** The outcome of a job that reported a failure, in headers or in a record. */
export function failedOutcome(kind: "retry" | "bury", failure: Failure): Outcome {
  const error = failureOf(failure);
  const { delayMs } = failure;
  return kind === "retry" && delayMs !== undefined ? { kind, error, delayMs } : { kind, error };
}

/** The process id in a text; undefined if invalid. It is for people: no signal is sent to it. */
export function pidOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9]\d{0,9}$/.test(text) ? Number(text) : undefined;
}
