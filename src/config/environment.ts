import { isTable, type Path, type Problem } from "./problems.ts";

/**
 * Puts environment variables into every text of a parsed file: `${NAME}` stands for a variable's value, `$${` for the
 * two characters `${`. Table and key names are left alone.
 *
 * A text whose variable is not set stays as written and is reported.
 */
export function expandEnvironment(
  data: unknown,
  env: (name: string) => string | undefined,
): { data: unknown; problems: Problem[] } {
  const problems: Problem[] = [];

  function expandText(text: string, path: Path): string {
    return text.replaceAll(/\$\$\{|\$\{([^}]*)(\}?)/g, (whole, name?: string, end?: string) => {
      if (name === undefined) return "${";
      if (!end || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
        problems.push({
          path,
          text:
            `"${whole}" is no variable's name: write \${NAME}, or $\${ where you mean the two characters \${`,
        });
        return whole;
      }
      const value = env(name);
      if (value !== undefined) return value;
      problems.push({
        path,
        text:
          `the environment variable "${name}" is not set: set it, or write $\${${name}} where you mean the text`,
      });
      return whole;
    });
  }

  function expand(value: unknown, path: Path): unknown {
    if (typeof value === "string") return expandText(value, path);
    if (Array.isArray(value)) return value.map((element, index) => expand(element, [...path, index]));
    if (!isTable(value)) return value;
    const expanded: Record<string, unknown> = Object.create(null);
    for (const [key, inner] of Object.entries(value)) expanded[key] = expand(inner, [...path, key]);
    return expanded;
  }

  return { data: expand(data, []), problems };
}
