import { dirname } from "node:path";
import { formatAddress, type SocketAddress } from "../core/address.ts";
import { FervoError, reasonOf } from "../core/errors.ts";

type Handler = (request: Request) => Response | Promise<Response>;
export type Listening = Deno.HttpServer<Deno.Addr>;

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
    if (address.transport === "unix") return await listenAtPath(address.path, handler, options);
    const { hostname, port } = address;
    return Deno.serve({ ...options, hostname, port }, handler);
  } catch (cause) {
    throw new FervoError(
      "CONFIG_INVALID",
      `Cannot listen at "${formatAddress(address)}" ([http]): ${adviceFor(cause)}`,
      { cause },
    );
  }
}

/** The socket is made in a folder that is closed to others, so that it is never open to them, whatever the umask. */
async function listenAtPath(
  path: string,
  handler: Handler,
  options: Deno.ServeOptions,
): Promise<Listening> {
  if (await isTaken(path)) throw new Deno.errors.AddrInUse();
  const folder = await Deno.makeTempDir({ dir: dirname(path), prefix: ".http-" });
  try {
    const own = `${folder}/s`;
    const server = Deno.serve({ ...options, path: own }, handler);
    await Deno.chmod(own, 0o600);
    await Deno.rename(own, path);
    return server;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Whether somebody listens there, or it is no socket at all. */
async function isTaken(path: string): Promise<boolean> {
  const found = await Deno.lstat(path).catch(() => undefined);
  if (found === undefined) return false;
  if (!found.isSocket) return true;
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.ConnectionRefused);
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
