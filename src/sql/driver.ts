import type { SocketAddress } from "../net/address.ts";
import type { SqlDialect } from "./dialect.ts";
import type { SqlValue } from "./value.ts";

/** A row by the names of its columns. */
export type SqlRow = Readonly<Record<string, SqlValue>>;

export interface SqlResult {
  readonly rows: readonly SqlRow[];
  /** Rows that the statement has matched, whether or not a value of them is another now. */
  readonly changes: number;
}

/** Where statements run. */
export interface SqlSession {
  readonly dialect: SqlDialect;
  /**
   * Runs one statement, whose parameters are `?`. Statements run in the order of the calls. A call need not wait for the earlier
   * ones: those of one turn of the event loop travel together, as far as the protocol allows. When a statement of a transaction
   * has failed, the later ones fail as well, up to ROLLBACK; a COMMIT does so, too, and commits nothing.
   *
   * @throws {SqlFailure}
   */
  run(text: string, values?: readonly SqlValue[]): Promise<SqlResult>;
}

/** What is known of a server once a connection is open. */
export interface ServerFacts {
  readonly product: "PostgreSQL" | "MariaDB" | "MySQL" | "SQLite";
  readonly version: { readonly major: number; readonly minor: number };
  /** It refuses writes, for it is a replica or was set so. */
  readonly isReadOnly: boolean;
  /** Locked rows can be skipped: `FOR UPDATE SKIP LOCKED`. */
  readonly hasSkipLocked: boolean;
  /** A pooler is between, which gives each transaction another connection of the server: there are no notifications. */
  readonly hasPooler: boolean;
}

/** One open connection. It stays lost once it is lost. */
export interface SqlClient extends SqlSession {
  readonly facts: ServerFacts;
  readonly isLost: boolean;
  /** Listens for notifications on this connection; absent where the server, or a pooler before it, has none. */
  listen?(channel: string, onNotify: (payload: string) => void): Promise<void>;
  /** Ends the connection at once; running statements reject. Idempotent. */
  destroy(): void;
}

/** Credentials, and the safety of the connection. Contents of files, not their paths. */
export interface SqlAccess {
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: string;
  /** Without it the connection is not encrypted. The server's name and certificate are always verified. */
  readonly tls: {
    /** Certificates to trust instead of the system's, PEM. */
    readonly ca: string | undefined;
    /** The client's certificate and key, PEM. */
    readonly cert: string | undefined;
    readonly key: string | undefined;
  } | undefined;
}

export interface ConnectOptions {
  /** How this program is called in the server's list of connections. */
  readonly name: string;
  /** The limit for a connect, milliseconds. */
  readonly connectTimeoutMs: number;
  /** How long the server lets a statement of ours wait for a lock, milliseconds. */
  readonly lockTimeoutMs: number;
}

/** A kind of server, and how to connect to it. */
export interface SqlDriver {
  readonly dialect: SqlDialect;
  /** The name of the server for people. */
  readonly product: string;
  /**
   * Connects, logs in, prepares the session (read committed, strict, lock timeout; nothing that a pooler would share), and
   * learns the facts.
   *
   * @param onLost Called once when an open connection ends without {@link SqlClient.destroy}.
   * @throws {SqlFailure}
   */
  connect(
    endpoint: SocketAddress,
    access: SqlAccess,
    options: ConnectOptions,
    onLost: () => void,
  ): Promise<SqlClient>;
}
