import type { Socket } from "node:net";
import type { SocketAddress } from "../net/address.ts";
import { dial, openInTime } from "./dial.ts";
import { MYSQL_DIALECT } from "./dialect.ts";
import type { ConnectOptions, SqlAccess, SqlClient, SqlDriver } from "./driver.ts";
import { encrypt, type TlsFiles } from "./encrypt.ts";
import { MysqlClient } from "./mysql/client.ts";
import { mysqlFailure } from "./mysql/errors.ts";
import type { Connection, ConnectionOptions } from "./mysql/library.ts";

/** MariaDB and MySQL, by npm `mysql2`. */
export const MYSQL: SqlDriver = { dialect: MYSQL_DIALECT, product: "MySQL or MariaDB", connect };

/** Few, because the server has one limit for all connections together (`max_prepared_stmt_count`). */
const MAX_PREPARED = 200;

function connect(
  endpoint: SocketAddress,
  access: SqlAccess,
  options: ConnectOptions,
  onLost: () => void,
): Promise<SqlClient> {
  const opening = (signal: AbortSignal) => open(endpoint, access, options, onLost, signal);
  return openInTime(opening, mysqlFailure, options.connectTimeoutMs);
}

async function open(
  endpoint: SocketAddress,
  access: SqlAccess,
  options: ConnectOptions,
  onLost: () => void,
  signal: AbortSignal,
): Promise<SqlClient> {
  const { createConnection, TypedParameter } = await import("./mysql/library.ts");
  const socket = await dial(endpoint, signal);
  const connection = createConnection(settingsOf(socket, endpoint, access, options)) as Upgradable;
  if (access.tls !== undefined && endpoint.transport === "tcp") {
    useOwnTls(connection, endpoint.hostname, access.tls);
  }
  const { serverVersion } = await greetingOf(connection);
  const client = new MysqlClient({
    connection,
    socket,
    onLost,
    integer: TypedParameter.LONGLONG,
  });
  await client.open(serverVersion, options);
  return client;
}

/** The login is over with it. */
function greetingOf(connection: Connection): Promise<{ serverVersion: string }> {
  return new Promise((resolve, reject) => {
    // It stays: an error without a statement must not end the process, and MysqlClient sees the end of the socket.
    connection.on("error", reject);
    connection.on("connect", resolve);
  });
}

function settingsOf(
  socket: Socket,
  endpoint: SocketAddress,
  access: SqlAccess,
  { name }: ConnectOptions,
): ConnectionOptions {
  const isUnix = endpoint.transport === "unix";
  return {
    stream: socket,
    // It connects nowhere: to the library it says that a password may be sent without encryption.
    ...(isUnix && { socketPath: endpoint.path }),
    ...(access.username !== undefined && { user: access.username }),
    ...(access.password !== undefined && { password: access.password }),
    database: access.database,
    ...(access.tls !== undefined && !isUnix && { ssl: {} }),
    // The caller has one limit for all of it.
    connectTimeout: 0,
    charset: "utf8mb4",
    timezone: "Z",
    dateStrings: true,
    supportBigNumbers: true,
    decimalNumbers: true,
    jsonStrings: true,
    maxPreparedStatements: MAX_PREPARED,
    // For texts that withLiterals makes; all others travel alone.
    multipleStatements: true,
    // LOCAL_FILES lets a server ask for files of this machine. FOUND_ROWS, which counts matched rows, is the library's default.
    flags: ["-LOCAL_FILES", "-IGNORE_SPACE"],
    connectAttributes: { program_name: name },
  };
}

/** What is missing in the library's types. */
type Upgradable = Connection & {
  stream: Socket;
  startTLS(onSecure: (error?: Error) => void): void;
  packetParser: { execute(bytes: Uint8Array): void };
};

/**
 * Replaces how the library encrypts a connection: it does not verify an IP address, and the compiled program's runtime does not
 * tell it that a certificate is refused.
 */
function useOwnTls(connection: Upgradable, hostname: string, tls: TlsFiles): void {
  connection.startTLS = (onSecure) => {
    const plain = connection.stream;
    plain.removeAllListeners("data");
    encrypt(plain, hostname, tls).then((secure) => {
      secure.on("error", (error) => connection.emit("error", error));
      secure.on("data", (bytes: Uint8Array) => connection.packetParser.execute(bytes));
      connection.stream = secure;
      onSecure();
    }, (error) => connection.emit("error", error));
  };
}
