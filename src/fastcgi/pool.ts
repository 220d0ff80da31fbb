import type { Clock, Timer } from "../core/time/clock.ts";
import { FervoError } from "../core/errors.ts";
import type { FastCgiAddress } from "./address.ts";
import { Connection, ConnectionLostError, type FastCgiRequest, type SilentRequest } from "./connection.ts";
import { DEFAULT_POOL_OPTIONS, type PoolOptions, type PoolStats, type Sending } from "./pool_options.ts";
import type { FastCgiResponse } from "./response.ts";

export { DEFAULT_POOL_OPTIONS };
export type { PoolOptions, PoolStats, Sending };

/**
 * A child that leaves (reload, pm.max_requests) closes its kept connections at once; a request that crossed with that was
 * not run. One that lost its connection later than this was being run by the child that died.
 */
const LEAVING_WINDOW_MS = 1_000;

/**
 * After php-fpm had no room for a connection, none is kept for this long: each one pins a child that somebody in the
 * listen queue waits for.
 */
const CROWDED_MS = 1_000;

/**
 * A connection that was in use for this long is not kept: somebody else's request may wait in the listen queue for its child, which
 * nobody can see on a unix socket.
 */
const RENEW_MS = 1_000;

/** A request without a byte of an answer for this long on a kept connection may be waiting, milliseconds. */
const SILENCE_MS = 100;

const ANYHOW: Sending = {};

/**
 * The connections to one FastCGI application.
 *
 * 1. Gives each request a connection of its own while it lasts: a kept one when there is one, else a new one.
 * 2. Holds at most `maxConnections`, so that no request waits in the listen queue, where nobody could take it back; the
 *    number can be changed.
 * 3. Keeps connections for bursts only, the last used first, and closes the idle ones, and each after a second: others
 *    who use the application get their turn.
 * 4. Keeps none while php-fpm's listen queue is full.
 * 5. Tells of requests on kept connections that get no answer: their child may be at work on the one before.
 * 6. Sends a request once more, on a new connection, when a kept one may have been left by its child, if it is to.
 */
export class Pool implements AsyncDisposable {
  readonly #address: FastCgiAddress;
  readonly #clock: Clock;
  readonly #options: PoolOptions;
  /** Kept connections, the last used at the end. */
  readonly #idle: Connection[] = [];
  /** What each runs. */
  readonly #busy = new Map<Connection, FastCgiRequest>();
  /** In order. Each is given a place: a kept connection, or undefined for the right to open one. */
  readonly #waiting: PromiseWithResolvers<Connection | undefined>[] = [];
  /** Places taken: connections busy, idle or being opened. */
  #connections = 0;
  #maxConnections: number;
  #opened = 0;
  #answered = 0;
  #resent = 0;
  #keepsNone = false;
  #overloads = 0;
  /** Collects what is sent, while somebody wants to know. */
  #watched: Set<FastCgiRequest> | undefined;
  #idleTimer: Timer | undefined;
  #silenceTimer: Timer | undefined;
  /** Until when no connection is kept, monotonic milliseconds; 0 for no such time. */
  #crowdedUntilMs = 0;
  #closed: PromiseWithResolvers<void> | undefined;
  #destroyedBy: FervoError | undefined;

  /**
   * Called now and then with the requests on kept connections that have had no byte of an answer for some 0.1 s. Most of
   * them just run.
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

  /** Connections at most, now. */
  get maxConnections(): number {
    return this.#maxConnections;
  }

  /** From now on at most this many connections; the others are closed when their requests have ended. */
  resize(maxConnections: number): void {
    this.#maxConnections = maxConnections;
    // Each gives its place to a request that waits, or frees it.
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

  /** The requests that were sent and not answered yet. */
  get underWay(): ReadonlySet<FastCgiRequest> {
    return new Set(this.#busy.values());
  }

  /** All requests that are under way at some time until it is disposed of. Not to be called while there is one. */
  watch(): { readonly requests: ReadonlySet<FastCgiRequest> } & Disposable {
    const requests = this.#watched = new Set(this.#busy.values());
    return { requests, [Symbol.dispose]: () => void (this.#watched = undefined) };
  }

  /**
   * Sends a request and reads its answer.
   *
   * @param signal Ends the request, also while it waits for a connection or connects; rejects with the signal's reason.
   * @param how In any way, where absent.
   * @throws {FastCgiError} FASTCGI_CONNECT_FAILED, FASTCGI_OVERLOADED and FASTCGI_PARAM_TOO_LARGE: nothing was run;
   * FASTCGI_CONNECTION_LOST, FASTCGI_PROTOCOL: it may have been.
   */
  async request(
    request: FastCgiRequest,
    signal: AbortSignal,
    { isAlone = false, again }: Sending = ANYHOW,
  ): Promise<FastCgiResponse> {
    if (this.#closed !== undefined) throw new FervoError("SHUTDOWN", "The connection pool is closed");
    // The one that has been idle for longest makes room, here and in php-fpm: it may hold the only child that is free.
    if (isAlone) this.#idle[0]?.destroy();
    let connection = isAlone ? undefined : this.#idle.pop();
    if (connection === undefined) {
      if (this.#connections < this.#maxConnections) this.#connections++;
      else connection = await this.#waitForTurn(signal);
      if (isAlone) connection?.destroy();
      // The other side may have closed it in the moment in which it was handed on.
      if (connection?.isReusable === false) connection = undefined;
    }
    // From here on the request holds a place, and gives it back whatever happens.
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

  /** From now on each request has a connection of its own: a child that has answered need not be free. Idempotent. */
  keepNone(): void {
    this.#keepsNone = true;
    for (const connection of this.#idle.slice()) connection.destroy();
  }

  /** Closes the idle connections, waits for the requests it has taken, and takes no more. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= Promise.withResolvers();
    this.#idleTimer?.cancel();
    this.#silenceTimer?.cancel();
    for (const connection of this.#idle.slice()) connection.destroy();
    if (this.#connections === 0) this.#closed.resolve();
    return this.#closed.promise;
  }

  /**
   * Closes all connections now; requests under way and waiting reject with `error`, and one that is connecting does
   * when that has ended. Idempotent.
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

  /** A request has ended; `connection` is what it ran on, if it came to that. */
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

  /** One timer for all connections, as long as kept ones are in use. */
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

  /** Gives a place to the request that has waited longest; without one, keeps the connection or frees the place. */
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

/** Whether the request may not have been run: see LEAVING_WINDOW_MS; or was not, by what was seen of it. */
function mayHaveLeft(error: unknown): error is ConnectionLostError {
  return error instanceof ConnectionLostError && error.isReused && error.responseBytes === 0 &&
    (error.isWaiting || error.afterMs <= LEAVING_WINDOW_MS);
}
