import { reasonOf } from "../errors.ts";

/** By the names and codes of the runtime's errors. */
const REASONS: Readonly<Record<string, string>> = {
  NotFound: "no such file or folder",
  ENOENT: "no such file or folder",
  PermissionDenied: "permission denied",
  EACCES: "permission denied",
  EPERM: "not permitted",
  IsADirectory: "it is a folder",
  EISDIR: "it is a folder",
  NotADirectory: "a part of the path is not a folder",
  ENOTDIR: "a part of the path is not a folder",
  // The runtime does not follow a link whose target is missing.
  FilesystemLoop: "it is a link to a missing file, or to itself",
  ELOOP: "it is a link to a missing file, or to itself",
};

/** Why a file could not be read or written, for a sentence such as `Cannot read "a": ${fileReason(error)}`. */
export function fileReason(error: unknown): string {
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
  return REASONS[String(code)] ?? REASONS[String(name)] ?? reasonOf(error);
}
