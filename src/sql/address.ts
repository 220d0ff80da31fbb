import { MAX_SOCKET_PATH_BYTES, type SocketAddress } from "../net/address.ts";

/** The parts of a database's address. */
export interface SqlUrl {
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** At least one. */
  readonly endpoints: readonly SocketAddress[];
  readonly database: string;
}

/** What differs between the servers' addresses. */
interface Scheme {
  readonly names: readonly string[];
  readonly defaultPort: number;
  /** The parameter of the query that names a socket. */
  readonly socketParameter: string;
  /** The path of the socket by that parameter. */
  socketOf(path: string): string;
}

const POSTGRES: Scheme = {
  names: ["postgres", "postgresql"],
  defaultPort: 5_432,
  socketParameter: "host",
  // It names the folder, as for programs of PostgreSQL.
  socketOf: (path) => /\/\.s\.PGSQL\.\d+$/.test(path) ? path : `${path.replace(/\/$/, "")}/.s.PGSQL.5432`,
};

const MYSQL: Scheme = {
  names: ["mysql", "mariadb"],
  defaultPort: 3_306,
  socketParameter: "socket",
  socketOf: (path) => path,
};

/** Parameters of other clients, and what this worker has instead. */
const INSTEAD: Readonly<Record<string, string>> = {
  sslmode: "set tls = true instead of sslmode",
  ssl: "set tls = true instead of ssl",
  "ssl-mode": "set tls = true instead of ssl-mode",
  sslrootcert: "set ca_file instead of sslrootcert",
  "ssl-ca": "set ca_file instead of ssl-ca",
  sslcert: "set cert_file instead of sslcert",
  "ssl-cert": "set cert_file instead of ssl-cert",
  sslkey: "set key_file instead of sslkey",
  "ssl-key": "set key_file instead of ssl-key",
  connect_timeout: "set connect_timeout_ms instead of connect_timeout",
};

/**
 * Reads `postgres://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…]/DATABASE`, or `postgres:///DATABASE?host=FOLDER` for a unix socket;
 * `postgresql://` is the same.
 *
 * @throws {TypeError} for any other text; the message does not show the address, which may have a password
 */
export function parsePostgresUrl(text: string): SqlUrl {
  return parse(text, POSTGRES);
}

/**
 * Reads `mysql://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…]/DATABASE`, or `mysql:///DATABASE?socket=PATH` for a unix socket;
 * `mariadb://` is the same.
 *
 * @throws {TypeError} for any other text; the message does not show the address, which may have a password
 */
export function parseMysqlUrl(text: string): SqlUrl {
  return parse(text, MYSQL);
}

function parse(text: string, scheme: Scheme): SqlUrl {
  const start = scheme.names.map((name) => `${name}://`).find((start) => text.startsWith(start));
  if (start === undefined) {
    throw new TypeError(`it must begin with ${scheme.names.map((name) => `${name}://`).join(" or ")}`);
  }
  if (text.includes("#")) {
    throw new TypeError('it has a "#"; write %23 if it is part of a name or a password');
  }
  const [, authority, path, query] = /^([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(text.slice(start.length))!;
  // The last @, as in other clients: a password may have one.
  const at = authority!.lastIndexOf("@");
  const credentials = at < 0 ? [] : splitOnce(authority!.slice(0, at), ":").map(decode);
  return {
    username: credentials[0] || undefined,
    password: credentials[1] || undefined,
    endpoints: endpointsOf(
      authority!.slice(at + 1),
      new URLSearchParams(query?.replaceAll("+", "%2B")),
      scheme,
    ),
    database: databaseOf(path ?? ""),
  };
}

function endpointsOf(hosts: string, parameters: URLSearchParams, scheme: Scheme): SocketAddress[] {
  for (const name of parameters.keys()) {
    if (name !== scheme.socketParameter) {
      const isKnown = Object.hasOwn(INSTEAD, name);
      throw new TypeError(
        isKnown
          ? INSTEAD[name]
          : `its only parameter can be ${scheme.socketParameter}; a "?" of a password is written as %3F`,
      );
    }
  }
  const socket = parameters.get(scheme.socketParameter);
  if (socket === null) {
    if (hosts === "") throw new TypeError(`it has neither a host nor a ${scheme.socketParameter} parameter`);
    return hosts.split(",").map((host) => hostOf(host, scheme.defaultPort));
  }
  if (hosts !== "") throw new TypeError(`it has both a host and a ${scheme.socketParameter} parameter`);
  const path = scheme.socketOf(socket);
  if (!path.startsWith("/")) {
    throw new TypeError(`its ${scheme.socketParameter} parameter must be an absolute path`);
  }
  const bytes = new TextEncoder().encode(path).length;
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw new TypeError(
      `the path of a socket has at most ${MAX_SOCKET_PATH_BYTES} bytes, and this one has ${bytes}`,
    );
  }
  return [{ transport: "unix", path }];
}

function hostOf(text: string, defaultPort: number): SocketAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:@[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (match === null || port < 1 || port > 65_535) {
    throw new TypeError(
      "its host and port cannot be read; special characters of a password are written as % and two digits, / as %2F",
    );
  }
  return { transport: "tcp", hostname: match[1] ?? decode(match[2]!), port };
}

function databaseOf(path: string): string {
  const name = decode(path);
  if (path === "") throw new TypeError("it has no database");
  if (path.includes("/") || name.includes("\0")) throw new TypeError("its database is not a name");
  return name;
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new TypeError(
      'it has a "%" without two digits after it; write %25 for a "%" of a name or a password',
    );
  }
}
