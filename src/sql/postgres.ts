import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { systemClock } from "../core/time/clock.ts";
import { inTime } from "../core/time/time_limit.ts";
import type { SocketAddress } from "../net/address.ts";
import { POSTGRES_DIALECT } from "./dialect.ts";
import { dial } from "./dial.ts";
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
import { numberPlaceholders } from "./placeholders.ts";
import { postgresFailure } from "./postgres_errors.ts";
import type { Options, Sql } from "./postgres_library.ts";

/** PostgreSQL by npm `postgres`. */
export const POSTGRES: SqlDriver = { dialect: POSTGRES_DIALECT, product: "PostgreSQL", connect };

/** A worker that hangs in a transaction must not hold its locks for ever, milliseconds. */
const IDLE_IN_TRANSACTION_MS = 60_000;

/** The protocol counts parameters in 16 bits; the library's own check is at this number. */
const MAX_PARAMETERS = 65_533;

/** The file of the socket in a folder of sockets. */
const SOCKET_NAME = ".s.PGSQL.5432";

async function connect(
  endpoint: SocketAddress,
  access: SqlAccess,
  options: ConnectOptions,
  onLost: () => void,
): Promise<SqlClient> {
  const over = new AbortController();
  const opening = open(endpoint, access, options, onLost, over.signal);
  try {
    return await inTime(systemClock, opening, {
      ms: options.connectTimeoutMs,
      discard: (late) => late.destroy(),
    });
  } catch (error) {
    over.abort();
    throw postgresFailure(error);
  }
}

async function open(
  endpoint: SocketAddress,
  access: SqlAccess,
  options: ConnectOptions,
  onLost: () => void,
  signal: AbortSignal,
): Promise<SqlClient> {
  const { postgres } = await import("./postgres_library.ts");
  const socket = await dial(await withSocketName(endpoint), signal);
  const client = new PostgresClient((events) => postgres(settingsOf(socket, access, options, events)), {
    socket,
    onLost,
  });
  await client.prepareSession(options);
  return client;
}

/** A folder of sockets as the path of the socket in it. */
async function withSocketName(endpoint: SocketAddress): Promise<SocketAddress> {
  if (endpoint.transport !== "unix") return endpoint;
  const file = await Deno.stat(endpoint.path).catch(() => undefined);
  return file?.isDirectory ? { transport: "unix", path: `${endpoint.path}/${SOCKET_NAME}` } : endpoint;
}

interface Events {
  onclose(): void;
  onnotify(channel: string, payload: string): void;
}

function settingsOf(
  socket: Socket,
  access: SqlAccess,
  { name }: ConnectOptions,
  events: Events,
  // deno-lint-ignore ban-types
): Options<{}> {
  let isTaken = false;
  const settings = {
    ...(access.username !== undefined && { user: access.username }),
    // A function, because the library puts PGPASSWORD in the place of an empty text.
    password: () => access.password ?? "",
    database: access.database,
    max: 1,
    // Reconnecting is not the library's matter: it gets one socket.
    socket: () => {
      if (isTaken) throw new Error("the server has closed the connection");
      isTaken = true;
      return socket;
    },
    ssl: false,
    // The caller has a limit for all of it.
    connect_timeout: 0,
    idle_timeout: 0,
    max_lifetime: 0,
    keep_alive: 0,
    backoff: () => 0,
    max_pipeline: 1_000,
    fetch_types: false,
    prepare: true,
    debug: false,
    connection: { application_name: name },
    types: TYPES,
    onnotice: () => {},
    ...events,
  };
  // Some of these are in no type of the library.
  // deno-lint-ignore ban-types
  return settings as unknown as Options<{}>;
}

/** Types as {@link SqlValue} has them, by their numbers (pg_type). Those that are missing here are text. */
const TYPES = {
  number: { to: 0, from: [21, 23, 26, 700, 701, 1700], serialize: String, parse: Number },
  bigint: { to: 20, from: [20], serialize: String, parse: wholeNumber },
  boolean: { to: 16, from: [16], serialize: String, parse: (text: string) => text === "t" ? 1 : 0 },
  json: { to: 114, from: [114, 3802], serialize: String, parse: String },
  date: { to: 1184, from: [1082, 1114, 1184], serialize: String, parse: String },
  bytea: { to: 17, from: [17], serialize: writeBytes, parse: readBytes },
};

function wholeNumber(text: string): number | bigint {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

function writeBytes(value: Uint8Array | string): string {
  if (typeof value === "string") return value;
  return `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}`;
}

function readBytes(text: string): Uint8Array {
  const bytes = Buffer.from(text.slice(2), "hex");
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * One connection.
 *
 * 1. Recognizes a pooler, and then keeps nothing in the session: no prepared statements, no settings, no notifications.
 * 2. Sends statements at once, in the order of the calls; a new statement waits for what the server says of its parameters.
 * 3. Is lost as soon as the connection closes; pending statements reject.
 */
class PostgresClient implements SqlClient {
  readonly dialect = POSTGRES_DIALECT;
  readonly #sql: Sql;
  readonly #socket: Socket;
  readonly #onLost: () => void;
  readonly #listeners = new Map<string, (payload: string) => void>();
  #facts: ServerFacts | undefined;
  #isLost = false;
  listen?: (channel: string, onNotify: (payload: string) => void) => Promise<void>;

  constructor(make: (events: Events) => Sql, { socket, onLost }: { socket: Socket; onLost: () => void }) {
    this.#socket = socket;
    this.#onLost = onLost;
    this.#sql = make({
      onclose: () => this.#lose(),
      onnotify: (channel, payload) => this.#listeners.get(channel)?.(payload),
    });
  }

  get facts(): ServerFacts {
    return this.#facts!;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Two round trips; one behind a pooler. */
  async prepareSession({ lockTimeoutMs }: ConnectOptions): Promise<void> {
    const found = await this.#sql.unsafe(
      "SELECT pg_backend_pid() AS pid, current_setting('server_version_num')::int AS version, " +
        "pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS read_only, " +
        "current_setting('bytea_output') AS bytea_output",
    );
    const { pid, version, read_only, bytea_output } = found[0]!;
    // A pooler logs in at the server by itself, and has numbers of its own for its clients.
    const hasPooler = pid !== found.state.pid;
    if (!hasPooler) await this.#sql.unsafe(sessionSettings(version, lockTimeoutMs));
    else if (bytea_output !== "hex") {
      throw new SqlFailure("other", {
        cause: new Error(`bytea_output is "${bytea_output}"`),
        advice: "behind a pooler, the database's own setting of bytea_output must be hex",
      });
    }
    if (!hasPooler) this.listen = this.#listen;
    this.#facts = {
      product: "PostgreSQL",
      version: versionOf(version),
      isReadOnly: read_only !== 0,
      hasSkipLocked: version >= 90_500,
      hasPooler,
    };
  }

  async run(text: string, values: readonly SqlValue[] = []): Promise<SqlResult> {
    if (this.#isLost) throw lost();
    const numbered = numberPlaceholders(text, values.length);
    if (values.length > MAX_PARAMETERS) {
      throw new TypeError(`${values.length} values are too many for a statement`);
    }
    const prepare = !this.facts.hasPooler;
    // A whole number goes as text, so that the server gives each parameter the type of its place.
    const parameters = values.map((value) => typeof value === "bigint" ? String(value) : value);
    const options = { prepare, simple: !prepare && values.length === 0 };
    try {
      const result = await this.#sql.unsafe<SqlRow[]>(numbered, parameters as never[], options).execute();
      if (result.command === "ROLLBACK" && /^COMMIT$/i.test(text)) throw rolledBack();
      return { rows: [...result], changes: result.count ?? 0 };
    } catch (error) {
      throw postgresFailure(error);
    }
  }

  destroy(): void {
    this.#isLost = true;
    this.#end();
  }

  async #listen(channel: string, onNotify: (payload: string) => void): Promise<void> {
    this.#listeners.set(channel, onNotify);
    await this.run(`LISTEN ${this.dialect.quote(channel)}`);
  }

  #lose(): void {
    // The library would connect again for the statements that it has not sent.
    this.#end();
    if (this.#isLost) return;
    this.#isLost = true;
    this.#onLost();
  }

  /** Says goodbye where nothing is pending; what is pending rejects. */
  #end(): void {
    this.#sql.end({ timeout: 0 }).catch(() => {}).finally(() => this.#socket.destroy());
  }
}

function sessionSettings(version: number, lockTimeoutMs: number): string {
  const settings: [string, string | number][] = [
    ["default_transaction_isolation", "read committed"],
    ["lock_timeout", lockTimeoutMs],
    ["client_min_messages", "warning"],
    ["bytea_output", "hex"],
    ...(version >= 90_600
      ? [["idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS] as [string, number]]
      : []),
  ];
  return `SELECT ${settings.map(([name, value]) => `set_config('${name}', '${value}', false)`).join(", ")}`;
}

/** `150004` is 15.4, and `90624` is 9.6. */
function versionOf(number: number): ServerFacts["version"] {
  const major = Math.floor(number / 10_000);
  return { major, minor: major >= 10 ? number % 10_000 : Math.floor(number / 100) % 100 };
}

function lost(): SqlFailure {
  return new SqlFailure("lost", { cause: new Error("the connection is lost") });
}

function rolledBack(): SqlFailure {
  return new SqlFailure("other", {
    cause: new Error("the server has rolled the transaction back, because a statement of it had failed"),
  });
}
