import type { FrameworkStore } from "../brokers/broker_type.ts";
import type { Finding } from "../core/finding.ts";
import { commandLineFindings, commandLinePhp } from "./command_line.ts";
import { type MessengerFacts, readMessengerFacts, type TransportFacts } from "./messenger_facts.ts";

/** A broker whose messages a framework of the application reads, too. */
export interface SharedStore extends FrameworkStore {
  /** The broker's name in the configuration. */
  readonly name: string;
  /** The queues of consumers, which are the transports. */
  readonly queues: readonly string[];
}

/**
 * Every finding about the application's Messenger.
 *
 * @param header Of the front controller's answer to a check.
 * @param path Folders of programs, as in PATH.
 */
export async function messengerFindings(
  header: string | undefined,
  stores: readonly SharedStore[],
  path: string,
): Promise<Finding[]> {
  const facts = readMessengerFacts(header);
  if (facts === undefined) {
    return [{
      id: "messenger.transport",
      severity: "warning",
      what: "the script does not tell the transports of Messenger",
      why: "it may be another application's, or one without Messenger: then no message runs",
      fix: "in [fpm.NAME]: script = the path that bin/console fervo:front-controller prints",
    }];
  }
  const { php } = facts;
  return [
    ...transportFindings(facts, stores),
    ...failureFindings(facts, stores),
    ...lockFindings(facts),
    ...fileFindings(facts),
    ...(php === undefined ? [] : commandLineFindings(php, await commandLinePhp(php, path))),
  ];
}

/** Compares the brokers of the consumers of a pool with the transports of the application that the pool runs. */
export function transportFindings({ transports }: MessengerFacts, stores: readonly SharedStore[]): Finding[] {
  const troubles = stores.flatMap((store) =>
    store.queues.flatMap((queue) => transportTroubles(queue, transports, store))
  );
  if (troubles.length > 0) return troubles;
  const queues = stores.flatMap((store) => store.queues);
  return queues.length === 0 ? [] : [{
    id: "messenger.transport",
    severity: "ok",
    what: `the queues are transports of the application, with the same settings: ${quoted(queues)}`,
  }];
}

function transportTroubles(
  queue: string,
  transports: Readonly<Record<string, TransportFacts>>,
  store: SharedStore,
): Finding[] {
  const id = "messenger.transport";
  const place = `in [brokers.${store.name}]`;
  const facts = Object.hasOwn(transports, queue) ? transports[queue]! : undefined;
  if (facts === undefined) {
    const names = Object.keys(transports);
    return [{
      id,
      severity: "error",
      code: "CONFIG_INVALID",
      what: `queue "${queue}" of broker "${store.name}" is no transport of the application, which has ${
        names.length === 0 ? "none" : quoted(names)
      }`,
      why: "the application cannot decode its messages: they are put back, and do not run",
      fix: "in [[consumers]]: queues = the names of transports, or add the transport to framework.messenger",
    }];
  }
  if (facts.error !== undefined) {
    return [{
      id,
      severity: "warning",
      what: `the settings of transport "${queue}" cannot be read in the pool: ${facts.error}`,
      why: "its messages cannot be sent there either, for instance by a handler",
      fix: "in the pool: give php-fpm the same environment as the command line",
    }];
  }
  const { table, queue_name: name, redeliver_timeout_ms: timeoutMs } = facts;
  // A transport of another kind, such as a fallback for tests.
  if (table === undefined || name === undefined || timeoutMs === undefined) {
    return [{
      id,
      severity: "warning",
      what:
        `transport "${queue}" of the application is ${facts.kind}://, and broker "${store.name}" has a table`,
      why: "the application sends its messages elsewhere",
      fix: `bin/console fervo:worker:config prints the brokers for the transports`,
    }];
  }
  const troubles: Finding[] = [];
  const tell = (what: string, why: string, fix: string) =>
    troubles.push({ id, severity: "warning", what: `transport "${queue}": ${what}`, why, fix });
  if (table !== store.table) {
    tell(
      `its table is "${table}" in the application, and "${store.table}" in broker "${store.name}"`,
      "the worker takes messages of another table",
      `${place}: table = ${JSON.stringify(table)}`,
    );
  }
  if (name !== store.nameOf(queue)) {
    tell(
      `its queue_name is "${name}" in the application, and "${
        store.nameOf(queue)
      }" in broker "${store.name}"`,
      "the worker takes messages of another transport, or none",
      `${place}: queue_names = { ${tomlKey(queue)} = ${JSON.stringify(name)} }`,
    );
  }
  if (timeoutMs < store.leaseMs) {
    tell(
      `its redeliver_timeout is ${timeoutMs / 1_000} s, which is shorter than lease_ms = ${store.leaseMs}`,
      "Symfony's own consumers take messages that still run here: they run twice",
      `${place}: redeliver_timeout_ms = ${timeoutMs}, and lease_ms at most that`,
    );
  } else if (timeoutMs !== store.redeliverTimeoutMs) {
    tell(
      `its redeliver_timeout is ${
        timeoutMs / 1_000
      } s in the application, and redeliver_timeout_ms is ${store.redeliverTimeoutMs}`,
      "after a crash, messages come back too late, or while they still run",
      `${place}: redeliver_timeout_ms = ${timeoutMs}`,
    );
  }
  return troubles;
}

/** Failure transports that consumers of a pool take from. */
export function failureFindings(
  { failureTransports }: MessengerFacts,
  stores: readonly SharedStore[],
): Finding[] {
  const queues = stores.flatMap((store) => store.queues).filter((queue) => failureTransports.includes(queue));
  return queues.map((queue) => ({
    id: "messenger.failure_transport",
    severity: "warning",
    what: `a consumer takes from "${queue}", which is a failure transport of the application`,
    why:
      "messages that have failed for good run again at once, and messenger:failed:show no longer shows them",
    fix:
      `in [[consumers]]: take "${queue}" out of queues; bin/console messenger:failed:retry runs its messages`,
  }));
}

/** Two brokers of a configuration that take the same messages, with settings that differ. */
export function sharedFindings(stores: readonly SharedStore[]): Map<string, Finding[]> {
  const found = new Map<string, Finding[]>();
  stores.forEach((store, at) => {
    const others = stores.slice(0, at).filter((other) => other.place === store.place);
    for (const other of others) {
      const both = store.queues.filter((queue) =>
        other.queues.some((one) => other.nameOf(one) === store.nameOf(queue))
      );
      const differences = (["redeliverTimeoutMs", "leaseMs"] as const).filter((key) =>
        store[key] !== other[key]
      );
      if (both.length === 0 || differences.length === 0) continue;
      const told = differences.map((key) => key === "leaseMs" ? "lease_ms" : "redeliver_timeout_ms");
      found.set(store.name, [...found.get(store.name) ?? [], {
        id: "messenger.shared_transport",
        severity: "warning",
        what: `brokers "${other.name}" and "${store.name}" take the same messages (${
          quoted(both)
        }), and differ in ${told.join(" and ")}`,
        why: "one takes messages that still run at the other: they run twice",
        fix: `in [brokers.${store.name}]: ${told.join(" and ")} as in [brokers.${other.name}]`,
      }]);
    }
  });
  return found;
}

/** Whether the locks of the application are seen by every PHP process that runs its messages. */
export function lockFindings({ lock }: MessengerFacts): Finding[] {
  const id = "messenger.lock_store";
  if (lock === undefined) return [];
  if (lock.isShared) return [{ id, severity: "ok", what: `the lock store is ${lock.kind}` }];
  return [{
    id,
    severity: "warning",
    what: `the lock store of the application is ${lock.kind}, which other machines do not see`,
    why:
      "DeduplicateStamp, rate limiters and the Scheduler lock on one machine alone, and the same message can run on another one",
    fix: "in framework.lock: a store that all machines share, and not flock, semaphore or in-memory",
  }];
}

/** Whether the user of the pool can use the application's files. */
export function fileFindings({ files }: MessengerFacts): Finding[] {
  const id = "messenger.files";
  if (files === undefined) return [];
  const { user, unreadable, unwritable } = files;
  const who = user === "" ? "the user of the pool" : `"${user}", the user of the pool,`;
  const troubles: Finding[] = [];
  if (unreadable.length > 0) {
    troubles.push({
      id,
      severity: "warning",
      what: `${who} cannot read ${quoted(unreadable)}`,
      why: "secrets and variables of the application are missing there: messages fail, or use other servers",
      fix: "give the files to a group of that user: chgrp and chmod g+r; or run the pool as another user",
    });
  }
  if (unwritable.length > 0) {
    troubles.push({
      id,
      severity: "warning",
      what: `${who} cannot write ${quoted(unwritable)}`,
      why: "the cache cannot be built after a deployment, and messages fail",
      fix: "give the folder to that user, or run the pool as the user of the web; warm the cache up before",
    });
  }
  return troubles.length > 0
    ? troubles
    : [{ id, severity: "ok", what: `${who} can use the application's secrets and cache` }];
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(", ");
}

function tomlKey(name: string): string {
  return /^[\w-]+$/.test(name) ? name : JSON.stringify(name);
}
