import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import type { SocketAddress } from "../net/address.ts";
import { dial, openInTime } from "./dial.ts";
import { POSTGRES_DIALECT } from "./dialect.ts";
import type { ConnectOptions, SqlAccess, SqlClient, SqlDriver } from "./driver.ts";
import { encrypt, type TlsFiles } from "./encrypt.ts";
import { SqlFailure } from "./failure.ts";
import { PostgresClient, type PostgresEvents } from "./postgres/client.ts";
import { NO_USER, postgresFailure } from "./postgres/errors.ts";
import type { Options } from "./postgres/library.ts";
import { TYPES } from "./postgres/values.ts";

/** PostgreSQL, by npm `postgres`. */
export const POSTGRES: SqlDriver = { dialect: POSTGRES_DIALECT, product: "PostgreSQL", connect };

/** The file of the socket in a folder of sockets. */
const SOCKET_NAME = ".s.PGSQL.5432";

/** SSLRequest (PostgreSQL, "Message Formats"): its length, and a number that is no version of the protocol. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** How many statements travel without an answer. */
const MAX_PIPELINE = 1_000;

function connect(
  endpoint: SocketAddress,
  access: SqlAccess,
  options: ConnectOptions,
  onLost: () => void,
): Promise<SqlClient> {
  const opening = (signal: AbortSignal) => open(endpoint, access, options, onLost, signal);
  return openInTime(opening, postgresFailure, options.connectTimeoutMs);
}

async function open(
  endpoint: SocketAddress,
  access: SqlAccess,
  options: ConnectOptions,
  onLost: () => void,
  signal: AbortSignal,
): Promise<SqlClient> {
  const { username } = access;
  // The library would take one from the environment.
  if (username === undefined) throw new SqlFailure("denied", { cause: new Error(NO_USER) });
  const { postgres } = await import("./postgres/library.ts");
  let socket = await dial(await withSocketName(endpoint), signal);
  if (access.tls !== undefined && endpoint.transport === "tcp") {
    socket = await startTls(socket, endpoint.hostname, access.tls);
  }
  const connect = (events: PostgresEvents) =>
    withoutTarget(() => postgres(settingsOf(socket, { ...access, username }, options, events)));
  const client = new PostgresClient({ socket, connect, onLost });
  await client.open(options);
  return client;
}

/** A folder of sockets as the path of the socket in it. */
async function withSocketName(endpoint: SocketAddress): Promise<SocketAddress> {
  if (endpoint.transport !== "unix") return endpoint;
  const file = await Deno.stat(endpoint.path).catch(() => undefined);
  return file?.isDirectory ? { transport: "unix", path: `${endpoint.path}/${SOCKET_NAME}` } : endpoint;
}

/**
 * Asks the server for TLS.
 *
 * @throws {SqlFailure} when the server does not accept it; {@link encrypt}
 */
function startTls(socket: Socket, hostname: string, tls: TlsFiles): Promise<Socket> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the server has closed the connection")));
    // TLS takes over at once: the runtime of the compiled program would read on, and take the server's next bytes.
    socket.once("data", (answer: Buffer) => {
      // More than one byte would be from somebody between, because TLS has not begun.
      if (answer.toString("latin1") === "S") resolve(encrypt(socket, hostname, tls));
      else reject(hasNoTls());
    });
    socket.write(SSL_REQUEST);
  });
}

function hasNoTls(): SqlFailure {
  return new SqlFailure("denied", {
    cause: new Error("the server does not accept TLS"),
    advice: "set ssl = on in postgresql.conf of the server, or remove tls = true",
  });
}

/** Hides a variable that the library obeys, although the caller has chosen the server, and of which it refuses some values. */
function withoutTarget<T>(work: () => T): T {
  const name = "PGTARGETSESSIONATTRS";
  const value = Deno.env.get(name);
  if (value === undefined) return work();
  Deno.env.delete(name);
  try {
    return work();
  } finally {
    Deno.env.set(name, value);
  }
}

function settingsOf(
  socket: Socket,
  access: SqlAccess & { readonly username: string },
  { name }: ConnectOptions,
  events: PostgresEvents,
): Options<Record<string, never>> {
  let isTaken = false;
  const settings = {
    user: access.username,
    // A function, because the library puts PGPASSWORD in the place of an empty text.
    password: () => access.password ?? "",
    database: access.database,
    max: 1,
    // To connect again is not the library's matter: it gets one socket.
    socket: () => {
      if (isTaken || socket.destroyed) {
        throw Object.assign(new Error("the connection has ended"), { code: "CONNECTION_CLOSED" });
      }
      isTaken = true;
      return socket;
    },
    ssl: false,
    // The caller has one limit for all of it.
    connect_timeout: 0,
    idle_timeout: 0,
    max_lifetime: 0,
    keep_alive: 0,
    backoff: () => 0,
    max_pipeline: MAX_PIPELINE,
    fetch_types: false,
    prepare: true,
    debug: false,
    connection: { application_name: name },
    types: TYPES,
    onnotice: () => {},
    ...events,
  };
  // Some of these are missing in the library's types.
  return settings as unknown as Options<Record<string, never>>;
}
