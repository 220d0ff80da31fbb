/** How many texts are kept; there are about a hundred different ones. */
const LIMIT = 1_000;

interface Numbered {
  readonly text: string;
  readonly count: number;
}

const known = new Map<string, Numbered>();

/**
 * The statement with `$1`, `$2` … in the place of each `?`. Our statements have no `?` in a literal, a name or an operator.
 *
 * @throws {TypeError} when the statement has not this many parameters
 */
export function numberPlaceholders(text: string, count: number): string {
  let found = known.get(text);
  if (found === undefined) {
    let last = 0;
    found = { text: text.replaceAll("?", () => `$${++last}`), count: last };
    if (known.size >= LIMIT) known.clear();
    known.set(text, found);
  }
  if (found.count !== count) {
    throw new TypeError(
      `The statement has ${found.count} parameters, and ${count} values were given: ${text}`,
    );
  }
  return found.text;
}
