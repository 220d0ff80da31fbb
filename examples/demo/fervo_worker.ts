/** Shared by the demos: fervo-worker as a user starts it, and an orderly end. */
const ROOT = new URL("../..", import.meta.url).pathname;

/** Ctrl-C aborts it. The demo then ends every program that it started. */
const stopping = new AbortController();

/** Runs a demo, and reports a failure in one line. Never returns. */
export async function runDemo(demo: () => Promise<void>): Promise<never> {
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => stopping.abort());
  try {
    await demo();
  } catch (error) {
    say(`The demo failed: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
  Deno.exit(0);
}

/**
 * Runs fervo-worker, and returns its output. Its messages go to the terminal, and its output, too, unless `isQuiet`.
 *
 * @param options.mayEndWith An exit code that also counts as success: 1 of `check` with warnings, 5 of `run` with dead letters.
 * @throws {Error} when it fails or is interrupted
 */
export async function fervoWorker(
  args: string[],
  options: { stdin?: string; isQuiet?: boolean; mayEndWith?: number } = {},
): Promise<string> {
  const [program, first] = workerCommand();
  const child = new Deno.Command(program, {
    args: [...first, ...args],
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: options.isQuiet ? "piped" : "inherit",
    stderr: "inherit",
  }).spawn();
  const isOver = child.status.then(() => stopping.signal.removeEventListener("abort", stop));
  const stop = () => child.kill("SIGTERM");
  stopping.signal.addEventListener("abort", stop);
  if (options.stdin !== undefined) await new Response(options.stdin).body!.pipeTo(child.stdin);
  const output = options.isQuiet ? await new Response(child.stdout).text() : "";
  await isOver;
  const { code } = await child.status;
  if (stopping.signal.aborted) throw new Error("The demo was interrupted");
  if (code !== 0 && code !== options.mayEndWith) {
    throw new Error(`fervo-worker ${args[0]} exited with ${code}`);
  }
  return output;
}

export function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** fervo-worker as a user starts it: the binary of FERVO_WORKER, or the source with the permissions of the binary. */
function workerCommand(): [string, string[]] {
  const binary = Deno.env.get("FERVO_WORKER");
  if (binary !== undefined) return [binary, []];
  const permissions = [
    "--allow-net",
    "--allow-read",
    "--allow-write",
    "--allow-env",
    "--allow-run",
    "--allow-sys=hostname,statfs,uid",
  ];
  return [Deno.execPath(), ["run", "--quiet", "--no-prompt", ...permissions, `${ROOT}main.ts`]];
}
