import type { Clock } from "../core/time/clock.ts";
import type { Broker } from "../core/broker.ts";
import type { Observer } from "../core/observer.ts";
import { BeanstalkdBroker, type BeanstalkdBrokerOptions } from "./beanstalkd/broker.ts";
import { SidekiqBroker, type SidekiqBrokerDeps, type SidekiqBrokerOptions } from "./sidekiq/broker.ts";
import { FORMATS } from "../formats/mod.ts";
import { LateBroker } from "./late_broker.ts";
import { SQLITE_CAPABILITIES, SqliteBroker, type SqliteBrokerOptions } from "./sqlite/broker.ts";
import { SqliteHoldings } from "./sqlite/leases.ts";

/** What a broker needs to be opened, by its broker's name. A new broker is a file, and a row in the two tables here. */
export interface BrokerOptions {
  readonly sqlite: SqliteBrokerOptions & { readonly format: "raw" | "envelope" };
  readonly beanstalkd: BeanstalkdBrokerOptions & { readonly format: "raw" | "envelope" };
  readonly redis: SidekiqBrokerOptions & { readonly format: "sidekiq6" | "sidekiq7" | "sidekiq8" };
}

export type DriverName = keyof BrokerOptions;

export interface BrokerDeps {
  readonly clock: Clock;
  /** Names this process to the broker and the people who look into it, e.g. `host:pid`. */
  readonly owner: string;
  /** What runs here, for brokers that show it. */
  readonly process?: NonNullable<SidekiqBrokerDeps["process"]>;
  /** Is told what the broker does by itself. */
  readonly observe?: Observer;
  /** A broker that cannot be opened now is opened later: its calls reject until then. */
  readonly isPatient?: boolean;
  /** Is told what a person has told this process by way of the broker. */
  readonly onSignal?: NonNullable<SidekiqBrokerDeps["onSignal"]>;
}

/** Several brokers of a process, or two of which one takes the other's place, may be on one file. */
const holdings = new SqliteHoldings();

const OPENERS: { [N in DriverName]: (deps: BrokerDeps, options: BrokerOptions[N]) => Broker } = {
  sqlite: (deps, options) => {
    const format = FORMATS[options.format];
    const open = () => SqliteBroker.open({ ...deps, format, holdings }, options);
    if (deps.isPatient !== true) return open();
    try {
      return open();
    } catch {
      return new LateBroker({ clock: deps.clock, open }, { capabilities: SQLITE_CAPABILITIES, format });
    }
  },
  beanstalkd: (deps, options) => new BeanstalkdBroker({ ...deps, format: FORMATS[options.format] }, options),
  redis: (deps, options) => SidekiqBroker.open({ ...deps, format: FORMATS[options.format] }, options),
};

/**
 * Opens a broker.
 *
 * @throws {FervoError} QUEUE_UNAVAILABLE, unless it is patient
 */
export function createBroker<N extends DriverName>(
  name: N,
  deps: BrokerDeps,
  options: BrokerOptions[N],
): Broker {
  return OPENERS[name](deps, options);
}
