import { FervoError, reasonOf } from "../core/errors.ts";

/**
 * Makes a folder of one's own for files that are gone in the end; the caller removes it.
 *
 * @throws {FervoError} PROCESS_FAILED when the machine has no place for it
 */
export async function makeTemporaryFolder(prefix: string): Promise<string> {
  try {
    return await Deno.makeTempDir({ prefix });
  } catch (cause) {
    const place = Deno.env.get("TMPDIR") || "/tmp";
    const reason = cause instanceof Deno.errors.NotFound
      ? "no such folder"
      : cause instanceof Deno.errors.PermissionDenied
      ? "permission denied"
      : reasonOf(cause);
    throw new FervoError(
      "PROCESS_FAILED",
      `Cannot make a temporary folder in "${place}": ${reason}; set TMPDIR to a folder that this user may write`,
      { cause },
    );
  }
}
