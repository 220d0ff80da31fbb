import { Socket } from "node:net";
import { setImmediate } from "node:timers";
import type { SocketAddress } from "../net/address.ts";
import { prepareTcp } from "../net/keepalive.ts";

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
