import { DEFAULT_KEEPALIVE_MS } from "../net/keepalive.ts";
import type { ConnectionLostError } from "./errors.ts";
import type { ConnectionOptions, FastCgiRequest } from "./request.ts";
import { DEFAULT_RESPONSE_LIMITS } from "./response.ts";

export interface PoolOptions extends ConnectionOptions {
  /** Connections at most, at first; each takes an FPM child. Further requests wait for one. */
  readonly maxConnections: number;
  /**
   * A connection without a request is closed after this many milliseconds, for it pins an FPM child. 0 opens one for
   * each request.
   */
  readonly idleMs: number;
}

export const DEFAULT_POOL_OPTIONS: Omit<PoolOptions, "maxConnections"> = {
  ...DEFAULT_RESPONSE_LIMITS,
  connectTimeoutMs: 2_000,
  firstByteTimeoutMs: 0,
  keepaliveMs: DEFAULT_KEEPALIVE_MS,
  idleMs: 200,
};

/** How a request is to be sent. */
export interface Sending {
  /** On a connection of its own, not on a kept one: when that is lost, there is no doubt whose doing it was. */
  readonly isAlone?: boolean;
  /**
   * The kept connection ended at once and with no byte of an answer, so that the request may have been run or not. Returns
   * what is sent now, on a new connection; undefined for nothing. Without this it is the request itself.
   */
  readonly again?: (
    request: FastCgiRequest,
    lost: ConnectionLostError,
  ) => Promise<FastCgiRequest | undefined>;
}

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
  /** Requests sent a second time because the child may have left the kept connection before them. */
  readonly resent: number;
}
