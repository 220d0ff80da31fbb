/** A shorter token could be guessed. */
export const MIN_TOKEN_LENGTH = 16;

/** The rule for a token, for messages. */
export const TOKEN_RULE = `at least ${MIN_TOKEN_LENGTH} letters, digits and signs without spaces`;

/** Whether a text can be a token: long enough, and valid in a header. */
export function isToken(text: string): boolean {
  return text.length >= MIN_TOKEN_LENGTH && /^[\x21-\x7e]+$/.test(text);
}
