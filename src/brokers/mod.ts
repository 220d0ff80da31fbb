import type { Clock } from "../core/time/clock.ts";
import type { Driver } from "../core/driver.ts";
import { FervoError } from "../core/errors.ts";
import type { Observer } from "../core/observer.ts";
import { BeanstalkdDriver, type BeanstalkdDriverOptions } from "./beanstalkd/broker.ts";
import { RedisDriver, type RedisDriverDeps, type RedisDriverOptions } from "./sidekiq/broker.ts";
import type { JobFormat } from "./sidekiq/jobs.ts";
import { LateDriver } from "./late.ts";
import { SQLITE_CAPABILITIES, SqliteDriver, type SqliteDriverOptions } from "./sqlite/broker.ts";
import { SqliteHoldings } from "./sqlite/leases.ts";

/** What a broker needs to be opened, by its driver's name. A new driver is a file, and a row in the two tables here. */
export interface DriverOptions {
  readonly sqlite: SqliteDriverOptions;
  readonly beanstalkd: BeanstalkdDriverOptions;
  readonly redis: RedisDriverOptions;
}

export type DriverName = keyof DriverOptions;

export interface DriverDeps {
  readonly clock: Clock;
  /** Names this process to the broker and the people who look into it, e.g. `host:pid`. */
  readonly owner: string;
  /** How jobs are written, for a broker that keeps their whole record in the message. */
  readonly jobs?: JobFormat;
  /** What runs here, for brokers that show it. */
  readonly process?: NonNullable<RedisDriverDeps["process"]>;
  /** Is told what the driver does by itself. */
  readonly observe?: Observer;
  /** A broker that cannot be opened now is opened later: its calls reject until then. */
  readonly isPatient?: boolean;
  /** Is told what a person has told this process by way of the broker. */
  readonly onSignal?: NonNullable<RedisDriverDeps["onSignal"]>;
}

/** Several brokers of a process, or two of which one takes the other's place, may be on one file. */
const holdings = new SqliteHoldings();

const OPENERS: { [N in DriverName]: (deps: DriverDeps, options: DriverOptions[N]) => Driver } = {
  sqlite: (deps, options) => {
    const open = () => SqliteDriver.open({ ...deps, holdings }, options);
    if (deps.isPatient !== true) return open();
    try {
      return open();
    } catch {
      const late = { capabilities: SQLITE_CAPABILITIES, leaseMs: options.leaseMs };
      return new LateDriver({ clock: deps.clock, open }, late);
    }
  },
  beanstalkd: (deps, options) => new BeanstalkdDriver(deps, options),
  redis: ({ jobs, ...deps }, options) => {
    if (jobs === undefined) {
      throw new FervoError("CONFIG_INVALID", "Redis needs a message format of Sidekiq's");
    }
    return RedisDriver.open({ ...deps, jobs }, options);
  },
};

/**
 * Opens a broker.
 *
 * @throws {FervoError} QUEUE_UNAVAILABLE, unless it is patient
 */
export function openDriver<N extends DriverName>(
  name: N,
  deps: DriverDeps,
  options: DriverOptions[N],
): Driver {
  return OPENERS[name](deps, options);
}
