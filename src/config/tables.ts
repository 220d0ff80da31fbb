import {
  anyOf,
  isTable,
  missingKey,
  nameOf,
  nearest,
  type Path,
  type Problem,
  wrongValue,
} from "./problems.ts";

/** What a file lacks that has none of these tables but needs one; ends of sentences. */
export const NO_FPM = "expected at least one php-fpm pool: begin a table [fpm.default]";
export const NO_PROCESS = "expected at least one process: begin a table [processes.default]";

/** A table of the file as written, of which nothing is known. */
export type Table = Readonly<Record<string, unknown>>;

export function namesIn(tables: unknown): readonly string[] {
  if (!isTable(tables)) return [];
  // zod drops this one key from records, without a word.
  return Object.keys(tables).filter((name) => name !== "__proto__");
}

export function tablesIn(tables: unknown): (readonly [name: string, table: Table])[] {
  return isTable(tables)
    ? Object.entries(tables).filter((entry): entry is [string, Table] => isTable(entry[1]))
    : [];
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** `key` names one of the tables in `group`; it may be left out where there is only one. */
export function checkNamed(
  key: string,
  names: readonly string[],
  group: string,
  consumer: Table,
  path: Path,
): Problem[] {
  if (names.length === 0) return [];
  const name = consumer[key];
  if (name === undefined) {
    return names.length === 1 ? [] : [missingKey([...path, key], `expected ${anyOf(names)}`)];
  }
  if (typeof name !== "string" || names.includes(name)) return [];
  const near = nearest(name, names);
  const advice = near === undefined ? `expected ${anyOf(names)}` : `did you mean "${near}"?`;
  return [wrongValue([...path, key], name, `there is no [${nameOf([group, name])}]; ${advice}`)];
}
