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
 * @throws {Deno.errors.AddrInUse} when somebody listens there, or it is no socket at all; and what `listen` throws
 */
export async function makePrivateSocket<Server extends Disposable | AsyncDisposable>(
  path: string,
  listen: (path: string) => Server,
): Promise<PrivateSocket<Server>> {
  if (await isTaken(path)) throw new Deno.errors.AddrInUse();
  await using opened = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ dir: dirname(path), prefix: ".socket-" });
  opened.defer(() => Deno.remove(folder, { recursive: true }));
  const own = `${folder}/s`;
  const server = listen(own);
  const { ino } = await Deno.lstat(own);
  try {
    await Deno.chmod(own, 0o600);
    await Deno.rename(own, path);
  } catch (error) {
    if (Symbol.asyncDispose in server) await server[Symbol.asyncDispose]();
    else server[Symbol.dispose]();
    throw error;
  }
  const remove = async () => {
    const found = await Deno.lstat(path).catch(() => undefined);
    if (found?.ino === ino) await Deno.remove(path).catch(() => {});
  };
  return { server, remove };
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
