/*
 * A file's problems are told all at once. So what the schema takes of a file that it refuses is checked, too, and the checks
 * need not know what else there is: one that reads what was refused ends there.
 */

const REFUSED = Symbol("refused");

/** The same tables and lists, but to read what is at one of the paths throws: see {@link taken}. */
export function guarded<T extends object>(value: T, refused: readonly (readonly PropertyKey[])[]): T {
  if (refused.length === 0) return value;
  return new Proxy(value, {
    get(target, key) {
      const inside = refused.filter(([first]) => String(first) === key).map(([, ...rest]) => rest);
      if (inside.some(({ length }) => length === 0)) throw REFUSED;
      const inner: unknown = Reflect.get(target, key);
      return inside.length === 0 ? inner : guarded(inner as object, inside);
    },
  });
}

/** What `read` gives; undefined when it needs a value that was refused: that has been told. */
export function taken<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error === REFUSED) return undefined;
    throw error;
  }
}
