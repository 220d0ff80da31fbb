import { JobError } from "../core/errors.ts";
import { isUniqueKey, type PushOptions, UNIQUE_KEYS } from "../core/format.ts";

/** @throws {JobError} JOB_MALFORMED when a push has a unique key: the broker has none */
export function refuseUnique(queue: string, { unique }: PushOptions): void {
  if (unique === undefined) return;
  throw new JobError(
    "JOB_MALFORMED",
    `Cannot push to queue "${queue}" with a unique key: this broker stores none; leave out the key`,
  );
}

/** @throws {JobError} JOB_MALFORMED when the unique key of a push cannot be stored */
export function refuseInvalidKey(queue: string, { unique }: PushOptions): void {
  if (unique === undefined || isUniqueKey(unique)) return;
  throw new JobError(
    "JOB_MALFORMED",
    `Cannot push to queue "${queue}": its unique key has ${[...unique].length} characters${
      unique.includes("\0") ? ", one of them NUL" : ""
    }; a key has ${UNIQUE_KEYS}`,
  );
}
