import { distance } from "fastest-levenshtein";
import type * as z from "zod";
import type { Path, Problem } from "../core/option.ts";

export type { Path, Problem };

/** The missing part of a file without any of these tables; ends of sentences. */
export const NO_FPM = "expected at least one php-fpm pool: begin a table [fpm.default]";
export const NO_PROCESS = "expected at least one process: begin a table [processes.default]";

/** The valid keys of one kind of table. */
export interface TableKeys {
  /** The place in words, e.g. `in [consumers.retry]`. */
  readonly place: string;
  readonly keys: readonly string[];
  /** Of a broker's table. */
  readonly driver?: string;
}

/** A TOML table; a date is not one. */
export function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/**
 * Turns the schema's issues into sentences.
 *
 * The schema's messages are not whole sentences: each has the expected value, and the message about unknown keys lists the
 * known ones (see `table` in schema.ts).
 *
 * @param written The file's values as written: a value from the environment may be a secret.
 * @param tables All tables, for keys in the wrong one.
 */
export function problemsOf(
  issues: readonly z.core.$ZodIssue[],
  written: unknown,
  tables: readonly TableKeys[],
): Problem[] {
  return issues.flatMap((issue): Problem[] => {
    const path = pathOf(issue);
    switch (issue.code) {
      case "unrecognized_keys": {
        const known = issue.message.split(", ");
        const { driver } = valueAt(written, path) as { readonly driver?: unknown };
        // Those of the same driver first.
        const near = tables.filter((table) => driver !== undefined && table.driver === driver);
        return issue.keys.map((key) => unknownKey([...path, key], known, [...near, ...tables]));
      }
      case "invalid_key": {
        const place = placeOf(path.slice(0, -1));
        const text = `cannot use the name ${show(path.at(-1))} ${place}: ${
          issue.issues[0]?.message ?? issue.message
        }`;
        return [{ path, text }];
      }
      case "invalid_union": {
        // The branch for a value of this type says more than "none fits".
        const meant = issue.errors.find((branch) =>
          !branch.some((inner) => inner.code === "invalid_type" && inner.path.length === 0)
        );
        if (meant === undefined) break;
        const placed = meant.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
        return problemsOf(placed, written, tables);
      }
    }
    const value = valueAt(written, path);
    return [value === undefined ? missingKey(path, issue.message) : wrongValue(path, value, issue.message)];
  });
}

/** `expected` says what the key must be, e.g. `expected a whole number`. */
export function missingKey(path: Path, expected: string): Problem {
  return { path, text: `missing key "${path.at(-1)}" ${placeOf(path.slice(0, -1))}: ${expected}` };
}

export function wrongValue(path: Path, value: unknown, expected: string): Problem {
  const shown = isSecret(path) ? "not usable" : show(value);
  return { path, text: `${nameOf(path)} is ${shown}: ${expected}` };
}

/** Whether a value is a secret: passwords, tokens, and headers, which may have either. */
function isSecret(path: Path): boolean {
  return /(?:password|token)$/.test(String(path.at(-1))) || path.at(-2) === "headers";
}

/** The candidate nearest to `text`, if it is near enough: by default a third of its letters. */
export function nearest(
  text: string,
  candidates: readonly string[],
  maxDistance = Math.ceil(text.length / 3),
): string | undefined {
  const lower = text.toLowerCase();
  let best: string | undefined;
  let bestDistance = maxDistance + 1;
  for (const candidate of candidates) {
    // A missing unit is the most likely mistake, and a long way in letters.
    const isUnitMissing = candidate === `${lower}_ms` || candidate === `${lower}_bytes`;
    const between = isUnitMissing ? 0 : typingDistance(lower, candidate.toLowerCase());
    if (between < bestDistance) [best, bestDistance] = [candidate, between];
  }
  return best;
}

/** Levenshtein's distance, with two swapped letters as one mistake: `fmp` for `fpm`. */
function typingDistance(a: string, b: string): number {
  const at = [...a].findIndex((letter, index) => letter !== b[index]);
  const isSwapped = at >= 0 && a === `${b.slice(0, at)}${b[at + 1] ?? ""}${b[at] ?? ""}${b.slice(at + 2)}`;
  return isSwapped ? 1 : distance(a, b);
}

/** `"a", "b" or "c"`. */
export function anyOf(values: readonly string[]): string {
  const quoted = values.map(show);
  const last = quoted.pop();
  return quoted.length === 0 ? `${last}` : `${quoted.join(", ")} or ${last}`;
}

/** The lists of tables. A value in one has no table name in its path; its line shows which one it is. */
const LISTS: readonly unknown[] = ["consumers", "schedule"];

/** The name of a value in a sentence. */
export function nameOf(path: Path): string {
  const [first, index, ...rest] = path;
  const isInList = LISTS.includes(first) && typeof index === "number" && rest.length > 0;
  return (isInList ? rest : path).reduce<string>((name, step) => {
    if (typeof step === "number") return `${name}[${step}]`;
    const key = /^[A-Za-z0-9_-]+$/.test(step) ? step : JSON.stringify(step);
    return name === "" ? key : `${name}.${key}`;
  }, "");
}

/** A value in a sentence. */
export function show(value: unknown): string {
  if (typeof value === "string") {
    // An address can have a password.
    const safe = value.replace(/^(\w+:\/\/)?.+@/s, "$1…@");
    return JSON.stringify(safe.length > 80 ? `${safe.slice(0, 80)}…` : safe);
  }
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (isTable(value)) return Object.keys(value).length === 0 ? "an empty table" : "a table";
  return value instanceof Date ? "a date" : String(value);
}

/** The new names of renamed keys, by table. */
export const RENAMED: ReadonlyMap<string, string> = new Map([["brokers.dialect", "format"]]);

function unknownKey(path: Path, known: readonly string[], tables: readonly TableKeys[]): Problem {
  const key = String(path.at(-1));
  const renamed = RENAMED.get(`${path[0]}.${key}`);
  if (renamed !== undefined) {
    return { path, text: `${show(key)} ${placeOf(path.slice(0, -1))} is called "${renamed}" now: rename it` };
  }
  const elsewhere = tables.find((table) => table.keys.includes(key));
  // One wrong letter is a slip; more may be the right word in the wrong table.
  const near = nearest(key, known, elsewhere === undefined ? undefined : 1);
  const advice = near !== undefined
    ? `did you mean "${near}"?`
    : elsewhere !== undefined
    ? `it belongs ${elsewhere.place}`
    : `remove it; known here: ${known.join(", ")}`;
  return { path, text: `unknown key ${show(key)} ${placeOf(path.slice(0, -1))}; ${advice}` };
}

function placeOf(table: Path): string {
  if (table.length === 0) return "at the top level";
  if (LISTS.includes(table[0]) && table.length === 2) return `in [[${table[0]}]]`;
  if (table.slice(2).some((step) => typeof step === "number")) return `in ${nameOf(table)}`;
  return `in [${nameOf(table.filter((step) => typeof step === "string"))}]`;
}

function pathOf(issue: z.core.$ZodIssue): Path {
  // TOML has no symbols.
  return issue.path as (string | number)[];
}

/** The value at a path in a tree of tables and lists; undefined without one. */
export function valueAt(data: unknown, path: Path): unknown {
  return path.reduce<unknown>((value, step) => {
    if (Array.isArray(value)) return value[Number(step)];
    return isTable(value) ? value[step] : undefined;
  }, data);
}
