import { dirname, resolve } from "node:path";

const MAX_LINKS = 10;

/**
 * Writes a file that has this mode, whatever the umask, and whatever it had before. What is no file, as a device or a pipe, keeps
 * its own: it is others', too.
 *
 * @throws {Deno.errors.AlreadyExists} when there is one, or a link, which is not to be overwritten; and what the system throws
 */
export async function writeWithMode(
  path: string,
  text: string,
  { mode, overwrite }: { mode: number; overwrite: boolean },
): Promise<void> {
  if (overwrite && await leadsNowhere(path)) path = await targetOf(path);
  const old = overwrite ? await Deno.stat(path).catch(() => undefined) : undefined;
  if (old !== undefined && !old.isFile) return await Deno.writeTextFile(path, text);
  // First the mode, and then what may be secret.
  if (old !== undefined) await Deno.chmod(path, mode);
  await Deno.writeTextFile(path, text, { createNew: !overwrite, mode });
  if (old === undefined) await Deno.chmod(path, mode);
}

/** Of links to what is there the runtime takes care itself: what it refuses, such as /dev/stdin, stays refused. */
async function leadsNowhere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => false, (error) => error instanceof Deno.errors.NotFound);
}

/** Where a link leads, be there a file or not: the binary's runtime opens no file through a link that leads nowhere. */
async function targetOf(path: string, links = MAX_LINKS): Promise<string> {
  // Fails on all that is no link; whether it can be written to shows when it is.
  const link = await Deno.readLink(path).catch(() => undefined);
  if (link === undefined || links === 0) return path;
  // Two dots in it lead up from where the link really is.
  return await targetOf(resolve(await Deno.realPath(dirname(path)), link), links - 1);
}
