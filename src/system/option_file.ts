import { QueueError } from "../core/errors.ts";
import { fileReason } from "../core/text/file_error.ts";

/** A file that an option names cannot be read. */
export class OptionFileError extends QueueError {
  readonly path: string;

  constructor(option: string, path: string, cause: unknown) {
    super("QUEUE_UNAVAILABLE", `Cannot read the ${option} "${path}": ${fileReason(cause)}`, { cause });
    this.path = path;
  }

  /** What to do about it. */
  get fix(): string {
    return `as root: make ${this.path} readable for the worker's user, and for nobody else`;
  }
}

/**
 * The text of a file that an option names.
 *
 * @throws {OptionFileError}
 */
export async function readOptionFile(option: string, path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new OptionFileError(option, path, error);
  }
}

/**
 * The secret in a file that an option names, without the final newline.
 *
 * @throws {OptionFileError}
 */
export async function readSecretFile(option: string, path: string): Promise<string> {
  return (await readOptionFile(option, path)).replace(/\r?\n$/, "");
}
