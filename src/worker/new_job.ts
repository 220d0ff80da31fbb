import type { PushOptions } from "../core/driver.ts";
import type { Format } from "../formats/format.ts";

/** A job as a driver's push takes it. */
export interface NewJob {
  readonly message: Uint8Array;
  readonly options: Pick<PushOptions, "priority" | "maxAttempts">;
}

/**
 * Writes a job in its broker's format.
 *
 * @param job.attempts Tries at most; undefined for the consumer's.
 * @throws {JobError} JOB_MALFORMED when the format has rules for payloads, and this one breaks them
 */
export function newJob(
  format: Format,
  { payload, priority, attempts, nowMs }: {
    payload: Uint8Array;
    priority: number;
    attempts: number | undefined;
    nowMs: number;
  },
): NewJob {
  const message = format.encode({
    payload,
    enqueuedAtMs: nowMs,
    ...(attempts !== undefined && { maxAttempts: attempts }),
  });
  // A format that has it inside needs no place for it in the broker, which may have none.
  const isInside = format.decode({ raw: message, headers: {} }).maxAttempts !== undefined;
  const isBeside = attempts !== undefined && !isInside;
  return { message, options: { priority, ...(isBeside && { maxAttempts: attempts }) } };
}
