/** The user of servers that refuse to run as root, and the files of that user. */
import { statfs } from "node:fs/promises";

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

/** Writes a file of lines that belongs to that user. */
export async function writeServerFile(path: string, lines: readonly string[]): Promise<void> {
  await Deno.writeTextFile(path, lines.map((line) => `${line}\n`).join(""));
  await giveToServerUser(path);
}

/** Where files are in memory, on Linux. In a container it may be small. */
const MEMORY = "/dev/shm";
/** A server's files may grow to some hundred MB, and several servers run at a time. */
const MEMORY_NEEDED_BYTES = 4 * 2 ** 30;

/**
 * Makes a temporary folder that belongs to that user: in memory where there is room, which makes a database of hundreds of
 * files in a tenth of the time.
 */
export async function makeServerFolder(
  prefix: string,
  { isOnDisk = false }: { isOnDisk?: boolean | undefined } = {},
): Promise<string> {
  const isInMemory = !isOnDisk && await freeBytes(MEMORY) >= MEMORY_NEEDED_BYTES;
  const folder = await Deno.makeTempDir({ prefix, ...(isInMemory ? { dir: MEMORY } : {}) });
  await giveToServerUser(folder);
  return folder;
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder).catch(() => ({ bavail: 0, bsize: 0 }));
  return bavail * bsize;
}
