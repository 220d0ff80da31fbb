import { reasonOf } from "../core/errors.ts";

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

/** Why the user cannot run fervo-worker from there, which may be in a folder that is closed to them; undefined when they can. */
export async function whyCannotRun(
  program: string,
  user: string,
  { uid, gid }: Account,
): Promise<string | undefined> {
  const command = new Deno.Command(program, {
    args: ["--version"],
    cwd: "/",
    clearEnv: true,
    uid,
    gid,
    stdout: "null",
    stderr: "null",
  });
  try {
    if ((await command.output()).success) return undefined;
    return `"${user}" cannot run "${program}": ${program} --version fails`;
  } catch (error) {
    return `"${user}" cannot run "${program}" (${reasonOf(error)}): install -m 755 ${program} ` +
      "/usr/local/bin/fervo-worker, and run that one";
  }
}

/** Why the user cannot read a file that is there; undefined when they can, or when it is not there. */
export async function whyCannotRead(
  file: string,
  user: string,
  { uid, gid }: Account,
): Promise<string | undefined> {
  if (!await Deno.stat(file).then(() => true, () => false)) return undefined;
  // Of coreutils.
  const command = new Deno.Command("test", {
    args: ["-r", file],
    cwd: "/",
    uid,
    gid,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  if ((await command.output()).success) return undefined;
  return `"${user}" cannot read "${file}", or enter a folder above it: let them, or name another user with --user`;
}
