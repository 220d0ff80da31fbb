import { formatAddress, type SocketAddress } from "../core/address.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import { makePrivateSocket, type PrivateSocket } from "../system/private_socket.ts";

type Handler = (request: Request) => Response | Promise<Response>;
/** A server, and its socket's file where there is one. */
export type Listening =
  & Pick<PrivateSocket<Deno.HttpServer<Deno.Addr>>, "server">
  & Partial<PrivateSocket<unknown>>;

/**
 * Listens, and gives each request to `handler`. A socket's file belongs to its owner alone (mode 0600); one that a worker
 * has left behind which was killed is replaced.
 *
 * @param signal Ends it, with all connections; the socket's file is left to the caller.
 * @throws {FervoError} CONFIG_INVALID when the address cannot be used
 */
export async function listen(
  address: SocketAddress,
  handler: Handler,
  signal: AbortSignal,
): Promise<Listening> {
  // Deno would print where it listens, and the stack of what a handler throws.
  const options = {
    signal,
    onListen: () => {},
    onError: () => new Response("internal error\n", { status: 500 }),
  };
  try {
    if (address.transport === "unix") {
      return await makePrivateSocket(address.path, (path) => Deno.serve({ ...options, path }, handler));
    }
    const { hostname, port } = address;
    return { server: Deno.serve({ ...options, hostname, port }, handler) };
  } catch (cause) {
    throw new FervoError(
      "CONFIG_INVALID",
      `Cannot listen at "${formatAddress(address)}" ([http]): ${adviceFor(cause)}`,
      { cause },
    );
  }
}

function adviceFor(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return "it is in use; is another worker running with this configuration? Give each its own address";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied; use a port above 1023, or a folder that the worker's user may write";
  }
  if (error instanceof Deno.errors.NotFound) return "no such folder; make it, or correct the path";
  return reasonOf(error);
}
