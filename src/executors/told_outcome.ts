import { JobError } from "../core/errors.ts";
import type { Outcome } from "../core/outcome.ts";
import { failureDetails } from "./failure_details.ts";

/** What a job says of its failure. */
export interface Failure {
  readonly reason: string | undefined;
  /** Undefined where the policy decides, milliseconds. */
  readonly delayMs: number | undefined;
  /** Of the PHP process, where the job has told it. */
  readonly pid: number | undefined;
  readonly stderr: string;
}

/** Characters of a failed job's reason that are kept: it goes into logs and dead letters. */
export const MAX_REASON_LENGTH = 1_000;

/** The error of a job that has said that it failed. */
export function failureOf({ reason, pid, stderr }: Omit<Failure, "delayMs">): JobError {
  const text = reason?.slice(0, MAX_REASON_LENGTH) ?? "the job gave no reason";
  return new JobError("JOB_FAILED", `The job failed: ${text}`, { details: failureDetails(stderr, pid) });
}

/** A job has said that it failed: in headers, or in a record. */
export function failedOutcome(kind: "retry" | "bury", failure: Failure): Outcome {
  const error = failureOf(failure);
  const { delayMs } = failure;
  return kind === "retry" && delayMs !== undefined ? { kind, error, delayMs } : { kind, error };
}

/** The process id in a text; undefined where that is none. It is for people: nothing is signalled by it. */
export function pidOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9]\d{0,9}$/.test(text) ? Number(text) : undefined;
}
