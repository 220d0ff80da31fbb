import type { BrokerType } from "../../../src/brokers/broker_type.ts";
import { BROKER_TYPES } from "../../../src/brokers/mod.ts";
import { parseConfig } from "../../../src/config/load.ts";
import { ConfigError } from "../../../src/config/errors.ts";

export const NO_ENVIRONMENT = { env: () => undefined };

/** The required keys of each table, and nothing else. */
export const BROKER = '[brokers.default]\ndriver = "sqlite"\npath = "fervo-worker.sqlite"\n';
export const BEANSTALKD = '[brokers.beanstalkd]\ndriver = "beanstalkd"\n';
export const REDIS = '[brokers.redis]\ndriver = "redis"\n';
export const FPM = '[fpm.default]\naddress = "/run/php/fervo.sock"\nscript = "/srv/app/fervo.php"\n';
export const PROCESS = '[processes.default]\ncommand = ["php", "/srv/app/bin/console", "app:job"]\n';
export const SCHEDULE = '[[schedule]]\nname = "nightly"\nqueue = "default"\ncron = "30 2 * * *"\n';
export const CONSUMER = '[[consumers]]\nqueues = ["default"]\n';

/** The drivers that there are, and those whose brokers keep schedules, as an error lists them. */
export const ANY_DRIVER = listed(BROKER_TYPES);
export const SCHEDULING_DRIVER = listed(BROKER_TYPES.filter(({ capabilities }) => capabilities.schedule));

function listed(types: readonly BrokerType[]): string {
  const drivers = [...new Set(types.map(({ driver }) => `"${driver}"`))];
  return [drivers.slice(0, -1).join(", "), ...drivers.slice(-1)].join(" or ");
}

/** The lines of the error that a text causes. */
export async function problemsIn(
  text: string,
  environment: Readonly<Record<string, string>> = {},
  brokerTypes?: readonly BrokerType[],
): Promise<string[]> {
  try {
    const types = brokerTypes && { brokerTypes };
    await parseConfig(text, "fervo.toml", { env: (name) => environment[name], ...types });
  } catch (error) {
    if (error instanceof ConfigError && error.code === "CONFIG_INVALID") return error.message.split("\n");
    throw error;
  }
  return [];
}
