import type { FervoError } from "../../../core/errors.ts";
import type { PlainFormat } from "../../../core/format.ts";
import { flag, text, wholeNumber } from "../../../core/option.ts";
import { envelope } from "../../../formats/envelope.ts";
import { raw } from "../../../formats/raw.ts";
import type { BrokerDeps, BrokerType } from "../../broker_type.ts";
import { RowsBroker, type RowsBrokerOptions } from "../broker.ts";
import { MYSQL_TEXTS, POSTGRES_TEXTS } from "../check/texts.ts";
import { FERVO_CAPABILITIES, FervoLayout, type FervoLayoutOptions } from "../fervo/layout.ts";
import { fervoScript, type Products } from "../fervo/schema/script.ts";
import { UPGRADE } from "../fervo/schema/migrate.ts";
import { TABLE_PREFIX } from "../fervo/tables.ts";
import { fixOf, type FixSubject } from "./fix.ts";
import {
  checkServer,
  CONNECTION_OPTIONS,
  loginOptions,
  MAX_PAYLOAD_OPTION,
  secretFilesOf,
  serverOf,
  type ServerSettings,
  serverSettings,
} from "./server_options.ts";
import { MYSQL_SERVER, POSTGRES_SERVER, type Server } from "./servers.ts";

const HOUR_MS = 3_600_000;
/** Of the column `queue`, characters. */
const MAX_QUEUE_LENGTH = 255;

function optionsOf(server: Server) {
  return {
    ...loginOptions(server),
    table_prefix: text(
      TABLE_PREFIX,
      "up to 30 small letters, digits and underscores, the first one no digit",
      "fervo_",
    ),
    create_tables: flag(true),
    lease_ms: wholeNumber(1_000, 24 * HOUR_MS, 30_000),
    ...CONNECTION_OPTIONS,
    max_payload_bytes: MAX_PAYLOAD_OPTION,
  };
}

/** The settings of a database that has our table. */
export interface SqlBrokerSettings
  extends ServerSettings, Pick<RowsBrokerOptions, "leaseMs">, FervoLayoutOptions {}

function sqlBroker(
  server: Server,
  products: Products,
  type: Pick<BrokerType, "page" | "findings">,
): BrokerType<ReturnType<typeof optionsOf>, SqlBrokerSettings> {
  return {
    ...type,
    driver: server.name,
    formats: { raw, envelope },
    defaultFormat: "raw",
    capabilities: FERVO_CAPABILITIES,
    ownership: () => ({ attempts: "broker", retry: "worker", dead: "broker" }),
    options: optionsOf(server),
    check: (written, path) => checkServer(written, path, server),
    settings: (broker, folder) => ({
      ...serverSettings(broker, folder, server),
      tablePrefix: broker.table_prefix,
      createTables: broker.create_tables,
      leaseMs: broker.lease_ms,
      maxPayloadBytes: broker.max_payload_bytes,
    }),
    whyQueueIsRefused,
    open: (deps, options, format) => open(deps, options, format as PlainFormat, server),
    schema: fervoScript({ ...server, products }, serverOf),
    fixOf: (error, _settings, place) => fervoFix(error, place, { start: server.start, page: type.page }),
    descriptors: () => 0,
    units: server.units,
    isShared: true,
    secretFiles: secretFilesOf,
  };
}

export const POSTGRES = sqlBroker(POSTGRES_SERVER, { postgresql: "PostgreSQL" }, {
  page: "postgresql",
  findings: POSTGRES_TEXTS,
});

export const MYSQL = sqlBroker(MYSQL_SERVER, { mariadb: "MariaDB", mysql: "MySQL" }, {
  page: "mysql",
  findings: MYSQL_TEXTS,
});

/** What to change when a database with our table cannot be used. */
export function fervoFix(
  error: FervoError,
  place: string,
  subject: Pick<FixSubject, "start" | "page">,
): string {
  return fixOf(error, place, {
    ...subject,
    rightsNote: "; with create_tables = true these are more",
    tables: (advice) =>
      advice === UPGRADE
        ? "upgrade fervo-worker on this machine"
        : "as an administrator of the database: run the output of `fervo-worker schema`",
  });
}

function open(
  deps: BrokerDeps,
  options: SqlBrokerSettings,
  format: PlainFormat,
  { driver }: Server,
): RowsBroker {
  const { clock, observe } = deps;
  // A worker in another container may have the same name: this keeps their leases apart.
  const owner = `${deps.owner}#${crypto.randomUUID().slice(0, 8)}`;
  const layout = new FervoLayout({ dialect: driver.dialect, format, clock, owner }, options);
  return new RowsBroker({ clock, driver, layout, format, observe }, serverOf(options));
}

function whyQueueIsRefused(queue: string): string | undefined {
  if (queue.includes("\0")) return "contains NUL, which databases cannot store in a text";
  return [...queue].length > MAX_QUEUE_LENGTH ? `is longer than ${MAX_QUEUE_LENGTH} characters` : undefined;
}
