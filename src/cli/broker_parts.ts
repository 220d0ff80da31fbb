import type { BrokerConfig, SchemaScript } from "../brokers/broker_type.ts";
import type { BrokerAdmin, DeadLetters, Pauses } from "../core/admin.ts";
import type { Broker } from "../core/broker.ts";
import { FervoError } from "../core/errors.ts";

/** @throws {FervoError} CONFIG_INVALID when the broker cannot list dead letters */
export function deadLettersOf({ admin }: Broker, name: string): DeadLetters {
  return admin.dead ?? refuse(name, "cannot list, retry or remove dead letters");
}

/** @throws {FervoError} CONFIG_INVALID when the broker stores no errors to group dead letters by */
export function groupsOf(
  { letters, name }: { readonly letters: DeadLetters; readonly name: string },
): NonNullable<DeadLetters["groups"]> {
  if (letters.groups === undefined) refuse(name, "stores no errors of dead letters, so it cannot group them");
  return (...args) => letters.groups!(...args);
}

/** @throws {FervoError} CONFIG_INVALID when the broker cannot store pauses */
export function pausesOf({ admin }: Broker, name: string): Pauses {
  return admin.pauses ?? refuse(name, "cannot store pauses; stop the consumer instead");
}

/** @throws {FervoError} CONFIG_INVALID when the broker cannot delete jobs by queue */
export function purgeOf({ admin }: Broker, name: string): (queue: string) => Promise<number> {
  if (admin.purge === undefined) {
    refuse(name, "cannot delete the jobs of a queue; use the broker's own tools");
  }
  return (queue) => admin.purge!(queue);
}

/** @throws {FervoError} CONFIG_INVALID when the broker cannot list jobs */
export function jobsOf({ admin }: Broker, name: string): NonNullable<BrokerAdmin["jobs"]> {
  if (admin.jobs === undefined) refuse(name, "cannot list the jobs of a queue; use the broker's own tools");
  return (...args) => admin.jobs!(...args);
}

/** @throws {FervoError} CONFIG_INVALID when the broker has no tables */
export function schemaOf({ type, format }: BrokerConfig, name: string): SchemaScript {
  if (type.schema !== undefined) return type.schema;
  return format.framework === undefined
    ? refuse(name, `has driver = "${type.driver}", which needs no tables of an administrator`)
    : refuse(name, `has format = "${format.name}", whose tables the application's framework creates`);
}

function refuse(name: string, why: string): never {
  throw new FervoError("CONFIG_INVALID", `Cannot be done with the broker "${name}": it ${why}`);
}
