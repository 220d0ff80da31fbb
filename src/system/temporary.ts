import { FervoError } from "../core/errors.ts";
import { fileReason } from "../core/text/file_error.ts";

/**
 * Makes a folder for temporary files; the caller removes it.
 *
 * @throws {FervoError} PROCESS_FAILED without a place for it
 */
export async function makeTemporaryFolder(prefix: string): Promise<string> {
  try {
    return await Deno.makeTempDir({ prefix });
  } catch (cause) {
    const place = Deno.env.get("TMPDIR") || "/tmp";
    throw new FervoError(
      "PROCESS_FAILED",
      `Cannot make a temporary folder in "${place}": ${
        fileReason(cause)
      }; set TMPDIR to a folder that this user may write`,
      { cause },
    );
  }
}
