import { dirname, resolve } from "node:path";

const MAX_LINKS = 10;

/**
 * Writes a file that has this mode, whatever the umask, and whatever it had before.
 *
 * @throws {Deno.errors.AlreadyExists} when there is one, or a link, which is not to be overwritten; and what the system throws
 */
export async function writeWithMode(
  path: string,
  text: string,
  { mode, overwrite }: { mode: number; overwrite: boolean },
): Promise<void> {
  if (overwrite) path = await targetOf(path);
  const old = overwrite ? await Deno.stat(path).catch(() => undefined) : undefined;
  // First the mode, and then what may be secret.
  if (old?.isFile) await Deno.chmod(path, mode);
  await Deno.writeTextFile(path, text, { createNew: !overwrite, mode });
  if (old === undefined) await Deno.chmod(path, mode);
}

/** Where a link leads, be there a file or not: the binary's runtime opens no file through a link that leads nowhere. */
async function targetOf(path: string, links = MAX_LINKS): Promise<string> {
  // Fails on all that is no link; whether it can be written to shows when it is.
  const link = await Deno.readLink(path).catch(() => undefined);
  return link === undefined || links === 0 ? path : await targetOf(resolve(dirname(path), link), links - 1);
}
