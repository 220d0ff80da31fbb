import type { DelayRange } from "../core/broker.ts";
import { JobError } from "../core/errors.ts";

/**
 * To the millisecond, and up to a hundred years: the times of day of such delays are still numbers that all who read a queue's
 * file, or Redis, hold.
 */
export const HUNDRED_YEARS: DelayRange = { maxMs: 100 * 366 * 86_400_000, stepMs: 1 };

/** @throws {JobError} JOB_MALFORMED when a push asks for a longer delay than its broker keeps */
export function refuseDelay(queue: string, delayMs: number, { maxMs }: DelayRange): void {
  if (delayMs <= maxMs) return;
  throw new JobError(
    "JOB_MALFORMED",
    `Cannot push to queue "${queue}": the delay of ${delayMs} ms is longer than the ${maxMs} ms that this broker allows`,
  );
}
