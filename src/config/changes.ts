import { isDeepStrictEqual } from "node:util";
import { hasAuto, isOn } from "./options/concurrency.ts";
import type { Config } from "./config.ts";

/** The differences of one kind in a new configuration, by name. */
export interface NameChanges {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
  /** They are equal, and so is everything that they use. */
  readonly kept: readonly string[];
}

/** The changes of a new configuration. A part that uses a changed part counts as changed. */
export interface ConfigChanges {
  readonly brokers: NameChanges;
  readonly fpm: NameChanges;
  readonly consumers: NameChanges;
  readonly schedule: NameChanges;
}

/** Compares two configurations. */
export function changesBetween(old: Config, next: Config): ConfigChanges {
  const brokers = compare(old.brokers, next.brokers);
  // Consumers with "auto" share the pool with those of a fixed concurrency: either all are equal, or all start again.
  const fpm = compare(old.fpm, next.fpm, (_, name) => {
    if (!hasAuto(old, name) && !hasAuto(next, name)) return true;
    const [before, after] = [old, next].map(({ consumers }) =>
      consumers.filter(({ executor }) => isOn(executor, name))
    );
    return isDeepStrictEqual(before, after);
  });
  const processes = compare(old.processes, next.processes);
  const consumers = compare(byName(old.consumers), byName(next.consumers), ({ broker, executor }) => {
    const runsOn = executor.kind === "fastcgi"
      ? fpm.kept.includes(executor.fpm)
      : processes.kept.includes(executor.process);
    return runsOn && brokers.kept.includes(broker);
  });
  const schedule = compare(
    byName(old.schedule),
    byName(next.schedule),
    ({ broker }) => brokers.kept.includes(broker),
  );
  return { brokers, fpm, consumers, schedule };
}

/** Changes that only a restart applies; named as in the file. */
export function needsRestart(started: Config, next: Config): string[] {
  return [
    ...(isDeepStrictEqual(started.http, next.http) ? [] : ["[http]"]),
    ...(isDeepStrictEqual(started.tracing, next.tracing) ? [] : ["[tracing]"]),
    ...(started.controlSocket === next.controlSocket ? [] : ["[control] socket"]),
    ...(started.log.format === next.log.format ? [] : ["[log] format"]),
  ];
}

/** @param isKept Whether everything that an equal one uses is equal, too. */
function compare<T>(
  old: ReadonlyMap<string, T>,
  next: ReadonlyMap<string, T>,
  isKept: (value: T, name: string) => boolean = () => true,
): NameChanges {
  const common = [...next.keys()].filter((name) => old.has(name));
  const kept = common.filter((name) => {
    const value = next.get(name)!;
    return isDeepStrictEqual(old.get(name), value) && isKept(value, name);
  });
  return {
    added: [...next.keys()].filter((name) => !old.has(name)),
    changed: common.filter((name) => !kept.includes(name)),
    removed: [...old.keys()].filter((name) => !next.has(name)),
    kept,
  };
}

function byName<T extends { readonly name: string }>(all: readonly T[]): Map<string, T> {
  return new Map(all.map((one) => [one.name, one]));
}
