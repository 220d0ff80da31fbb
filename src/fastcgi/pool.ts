import type { Clock, Timer } from "../core/time/clock.ts";
import { FervoError } from "../core/errors.ts";
import type { FastCgiAddress } from "./address.ts";
import { Connection, ConnectionLostError, type FastCgiRequest, type SilentRequest } from "./connection.ts";
import { DEFAULT_POOL_OPTIONS, type PoolOptions, type PoolStats, type Sending } from "./pool_options.ts";
import type { FastCgiResponse } from "./response.ts";

export { DEFAULT_POOL_OPTIONS };
export type { PoolOptions, PoolStats, Sending };

/**
 * A leaving child (reload, pm.max_requests) closes its kept connections at once, so a request that crossed with that did not
 * run. A connection that was lost later than this belonged to a child that died while it ran the request.
 */
const LEAVING_WINDOW_MS = 1_000;

/**
 * After php-fpm had no room for a connection, none is kept for this long: each kept one occupies a child that others in the
 * listen queue wait for.
 */
const CROWDED_MS = 1_000;

/**
 * A connection that was in use for this long is not kept: another client's request may wait in the listen queue for its child,
 * which is invisible on a unix socket.
 */
const RENEW_MS = 1_000;

/** A request on a kept connection may be waiting when it has had no byte of an answer for this long, milliseconds. */
const SILENCE_MS = 100;

const ANYHOW: Sending = {};

/**
 * The connections to one FastCGI application.
 *
 * 1. Gives each request a connection for itself: a kept one if there is one, else a new one.
 * 2. Has at most `maxConnections`, so that no request waits in the listen queue, where it could not be taken back. The number
 *    can change.
 * 3. Keeps connections only for bursts, the last used first, and closes the idle ones, and each after a second: other clients
 *    get their turn.
 * 4. Keeps none while php-fpm's listen queue is full.
 * 5. Reports requests on kept connections without an answer: their child may still run the previous one.
 * 6. Sends a request once more, on a new connection, when the child may have closed the kept one before it, if the caller wants
 *    that.
 */
export class Pool implements AsyncDisposable {
  readonly #address: FastCgiAddress;
  readonly #clock: Clock;
  readonly #options: PoolOptions;
  /** Kept connections, the last used at the end. */
  readonly #idle: Connection[] = [];
  /** With the request that each runs. */
  readonly #busy = new Map<Connection, FastCgiRequest>();
  /** In order. Each gets a place: a kept connection, or undefined for the right to open one. */
  readonly #waiting: PromiseWithResolvers<Connection | undefined>[] = [];
  /** Places in use: connections busy, idle or being opened. */
  #connections = 0;
  #maxConnections: number;
  #opened = 0;
  #answered = 0;
  #resent = 0;
  #keepsNone = false;
  #overloads = 0;
  /** Collects sent requests during {@link watch}. */
  #watched: Set<FastCgiRequest> | undefined;
  #idleTimer: Timer | undefined;
  #silenceTimer: Timer | undefined;
  /** No connection is kept until then, monotonic milliseconds; 0 without such a time. */
  #crowdedUntilMs = 0;
  #closed: PromiseWithResolvers<void> | undefined;
  #destroyedBy: FervoError | undefined;

  /**
   * Called now and then with the requests on kept connections that have had no byte of an answer for some 0.1 s. Most of them
   * simply run.
   */
  onSilence: ((silent: readonly SilentRequest[]) => void) | undefined;
  /** Called when output of a request comes after its END_REQUEST. */
  onLateOutput: ((params: FastCgiRequest["params"]) => void) | undefined;

  constructor(deps: { address: FastCgiAddress; clock: Clock }, options: PoolOptions) {
    this.#address = deps.address;
    this.#clock = deps.clock;
    this.#options = options;
    this.#maxConnections = options.maxConnections;
  }

  get maxConnections(): number {
    return this.#maxConnections;
  }

  /** From now on at most this many connections; the others are closed when their requests have ended. */
  resize(maxConnections: number): void {
    this.#maxConnections = maxConnections;
    // Each gives its place to a waiting request, or frees it.
    while (this.#connections > maxConnections && this.#idle.length > 0) this.#idle[0]!.destroy();
    while (this.#connections < maxConnections && this.#waiting.length > 0) {
      this.#connections++;
      this.#waiting.shift()!.resolve(undefined);
    }
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

  /** How often php-fpm had no room for a connection, since the start. */
  get overloads(): number {
    return this.#overloads;
  }

  /** Requests that were sent and have no answer. */
  get underWay(): ReadonlySet<FastCgiRequest> {
    return new Set(this.#busy.values());
  }

  /** All requests in progress at any time until it is disposed of. Only one watch at a time. */
  watch(): { readonly requests: ReadonlySet<FastCgiRequest> } & Disposable {
    const requests = this.#watched = new Set(this.#busy.values());
    return { requests, [Symbol.dispose]: () => void (this.#watched = undefined) };
  }

  /**
   * Sends a request and reads its answer.
   *
   * @param signal Ends the request, also while it waits for a connection or connects; rejects with the signal's reason.
   * @param how Any way, when absent.
   * @throws {FastCgiError} FASTCGI_CONNECT_FAILED, FASTCGI_OVERLOADED and FASTCGI_PARAM_TOO_LARGE: nothing ran;
   * FASTCGI_CONNECTION_LOST, FASTCGI_PROTOCOL: it may have run.
   */
  async request(
    request: FastCgiRequest,
    signal: AbortSignal,
    { isAlone = false, again }: Sending = ANYHOW,
  ): Promise<FastCgiResponse> {
    if (this.#closed !== undefined) throw new FervoError("SHUTDOWN", "The connection pool is closed");
    // The longest idle one makes room, here and in php-fpm: it may occupy the only free child.
    if (isAlone) this.#idle[0]?.destroy();
    let connection = isAlone ? undefined : this.#idle.pop();
    if (connection === undefined) {
      if (this.#connections < this.#maxConnections) this.#connections++;
      else connection = await this.#waitForTurn(signal);
      if (isAlone) connection?.destroy();
      // The other side may have closed it at the moment of the hand-over.
      if (connection?.isReusable === false) connection = undefined;
    }
    // From here on the request has a place, and gives it back whatever happens.
    try {
      if (connection !== undefined) {
        if (this.onSilence !== undefined) this.#silenceTimer ??= this.#watchSilence();
        try {
          return await this.#send(connection, request, signal, this.#keepsConnections());
        } catch (error) {
          if (!mayHaveLeft(error)) throw error;
          const repeat = again === undefined ? request : await again(request, error);
          if (repeat === undefined) throw error;
          request = repeat;
          this.#resent++;
          connection = undefined;
        }
      }
      connection = await this.#open(signal);
      return await this.#send(connection, request, signal, !isAlone && this.#keepsConnections());
    } finally {
      this.#giveBack(connection);
    }
  }

  /** From now on each request gets a new connection: a child that has answered may not be free. Idempotent. */
  keepNone(): void {
    this.#keepsNone = true;
    for (const connection of this.#idle.slice()) connection.destroy();
  }

  /** Takes no more requests, closes the idle connections, and waits for the running requests. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= Promise.withResolvers();
    this.#idleTimer?.cancel();
    this.#silenceTimer?.cancel();
    for (const connection of this.#idle.slice()) connection.destroy();
    if (this.#connections === 0) this.#closed.resolve();
    return this.#closed.promise;
  }

  /**
   * Closes all connections now; running and waiting requests reject with `error`, and a connecting one when its connect has
   * ended. Idempotent.
   */
  destroy(error: FervoError): void {
    void this.close();
    this.#destroyedBy ??= error;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
    for (const connection of this.#busy.keys()) connection.destroy(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #open(signal: AbortSignal): Promise<Connection> {
    const connection = await Connection.open(this.#address, this.#clock, this.#options, signal)
      .catch((error) => {
        if (error instanceof FervoError && error.code === "FASTCGI_OVERLOADED") this.#overloaded();
        throw error;
      });
    this.#opened++;
    connection.onLateOutput = (params) => this.onLateOutput?.(params);
    connection.onIdleClose = () => {
      const at = this.#idle.indexOf(connection);
      if (at < 0) return;
      this.#idle.splice(at, 1);
      this.#passOn(undefined);
    };
    return connection;
  }

  async #send(
    connection: Connection,
    request: FastCgiRequest,
    signal: AbortSignal,
    keep: boolean,
  ): Promise<FastCgiResponse> {
    if (this.#destroyedBy !== undefined) throw this.#destroyedBy;
    this.#busy.set(connection, request);
    this.#watched?.add(request);
    try {
      const response = await connection.request(request, keep, signal);
      this.#answered++;
      return response;
    } finally {
      this.#busy.delete(connection);
    }
  }

  /** A request ended; `connection` is the one it ran on, if any. */
  #giveBack(connection: Connection | undefined): void {
    if (connection?.isReusable && this.#keeps(connection)) return this.#passOn(connection);
    connection?.destroy();
    this.#passOn(undefined);
  }

  #keeps(connection: Connection): boolean {
    return this.#connections <= this.#maxConnections &&
      connection.idleSinceMs - connection.openedMs < RENEW_MS && this.#keepsConnections();
  }

  #keepsConnections(): boolean {
    if (this.#options.idleMs === 0 || this.#keepsNone || this.#closed !== undefined) return false;
    if (this.#crowdedUntilMs > 0 && this.#clock.monotonicMs() > this.#crowdedUntilMs) {
      this.#crowdedUntilMs = 0;
    }
    return this.#crowdedUntilMs === 0;
  }

  /** One timer serves all connections while kept ones are in use. */
  #watchSilence(): Timer {
    return this.#clock.setTimer(() => {
      this.#silenceTimer = undefined;
      const silent: SilentRequest[] = [];
      for (const connection of this.#busy.keys()) {
        const one = connection.silentFor(SILENCE_MS);
        if (one !== undefined) silent.push(one);
        if (connection.isKept && this.#closed === undefined) this.#silenceTimer ??= this.#watchSilence();
      }
      if (silent.length > 0) this.onSilence?.(silent);
    }, SILENCE_MS);
  }

  #overloaded(): void {
    this.#overloads++;
    this.#crowdedUntilMs = this.#clock.monotonicMs() + CROWDED_MS;
    for (const connection of this.#idle.slice()) connection.destroy();
  }

  /** Gives a place to the longest waiting request; without one, keeps the connection or frees the place. */
  #passOn(connection: Connection | undefined): void {
    if (this.#connections <= this.#maxConnections) {
      const waiter = this.#waiting.shift();
      if (waiter !== undefined) return waiter.resolve(connection);
    }
    if (connection === undefined) {
      this.#connections--;
      if (this.#connections === 0) this.#closed?.resolve();
      return;
    }
    this.#idle.push(connection);
    this.#idleTimer ??= this.#clock.setTimer(() => this.#closeIdle(), this.#options.idleMs);
  }

  async #waitForTurn(signal: AbortSignal): Promise<Connection | undefined> {
    signal.throwIfAborted();
    const waiter = Promise.withResolvers<Connection | undefined>();
    const abort = () => {
      const at = this.#waiting.indexOf(waiter);
      if (at >= 0) this.#waiting.splice(at, 1);
      waiter.reject(signal.reason);
    };
    this.#waiting.push(waiter);
    signal.addEventListener("abort", abort);
    try {
      return await waiter.promise;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** One timer serves all connections: it costs a request nothing, and closes a connection at most one `idleMs` late. */
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

/** Whether the request may not have run (see LEAVING_WINDOW_MS), or by observation did not. */
function mayHaveLeft(error: unknown): error is ConnectionLostError {
  return error instanceof ConnectionLostError && error.isReused && error.responseBytes === 0 &&
    (error.isWaiting || error.afterMs <= LEAVING_WINDOW_MS);
}
