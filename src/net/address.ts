/** Where a server listens. */
export type SocketAddress =
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number };

/** The longest path that a socket can have: 108 bytes with the NUL that ends it (unix(7), sun_path). */
export const MAX_SOCKET_PATH_BYTES = 107;

/** A path, or host and port with an IPv6 host in brackets. */
export function formatAddress(address: SocketAddress): string {
  if (address.transport === "unix") return address.path;
  const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
  return `${host}:${address.port}`;
}

/** Whether only this machine can reach the host. */
export function isLoopback(hostname: string): boolean {
  return /^(?:localhost|127\.\d+\.\d+\.\d+|::1)$/i.test(hostname);
}
