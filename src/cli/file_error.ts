import { reasonOf } from "../core/errors.ts";

/** Why a file could not be read or written, in the words of a sentence such as `Cannot read "a": ${fileReason(error)}`. */
export function fileReason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file or folder";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  if (error instanceof Deno.errors.IsADirectory) return "it is a folder";
  if (error instanceof Deno.errors.NotADirectory) return "a part of the path is no folder";
  // Deno guards the files of the system's own devices and processes more strictly than the others.
  if (error instanceof Deno.errors.NotCapable) return "not an ordinary file";
  return reasonOf(error);
}
