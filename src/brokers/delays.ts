import type { DelayRange } from "../core/broker.ts";
import { JobError } from "../core/errors.ts";

/** @throws {JobError} JOB_MALFORMED when a push asks for a longer delay than its broker keeps */
export function refuseDelay(queue: string, delayMs: number, { maxMs }: DelayRange): void {
  if (delayMs <= maxMs) return;
  throw new JobError(
    "JOB_MALFORMED",
    `Cannot push to queue "${queue}": the delay of ${delayMs} ms is longer than the ${maxMs} ms that this broker keeps`,
  );
}
