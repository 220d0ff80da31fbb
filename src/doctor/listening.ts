import { dirname } from "node:path";
import { MAX_SOCKET_PATH_BYTES, type SocketAddress } from "../net/address.ts";
import { reasonOf } from "../core/errors.ts";
import { makePrivateSocket } from "../system/private_socket.ts";

/** Why nobody can listen at an address now, and the remedy. */
export interface ListenProblem {
  readonly what: string;
  readonly fix: string;
  /** Another process listens there. */
  readonly isTaken: boolean;
}

/**
 * Whether this user can listen at an address: a port is opened and closed again, a socket made beside the path and removed.
 *
 * @param options.makesFolder The listener creates the last folder of the path, if missing.
 * @returns Undefined when it can.
 */
export async function listenProblem(
  address: SocketAddress,
  options: { makesFolder?: boolean } = {},
): Promise<ListenProblem | undefined> {
  if (address.transport === "tcp") return portProblem(address.hostname, address.port);
  return await socketProblem(address.path, options.makesFolder === true);
}

function portProblem(hostname: string, port: number): ListenProblem | undefined {
  try {
    Deno.listen({ hostname, port }).close();
    return undefined;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      return {
        what: "the port is in use",
        fix: "another port, or stop the process that uses this one",
        isTaken: true,
      };
    }
    const fix = error instanceof Deno.errors.PermissionDenied
      ? "a port above 1023"
      : "an address of this machine, such as 127.0.0.1";
    const what = error instanceof Deno.errors.PermissionDenied ? "permission denied" : reasonOf(error);
    return { what, fix, isTaken: false };
  }
}

async function socketProblem(path: string, makesFolder: boolean): Promise<ListenProblem | undefined> {
  const bytes = new TextEncoder().encode(path).length;
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    const what = `the path of a socket has at most ${MAX_SOCKET_PATH_BYTES} bytes, and this one has ${bytes}`;
    return { what, fix: "a shorter path, such as one in /run/fervo-worker", isTaken: false };
  }
  const state = await socketState(path);
  if (state === "taken") {
    return { what: "another process listens there", fix: "a socket for each worker", isTaken: true };
  }
  if (state === "other") {
    return {
      what: "the path exists and is not a socket",
      fix: "another path, or remove the file",
      isTaken: false,
    };
  }
  const folder = dirname(path);
  const isToBeMade = makesFolder && await Deno.stat(folder).then(() => false, isNotFound);
  try {
    if (isToBeMade) await Deno.mkdir(folder, { mode: 0o755 });
    const beside = `${folder}/.${crypto.randomUUID().slice(0, 6)}`;
    const { server, remove } = await makePrivateSocket(
      beside,
      (own) => Deno.listen({ transport: "unix", path: own }),
    );
    server.close();
    await remove();
    return undefined;
  } catch (error) {
    return { ...folderProblem(folder, error), isTaken: false };
  } finally {
    if (isToBeMade) await Deno.remove(folder).catch(() => {});
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound;
}

function folderProblem(folder: string, error: unknown): { what: string; fix: string } {
  if (error instanceof Deno.errors.NotFound) {
    return {
      what: `there is no folder "${folder}"`,
      fix: `a path in a folder that exists; or mkdir ${folder}`,
    };
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return {
      what: `this user cannot write to "${folder}"`,
      fix: "a path in a folder of the worker's user",
    };
  }
  return { what: reasonOf(error), fix: "another path" };
}

/** The state of a path: free, or with an abandoned socket; a socket in use; something else. */
async function socketState(path: string): Promise<"free" | "taken" | "other"> {
  const found = await Deno.lstat(path).catch(() => undefined);
  if (found === undefined) return "free";
  if (!found.isSocket) return "other";
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return "taken";
  } catch (error) {
    return error instanceof Deno.errors.ConnectionRefused ? "free" : "taken";
  }
}
