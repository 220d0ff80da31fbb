import type { ErrorDetails } from "../core/errors.ts";

/**
 * The known facts about a failed run.
 *
 * @param stderr Its STDERR, possibly "".
 * @param pid Of its process, if known.
 */
export function failureDetails(stderr: string, pid?: number): ErrorDetails {
  return { ...(pid !== undefined && { pid }), ...(stderr !== "" && { stderr }) };
}
