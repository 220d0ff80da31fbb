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
  const old = overwrite ? await Deno.stat(path).catch(() => undefined) : undefined;
  // First the mode, and then what may be secret.
  if (old?.isFile) await Deno.chmod(path, mode);
  await Deno.writeTextFile(path, text, { createNew: !overwrite, mode });
  if (old === undefined) await Deno.chmod(path, mode);
}
