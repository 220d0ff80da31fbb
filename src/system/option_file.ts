import { QueueError } from "../core/errors.ts";
import { fileReason } from "../core/text/file_error.ts";

/**
 * The text of a file that an option names.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export async function readOptionFile(option: string, path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new QueueError("QUEUE_UNAVAILABLE", `Cannot read the ${option} "${path}": ${fileReason(error)}`, {
      cause: error,
    });
  }
}

/**
 * The secret in a file that an option names, without the final newline.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export async function readSecretFile(option: string, path: string): Promise<string> {
  return (await readOptionFile(option, path)).replace(/\r?\n$/, "");
}
