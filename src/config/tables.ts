import type { BrokerType } from "../brokers/broker_type.ts";
import type { Written } from "../core/option.ts";
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
export type Table = Written;

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

/** Of `tables` the one that the `key` of a table names, or the only one; undefined when that is not clear, or there is none. */
export function usedTable(
  key: string,
  tables: unknown,
  user: Table,
): { readonly name: string; readonly table: Table } | undefined {
  const [only, ...others] = namesIn(tables);
  const name = user[key] ?? (others.length === 0 ? only : undefined);
  const table = tablesIn(tables).find(([key]) => key === name);
  return table && { name: table[0], table: table[1] };
}

/** The type of the broker that a consumer, or a schedule, uses, and its table; undefined as of {@link usedTable}. */
export function usedBroker(
  brokers: unknown,
  user: Table,
  types: readonly BrokerType[],
): { readonly type: BrokerType; readonly table: Table } | undefined {
  const table = usedTable("broker", brokers, user)?.table;
  const type = types.find(({ driver }) => driver === table?.["driver"]);
  return table && type && { type, table };
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
