import { statfsSync } from "node:fs";
import { dirname } from "node:path";

/**
 * The file system of a file's folder.
 *
 * @returns `type`: `f_type` of statfs(2). `freeBytes`: the free space for users without special rights.
 * @throws {Error} the system's, when the folder cannot be reached
 */
export function diskOf(path: string): { readonly type: number; readonly freeBytes: number } {
  const { type, bavail, bsize } = statfsSync(dirname(path));
  return { type, freeBytes: bavail * bsize };
}
