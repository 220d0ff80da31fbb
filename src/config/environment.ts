import { isTable, type Path, type Problem } from "./problems.ts";

/** An environment variable's value, by its name; undefined when it is not set. */
export type Variables = (name: string) => string | undefined;

/** No key of a configuration lies deeper; a file may go on for thousands of levels, further than calls can be nested. */
const DEEPEST = 16;

/** A text that is one variable and nothing else may stand for a number, or for true or false. */
const ALONE = /^\$\{\w+\}$/;
const NUMBER = /^-?\d+(?:\.\d+)?$/;

/**
 * Makes numbers, and true and false, of the texts at `paths` that were one variable and nothing else.
 *
 * @param data What {@link expandEnvironment} gave; it is changed.
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
 * Puts environment variables into every text of a parsed file: `${NAME}` stands for a variable's value, `$${` for the
 * two characters `${`. Table and key names are left alone.
 *
 * A text whose variable is not set stays as written and is reported. What lies deeper than any key stays as written, too.
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
