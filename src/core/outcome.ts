import { asFervoError, type FervoError } from "./errors.ts";
import type { Message } from "./format.ts";

/**
 * The result of one attempt of a job, which decides how its delivery is settled:
 *
 * - `ack`: done, forget it.
 * - `retry`: failed; the attempt counts. The job runs again after `delayMs` milliseconds (the retry policy's delay when
 *   absent), or becomes a dead letter after the last attempt.
 * - `bury`: failed for good; it becomes a dead letter, and a person decides.
 * - `handled`: failed, and the application has dealt with it: the job is gone here, and a failure is counted.
 * - `replace`: failed, and this message of the application takes its place, after `delayMs` milliseconds.
 * - `release`: it did not run, was cut off, or asked to run later; it is put back unchanged, and the attempt does not count.
 *
 * With `queuePauseMs` the application also says that no job of the queue may begin for this many milliseconds.
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
     * Why it did not run, and what the consumer does. `unavailable`: backs off and tries again by itself. `misconfigured`: the
     * same, and reports an error, because a person may have to act. `shutdown`: nothing. `asked`: nothing, the job itself asked
     * to run after `delayMs` milliseconds.
     */
    readonly reason: "unavailable" | "misconfigured" | "shutdown" | "asked";
    readonly delayMs?: number;
    /** It ran and was cut off, and its process may not have ended: the next run may overlap with it. */
    readonly mayRunOn?: boolean;
  };

/**
 * What the broker does with a delivery: an outcome with everything that the broker needs. A retry has its delay, and a retry
 * after the last attempt is a burial. `error` and `reason` of a release are for observers; brokers ignore them.
 */
export type Verdict =
  | Exclude<Ending, { readonly kind: "retry" }>
  | Extract<Ending, { readonly kind: "retry" }> & { readonly delayMs: number };

/** Whether jobs cannot run because of their configuration, so that a person may have to act. */
export function isMisconfigured({ code }: FervoError): boolean {
  return code === "FPM_MISCONFIGURED" || code === "APPLICATION_NOT_STARTED" ||
    code === "PROCESS_MISCONFIGURED";
}

/** The one shared value for success; the common case allocates nothing. */
export const ACK: Extract<Ending, { readonly kind: "ack" }> = Object.freeze({ kind: "ack" });

/**
 * The outcome of a job that met an unforeseen fault. The fault says nothing about the job, so it costs no attempt: the job is
 * put back, and the consumer backs off, so that a permanent fault does not spin.
 */
export function outcomeOfFault(error: unknown): Outcome {
  return { kind: "release", reason: "unavailable", error: asFervoError(error) };
}
