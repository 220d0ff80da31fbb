import type { ErrorDetails } from "../core/errors.ts";

/**
 * What is known of a failed run beside its error.
 *
 * @param stderr What it wrote to STDERR, "" for nothing.
 * @param pid Of its process, where that is known.
 */
export function failureDetails(stderr: string, pid?: number): ErrorDetails {
  return { ...(pid !== undefined && { pid }), ...(stderr !== "" && { stderr }) };
}
