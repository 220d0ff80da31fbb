import process from "node:process";

/**
 * The kernel's data about processes in /proc (proc(5)).
 *
 * The runtime closes /proc to this program, so it is read through `grep`, which every system has: one short process for any
 * number of files. Only for rare questions.
 */
import { FervoError, reasonOf } from "../core/errors.ts";

/**
 * The texts of files below /proc by path, e.g. `/proc/1/stat`. A file that cannot be read, for instance because its process has
 * ended, is left out; so is an empty one.
 *
 * @throws {FervoError} PROCESS_FAILED
 */
export async function readProc(paths: readonly string[]): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  if (paths.length === 0) return texts;
  const stdout = await grep(paths);
  for (const line of new TextDecoder().decode(stdout).split("\n")) {
    const colon = line.indexOf(":");
    if (colon < 0) continue;
    const path = line.slice(0, colon);
    const earlier = texts.get(path);
    const text = line.slice(colon + 1);
    texts.set(path, earlier === undefined ? text : `${earlier}\n${text}`);
  }
  return texts;
}

async function grep(paths: readonly string[]): Promise<Uint8Array> {
  try {
    const { stdout } = await new Deno.Command("grep", {
      // Every line with its path; binary files as text; silent about missing files.
      args: ["-aHs", "-e", "", "--", ...paths],
      cwd: "/",
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).output();
    return stdout;
  } catch (cause) {
    const reason = cause instanceof Deno.errors.NotFound
      ? "there is none in PATH; install it"
      : reasonOf(cause);
    throw new FervoError(
      "PROCESS_FAILED",
      `Cannot run "grep", which the worker uses to look at processes: ${reason}`,
      {
        cause,
      },
    );
  }
}

/**
 * Whether a process exists, even one that has ended and whose parent has not noticed yet.
 *
 * @param id Negative for a process group: whether any process of it exists.
 */
export function isProcessThere(id: number): boolean {
  try {
    // Signal 0 sends nothing: the kernel only checks the target (kill(2)).
    process.kill(id, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}
