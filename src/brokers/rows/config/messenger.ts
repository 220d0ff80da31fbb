import { dirname, resolve } from "node:path";
import {
  type OptionValues,
  type Path,
  type Problem,
  readable,
  text,
  textsByQueue,
  wholeNumber,
  type Written,
} from "../../../core/option.ts";
import type { Format } from "../../../core/format.ts";
import { messenger } from "../../../formats/messenger.ts";
import type { SqlServerOptions } from "../../../sql/database.ts";
import type { SqlDriver } from "../../../sql/driver.ts";
import { sqliteDriver } from "../../../sql/sqlite.ts";
import type { BrokerDeps, BrokerType, FrameworkStore } from "../../broker_type.ts";
import { RowsBroker } from "../broker.ts";
import { MESSENGER_TEXTS } from "../messenger/check.ts";
import { MESSENGER_CAPABILITIES, MessengerLayout } from "../messenger/layout.ts";
import { isDeadName, MAX_QUEUE_NAME_LENGTH } from "../messenger/queue_names.ts";
import { type MessengerLayoutOptions, SETUP, TABLE_NAME } from "../messenger/table.ts";
import { Zone } from "../messenger/zone.ts";
import { fixOf } from "./fix.ts";
import {
  checkServer,
  CONNECTION_OPTIONS,
  loginOptions,
  MAX_PAYLOAD_OPTION,
  secretFilesOf,
  serverOf,
  type ServerSettings,
  serverSettings,
  STATEMENT_LIMITS,
} from "./server_options.ts";
import { MYSQL_SERVER, POSTGRES_SERVER, type Server } from "./servers.ts";

/*
 * The types for the table of Symfony Messenger's Doctrine transports, in any database of the application. The table is the
 * application's: a worker neither creates nor changes it.
 */

const DAY_MS = 86_400_000;
/** The table has whole seconds. */
const MIN_LEASE_MS = 2_000;

const TABLE_OPTIONS = {
  table: text(
    TABLE_NAME,
    'a table\'s name, such as "messenger_messages" or "shop.messages"',
    "messenger_messages",
  ),
  queue_names: textsByQueue(
    new RegExp(`^[^\\0]{1,${MAX_QUEUE_NAME_LENGTH}}$`, "u"),
    `a text of 1 to ${MAX_QUEUE_NAME_LENGTH} characters without NUL`,
  ),
  timezone: readable(
    (name) => new Zone(name),
    'expected the name of a time zone, such as "Europe/Stockholm" or "UTC"',
    "UTC",
  ),
  redeliver_timeout_ms: wholeNumber(MIN_LEASE_MS, 365 * DAY_MS, 3_600_000),
  lease_ms: wholeNumber(MIN_LEASE_MS, DAY_MS, 60_000),
};

type TableOptions = typeof TABLE_OPTIONS & { readonly max_payload_bytes: typeof MAX_PAYLOAD_OPTION };

/** What all of these types have. */
const COMMON = {
  page: "messenger",
  formats: { messenger },
  defaultFormat: "messenger",
  capabilities: MESSENGER_CAPABILITIES,
  ownership: () => ({ attempts: "broker", retry: "application", dead: "application" }),
  whyQueueIsRefused,
  descriptors: () => 0,
  findings: MESSENGER_TEXTS,
} as const satisfies Partial<BrokerType>;

function tableSettings(broker: OptionValues<TableOptions>): MessengerLayoutOptions {
  return {
    table: broker.table,
    queueNames: new Map(Object.entries(broker.queue_names)),
    timezone: broker.timezone,
    redeliverTimeoutMs: broker.redeliver_timeout_ms,
    leaseMs: broker.lease_ms,
    maxPayloadBytes: broker.max_payload_bytes,
  };
}

/** @param database Its server and name, without the login. */
function frameworkStore(
  { table, queueNames, redeliverTimeoutMs, leaseMs }: MessengerLayoutOptions,
  database: unknown,
): FrameworkStore {
  return {
    place: JSON.stringify([database, table]),
    table,
    redeliverTimeoutMs,
    leaseMs,
    nameOf: (queue) => queueNames.get(queue) ?? queue,
  };
}

function serverOptions(server: Server) {
  return {
    ...loginOptions(server),
    ...TABLE_OPTIONS,
    ...CONNECTION_OPTIONS,
    max_payload_bytes: MAX_PAYLOAD_OPTION,
  };
}

function messengerBroker(
  server: Server,
): BrokerType<ReturnType<typeof serverOptions>, ServerSettings & MessengerLayoutOptions> {
  const { driver, name, start, units } = server;
  return {
    ...COMMON,
    driver: name,
    options: serverOptions(server),
    check: (written, path) => [...checkServer(written, path, server), ...checkLease(written, path)],
    settings: (broker, folder) => ({ ...serverSettings(broker, folder, server), ...tableSettings(broker) }),
    open: (deps, settings, format) => open(deps, { driver, format }, serverOf(settings)),
    fixOf: (error, _settings, place) =>
      fixOf(error, place, { start, page: COMMON.page, rightsNote: "", tables: () => SET_UP }),
    units,
    isShared: true,
    frameworkStore: (settings) => frameworkStore(settings, [name, settings.endpoints, settings.database]),
    secretFiles: secretFilesOf,
  };
}

const SET_UP =
  `in the application: ${SETUP}, which creates the table; or table = the name that the transport's DSN has`;

export const MESSENGER_POSTGRES = messengerBroker(POSTGRES_SERVER);
export const MESSENGER_MYSQL = messengerBroker(MYSQL_SERVER);

const fileOptions = {
  path: text(/^(?!:memory:$)[^\0]+$/, 'a file\'s path, such as "var/data.db"'),
  ...TABLE_OPTIONS,
  max_payload_bytes: MAX_PAYLOAD_OPTION,
};

export const MESSENGER_SQLITE: BrokerType<
  typeof fileOptions,
  MessengerLayoutOptions & { readonly path: string }
> = {
  ...COMMON,
  driver: "sqlite",
  options: fileOptions,
  check: checkLease,
  settings: (broker, folder) => ({ path: resolve(folder, broker.path), ...tableSettings(broker) }),
  open: (deps, { path, ...options }, format) =>
    open(deps, { driver: sqliteDriver(deps.clock, { isForeign: true }), format }, {
      ...options,
      ...STATEMENT_LIMITS,
      endpoints: [{ transport: "unix", path }],
      access: () => Promise.resolve(NO_ACCESS),
      name: "fervo-worker",
      connectTimeoutMs: STATEMENT_LIMITS.lockTimeoutMs,
      keepaliveMs: 0,
    }),
  fixOf: ({ cause }, { path }, place) =>
    (cause as { kind?: unknown } | undefined)?.kind === "schema"
      ? SET_UP
      : `${place} path = the application's file; as root: chown USER ${path}*, with the worker's user for USER, who must also ` +
        "be able to write the folder",
  units: [],
  isShared: false,
  frameworkStore: (settings) => frameworkStore(settings, settings.path),
  folders: ({ path }) => [dirname(path)],
};

/** A file has no login. */
const NO_ACCESS = { username: undefined, password: undefined, database: "", tls: undefined };

function open(
  { clock, observe, owner }: BrokerDeps,
  { driver, format }: { readonly driver: SqlDriver; readonly format: Format },
  options: SqlServerOptions & MessengerLayoutOptions,
): RowsBroker {
  const layout = new MessengerLayout({ dialect: driver.dialect, format, clock, owner }, options);
  return new RowsBroker({ clock, driver, layout, format, observe }, options);
}

/** A longer lease would end before the time that `lease_ms` says. */
function checkLease(written: Written, path: Path): Problem[] {
  const [lease, timeout] = (["lease_ms", "redeliver_timeout_ms"] as const).map((key) => ({
    key,
    ms: written[key] ?? TABLE_OPTIONS[key].default,
  }));
  if (typeof lease!.ms !== "number" || typeof timeout!.ms !== "number" || lease!.ms <= timeout!.ms) return [];
  const { key } = written["lease_ms"] === undefined ? timeout! : lease!;
  const text =
    `lease_ms (${lease!.ms}) is more than redeliver_timeout_ms (${
      timeout!.ms
    }), after which Symfony's own consumers take a ` +
    "message again: lower lease_ms; or raise the transport's redeliver_timeout, and redeliver_timeout_ms with it";
  return [{ path: [...path, key], text }];
}

/** A transport needs a queue_name of its own. */
function whyQueueIsRefused(queue: string, broker: Written): string | undefined {
  const names = broker["queue_names"] as Readonly<Record<string, string>>;
  const own = names[queue] ?? queue;
  if (isDeadName(own)) {
    return `has the queue_name ${JSON.stringify(own)}, which is one of the worker's dead letters`;
  }
  const other = Object.entries(names).find(([name, text]) => name !== queue && text === own)?.[0];
  if (other === undefined) return undefined;
  return `has the queue_name ${JSON.stringify(own)}, as ${
    JSON.stringify(other)
  } has in queue_names: set queue_names.${queue} too`;
}
