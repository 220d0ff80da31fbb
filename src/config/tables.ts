import { type BrokerType, typeOf } from "../brokers/broker_type.ts";
import {
  anyOf,
  isTable,
  missingKey,
  nameOf,
  nearest,
  type Path,
  type Problem,
  valueAt,
  wrongValue,
} from "./problems.ts";
import { taken } from "./refused.ts";
import type { ConfigFile } from "./schema.ts";

/** A file that the schema has read, and may have refused in parts. */
export interface Reading {
  /** With defaults; to read a refused value ends the check: see `guarded`. */
  readonly file: ConfigFile;
  /** As written. */
  readonly written: Written;
  /** The kinds of brokers. */
  readonly types: readonly BrokerType[];
}

/** A table of it. */
export interface Table<T> {
  readonly path: Path;
  readonly value: T;
  readonly written: Written;
}

type Written = Readonly<Record<string, unknown>>;
export type Consumer = Table<ConfigFile["consumers"][number]>;
export type Pool = Table<ConfigFile["fpm"][string]>;
export type Schedule = Table<ConfigFile["schedule"][number]>;
/** Tables that others refer to. */
type Group = "brokers" | "fpm" | "processes";
/** The element type of a list, or of a group. */
type Inside<T> = T extends Readonly<Record<string, infer Inner>> ? Inner
  : T extends readonly (infer Inner)[] ? Inner
  : never;

export type Problems = Iterable<Problem>;

/** Checks that the values of a table fit together, and to those of others. */
export type Check<T> = (table: T, reading: Reading) => Problems;

/** The findings of the checks in each table, up to the first refused value. */
export function checkEach<T>(tables: readonly T[], checks: readonly Check<T>[], reading: Reading): Problem[] {
  const found: Problem[] = [];
  for (const table of tables) {
    for (const check of checks) {
      taken(() => {
        for (const one of check(table, reading)) found.push(one);
      });
    }
  }
  return found;
}

function namesIn(group: unknown): readonly string[] {
  // zod silently drops this one key from records.
  return isTable(group) ? Object.keys(group).filter((name) => name !== "__proto__") : [];
}

/** The tables of a list, or of a group. */
export function tablesIn<Name extends Group | "consumers" | "schedule">(
  name: Name,
  reading: Reading,
): Table<Inside<ConfigFile[Name]>>[] {
  const all = reading.written[name];
  const keys = Array.isArray(all) ? [...all.keys()] : namesIn(all);
  return keys.flatMap((key) => tableAt<Inside<ConfigFile[Name]>>([name, key], reading));
}

/** The table at a path; none if the schema has refused all of it. */
export function tableAt<T>(path: Path, { file, written }: Reading): Table<T>[] {
  const table = valueAt(written, path);
  const value = taken(() => valueAt(file, path));
  return isTable(table) && value !== undefined ? [{ path, value: value as T, written: table }] : [];
}

export function problem<T>({ path }: Table<T>, key: string & keyof T, text: string): Problem {
  return { path: [...path, key], text };
}

/** Checks that `key` names a table of `group`; it may be missing if there is only one. */
export function* checkNamed(key: string, group: Group, user: Table<unknown>, reading: Reading): Problems {
  const names = namesIn(reading.written[group]);
  const place = [...user.path, key];
  const name = user.written[key];
  if (name === undefined && names.length > 1) yield missingKey(place, `expected ${anyOf(names)}`);
  if (typeof name !== "string" || names.length === 0 || names.includes(name)) return;
  const near = nearest(name, names);
  const advice = near === undefined ? `expected ${anyOf(names)}` : `did you mean "${near}"?`;
  yield wrongValue(place, name, `there is no [${nameOf([group, name])}]; ${advice}`);
}

/** The table that the `key` of another one names, or the only one; undefined if unclear or missing. */
export function usedTable<Name extends Group>(
  key: string,
  group: Name,
  user: Table<unknown>,
  reading: Reading,
): Table<Inside<ConfigFile[Name]>> | undefined {
  const [only, ...others] = namesIn(reading.written[group]);
  const name = user.written[key] ?? (others.length === 0 ? only : undefined);
  return tablesIn(group, reading).find(({ path }) => path[1] === name);
}

/** The broker of a consumer or a schedule, and its type; undefined as for {@link usedTable}. */
export function usedBroker(user: Table<unknown>, reading: Reading) {
  const broker = usedTable("broker", "brokers", user, reading)?.value;
  const type = broker && typeOf(reading.types, broker);
  return type && { type, broker };
}

/** The consumers that run their jobs on a pool. */
export function usersOf({ path }: Pool, reading: Reading): Consumer[] {
  return tablesIn("consumers", reading).filter((consumer) =>
    taken(() => consumer.value.executor) === "fastcgi" &&
    usedTable("fpm", "fpm", consumer, reading)?.path[1] === path[1]
  );
}

/** Whether a table before this one in its list has the same name. */
export function isTaken<T>(
  table: Table<T>,
  all: readonly Table<T>[],
  nameOf: (table: Table<T>) => string,
): boolean {
  const name = nameOf(table);
  return all.some((other) =>
    Number(other.path[1]) < Number(table.path[1]) && taken(() => nameOf(other)) === name
  );
}
