import { dirname, resolve } from "node:path";

/** A user of this machine. */
export interface Account {
  /** The name for programs. */
  readonly name: string;
  readonly uid: number;
  /** Of the user's own group. */
  readonly gid: number;
  /** That group's name. */
  readonly group: string;
}

/** The user of that name, from any source of the machine; undefined without one. */
export async function findAccount(name: string): Promise<Account | undefined> {
  const uid = await idOf("-u", "--", name);
  const gid = await idOf("-g", "--", name);
  if (uid === undefined || gid === undefined) return undefined;
  return { name, uid: Number(uid), gid: Number(gid), group: await idOf("-gn", "--", name) ?? gid };
}

/** The user of this process. A user without a name, as in a container, has its number as name. */
async function ownNames(): Promise<Pick<Account, "name" | "group">> {
  const [name, group] = [await idOf("-un") ?? await idOf("-u"), await idOf("-gn") ?? await idOf("-g")];
  return { name: name ?? "?", group: group ?? "GROUP" };
}

async function idOf(...args: string[]): Promise<string | undefined> {
  // `id` is of coreutils, and so on every machine; everybody may enter the folder.
  const command = new Deno.Command("id", { args, cwd: "/", stdin: "null", stderr: "null" });
  const output = await outputOf(command);
  return output?.success ? new TextDecoder().decode(output.stdout).trim() : undefined;
}

/** A program's output; undefined when the program is missing, as in a small container. */
async function outputOf(command: Deno.Command): Promise<Deno.CommandOutput | undefined> {
  try {
    return await command.output();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

type Streams = Pick<Deno.CommandOptions, "stdin" | "stdout" | "stderr">;

/**
 * A program as that user runs it, with all groups of the user, like a service. Only root can run it. Everybody may enter the
 * folder.
 */
export function commandAs(
  { name, gid }: Account,
  [program, ...args]: readonly [string, ...string[]],
  options: Streams & Pick<Deno.CommandOptions, "clearEnv" | "env"> = {},
): Deno.Command {
  // Of util-linux.
  return new Deno.Command("setpriv", {
    args: [`--reuid=${name}`, `--regid=${gid}`, "--init-groups", program, ...args],
    cwd: "/",
    ...options,
  });
}

/**
 * Why the user cannot run fervo-worker from there, for instance because the folder is closed to them; undefined when they can.
 * Only root can ask.
 */
export async function whyCannotRun(program: string, account: Account): Promise<string | undefined> {
  const command = commandAs(account, [program, "--version"], {
    clearEnv: true,
    // setpriv's output is parsed.
    env: { LC_ALL: "C" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  });
  const what = `"${account.name}" cannot run "${program}"`;
  const output = await outputOf(command);
  if (output === undefined) return `${what}: there is no setpriv, which is of util-linux`;
  if (output.success) return undefined;
  const reason = /^setpriv: failed to execute .*: (.+)$/m.exec(new TextDecoder().decode(output.stderr))?.[1];
  return reason === undefined
    ? `${what}: ${program} --version fails`
    : `${what} (${reason.toLowerCase()}): install -m 755 ${program} /usr/local/bin/fervo-worker, and run that one`;
}

/**
 * Why the user cannot read a file, and the remedy; undefined when they can, or the file does not exist. Root reads it; for
 * others the modes decide.
 */
export async function whyCannotRead(file: string, account: Account): Promise<string | undefined> {
  const real = await Deno.realPath(file).catch(() => undefined);
  if (real === undefined) return undefined;
  const may = await accessOf(account);
  if (await may("r", file)) return undefined;
  const folders = [...foldersAbove(file), ...foldersAbove(real)];
  const closed = await firstOf(folders, async (folder) => !await may("x", folder));
  const cannot = `"${account.name}" cannot read "${file}"${
    closed === undefined ? "" : `, as that user cannot enter "${closed}"`
  }`;
  return `${cannot}: ${remedy(file, account.group, closed)}`;
}

/** Why this process cannot read a file, with the name of its user and the remedy: the end of a sentence about the file. */
export async function whyRefused(file: string): Promise<string> {
  const { name, group } = await ownNames();
  const path = resolve(file);
  // Files in a closed folder cannot be examined.
  const hidden = await firstOf(
    [...foldersAbove(path), path],
    (part) => Deno.lstat(part).then(() => false, isPermissionDenied),
  );
  const closed = hidden === undefined ? undefined : dirname(hidden);
  const to = `to the user "${name}"${closed === undefined ? "" : `, who cannot enter "${closed}"`}`;
  return `permission denied ${to}: ${remedy(file, group, closed)}`;
}

async function firstOf(
  paths: readonly string[],
  isIt: (path: string) => Promise<boolean>,
): Promise<string | undefined> {
  for (const path of paths) if (await isIt(path)) return path;
  return undefined;
}

function isPermissionDenied(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied;
}

/** The uppermost first. */
function foldersAbove(path: string): string[] {
  const folder = dirname(path);
  return folder === path ? [] : [...foldersAbove(folder), folder];
}

/** @param closed The folder that the user cannot enter, if that is the cause. */
function remedy(file: string, group: string, closed: string | undefined): string {
  return closed === undefined
    // By a group, because the file may have passwords.
    ? `chgrp ${group} ${file} && chmod 640 ${file}`
    : "let that user enter it, or put the file into a folder that they may enter";
}

type Access = (right: "r" | "x", path: string) => Promise<boolean>;

async function accessOf(account: Account): Promise<Access> {
  if (Deno.uid() === 0) {
    // Of coreutils.
    return async (right, path) => {
      const streams: Streams = { stdin: "null", stdout: "null", stderr: "null" };
      const output = await outputOf(commandAs(account, ["test", `-${right}`, path], streams));
      return output?.success ?? true;
    };
  }
  const groups = (await idOf("-G", "--", account.name) ?? "").split(" ").map(Number);
  return async (right, path) => {
    const { uid, gid, mode } = await Deno.stat(path);
    const shift = uid === account.uid ? 6 : groups.includes(gid ?? -1) ? 3 : 0;
    return account.uid === 0 || (((mode ?? 0) >> shift) & RIGHTS[right]) !== 0;
  };
}

const RIGHTS = { r: 0o4, x: 0o1 };
