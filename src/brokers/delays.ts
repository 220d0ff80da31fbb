import type { DelayRange } from "../core/broker.ts";
import { JobError } from "../core/errors.ts";

/** To the millisecond, and up to a hundred years: such times are valid numbers for all readers of a queue's file, or of Redis. */
export const HUNDRED_YEARS: DelayRange = { maxMs: 100 * 366 * 86_400_000, stepMs: 1 };

/** @throws {JobError} JOB_MALFORMED when the delay of a push is too long for the broker */
export function refuseDelay(queue: string, delayMs: number, { maxMs }: DelayRange): void {
  if (delayMs <= maxMs) return;
  throw new JobError(
    "JOB_MALFORMED",
    `Cannot push to queue "${queue}": the delay of ${delayMs} ms is longer than the ${maxMs} ms that this broker allows`,
  );
}
