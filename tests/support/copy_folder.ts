/** What is not copied: what a user of the folder has had made there. */
const MADE = new Set(["vendor", "var", ".env.local", ".env.local.php", "composer.lock"]);

/** Copies the files of a folder into another one, over those that are there. */
export async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (MADE.has(name)) continue;
    if (isDirectory) await copy(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
