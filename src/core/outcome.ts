import { asFervoError, type FervoError } from "./errors.ts";
import type { Message } from "./format.ts";

/**
 * What became of one attempt of a job, and so how its delivery is settled:
 *
 * - `ack`: done, forget it.
 * - `retry`: failed; the attempt counts. Again after `delayMs` milliseconds (the retry policy's delay when absent),
 *   or to the dead letters when it was the last attempt.
 * - `bury`: failed for good; to the dead letters, a person decides.
 * - `handled`: failed, and the application has dealt with it: the job is gone here, and a failure is counted.
 * - `replace`: failed, and this message of the application's takes its place, after `delayMs` milliseconds.
 * - `release`: it never ran, was cut off, or asks to come later; put back untouched, the attempt does not count.
 *
 * With `queuePauseMs` the application says beside it that no job of the queue is to begin for this many milliseconds.
 */
export type Outcome = { readonly queuePauseMs?: number } & Ending;

type Ending =
  | { readonly kind: "ack" }
  | { readonly kind: "retry"; readonly error: FervoError; readonly delayMs?: number }
  | { readonly kind: "bury"; readonly error: FervoError }
  | { readonly kind: "handled"; readonly error: FervoError }
  | {
    readonly kind: "replace";
    readonly message: Message;
    readonly delayMs: number;
    readonly error: FervoError;
  }
  | {
    readonly kind: "release";
    readonly error: FervoError;
    /**
     * Why it could not run, and so what the consumer does about it: `unavailable`, pause and try again by itself;
     * `misconfigured`, the same, and loudly, for a person may have to change something; `shutdown`, nothing, we are leaving; `asked`,
     * nothing, the job itself wants to come again after `delayMs` milliseconds.
     */
    readonly reason: "unavailable" | "misconfigured" | "shutdown" | "asked";
    readonly delayMs?: number;
    /** It ran, was cut off, and what ran it has not ended for certain: its next run may begin beside this one. */
    readonly mayRunOn?: boolean;
  };

/**
 * What is done with a delivery: an outcome that says all that its broker has to be told. A retry has its delay, and a retry
 * after the last attempt is a burial. `error` and `reason` of a release are for observers; brokers ignore them.
 */
export type Verdict =
  | Exclude<Ending, { readonly kind: "retry" }>
  | Extract<Ending, { readonly kind: "retry" }> & { readonly delayMs: number };

/** Whether an error says that jobs cannot be run as what runs them is set up, so that a person may have to change that. */
export function isMisconfigured({ code }: FervoError): boolean {
  return code === "FPM_MISCONFIGURED" || code === "APPLICATION_NOT_STARTED" ||
    code === "PROCESS_MISCONFIGURED";
}

/** The one shared value of a job that went well; the common case allocates nothing. */
export const ACK: Extract<Ending, { readonly kind: "ack" }> = Object.freeze({ kind: "ack" });

/**
 * The outcome of a job that an error came in the way of which nobody foresaw. It says nothing of the job, so that it
 * costs no attempt: the job is put back, and the consumer backs off, so that a fault that stays does not spin.
 */
export function outcomeOfFault(error: unknown): Outcome {
  return { kind: "release", reason: "unavailable", error: asFervoError(error) };
}
