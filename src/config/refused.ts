/*
 * A file's problems are reported all at once. So the valid parts of a refused file are checked, too, and the checks need not
 * know the other problems: a check that reads a refused value ends there.
 */

const REFUSED = Symbol("refused");

/** The same tables and lists, but to read a refused path throws: see {@link taken}. */
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

/** The result of `read`; undefined when it needs a refused value, which is already reported. */
export function taken<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error === REFUSED) return undefined;
    throw error;
  }
}
