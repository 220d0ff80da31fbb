import { isTable, type Path, type Problem } from "./problems.ts";

/** Returns an environment variable's value; undefined when it is not set. */
export type Variables = (name: string) => string | undefined;

/** No key of a configuration is deeper; a file may have thousands of levels, too deep for recursion. */
const DEEPEST = 16;

/** A text that is exactly one variable may become a number, or true or false. */
const ALONE = /^\$\{\w+\}$/;
const NUMBER = /^-?\d+(?:\.\d+)?$/;

/**
 * Replaces texts at `paths` that were exactly one variable by numbers, true and false.
 *
 * @param data The result of {@link expandEnvironment}; it is changed.
 * @param written The file before that.
 * @returns Whether there was one.
 */
export function takeNumbers(
  data: unknown,
  written: unknown,
  paths: readonly (readonly PropertyKey[])[],
): boolean {
  let hasTaken = false;
  for (const path of paths) {
    const key = path.at(-1);
    const [table, before] = [data, written].map((tree) => path.slice(0, -1).reduce(valueIn, tree));
    const text = valueIn(table, key!);
    if (typeof text !== "string" || !ALONE.test(String(valueIn(before, key!)))) continue;
    const value = NUMBER.test(text)
      ? Number(text)
      : text === "true" || text === "false"
      ? text === "true"
      : undefined;
    if (value === undefined) continue;
    (table as Record<PropertyKey, unknown>)[key!] = value;
    hasTaken = true;
  }
  return hasTaken;
}

function valueIn(tree: unknown, key: PropertyKey): unknown {
  return typeof tree === "object" && tree !== null && Object.hasOwn(tree, key)
    ? (tree as Record<PropertyKey, unknown>)[key]
    : undefined;
}

/**
 * Puts environment variables into every text of a parsed file: `${NAME}` becomes the value, `$${` becomes the two characters
 * `${`. Names of tables and keys stay unchanged.
 *
 * A text with an unset variable stays as written and is reported. Values deeper than any key stay as written, too.
 */
export function expandEnvironment<Data>(data: Data, env: Variables): { data: Data; problems: Problem[] } {
  const problems: Problem[] = [];

  function expandText(text: string, path: Path): string {
    return text.replaceAll(/\$\$\{|\$\{([^}]*)(\}?)/g, (whole, name?: string, end?: string) => {
      if (name === undefined) return "${";
      if (!end || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
        problems.push({
          path,
          text:
            `"${whole}" is not the name of a variable: write \${NAME}, or $\${ for the two characters \${`,
        });
        return whole;
      }
      const value = env(name);
      if (value !== undefined) return value;
      problems.push({
        path,
        text:
          `the environment variable "${name}" is not set: set it, or write $\${${name}} for the literal text`,
      });
      return whole;
    });
  }

  function expand(value: unknown, path: Path): unknown {
    if (typeof value === "string") return expandText(value, path);
    if (path.length === DEEPEST) return value;
    if (Array.isArray(value)) return value.map((element, index) => expand(element, [...path, index]));
    if (!isTable(value)) return value;
    const expanded: Record<string, unknown> = Object.create(null);
    for (const [key, inner] of Object.entries(value)) expanded[key] = expand(inner, [...path, key]);
    return expanded;
  }

  return { data: expand(data, []) as Data, problems };
}
