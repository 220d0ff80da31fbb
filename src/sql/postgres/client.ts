import type { Socket } from "node:net";
import { POSTGRES_DIALECT } from "../dialect.ts";
import type { ConnectOptions, ServerFacts, SqlClient, SqlResult, SqlRow } from "../driver.ts";
import type { SqlValue } from "../value.ts";
import { SqlFailure } from "../failure.ts";
import { numberPlaceholders } from "../placeholders.ts";
import { codeOf } from "../system_errors.ts";
import { lossFailure, postgresFailure } from "./errors.ts";
import type { Sql } from "./library.ts";

/** A worker that hangs in a transaction must not hold its locks for ever, milliseconds. */
const IDLE_IN_TRANSACTION_MS = 60_000;

/** The protocol has 16 bits for the number of parameters; the library has its own limit there. */
const MAX_PARAMETERS = 65_533;

/** Codes of the library for a connection that ended. */
const LOSSES = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_DESTROYED",
  "CONNECTION_ENDED",
  "EPIPE",
  "ECONNRESET",
]);

/** What the library calls. */
export interface PostgresEvents {
  onclose(): void;
  onnotify(channel: string, payload: string): void;
}

/** SQLSTATE in_failed_sql_transaction. */
const IN_FAILED_TRANSACTION = "25P02";

/**
 * One connection.
 *
 * 1. Sends statements at once, in the order of the calls. Only a statement that is new to the connection waits for an answer:
 *    of which types its parameters are.
 * 2. Recognizes a pooler, and then keeps nothing in the session: no prepared statements, no notifications, settings only for a
 *    transaction. It sends a statement when the one before it is answered: PgBouncer gives a connection of the server to another
 *    client after an answer, also while that connection asks for types.
 * 3. Is lost as soon as the connection closes; pending statements reject.
 */
export class PostgresClient implements SqlClient {
  readonly dialect = POSTGRES_DIALECT;
  readonly #sql: Sql;
  readonly #socket: Socket;
  readonly #onLost: () => void;
  readonly #listeners = new Map<string, (payload: string) => void>();
  #facts: ServerFacts | undefined;
  #loss: SqlFailure | undefined;
  /** The latest failure of a statement. */
  #failed: SqlFailure | undefined;
  /** What came last from the server: the library forgets the reason when the server closes the connection. */
  #lastBytes: Uint8Array | undefined;
  #socketError: unknown;
  /** How a transaction begins behind a pooler: with the settings that the session would have. */
  #begin = "";
  /** The end of the latest statement behind a pooler. */
  #lastSent: Promise<unknown> = Promise.resolve();
  listen?: (channel: string, onNotify: (payload: string) => void) => Promise<void>;

  /** @param deps.connect Gives the socket to the library. */
  constructor(
    { socket, connect, onLost }: {
      socket: Socket;
      connect: (events: PostgresEvents) => Sql;
      onLost: () => void;
    },
  ) {
    this.#socket = socket;
    this.#onLost = onLost;
    this.#sql = connect({
      onclose: () => this.#lose(),
      onnotify: (channel, payload) => this.#listeners.get(channel)?.(payload),
    });
    // The library removes all listeners at the end, not only its own; an error that comes later would end the process.
    socket.removeAllListeners = () => socket;
    socket.on("data", (bytes: Uint8Array) => this.#lastBytes = bytes);
    socket.on("error", (error) => this.#socketError = error);
  }

  get facts(): ServerFacts {
    return this.#facts!;
  }

  get isLost(): boolean {
    return this.#loss !== undefined;
  }

  /**
   * Logs in, learns the facts and prepares the session: after the login one round trip behind a pooler, else two.
   *
   * @throws {SqlFailure}
   */
  async open(options: ConnectOptions): Promise<void> {
    try {
      this.#facts = await this.#prepareSession(options);
    } catch (error) {
      throw this.#failureOf(error);
    }
  }

  run(text: string, values: readonly SqlValue[] = []): Promise<SqlResult> {
    if (!this.facts.hasPooler) return this.#send(text, values);
    const sent = this.#lastSent.then(() => this.#send(text, values));
    this.#lastSent = sent.catch(() => {});
    return sent;
  }

  destroy(): void {
    this.#loss ??= new SqlFailure("lost", { cause: new Error("this worker has closed the connection") });
    this.#end();
  }

  async #send(text: string, values: readonly SqlValue[]): Promise<SqlResult> {
    if (this.#loss !== undefined) throw this.#loss;
    const numbered = numberPlaceholders(text, values.length);
    // What the library cannot send, it would report as a failure of another statement.
    if (values.length > MAX_PARAMETERS) throw tooManyValues(values.length);
    // As text, so that the server gives a whole number the type of its place.
    const parameters = values.map((value) => typeof value === "bigint" ? String(value) : value);
    const { hasPooler } = this.facts;
    // `simple` is missing in the library's types.
    const options: object = { prepare: !hasPooler, simple: hasPooler && values.length === 0 };
    try {
      const isBegin = hasPooler && /^\s*BEGIN\s*$/i.test(text);
      const query = this.#sql.unsafe<SqlRow[]>(
        isBegin ? this.#begin : numbered,
        parameters as never[],
        options,
      );
      const result = await query.execute();
      if (isBegin) return { rows: [], changes: 0 };
      if (result.command === "ROLLBACK" && /^\s*(?:COMMIT|END)\b/i.test(text)) throw rolledBack();
      return { rows: [...result], changes: result.count ?? 0 };
    } catch (error) {
      throw this.#failureOf(error);
    }
  }

  async #prepareSession({ lockTimeoutMs }: ConnectOptions): Promise<ServerFacts> {
    const found = await this.#sql.unsafe(
      "SELECT pg_backend_pid() AS pid, current_setting('server_version_num')::int AS version, " +
        "pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS read_only, " +
        "current_setting('bytea_output') AS bytea_output",
    );
    const { pid, version, read_only, bytea_output } = found[0]!;
    // A pooler logs in by itself, and gives its clients process ids of its own.
    const hasPooler = pid !== found.state.pid;
    if (!hasPooler) {
      await this.#sql.unsafe(sessionSettings(version, lockTimeoutMs));
      this.listen = this.#listen;
    } else {
      if (bytea_output !== "hex") throw mustBeHex(bytea_output);
      this.#begin = beginWithSettings(version, lockTimeoutMs);
    }
    return {
      product: "PostgreSQL",
      version: versionOf(version),
      isReadOnly: read_only !== 0,
      hasSkipLocked: version >= 90_500,
      hasPooler,
    };
  }

  async #listen(channel: string, onNotify: (payload: string) => void): Promise<void> {
    this.#listeners.set(channel, onNotify);
    await this.run(`LISTEN ${this.dialect.quote(channel)}`);
  }

  #failureOf(error: unknown): SqlFailure {
    if (this.#loss !== undefined) return this.#loss;
    if (LOSSES.has(codeOf(error) ?? "")) return this.#lossFailure();
    const failure = postgresFailure(error);
    // A statement behind a failed one fails for the reason of that one.
    if (failure.code === IN_FAILED_TRANSACTION) return this.#failed ?? failure;
    return this.#failed = failure;
  }

  #lossFailure(): SqlFailure {
    return lossFailure(this.#lastBytes, this.#socketError);
  }

  #lose(): void {
    // Else the library would connect again for statements that it has not sent.
    this.#end();
    if (this.#loss !== undefined) return;
    this.#loss = this.#lossFailure();
    // A connection that was never open is told by the connect itself.
    if (this.#facts !== undefined) this.#onLost();
  }

  /** Says goodbye where nothing is pending; what is pending rejects. */
  #end(): void {
    void this.#sql.end({ timeout: 0 }).finally(() => this.#socket.destroy());
  }
}

function sessionSettings(version: number, lockTimeoutMs: number): string {
  const settings = {
    default_transaction_isolation: "read committed",
    client_min_messages: "warning",
    bytea_output: "hex",
    ...timeouts(version, lockTimeoutMs),
  };
  const calls = Object.entries(settings).map(([name, value]) => `set_config('${name}', '${value}', false)`);
  return `SELECT ${calls.join(", ")}`;
}

function beginWithSettings(version: number, lockTimeoutMs: number): string {
  const settings = Object.entries(timeouts(version, lockTimeoutMs)).map(([name, value]) =>
    `SET LOCAL ${name} = ${value}`
  );
  return ["BEGIN ISOLATION LEVEL READ COMMITTED", ...settings].join("; ");
}

function timeouts(version: number, lockTimeoutMs: number): Record<string, number> {
  return {
    // Whole milliseconds; 0 would be no limit.
    lock_timeout: Math.max(1, Math.ceil(lockTimeoutMs)),
    ...(version >= 90_600 && { idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS }),
  };
}

/** `150004` is 15.4, and `90624` is 9.6. */
function versionOf(number: number): ServerFacts["version"] {
  const major = Math.floor(number / 10_000);
  return { major, minor: major >= 10 ? number % 10_000 : Math.floor(number / 100) % 100 };
}

function mustBeHex(found: string): SqlFailure {
  return new SqlFailure("other", {
    cause: new Error(`bytea_output is ${found}`),
    advice: "behind a pooler bytea_output must be hex: ALTER DATABASE … SET bytea_output = hex",
  });
}

function tooManyValues(count: number): SqlFailure {
  return new SqlFailure("refused", { cause: new Error(`${count} values are too many for one statement`) });
}

/** The server answers COMMIT so, and reports no error. */
function rolledBack(): SqlFailure {
  return new SqlFailure("other", {
    cause: new Error("the transaction was rolled back, because a statement of it had failed"),
  });
}
