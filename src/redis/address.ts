import type { SocketAddress } from "../net/address.ts";

/** The parts of a Redis address. */
export interface RedisUrl {
  readonly endpoint: SocketAddress;
  readonly isTls: boolean;
  readonly username?: string;
  readonly password?: string;
  readonly database?: number;
}

export const DEFAULT_REDIS_PORT = 6_379;

/**
 * Reads `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`, the same with `rediss://` for TLS, and `unix:PATH`,
 * `unix://[USER[:PASSWORD]@]PATH[?db=DATABASE]` or an absolute path for a socket.
 *
 * @throws {TypeError} for any other text; the message does not show the address, which may have a password
 */
export function parseRedisUrl(text: string): RedisUrl {
  if (text.startsWith("/")) return { endpoint: { transport: "unix", path: text }, isTls: false };
  const url = URL.parse(text.replace(/^unix:\/(?!\/)/, "unix:///"));
  if (url === null) throw new TypeError("it is not a URL");
  const credentials = {
    ...(url.username !== "" && { username: decodeURIComponent(url.username) }),
    ...(url.password !== "" && { password: decodeURIComponent(url.password) }),
  };
  if (url.protocol === "unix:") {
    if (!url.pathname.startsWith("/") || url.pathname === "/") throw new TypeError("it has no path");
    const database = databaseOf(url.searchParams.get("db") ?? "");
    return {
      endpoint: { transport: "unix", path: decodeURIComponent(url.pathname) },
      isTls: false,
      ...credentials,
      ...database,
    };
  }
  if (url.protocol !== "redis:" && url.protocol !== "rediss:") {
    throw new TypeError("it must begin with redis://, rediss://, unix:// or /");
  }
  if (url.hostname === "") throw new TypeError("it has no host");
  return {
    endpoint: {
      transport: "tcp",
      hostname: url.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: url.port === "" ? DEFAULT_REDIS_PORT : Number(url.port),
    },
    isTls: url.protocol === "rediss:",
    ...credentials,
    ...databaseOf(url.pathname.slice(1)),
  };
}

/**
 * Reads `HOST:PORT`, with brackets around an IPv6 host; the port may be missing.
 *
 * @throws {TypeError} for any other text
 */
export function parseHostPort(
  text: string,
  defaultPort: number,
): SocketAddress & { readonly transport: "tcp" } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/@[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (match === null || port < 1 || port > 65_535) throw new TypeError("it is not a host and port");
  return { transport: "tcp", hostname: (match[1] ?? match[2])!, port };
}

function databaseOf(text: string): { database?: number } {
  if (text === "") return {};
  if (!/^\d{1,5}$/.test(text)) throw new TypeError("its database is not a number");
  return { database: Number(text) };
}
