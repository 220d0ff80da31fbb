import { MAX_SOCKET_PATH_BYTES, type SocketAddress } from "../net/address.ts";

export { formatAddress } from "../net/address.ts";

/** Where a FastCGI server listens. */
export type FastCgiAddress = SocketAddress;

/**
 * Reads `/run/php/fpm.sock`, `unix:/run/php/fpm.sock`, `127.0.0.1:9000`, `[::1]:9000` or `tcp://fpm:9000`.
 *
 * @throws {TypeError} when the text is none of these; the message says what is wrong with it.
 */
export function parseAddress(text: string): FastCgiAddress {
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
      `Cannot read the FastCGI address "${text}": expected a socket's absolute path such as ` +
        `"/run/php/fpm.sock", or host and port such as "127.0.0.1:9000"`,
    );
  }
  return { transport: "tcp", hostname: (match.groups["v6"] ?? match.groups["host"])!, port };
}
