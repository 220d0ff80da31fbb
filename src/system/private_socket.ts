import { dirname } from "node:path";

/** A socket that was made for its owner alone. */
export interface PrivateSocket<Server> {
  readonly server: Server;
  /** Removes its file, unless it has become somebody else's meanwhile. Never rejects. */
  remove(): Promise<void>;
}

/**
 * Makes a socket that only its owner may use (mode 0600). It is made in a folder that is closed to others, so that it is
 * never open to them, whatever the umask. One that was left behind by a process that was killed is replaced.
 *
 * @param listen Listens at the path that it is given.
 * @throws {Deno.errors.AddrInUse} when another process listens there, or it is no socket at all; and what `listen` throws
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
    // Not by renaming, which would replace the socket of a process that starts in the same instant.
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

/** Removes a socket that was left behind. One process at a time, so that none removes what another has just made. */
async function removeStale(path: string): Promise<void> {
  const lockFile = `${path}.lock`;
  using lock = await openLock(lockFile);
  await lock.lock(true);
  if (await stateOf(path) === "stale") await Deno.remove(path);
  // Whoever waits for the lock finds nothing to remove any more.
  await removeIfThere(lockFile);
}

/** Creates the file where there is none, and never what a link leads to, which somebody may have put there. */
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

/** "taken" is what somebody listens on, or no socket at all. */
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
