import { formatAddress, type SocketAddress } from "../core/address.ts";
import { FervoError, reasonOf } from "../core/errors.ts";

/** What its owner alone may do with the socket: read and write. */
const SOCKET_UMASK = 0o177;

/**
 * Listens, and gives each request to `handler`. A socket's file belongs to its owner alone (mode 0600), from its first
 * moment; one that a worker has left behind which was killed is replaced.
 *
 * @param signal Ends it, with all connections.
 * @throws {FervoError} CONFIG_INVALID when the address cannot be used
 */
export async function listen(
  address: SocketAddress,
  handler: (request: Request) => Response | Promise<Response>,
  signal: AbortSignal,
): Promise<Deno.HttpServer<Deno.Addr>> {
  // Deno would print where it listens, and the stack of what a handler throws.
  const quiet = {
    signal,
    onListen: () => {},
    onError: () => new Response("internal error\n", { status: 500 }),
  };
  try {
    if (address.transport === "tcp") {
      const { hostname, port } = address;
      return Deno.serve({ ...quiet, hostname, port }, handler);
    }
    await removeLeftover(address.path);
    const before = Deno.umask(SOCKET_UMASK);
    try {
      return Deno.serve({ ...quiet, path: address.path }, handler);
    } finally {
      Deno.umask(before);
    }
  } catch (cause) {
    const reason = cause instanceof Deno.errors.AddrInUse
      ? "it is in use; is another worker running with this configuration? Give each its own address"
      : cause instanceof Deno.errors.PermissionDenied
      ? "permission denied; use a port above 1023, or a folder that the worker's user may write"
      : cause instanceof Deno.errors.NotFound
      ? "no such folder; make it, or correct the path"
      : reasonOf(cause);
    throw new FervoError(
      "CONFIG_INVALID",
      `Cannot listen at "${formatAddress(address)}" ([http]): ${reason}`,
      {
        cause,
      },
    );
  }
}

/** Removes a socket on which nobody listens; whatever else is there stays. */
async function removeLeftover(path: string): Promise<void> {
  const found = await Deno.lstat(path).catch(() => undefined);
  if (!found?.isSocket) return;
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) await Deno.remove(path);
  }
}
