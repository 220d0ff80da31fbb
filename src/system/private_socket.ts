import { dirname } from "node:path";

/** A socket for its owner only. */
export interface PrivateSocket<Server> {
  readonly server: Server;
  /** Removes its file, unless another process owns it by now. Never rejects. */
  remove(): Promise<void>;
}

/**
 * Makes a socket that only its owner may use (mode 0600). It is made in a closed folder, so that it is never open to others,
 * whatever the umask. The socket of a killed process is replaced.
 *
 * @param listen Listens at the given path.
 * @throws {Deno.errors.AddrInUse} when another process listens there, or the path is not a socket; and the errors of `listen`
 */
export async function makePrivateSocket<Server extends Disposable | AsyncDisposable>(
  path: string,
  listen: (path: string) => Server,
): Promise<PrivateSocket<Server>> {
  const state = await stateOf(path);
  if (state === "taken") throw new Deno.errors.AddrInUse();
  await using opened = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ dir: dirname(path), prefix: ".socket-" });
  opened.defer(() => Deno.remove(folder, { recursive: true }));
  const own = `${folder}/s`;
  const server = listen(own);
  const { ino } = await Deno.lstat(own);
  try {
    await Deno.chmod(own, 0o600);
    if (state === "stale") await removeStale(path);
    // Not by renaming, which would replace the socket of a process that starts at the same instant.
    await Deno.link(own, path);
  } catch (error) {
    if (Symbol.asyncDispose in server) await server[Symbol.asyncDispose]();
    else server[Symbol.dispose]();
    throw error instanceof Deno.errors.AlreadyExists ? new Deno.errors.AddrInUse() : error;
  }
  const remove = async () => {
    const found = await Deno.lstat(path).catch(() => undefined);
    if (found?.ino === ino) await Deno.remove(path).catch(() => {});
  };
  return { server, remove };
}

/** Removes an abandoned socket. One process at a time, so that none removes a new one. */
async function removeStale(path: string): Promise<void> {
  const lockFile = `${path}.lock`;
  using lock = await openLock(lockFile);
  await lock.lock(true);
  if (await stateOf(path) === "stale") await Deno.remove(path);
  // A process that waits for the lock finds nothing to remove.
  await removeIfThere(lockFile);
}

/** Creates the file if it is missing, and never the target of a link, which somebody may have put there. */
async function openLock(path: string): Promise<Deno.FsFile> {
  for (;;) {
    try {
      return await Deno.open(path, { createNew: true, write: true, mode: 0o600 });
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    }
    try {
      return await Deno.open(path, { write: true });
    } catch (error) {
      const found = await Deno.lstat(path).catch(() => undefined);
      if (found?.isSymlink) throw new Deno.errors.AddrInUse(`a link is in the way: "${path}"`);
      // Another process has just removed it.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** "taken" is a socket with a listener, or not a socket. */
async function stateOf(path: string): Promise<"free" | "stale" | "taken"> {
  try {
    if (!(await Deno.lstat(path)).isSocket) return "taken";
    (await Deno.connect({ transport: "unix", path })).close();
    return "taken";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "free";
    return error instanceof Deno.errors.ConnectionRefused ? "stale" : "taken";
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
