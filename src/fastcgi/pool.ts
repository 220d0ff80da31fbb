import type { Clock, Timer } from "../core/clock.ts";
import { FervoError } from "../core/errors.ts";
import type { FastCgiAddress } from "./address.ts";
import {
  Connection,
  ConnectionLostError,
  type ConnectionOptions,
  type FastCgiRequest,
} from "./connection.ts";
import { DEFAULT_RESPONSE_LIMITS, type FastCgiResponse } from "./response.ts";

export interface PoolOptions extends ConnectionOptions {
  /** Connections at most; each takes an FPM child. Further requests wait for one. */
  readonly maxConnections: number;
  /**
   * A connection without a request is closed after so many milliseconds, for it pins an FPM child. 0 opens one for
   * each request.
   */
  readonly idleMs: number;
}

export const DEFAULT_POOL_OPTIONS: Omit<PoolOptions, "maxConnections"> = {
  ...DEFAULT_RESPONSE_LIMITS,
  connectTimeoutMs: 2_000,
  idleMs: 200,
};

export interface PoolStats {
  /** Connections with a request under way, being opened included. */
  readonly busy: number;
  /** Connections kept for the next request. */
  readonly idle: number;
  /** Requests that wait for a connection. */
  readonly waiting: number;
  /** Connections opened since the start. */
  readonly opened: number;
  /** Requests answered since the start. */
  readonly answered: number;
  /** Requests sent a second time because the child had left the kept connection. */
  readonly resent: number;
}

/**
 * A child that leaves (reload, pm.max_requests, pm.process_idle_timeout) closes its kept connections at once; a request
 * that crossed with that was not run. One that lost its connection later than this was being run by the child that died.
 */
const LEAVING_WINDOW_MS = 50;

/**
 * The connections to one FastCGI application.
 *
 * 1. Gives each request a connection of its own while it lasts: a kept one when there is one, else a new one.
 * 2. Holds at most `maxConnections`, so that no request waits in the listen queue, where nobody could take it back.
 * 3. Keeps connections for bursts only, the last used first, and closes the idle ones.
 * 4. Sends a request once more, on a new connection, when a kept one turns out to have been left by its child.
 */
export class Pool implements AsyncDisposable {
  readonly #address: FastCgiAddress;
  readonly #clock: Clock;
  readonly #options: PoolOptions;
  /** Kept connections, the last used at the end. */
  readonly #idle: Connection[] = [];
  readonly #busy = new Set<Connection>();
  readonly #waiting: (() => void)[] = [];
  #connections = 0;
  #opened = 0;
  #answered = 0;
  #resent = 0;
  #idleTimer: Timer | undefined;
  #closed: PromiseWithResolvers<void> | undefined;

  constructor(deps: { address: FastCgiAddress; clock: Clock }, options: PoolOptions) {
    this.#address = deps.address;
    this.#clock = deps.clock;
    this.#options = options;
  }

  get stats(): PoolStats {
    return {
      busy: this.#connections - this.#idle.length,
      idle: this.#idle.length,
      waiting: this.#waiting.length,
      opened: this.#opened,
      answered: this.#answered,
      resent: this.#resent,
    };
  }

  /**
   * Sends a request and reads its answer.
   *
   * @param signal Ends the request, also while it waits for a connection; rejects with the signal's reason.
   * @throws {FastCgiError} FASTCGI_CONNECT_FAILED, FASTCGI_OVERLOADED and FASTCGI_PARAM_TOO_LARGE: nothing was run;
   * FASTCGI_CONNECTION_LOST, FASTCGI_PROTOCOL: it may have been.
   */
  async request(request: FastCgiRequest, signal: AbortSignal): Promise<FastCgiResponse> {
    if (this.#closed !== undefined) throw new FervoError("SHUTDOWN", "The connection pool is closed");
    const kept = this.#idle.pop();
    if (kept === undefined) return await this.#requestOnNew(request, signal);
    try {
      return await this.#requestOn(kept, request, signal);
    } catch (error) {
      if (!hasChildLeft(error)) throw error;
      this.#resent++;
      return await this.#requestOnNew(request, signal);
    }
  }

  /** Closes the idle connections, waits for the requests under way, and takes no more. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= Promise.withResolvers();
    for (const connection of this.#idle.splice(0)) this.#discard(connection);
    this.#idleTimer?.cancel();
    if (this.#connections === 0) this.#closed.resolve();
    return this.#closed.promise;
  }

  /** Closes all connections now; requests under way reject with `error`. Idempotent. */
  destroy(error: FervoError): void {
    void this.close();
    for (const connection of this.#busy) connection.destroy(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #requestOnNew(request: FastCgiRequest, signal: AbortSignal): Promise<FastCgiResponse> {
    // Whoever is woken may find its place taken by a request that came just then, and waits again.
    while (this.#connections >= this.#options.maxConnections) {
      await this.#waitForTurn(signal);
      const kept = this.#idle.pop();
      if (kept !== undefined) return await this.#requestOn(kept, request, signal);
    }
    this.#connections++;
    let connection: Connection;
    try {
      signal.throwIfAborted();
      connection = await Connection.open(this.#address, this.#clock, this.#options);
    } catch (error) {
      this.#forget();
      throw error;
    }
    this.#opened++;
    connection.onIdleClose = () => {
      const at = this.#idle.indexOf(connection);
      if (at < 0) return;
      this.#idle.splice(at, 1);
      this.#forget();
    };
    return await this.#requestOn(connection, request, signal);
  }

  async #requestOn(
    connection: Connection,
    request: FastCgiRequest,
    signal: AbortSignal,
  ): Promise<FastCgiResponse> {
    const keep = this.#options.idleMs > 0 && this.#closed === undefined;
    this.#busy.add(connection);
    try {
      const response = await connection.request(request, keep, signal);
      this.#answered++;
      return response;
    } finally {
      this.#busy.delete(connection);
      this.#release(connection);
    }
  }

  #release(connection: Connection): void {
    if (this.#closed !== undefined || !connection.isReusable) return this.#discard(connection);
    this.#idle.push(connection);
    this.#idleTimer ??= this.#clock.setTimer(() => this.#closeIdle(), this.#options.idleMs);
    this.#waiting.shift()?.();
  }

  #discard(connection: Connection): void {
    connection.onIdleClose = undefined;
    connection.destroy();
    this.#forget();
  }

  /** A connection is gone: its place goes to the request that has waited longest. */
  #forget(): void {
    this.#connections--;
    this.#waiting.shift()?.();
    if (this.#connections === 0) this.#closed?.resolve();
  }

  async #waitForTurn(signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => {
      const at = this.#waiting.indexOf(resolve);
      if (at >= 0) this.#waiting.splice(at, 1);
      reject(signal.reason);
    };
    this.#waiting.push(resolve);
    signal.addEventListener("abort", abort);
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** One timer for all connections: it costs nothing a request, and one is closed at most one `idleMs` late. */
  #closeIdle(): void {
    this.#idleTimer = undefined;
    const latestMs = this.#clock.monotonicMs() - this.#options.idleMs;
    const stale = this.#idle.filter((connection) => connection.idleSinceMs <= latestMs);
    for (const connection of stale) connection.destroy();
    if (this.#idle.length > 0) {
      const nextMs = this.#idle[0]!.idleSinceMs - latestMs;
      this.#idleTimer = this.#clock.setTimer(() => this.#closeIdle(), Math.max(nextMs, 1));
    }
  }
}

/** Whether the request can be taken for not run: see LEAVING_WINDOW_MS. */
function hasChildLeft(error: unknown): boolean {
  return error instanceof ConnectionLostError && error.isReused && error.responseBytes === 0 &&
    error.afterMs <= LEAVING_WINDOW_MS;
}
