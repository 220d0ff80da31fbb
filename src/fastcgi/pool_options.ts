import { DEFAULT_KEEPALIVE_MS } from "../net/keepalive.ts";
import type { ConnectionLostError } from "./errors.ts";
import type { ConnectionOptions, FastCgiRequest } from "./request.ts";
import { DEFAULT_RESPONSE_LIMITS } from "./response.ts";

export interface PoolOptions extends ConnectionOptions {
  /** Initial maximum of connections; each occupies an FPM child. Further requests wait for one. */
  readonly maxConnections: number;
  /**
   * A connection without a request is closed after this many milliseconds, because it occupies an FPM child. 0 opens one for
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

/** How to send a request. */
export interface Sending {
  /** On a new connection: if it is lost, the cause is certain. */
  readonly isAlone?: boolean;
  /**
   * Called when the kept connection ended at once without a byte of an answer, so that the request may have run or not. Returns
   * the request to send now, on a new connection; undefined for none. Without it, the same request is sent.
   */
  readonly again?: (
    request: FastCgiRequest,
    lost: ConnectionLostError,
  ) => Promise<FastCgiRequest | undefined>;
}

export interface PoolStats {
  /** Connections with a request, opening ones included. */
  readonly busy: number;
  /** Connections kept for the next request. */
  readonly idle: number;
  /** Requests that wait for a connection. */
  readonly waiting: number;
  /** Connections opened since the start. */
  readonly opened: number;
  /** Requests answered since the start. */
  readonly answered: number;
  /** Requests sent again because the child may have closed the kept connection before them. */
  readonly resent: number;
}
