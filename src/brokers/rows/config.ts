import { resolve } from "node:path";
import type { FervoError } from "../../core/errors.ts";
import type { PlainFormat } from "../../core/format.ts";
import {
  filePath,
  flag,
  type OptionValues,
  type Path,
  type Problem,
  readable,
  text,
  wholeNumber,
  type Written,
} from "../../core/option.ts";
import { envelope } from "../../formats/envelope.ts";
import { raw } from "../../formats/raw.ts";
import { DEFAULT_KEEPALIVE_MS } from "../../net/keepalive.ts";
import { parseMysqlUrl, parsePostgresUrl, type SqlUrl } from "../../sql/address.ts";
import type { SqlServerOptions } from "../../sql/database.ts";
import type { SqlAccess, SqlDriver } from "../../sql/driver.ts";
import { SqlFailure } from "../../sql/failure.ts";
import { MYSQL as MYSQL_DRIVER } from "../../sql/mysql.ts";
import { POSTGRES as POSTGRES_DRIVER } from "../../sql/postgres.ts";
import { OptionFileError, readOptionFile, readSecretFile } from "../../system/option_file.ts";
import type { BrokerDeps, BrokerType } from "../broker_type.ts";
import { RowsBroker, type RowsBrokerOptions } from "./broker.ts";
import { MYSQL_TEXTS, POSTGRES_TEXTS } from "./check/texts.ts";
import { FERVO_CAPABILITIES, FervoLayout, type FervoLayoutOptions } from "./fervo/layout.ts";
import { fervoScript, type Products } from "./fervo/schema/script.ts";
import { UPGRADE } from "./fervo/schema/migrate.ts";
import { TABLE_PREFIX } from "./fervo/tables.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** A statement of ours waits this long for a lock, and a server counts as hung after the other time; milliseconds. */
const LOCK_TIMEOUT_MS = 10_000;
const STATEMENT_TIMEOUT_MS = 60_000;
/** Of the column `queue`, characters. */
const MAX_QUEUE_LENGTH = 255;

/** What differs between the servers. */
interface Kind {
  readonly driver: SqlDriver;
  readonly parseUrl: (text: string) => SqlUrl;
  /** An address as the value of `url`. */
  readonly example: string;
  /** What starts the server. */
  readonly start: string;
  readonly products: Products;
}

function optionsOf({ parseUrl, example }: Kind) {
  return {
    url: readable(parseUrl, (url) => whyUrlIsRefused(url, parseUrl, example)),
    username: text(/^[^\0]*$/, "a user's name without NUL", ""),
    password: text(/^[^\0]*$/, 'a password in quotes, best from the environment, as in "${DB_PASSWORD}"', ""),
    password_file: filePath("the password"),
    tls: flag(false),
    ca_file: filePath("the certificates to trust"),
    cert_file: filePath("the worker's certificate"),
    key_file: filePath("the key of the worker's certificate"),
    table_prefix: text(
      TABLE_PREFIX,
      "up to 30 small letters, digits and underscores, the first one no digit",
      "fervo_",
    ),
    create_tables: flag(true),
    lease_ms: wholeNumber(1_000, 24 * HOUR_MS, 30_000),
    connect_timeout_ms: wholeNumber(1, 10 * MINUTE_MS, 5_000),
    keepalive_ms: wholeNumber(0, HOUR_MS, DEFAULT_KEEPALIVE_MS),
    max_payload_bytes: wholeNumber(1, 1_000_000_000, 64 * 1024 * 1024),
  };
}

type SqlOptions = ReturnType<typeof optionsOf>;

/** The settings of a database that has our table. */
export interface SqlBrokerSettings extends Omit<RowsBrokerOptions, "name" | "access">, FervoLayoutOptions {
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly passwordFile: string | undefined;
  readonly database: string;
  readonly isTls: boolean;
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

function sqlBroker(
  kind: Kind,
  type: Pick<BrokerType, "driver" | "page" | "findings" | "units">,
): BrokerType<SqlOptions, SqlBrokerSettings> {
  return {
    ...type,
    formats: { raw, envelope },
    defaultFormat: "raw",
    capabilities: FERVO_CAPABILITIES,
    ownership: () => ({ attempts: "broker", retry: "worker", dead: "broker" }),
    options: optionsOf(kind),
    check: (written, path) => check(written, path, kind),
    settings: (values, folder) => settings(values, folder, kind),
    whyQueueIsRefused,
    open: (deps, options, format) => open(deps, options, format as PlainFormat, kind.driver),
    schema: fervoScript(kind, serverOf),
    fixOf: (error, _settings, place) => fixOf(error, place, { start: kind.start, page: type.page }),
    descriptors: () => 0,
    isShared: true,
    secretFiles: ({ passwordFile, keyFile }) => [
      ...(passwordFile === undefined ? [] : [{ path: passwordFile, what: "the password" }]),
      ...(keyFile === undefined ? [] : [{ path: keyFile, what: "the key of the worker's certificate" }]),
    ],
  };
}

export const POSTGRES = sqlBroker({
  driver: POSTGRES_DRIVER,
  parseUrl: parsePostgresUrl,
  example: "postgres://jobs@127.0.0.1:5432/shop",
  start: "systemctl start postgresql",
  products: { postgresql: "PostgreSQL" },
}, { driver: "postgres", page: "postgresql", units: ["postgresql.service"], findings: POSTGRES_TEXTS });

export const MYSQL = sqlBroker({
  driver: MYSQL_DRIVER,
  parseUrl: parseMysqlUrl,
  example: "mysql://jobs@127.0.0.1:3306/shop",
  start: "systemctl start mariadb",
  products: { mariadb: "MariaDB", mysql: "MySQL" },
}, { driver: "mysql", page: "mysql", units: ["mariadb.service", "mysql.service"], findings: MYSQL_TEXTS });

const CONNECTIONS =
  "as an administrator: raise the limit of connections of the server or of the user, or end those that nobody uses";

/** Failures whose kind does not say what to change, by the server's code. */
const FIXES: Readonly<Record<string, (place: string, page: string) => string>> = {
  "3D000": noDatabase,
  ER_BAD_DB_ERROR: noDatabase,
  "42501": noRight,
  ER_DBACCESS_DENIED_ERROR: noRight,
  ER_TABLEACCESS_DENIED_ERROR: noRight,
  ER_COLUMNACCESS_DENIED_ERROR: noRight,
  "53300": () => CONNECTIONS,
  ER_CON_COUNT_ERROR: () => CONNECTIONS,
  ER_TOO_MANY_USER_CONNECTIONS: () => CONNECTIONS,
  ER_USER_LIMIT_REACHED: () => CONNECTIONS,
};

/** What to change when the database cannot be used. */
export function fixOf(
  error: FervoError,
  place: string,
  { start, page }: { readonly start: string; readonly page: string },
): string {
  if (error instanceof OptionFileError) return error.fix;
  const { cause } = error;
  const failure = cause instanceof SqlFailure ? cause : undefined;
  const fix = FIXES[failure?.code ?? ""];
  if (fix !== undefined) return fix(place, page);
  switch (failure?.kind) {
    case "denied":
      return `${place} username, and password or password_file, of a user with the rights in docs/brokers/${page}.md`;
    case "schema":
      return failure.advice === UPGRADE
        ? "upgrade fervo-worker on this machine"
        : "as an administrator of the database: run the output of `fervo-worker schema`";
    case "read_only":
      return `${place} url = the primary, or all servers of a failover`;
    default:
      return `start it, for instance with: ${start}; or ${place} url = where it listens`;
  }
}

function noDatabase(place: string): string {
  return `${place} url = an address that ends with the name of a database`;
}

function noRight(_place: string, page: string): string {
  return `as an administrator: give the user the rights in docs/brokers/${page}.md; with create_tables = true these are more`;
}

function open(
  deps: BrokerDeps,
  options: SqlBrokerSettings,
  format: PlainFormat,
  driver: SqlDriver,
): RowsBroker {
  const { clock, observe } = deps;
  // A worker in another container may have the same name: this keeps their leases apart.
  const owner = `${deps.owner}#${crypto.randomUUID().slice(0, 8)}`;
  const layout = new FervoLayout({ dialect: driver.dialect, format, clock, owner }, options);
  const { leaseMs } = options;
  return new RowsBroker({ clock, driver, layout, format, observe }, { ...serverOf(options), leaseMs });
}

function serverOf(settings: SqlBrokerSettings): SqlServerOptions {
  return { ...settings, name: "fervo-worker", access: () => access(settings) };
}

async function access(
  { username, password, passwordFile, database, isTls, caFile, certFile, keyFile }: SqlBrokerSettings,
): Promise<SqlAccess> {
  const contents = async (option: string, path: string | undefined) =>
    path === undefined ? undefined : await readOptionFile(option, path);
  return {
    username,
    password: passwordFile === undefined ? password : await readSecretFile("password_file", passwordFile),
    database,
    tls: isTls
      ? {
        ca: await contents("ca_file", caFile),
        cert: await contents("cert_file", certFile),
        key: await contents("key_file", keyFile),
      }
      : undefined,
  };
}

/** Checks that the values of several keys fit together. */
function check(written: Written, path: Path, { parseUrl }: Kind): Problem[] {
  const broker: { readonly [Key in keyof SqlOptions]?: unknown } = written;
  const problems: Problem[] = [];
  const tell = (key: keyof SqlOptions, text: string) => problems.push({ path: [...path, key], text });
  const url = typeof broker.url === "string" ? urlOf(broker.url, parseUrl) : undefined;
  if (isFilled(broker.password) && isFilled(broker.password_file)) {
    tell("password_file", "set either password or password_file, not both");
  }
  for (const [key, own] of [["username", url?.username], ["password", url?.password]] as const) {
    if (isFilled(broker[key]) && own !== undefined) {
      tell(key, `the url has a ${key} too: set only one of them`);
    }
  }
  if (isFilled(broker.password_file) && url?.password !== undefined) {
    tell("password_file", "the url has a password too: set only one of them");
  }
  for (const key of ["ca_file", "cert_file", "key_file"] as const) {
    if (isFilled(broker[key]) && broker.tls !== true) {
      tell(key, `${key} has no effect without TLS: set tls = true, or remove ${key}`);
    }
  }
  if (isFilled(broker.cert_file) !== isFilled(broker.key_file)) {
    const [has, lacks] = isFilled(broker.cert_file)
      ? ["cert_file", "key_file"] as const
      : ["key_file", "cert_file"] as const;
    tell(has, `a certificate and its key belong together: set ${lacks} too`);
  }
  if (broker.tls === true && url?.endpoints.every(({ transport }) => transport === "unix")) {
    tell("tls", "a unix socket has no TLS: give host and port, or remove tls");
  }
  return problems;
}

function settings(broker: OptionValues<SqlOptions>, folder: string, { parseUrl }: Kind): SqlBrokerSettings {
  const { username, password, endpoints, database } = parseUrl(broker.url);
  const file = (path: string) => path === "" ? undefined : resolve(folder, path);
  return {
    endpoints,
    username: broker.username || username,
    password: broker.password || password,
    passwordFile: file(broker.password_file),
    database,
    isTls: broker.tls,
    caFile: file(broker.ca_file),
    certFile: file(broker.cert_file),
    keyFile: file(broker.key_file),
    tablePrefix: broker.table_prefix,
    createTables: broker.create_tables,
    leaseMs: broker.lease_ms,
    connectTimeoutMs: broker.connect_timeout_ms,
    lockTimeoutMs: LOCK_TIMEOUT_MS,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
    keepaliveMs: broker.keepalive_ms,
    maxPayloadBytes: broker.max_payload_bytes,
  };
}

function whyQueueIsRefused(queue: string): string | undefined {
  if (queue.includes("\0")) return "contains NUL, which databases cannot store in a text";
  return [...queue].length > MAX_QUEUE_LENGTH ? `is longer than ${MAX_QUEUE_LENGTH} characters` : undefined;
}

/** Present and not empty. */
function isFilled(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}

function urlOf(url: string, parseUrl: Kind["parseUrl"]): SqlUrl | undefined {
  try {
    return parseUrl(url);
  } catch {
    return undefined;
  }
}

/** In the words of what reads the url, which never show it: it may have a password. */
function whyUrlIsRefused(url: string, parseUrl: Kind["parseUrl"], example: string): string {
  const expected = `expected the address of a database, such as "${example}"`;
  if (url === "") return expected;
  for (const [driver, parseOther] of [["postgres", parsePostgresUrl], ["mysql", parseMysqlUrl]] as const) {
    if (urlOf(url, parseOther) !== undefined) return `${expected}; for this address set driver = "${driver}"`;
  }
  try {
    parseUrl(url);
  } catch (error) {
    if (error instanceof TypeError) return `${expected}; ${error.message}`;
  }
  return expected;
}
