import { BEANSTALKD } from "./beanstalkd/config.ts";
import type { BrokerType } from "./broker_type.ts";
import { MYSQL, POSTGRES } from "./rows/config/fervo.ts";
import { MESSENGER_MYSQL, MESSENGER_POSTGRES, MESSENGER_SQLITE } from "./rows/config/messenger.ts";
import { SIDEKIQ } from "./sidekiq/config.ts";
import { SQLITE } from "./sqlite/config.ts";

/**
 * Every kind of broker. A new one is a folder and a row here. The first one of a driver is that of a table without a format.
 */
export const BROKER_TYPES: readonly BrokerType[] = [
  SQLITE,
  POSTGRES,
  MYSQL,
  BEANSTALKD,
  SIDEKIQ,
  MESSENGER_POSTGRES,
  MESSENGER_MYSQL,
  MESSENGER_SQLITE,
];
