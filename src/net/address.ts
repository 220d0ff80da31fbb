/** Where a server listens. */
export type SocketAddress =
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number };

/** The longest path of a socket: 108 bytes with the final NUL (unix(7), sun_path). */
export const MAX_SOCKET_PATH_BYTES = 107;

/** A path; or host and port, with brackets around an IPv6 host. */
export function formatAddress(address: SocketAddress): string {
  if (address.transport === "unix") return address.path;
  const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
  return `${host}:${address.port}`;
}

/** Whether only this machine can reach the host. */
export function isLoopback(hostname: string): boolean {
  return /^(?:localhost|127\.\d+\.\d+\.\d+|::1)$/i.test(hostname);
}

/**
 * Reads `/run/php/fpm.sock`, `unix:/run/php/fpm.sock`, `127.0.0.1:9000`, `[::1]:9000` or `tcp://fpm:9000`.
 *
 * @throws {TypeError} for any other text; the message says what is wrong
 */
export function parseAddress(text: string): SocketAddress {
  const path = text.startsWith("unix:") ? text.slice("unix:".length).replace(/^\/\/(?=\/)/, "") : text;
  if (path.startsWith("/")) {
    const bytes = new TextEncoder().encode(path).length;
    if (bytes <= MAX_SOCKET_PATH_BYTES) return { transport: "unix", path };
    throw new TypeError(
      `Cannot use the address "${text}": the path of a socket has at most ${MAX_SOCKET_PATH_BYTES} bytes, and this one ` +
        `has ${bytes}`,
    );
  }

  const match = /^(?:tcp:\/\/)?(?:\[(?<v6>[0-9a-fA-F:.]+)\]|(?<host>[^:/\s[\]]+)):(?<port>\d{1,5})$/.exec(
    text,
  );
  const port = Number(match?.groups?.["port"]);
  if (!match?.groups || port < 1 || port > 65_535) {
    throw new TypeError(
      `Cannot read the address "${text}": expected a socket's absolute path such as ` +
        `"/run/php/fpm.sock", or host and port such as "127.0.0.1:9000"`,
    );
  }
  return { transport: "tcp", hostname: (match.groups["v6"] ?? match.groups["host"])!, port };
}
