import { JobError } from "../core/errors.ts";
import type { PushOptions } from "../core/format.ts";

/** @throws {JobError} JOB_MALFORMED when a push has a priority: the broker has none */
export function refusePriority(queue: string, { priority = 0 }: PushOptions): void {
  if (priority === 0) return;
  throw new JobError(
    "JOB_MALFORMED",
    `Cannot push to queue "${queue}" with priority ${priority}: this broker has none; leave it out, or use another queue`,
  );
}
