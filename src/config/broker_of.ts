import type { BrokerConfig } from "../brokers/broker_type.ts";
import { FervoError } from "../core/errors.ts";
import type { Config } from "./config.ts";

/** @throws {FervoError} CONFIG_INVALID when the configuration has no broker of that name */
export function brokerOf({ brokers }: Config, name: string): BrokerConfig {
  const broker = brokers.get(name);
  if (broker !== undefined) return broker;
  const known = [...brokers.keys()].map((key) => `"${key}"`).join(", ");
  throw new FervoError("CONFIG_INVALID", `The configuration has no broker "${name}"; it has ${known}`);
}
