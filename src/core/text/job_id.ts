/** A longer one is none, characters: it goes into a param, into the environment of a process, and into every line of the log. */
const MAX_LENGTH = 255;

/**
 * Why a text of a message cannot be its job's id; undefined when it can. The text is the end of a sentence.
 *
 * An id becomes a param and part of a URI: PHP cuts a param at its first NUL, and a lone surrogate has no bytes.
 */
export function whyIdIsRefused(id: string): string | undefined {
  if (id.length > MAX_LENGTH) return `has ${id.length} characters, more than ${MAX_LENGTH}`;
  return id.isWellFormed() && !/\p{Cc}/u.test(id) ? undefined : "has a control character or a lone surrogate";
}
