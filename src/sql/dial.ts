import { Socket } from "node:net";
import { setImmediate } from "node:timers";
import { systemClock } from "../core/time/clock.ts";
import { inTime } from "../core/time/time_limit.ts";
import type { SocketAddress } from "../net/address.ts";
import { prepareTcp } from "../net/keepalive.ts";
import type { SqlClient } from "./driver.ts";
import type { SqlFailure } from "./failure.ts";

/**
 * Connects without encryption.
 *
 * @param signal Destroys the socket, also a connected one.
 * @throws {Error} of the system
 */
export function dial(endpoint: SocketAddress, signal: AbortSignal): Promise<Socket> {
  const socket = new Socket();
  const destroy = () => socket.destroy();
  if (signal.aborted) destroy();
  signal.addEventListener("abort", destroy);
  return new Promise((resolve, reject) => {
    // It stays: an error that comes between two owners of the socket must not end the process.
    socket.on("error", reject);
    // An error says why. It can come behind the close of its socket.
    socket.once("close", () => setImmediate(() => reject(new Error("the connection was closed"))));
    socket.once("connect", () => {
      if (endpoint.transport === "tcp") prepareTcp(socket);
      resolve(socket);
    });
    if (endpoint.transport === "unix") socket.connect(endpoint.path);
    else socket.connect(endpoint.port, endpoint.hostname);
  });
}

/**
 * Opens a connection within a time limit for all of it: its sockets end when the time is up.
 *
 * @param open Its `signal` is for {@link dial}.
 * @param failureOf The server's failure of an error.
 * @throws {SqlFailure}
 */
export async function openInTime(
  open: (signal: AbortSignal) => Promise<SqlClient>,
  failureOf: (error: unknown) => SqlFailure,
  limitMs: number,
): Promise<SqlClient> {
  const over = new AbortController();
  try {
    return await inTime(systemClock, open(over.signal), { ms: limitMs, discard: (late) => late.destroy() });
  } catch (error) {
    over.abort();
    throw failureOf(error);
  }
}
