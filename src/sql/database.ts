import type { Clock } from "../core/time/clock.ts";
import { sleep } from "../core/time/clock.ts";
import { Backoff } from "../core/time/backoff.ts";
import { type FervoError, QueueError } from "../core/errors.ts";
import { formatAddress, type SocketAddress } from "../net/address.ts";
import { Keepalive } from "../net/keepalive.ts";
import type { SqlDialect } from "./dialect.ts";
import type { SqlAccess, SqlClient, SqlDriver, SqlResult, SqlSession } from "./driver.ts";
import type { SqlValue } from "./value.ts";
import { SqlFailure, unavailableError } from "./failure.ts";
import { Watchdog } from "./watchdog.ts";

/** Where a database is, and how it is used. */
export interface SqlServerOptions {
  /** The first one that accepts writes is used; at least one. */
  readonly endpoints: readonly SocketAddress[];
  /** Reads passwords and certificates at each connect, so that renewed ones count. */
  readonly access: () => Promise<SqlAccess>;
  /** How this program is called in the server's list of connections. */
  readonly name: string;
  readonly connectTimeoutMs: number;
  /** How long the server lets a statement of ours wait for a lock, milliseconds. */
  readonly lockTimeoutMs: number;
  /** A server counts as hung when a statement takes longer, milliseconds. */
  readonly statementTimeoutMs: number;
  /** How long a TCP connection may be silent, milliseconds; 0 without a limit. */
  readonly keepaliveMs: number;
}

/** What a transaction gives when its last statement is given, and before the answer to it. */
export interface Given<T> {
  readonly result: Promise<T>;
}

/** The longest pause between attempts to connect, milliseconds. */
const LONGEST_PAUSE_MS = 2_000;
/** The longest pause before a transaction is made again that met a deadlock or a lock, milliseconds. */
const LONGEST_REPEAT_PAUSE_MS = 20;

/**
 * A database over one connection.
 *
 * 1. Connects at the first use, and again after each loss, without giving up; pauses grow while that fails.
 * 2. Looks at every server of a list, and uses the first one that accepts writes: so it follows a failover.
 * 3. Runs one transaction after the other. A transaction is made again after a deadlock. After a lost connection its outcome is
 *    unknown, so it is not.
 * 4. Reports failures in words for an operator.
 */
export class SqlDatabase implements SqlSession {
  readonly dialect: SqlDialect;
  readonly #driver: SqlDriver;
  readonly #clock: Clock;
  readonly #options: SqlServerOptions;
  readonly #closing = new AbortController();
  readonly #backoff = new Backoff({ random: Math.random }, { maxMs: LONGEST_PAUSE_MS });
  readonly #watchdog: Watchdog;
  /** Called when a connection was opened, before its first use. */
  readonly #onConnect: (client: SqlClient) => Promise<void>;
  /** Called when a connection has ended, by whomever, except by {@link close}. */
  readonly #onLost: () => void;
  /** What to do when a table or a column is missing, whichever statement finds it; else the driver's own advice. */
  readonly #schemaAdvice: string | undefined;
  #client: SqlClient | undefined;
  /** The connection that is being prepared. */
  #preparing: SqlClient | undefined;
  #keepalive: Keepalive | undefined;
  #opening: Promise<SqlClient> | undefined;
  /** The pause before the next connect, milliseconds. */
  #pauseMs = 0;
  /** Why the latest failed connect failed. */
  #failure: FervoError | undefined;
  #where: string;
  /** The end of the latest statement or transaction: the next one begins then. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    deps: {
      driver: SqlDriver;
      clock: Clock;
      onConnect?: (client: SqlClient) => Promise<void>;
      onLost?: () => void;
      schemaAdvice?: string | undefined;
    },
    options: SqlServerOptions,
  ) {
    this.#driver = deps.driver;
    this.dialect = deps.driver.dialect;
    this.#clock = deps.clock;
    this.#options = options;
    this.#onConnect = deps.onConnect ?? (() => Promise.resolve());
    this.#onLost = deps.onLost ?? (() => {});
    this.#schemaAdvice = deps.schemaAdvice;
    this.#watchdog = new Watchdog(deps.clock, options.statementTimeoutMs, () => this.drop());
    this.#where = this.#placeOf(...options.endpoints);
  }

  /**
   * What is known of the server.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  async facts(): Promise<SqlClient["facts"]> {
    return (await this.#usable()).facts;
  }

  /**
   * Runs one statement, in a transaction of its own.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  run(text: string, values: readonly SqlValue[] = []): Promise<SqlResult> {
    return this.#inTurn((client) => this.#repeated(() => this.#watched(() => client.run(text, values))));
  }

  /**
   * Runs statements in one transaction, which is committed when `work` resolves and rolled back when it rejects.
   *
   * @param work It may be called again, after a deadlock.
   * @throws {QueueError} QUEUE_UNAVAILABLE: the result is unknown; the error of `work`, other than a {@link SqlFailure}
   */
  transaction<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.transact(async (session) => ({ result: Promise.resolve(await work(session)) }));
  }

  /**
   * The same for statements that need not wait for each other: `work` resolves when it has given the last statement, and so the
   * commit travels with it.
   */
  transact<T>(work: (session: SqlSession) => Promise<Given<T>>): Promise<T> {
    return this.#inTurn((client) => this.#repeated(() => this.#transact(client, work)));
  }

  /** Ends the connection; the next use connects again. */
  drop(): void {
    this.#leave(this.#preparing ?? this.#client);
  }

  /** Ends the connection for good, after the statements that were begun. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    // One who waits for several statements gives the next one when the former has ended.
    for (let last: unknown; last !== this.#last;) await (last = this.#last);
    this.#keepalive?.stop();
    this.#watchdog.stop();
    this.#client?.destroy();
  }

  /** After all earlier work, with an open connection. */
  #inTurn<T>(work: (client: SqlClient) => Promise<T>): Promise<T> {
    const known = this.#failure;
    const turn = this.#last.then(async () => {
      // Those that waited for a connect fail with it: each one's own attempt would keep the others waiting.
      if (this.#client?.isLost !== false && this.#failure !== known) throw this.#failure;
      const client = await this.#usable();
      this.#keepalive?.note();
      try {
        return await work(client);
      } catch (error) {
        throw this.#explained(client, error);
      }
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #transact<T>(client: SqlClient, work: (session: SqlSession) => Promise<Given<T>>): Promise<T> {
    const run: SqlSession["run"] = (text, values) => this.#watched(() => client.run(text, values));
    // Where it fails, so do the statements behind it: they need not wait.
    const begun = run("BEGIN");
    begun.catch(() => {});
    let given: Given<T> | undefined;
    try {
      given = await work({ dialect: this.dialect, run });
      const committed = run("COMMIT");
      committed.catch(() => {});
      const result = await given.result;
      await committed;
      return result;
    } catch (error) {
      given?.result.catch(() => {});
      if (!client.isLost) await run("ROLLBACK").catch(() => this.#leave(client));
      throw await begun.then(() => error, (cause) => cause);
    }
  }

  /** Again after a deadlock or a lock, for as long as one may wait for a lock. */
  async #repeated<T>(work: () => Promise<T>): Promise<T> {
    const untilMs = this.#clock.monotonicMs() + this.#options.lockTimeoutMs;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        const mayRepeat = error instanceof SqlFailure && error.kind === "again" &&
          this.#clock.monotonicMs() < untilMs;
        if (!mayRepeat) throw error;
        await sleep(this.#clock, LONGEST_REPEAT_PAUSE_MS * Math.random());
      }
    }
  }

  #watched<T>(work: () => Promise<T>): Promise<T> {
    return this.#watchdog.during(work);
  }

  async #usable(): Promise<SqlClient> {
    if (this.#client?.isLost === false) return this.#client;
    return await (this.#opening ??= this.#open().finally(() => this.#opening = undefined));
  }

  async #open(): Promise<SqlClient> {
    const { signal } = this.#closing;
    this.#keepalive?.stop();
    if (this.#pauseMs > 0) await sleep(this.#clock, this.#pauseMs, signal);
    if (signal.aborted) throw this.#closed();
    try {
      const client = this.#client = await this.#find();
      this.#backoff.reset();
      this.#pauseMs = 0;
      // It was closed at that moment.
      if (signal.aborted) client.destroy();
      return client;
    } catch (error) {
      if (signal.aborted) throw this.#closed();
      this.#pauseMs = this.#backoff.nextMs();
      throw this.#failure = this.#unavailable(error);
    }
  }

  /** Connects to the first server that accepts writes. */
  async #find(): Promise<SqlClient> {
    const access = await this.#options.access();
    const { endpoints } = this.#options;
    let failure: unknown;
    for (const endpoint of endpoints) {
      this.#where = this.#placeOf(endpoint);
      try {
        return await this.#connect(endpoint, access);
      } catch (error) {
        // A server that is down says less than one that refuses.
        const saysMore = failure === undefined || !(error instanceof SqlFailure && error.kind === "lost");
        if (saysMore) failure = this.#unavailable(error);
      }
    }
    throw failure;
  }

  async #connect(endpoint: SocketAddress, access: SqlAccess): Promise<SqlClient> {
    const { name, connectTimeoutMs, lockTimeoutMs, keepaliveMs } = this.#options;
    const client = await this.#driver.connect(
      endpoint,
      access,
      { name, connectTimeoutMs, lockTimeoutMs },
      this.#onLost,
    );
    try {
      if (client.facts.isReadOnly) throw readOnly();
      this.#preparing = client;
      await this.#repeated(() => this.#watched(() => this.#onConnect(client)));
    } catch (error) {
      client.destroy();
      throw error;
    } finally {
      this.#preparing = undefined;
    }
    if (endpoint.transport === "tcp" && keepaliveMs > 0) {
      this.#keepalive = new Keepalive(this.#clock, keepaliveMs, () => this.#ping(client));
    }
    return client;
  }

  #ping(client: SqlClient): void {
    if (client.isLost) return this.#keepalive?.stop();
    void this.#inTurn(() => this.#watched(() => client.run("SELECT 1"))).catch(() => {});
  }

  #explained(client: SqlClient, error: unknown): unknown {
    if (!(error instanceof SqlFailure)) return error;
    // The next use looks for another server. A node of a cluster may say that it is of no use, and keep the connection open.
    if (error.kind === "read_only" || error.kind === "lost") this.#leave(client);
    return this.#unavailable(error);
  }

  #unavailable(error: unknown): FervoError {
    return unavailableError(this.#where, error, this.#schemaAdvice);
  }

  /** Ends a connection, of which the driver then tells nobody. */
  #leave(client: SqlClient | undefined): void {
    if (client?.isLost !== false) return;
    client.destroy();
    this.#onLost();
  }

  #placeOf(...endpoints: readonly SocketAddress[]): string {
    return `${this.#driver.product} at "${endpoints.map(formatAddress).join(", ")}"`;
  }

  #closed(): QueueError {
    return new QueueError("QUEUE_UNAVAILABLE", `Cannot use ${this.#where}: this worker has closed it`);
  }
}

function readOnly(): SqlFailure {
  return new SqlFailure("read_only", {
    cause: new Error("the server is read-only"),
    advice:
      "it is a replica, or set to be read-only; name the primary, or all servers of a failover, in the url",
  });
}
