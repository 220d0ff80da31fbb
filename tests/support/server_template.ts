import { runProgram } from "./run_program.ts";
import { giveToServerUser } from "./server_user.ts";

const TEMPLATES = new URL("../../.tools/templates/", import.meta.url).pathname;

/**
 * Fills a folder with the data of a new server. Making them takes a second, and copying them takes less than a tenth: they are
 * made once and kept in .tools/templates.
 *
 * @param name The server, with everything that decides what is made: its version, the options.
 * @param folder A folder that does not exist yet, in one that does.
 * @param make Makes the data in the folder that it is given, which belongs to the user of servers.
 */
export async function newServerData(
  name: string,
  folder: string,
  make: (folder: string) => Promise<void>,
): Promise<void> {
  const template = `${TEMPLATES}${name}-uid${Deno.uid()}`;
  if (!await exists(template)) {
    await Deno.mkdir(folder, { mode: 0o700 });
    await giveToServerUser(folder);
    await make(folder);
    await keep(folder, template);
    return;
  }
  await copy(template, folder);
}

async function keep(folder: string, template: string): Promise<void> {
  const part = `${template}.${crypto.randomUUID()}`;
  try {
    await Deno.mkdir(part, { recursive: true });
    await copy(folder, part);
    await Deno.rename(part, template);
  } catch (error) {
    await Deno.remove(part, { recursive: true }).catch(() => {});
    // Another process was quicker, or root has set up the checkout: then each server is made anew.
    if (!await exists(template) && !(error instanceof Deno.errors.PermissionDenied)) throw error;
  }
}

async function copy(from: string, to: string): Promise<void> {
  const { success, said } = await runProgram("cp", "--archive", "--reflink=auto", `${from}/.`, to);
  if (!success) throw new Error(said);
}

function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then(() => true, () => false);
}
