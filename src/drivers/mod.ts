import type { Clock } from "../core/clock.ts";
import type { Driver } from "../core/driver.ts";
import { SqliteDriver, type SqliteDriverOptions } from "./sqlite.ts";

/** What a broker needs to be opened, by its driver's name. A new driver is a file, and a row in the two tables here. */
export interface DriverOptions {
  readonly sqlite: SqliteDriverOptions;
}

export type DriverName = keyof DriverOptions;

export interface DriverDeps {
  readonly clock: Clock;
  /** Names this process to the broker and the people who look into it, e.g. `host:pid`. */
  readonly owner: string;
}

const OPENERS: { [N in DriverName]: (deps: DriverDeps, options: DriverOptions[N]) => Driver } = {
  sqlite: (deps, options) => SqliteDriver.open(deps, options),
};

/**
 * Opens a broker.
 *
 * @throws {FervoError} QUEUE_UNAVAILABLE
 */
export function openDriver<N extends DriverName>(
  name: N,
  deps: DriverDeps,
  options: DriverOptions[N],
): Driver {
  return OPENERS[name](deps, options);
}
