import { dirname, resolve } from "node:path";

const MAX_LINKS = 10;

/**
 * Writes a file with this mode, whatever the umask, and whatever its earlier mode. A device or a pipe keeps its own mode,
 * because others use it, too.
 *
 * @throws {Deno.errors.AlreadyExists} for an existing file or link that must not be overwritten; and the system's errors
 */
export async function writeWithMode(
  path: string,
  text: string,
  { mode, overwrite }: { mode: number; overwrite: boolean },
): Promise<void> {
  if (overwrite && await leadsNowhere(path)) path = await targetOf(path);
  const old = overwrite ? await Deno.stat(path).catch(() => undefined) : undefined;
  if (old !== undefined && !old.isFile) return await Deno.writeTextFile(path, text);
  // The mode first, because the text may be secret.
  if (old !== undefined) await Deno.chmod(path, mode);
  await Deno.writeTextFile(path, text, { createNew: !overwrite, mode });
  if (old === undefined) await Deno.chmod(path, mode);
}

/** The runtime itself handles links to existing targets: it still refuses, for instance, /dev/stdin. */
async function leadsNowhere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => false, (error) => error instanceof Deno.errors.NotFound);
}

/** The target of a link, existing or not: the binary's runtime opens no file through a broken link. */
async function targetOf(path: string, links = MAX_LINKS): Promise<string> {
  // Fails for anything but a link; whether it is writable shows later.
  const link = await Deno.readLink(path).catch(() => undefined);
  if (link === undefined || links === 0) return path;
  // Two dots in the link start from its real folder.
  return await targetOf(resolve(await Deno.realPath(dirname(path)), link), links - 1);
}
