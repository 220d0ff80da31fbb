/** A user of this machine. */
export interface Account {
  readonly uid: number;
  /** Of the user's own group. */
  readonly gid: number;
}

/** The user of that name, wherever this machine has its users from; undefined when there is none. */
export async function findAccount(name: string): Promise<Account | undefined> {
  const [uid, gid] = [await idOf("-u", name), await idOf("-g", name)];
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

async function idOf(which: "-u" | "-g", name: string): Promise<number | undefined> {
  // Of coreutils, and so on every machine; the folder is one that everybody may enter.
  const command = new Deno.Command("id", {
    args: [which, "--", name],
    cwd: "/",
    stdin: "null",
    stderr: "null",
  });
  const { success, stdout } = await command.output();
  return success ? Number(new TextDecoder().decode(stdout)) : undefined;
}
