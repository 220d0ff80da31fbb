/** The user of servers that refuse to run as root. */

/** The user and the group "nobody" have this id on Debian. */
const NOBODY = 65_534;

const isRoot = Deno.uid() === 0;

/** The command that runs a program as the user nobody where this is root, else as the user of this process. */
export function asServerUser(...command: readonly string[]): readonly string[] {
  if (!isRoot) return command;
  return ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--", ...command];
}

/** Gives files and folders to that user. */
export async function giveToServerUser(...paths: readonly string[]): Promise<void> {
  if (!isRoot) return;
  for (const path of paths) await Deno.chown(path, NOBODY, NOBODY);
}
