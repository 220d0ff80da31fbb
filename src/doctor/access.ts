import { dirname } from "node:path";
import type { Finding } from "../core/finding.ts";

const READABLE_BY_OTHERS = 0o004;
const WRITABLE_BY_OTHERS = 0o002;
/** For a folder: others may reach its files. */
const OPEN_TO_OTHERS = 0o001;

/**
 * Whether other users of this machine cannot read a file with secrets.
 *
 * @param holds The secrets, as in a sentence.
 * @returns Undefined for a missing file, and for anything but a file, such as a pipe.
 */
export async function checkSecretFile(path: string, holds: string): Promise<Finding | undefined> {
  const id = "secrets.readable";
  if (!await isOpenToOthers(path, READABLE_BY_OTHERS)) {
    return await isFile(path) ? { id, severity: "ok", what: `other users cannot read "${path}"` } : undefined;
  }
  return {
    id,
    severity: "warning",
    what: `every user of this machine can read "${path}", which holds ${holds}`,
    why: "any code on this machine, such as the PHP of another site, can read the secret",
    fix: `chmod 640 "${path}", and chgrp it to the group of the worker's user`,
  };
}

/** Whether other users can change the worker's programs. */
export async function checkWritable(path: string): Promise<Finding | undefined> {
  if (!await isOpenToOthers(path, WRITABLE_BY_OTHERS)) return undefined;
  return {
    id: "config.writable",
    severity: "error",
    code: "CONFIG_INVALID",
    what: `every user of this machine can write "${path}"`,
    why:
      "the configuration names the programs that the worker runs: any user can run programs as the worker's user",
    fix: `chmod o-w "${path}"`,
  };
}

async function isFile(path: string): Promise<boolean> {
  return await Deno.stat(path).then((found) => found.isFile, () => false);
}

/** Whether other users have this right to a file, and can reach it through all of its folders. */
async function isOpenToOthers(path: string, right: number): Promise<boolean> {
  try {
    const real = await Deno.realPath(path);
    const { isFile, mode } = await Deno.stat(real);
    return isFile && ((mode ?? 0) & right) !== 0 && await isReachable(real);
  } catch {
    // Another check reports a missing or unreadable file.
    return false;
  }
}

/** Whether every user can enter all folders above a file. @param real Without links. */
export async function isReachable(real: string): Promise<boolean> {
  for (let folder = dirname(real);; folder = dirname(folder)) {
    if ((((await Deno.stat(folder)).mode ?? 0) & OPEN_TO_OTHERS) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}
