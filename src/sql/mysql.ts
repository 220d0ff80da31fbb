import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { systemClock } from "../core/time/clock.ts";
import { inTime } from "../core/time/time_limit.ts";
import type { SocketAddress } from "../net/address.ts";
import { dial } from "./dial.ts";
import { MYSQL_DIALECT } from "./dialect.ts";
import type {
  ConnectOptions,
  ServerFacts,
  SqlAccess,
  SqlClient,
  SqlDriver,
  SqlResult,
  SqlRow,
  SqlValue,
} from "./driver.ts";
import { SqlFailure } from "./failure.ts";
import { mysqlFailure } from "./mysql_errors.ts";
import type { Connection, ConnectionOptions, FieldPacket, TypedParameter } from "./mysql_library.ts";
import { numberPlaceholders } from "./placeholders.ts";

/** MariaDB and MySQL by npm `mysql2`. */
export const MYSQL: SqlDriver = { dialect: MYSQL_DIALECT, product: "MySQL or MariaDB", connect };

/** A worker that hangs in a transaction must not hold its locks for ever, seconds. */
const IDLE_TRANSACTION_S = 60;

/** Few, because the server has a limit for all connections together (`max_prepared_stmt_count`). */
const MAX_PREPARED = 200;

/** Errors are refused and values are never cut; `"` and `\` have the meaning of the server's default. */
const SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

const BIGINT_TYPE = 8;

async function connect(
  endpoint: SocketAddress,
  access: SqlAccess,
  options: ConnectOptions,
  onLost: () => void,
): Promise<SqlClient> {
  const over = new AbortController();
  try {
    return await inTime(systemClock, open(endpoint, access, options, onLost, over.signal), {
      ms: options.connectTimeoutMs,
      discard: (late) => late.destroy(),
    });
  } catch (error) {
    over.abort();
    throw mysqlFailure(error);
  }
}

async function open(
  endpoint: SocketAddress,
  access: SqlAccess,
  options: ConnectOptions,
  onLost: () => void,
  signal: AbortSignal,
): Promise<SqlClient> {
  const { createConnection, TypedParameter } = await import("./mysql_library.ts");
  const socket = await dial(endpoint, signal);
  const connection = createConnection(settingsOf(socket, endpoint, access, options));
  const { serverVersion } = await greeted(connection);
  const client = new MysqlClient({ connection, socket, onLost, integer: TypedParameter.LONGLONG });
  await client.prepareSession(serverVersion, options);
  return client;
}

function greeted(connection: Connection): Promise<{ serverVersion: string }> {
  return new Promise((resolve, reject) => {
    // It stays: the library reports a loss by it when no statement is pending, and {@link MysqlClient} learns that from the socket.
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
  return {
    stream: socket,
    // The library connects nowhere; it takes a socket's file as a reason to send a password that is not encrypted.
    ...(endpoint.transport === "unix"
      ? { socketPath: endpoint.path }
      : { host: endpoint.hostname, port: endpoint.port }),
    ...(access.username !== undefined && { user: access.username }),
    ...(access.password !== undefined && { password: access.password }),
    database: access.database,
    // The caller has a limit for all of it.
    connectTimeout: 0,
    charset: "utf8mb4",
    timezone: "Z",
    dateStrings: true,
    supportBigNumbers: true,
    decimalNumbers: true,
    jsonStrings: true,
    maxPreparedStatements: MAX_PREPARED,
    // LOCAL_FILES: a server could ask for files of this machine. FOUND_ROWS is set by default: matched rows are counted.
    flags: ["-LOCAL_FILES", "-IGNORE_SPACE"],
    connectAttributes: { program_name: name },
  };
}

/**
 * One connection.
 *
 * 1. Sends the next statement when the answer of the last one is there, because the protocol has no pipelining.
 * 2. Has values travel as parameters of prepared statements; a statement without values is sent as it is.
 * 3. Is lost as soon as the connection closes; pending statements reject.
 */
class MysqlClient implements SqlClient {
  readonly dialect = MYSQL_DIALECT;
  readonly #connection: Connection;
  readonly #socket: Socket;
  readonly #onLost: () => void;
  readonly #integer: (value: number | bigint) => unknown;
  #facts: ServerFacts | undefined;
  #maxPacketBytes = Infinity;
  #pending = 0;
  #isLost = false;

  constructor(
    { connection, socket, onLost, integer }: {
      connection: Connection;
      socket: Socket;
      onLost: () => void;
      integer: typeof TypedParameter.LONGLONG;
    },
  ) {
    this.#connection = connection;
    this.#socket = socket;
    this.#onLost = onLost;
    this.#integer = integer;
    socket.once("close", () => this.#lose());
  }

  get facts(): ServerFacts {
    return this.#facts!;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  async prepareSession(versionText: string, { lockTimeoutMs }: ConnectOptions): Promise<void> {
    const isMariaDb = /mariadb/i.test(versionText);
    const version = versionOf(versionText);
    const lockTimeoutS = Math.max(1, Math.ceil(lockTimeoutMs / 1_000));
    const results = await Promise.all([
      this.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"),
      this.run(
        `SET NAMES utf8mb4, sql_mode = '${SQL_MODE}', time_zone = '+00:00', autocommit = 1, ` +
          `innodb_lock_wait_timeout = ${lockTimeoutS}, lock_wait_timeout = ${lockTimeoutS}` +
          (isMariaDb ? `, idle_transaction_timeout = ${IDLE_TRANSACTION_S}` : ""),
      ),
      this.run("SELECT @@global.read_only AS read_only, @@max_allowed_packet AS max_packet"),
    ]);
    const { read_only, max_packet } = results[2].rows[0]!;
    this.#maxPacketBytes = Number(max_packet);
    this.#facts = {
      product: isMariaDb ? "MariaDB" : "MySQL",
      version,
      isReadOnly: read_only !== 0 && read_only !== "OFF",
      hasSkipLocked: isMariaDb
        ? isAtLeast(version, 10, 6)
        : isAtLeast(version, 8, 0) && !/^8\.0\.0\b/.test(versionText),
      hasPooler: false,
    };
  }

  run(text: string, values: readonly SqlValue[] = []): Promise<SqlResult> {
    return new Promise((resolve, reject) => {
      if (this.#isLost) return reject(lost());
      numberPlaceholders(text, values.length);
      const parameters = this.#parametersOf(values);
      this.#pending++;
      const settle = (error: unknown, result: unknown, fields: FieldPacket[]) => {
        this.#pending--;
        if (error) reject(mysqlFailure(error));
        else resolve(resultOf(result, fields));
      };
      if (values.length === 0) this.#connection.query(text, settle as never);
      else this.#connection.execute(text, parameters as never[], settle as never);
    });
  }

  destroy(): void {
    if (!this.#isLost && this.#pending === 0) {
      // Else the server counts and logs an aborted connection.
      this.#connection.end();
      this.#socket.end(() => this.#socket.destroy());
    } else this.#socket.destroy();
    this.#isLost = true;
  }

  #parametersOf(values: readonly SqlValue[]): unknown[] {
    let bytes = 0;
    const parameters = values.map((value) => {
      if (typeof value === "string") bytes += value.length;
      if (value instanceof Uint8Array) {
        bytes += value.length;
        return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      }
      // Else the library makes a float or a text of it, by which a server compares without an index.
      if (isWhole(value)) return this.#integer(value);
      return typeof value === "bigint" ? String(value) : value;
    });
    if (bytes >= this.#maxPacketBytes) throw tooLarge(bytes, this.#maxPacketBytes);
    return parameters;
  }

  #lose(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#onLost();
  }
}

/** Whether it is a whole number of 64 bits, with a sign. */
function isWhole(value: SqlValue): value is number | bigint {
  return typeof value === "bigint" ? BigInt.asIntN(64, value) === value : Number.isSafeInteger(value);
}

/** Rows of a SELECT, or the counts of another statement. */
function resultOf(result: unknown, fields: readonly FieldPacket[] | undefined): SqlResult {
  if (!Array.isArray(result)) {
    return { rows: [], changes: (result as { affectedRows?: number }).affectedRows ?? 0 };
  }
  const rows = result as Record<string, SqlValue>[];
  for (const { name, columnType } of fields ?? []) {
    for (const row of rows) {
      const value = row[name];
      // What a number has not exactly, the library leaves as text.
      if (columnType === BIGINT_TYPE && typeof value === "string") row[name] = BigInt(value);
      else if (Buffer.isBuffer(value)) {
        row[name] = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      }
    }
  }
  return { rows: rows as readonly SqlRow[], changes: rows.length };
}

/** MariaDB before 11 says `5.5.5-10.6.16-MariaDB`, so that old replicas of MySQL accept it. */
function versionOf(text: string): ServerFacts["version"] {
  const [, major, minor] = /^(?:5\.5\.5-(?=\d))?(\d+)\.(\d+)/.exec(text) ?? [];
  return { major: Number(major ?? 0), minor: Number(minor ?? 0) };
}

function isAtLeast(version: ServerFacts["version"], major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}

function lost(): SqlFailure {
  return new SqlFailure("lost", { cause: new Error("the connection is lost") });
}

function tooLarge(bytes: number, maxBytes: number): SqlFailure {
  return new SqlFailure("refused", {
    cause: new Error(`${bytes} bytes in one statement`),
    advice: `the server accepts at most ${maxBytes} bytes in one statement: raise its max_allowed_packet`,
  });
}
