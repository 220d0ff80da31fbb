/** A longer id is refused, characters: an id goes into a param, into the environment of a process, and into every log line. */
const MAX_LENGTH = 255;

/**
 * Why a text cannot be a job's id, as the end of a sentence; undefined when it can.
 *
 * An id becomes a param and part of a URI: PHP cuts a param at its first NUL, and a lone surrogate has no bytes.
 */
export function whyIdIsRefused(id: string): string | undefined {
  if (id.length > MAX_LENGTH) return `has ${id.length} characters, more than ${MAX_LENGTH}`;
  return id.isWellFormed() && !/\p{Cc}/u.test(id) ? undefined : "has a control character or a lone surrogate";
}
