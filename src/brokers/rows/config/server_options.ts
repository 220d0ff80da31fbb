import { resolve } from "node:path";
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
} from "../../../core/option.ts";
import { DEFAULT_KEEPALIVE_MS } from "../../../net/keepalive.ts";
import type { SqlServerOptions } from "../../../sql/database.ts";
import type { SqlAccess } from "../../../sql/driver.ts";
import { readOptionFile, readSecretFile } from "../../../system/option_file.ts";
import { expectedUrl, type Server, urlOf } from "./servers.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** A statement of ours waits this long for a lock, and a server counts as hung after the other time; milliseconds. */
export const STATEMENT_LIMITS = { lockTimeoutMs: 10_000, statementTimeoutMs: 60_000 };

/** Options of every broker in a database server: where it is, and who logs in. */
export function loginOptions(server: Server) {
  return {
    url: readable(server.parseUrl, (url) => expectedUrl(url, server)),
    username: text(/^[^\0]*$/, "a user's name without NUL", ""),
    password: text(/^[^\0]*$/, 'a password in quotes, best from the environment, as in "${DB_PASSWORD}"', ""),
    password_file: filePath("the password"),
    tls: flag(false),
    ca_file: filePath("the certificates to trust"),
    cert_file: filePath("the worker's certificate"),
    key_file: filePath("the key of the worker's certificate"),
  };
}

/** Options of every broker in a database server: its connections. */
export const CONNECTION_OPTIONS = {
  connect_timeout_ms: wholeNumber(1, 10 * MINUTE_MS, 5_000),
  keepalive_ms: wholeNumber(0, HOUR_MS, DEFAULT_KEEPALIVE_MS),
};

/** Of every broker in a database. */
export const MAX_PAYLOAD_OPTION = wholeNumber(1, 1_000_000_000, 64 * 1024 * 1024);

type ServerOptions = ReturnType<typeof loginOptions> & typeof CONNECTION_OPTIONS;

/** The settings of a database server. */
export interface ServerSettings extends Omit<SqlServerOptions, "name" | "access"> {
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly passwordFile: string | undefined;
  readonly database: string;
  readonly isTls: boolean;
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

/** The settings of checked values. @param folder Relative paths begin there. */
export function serverSettings(
  broker: OptionValues<ServerOptions>,
  folder: string,
  { parseUrl }: Server,
): ServerSettings {
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
    connectTimeoutMs: broker.connect_timeout_ms,
    ...STATEMENT_LIMITS,
    keepaliveMs: broker.keepalive_ms,
  };
}

/** What a connection needs; files are read at each connect. */
export function serverOf<Settings extends ServerSettings>(settings: Settings): Settings & SqlServerOptions {
  return { ...settings, name: "fervo-worker", access: () => access(settings) };
}

/** The files with secrets of the settings. */
export function secretFilesOf({ passwordFile, keyFile }: ServerSettings) {
  return [
    ...(passwordFile === undefined ? [] : [{ path: passwordFile, what: "the password" }]),
    ...(keyFile === undefined ? [] : [{ path: keyFile, what: "the key of the worker's certificate" }]),
  ];
}

async function access(
  { username, password, passwordFile, database, isTls, caFile, certFile, keyFile }: ServerSettings,
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
export function checkServer(written: Written, path: Path, server: Server): Problem[] {
  const broker: { readonly [Key in keyof ServerOptions]?: unknown } = written;
  const problems: Problem[] = [];
  const tell = (key: keyof ServerOptions, text: string) => problems.push({ path: [...path, key], text });
  const url = typeof broker.url === "string" ? urlOf(broker.url, server) : undefined;
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

/** Present and not empty. */
function isFilled(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}
