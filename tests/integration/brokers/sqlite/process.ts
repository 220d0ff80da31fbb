import assert from "node:assert/strict";
import { soon } from "../../../conformance/fixture.ts";

const SCRIPT = new URL("./commands.ts", import.meta.url).pathname;

/**
 * A process beside the test's own: a command of brokers/sqlite/commands.ts, or any program. It tells what it did line by line
 * on its stdout, and is told to go on by a line on its stdin. Killed with its scope.
 */
export class OtherProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;

  constructor(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#child = new Deno.Command(argv[0]!, {
      args: argv.slice(1),
      env,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(splitLines())
      .getReader();
    this.#stdin = this.#child.stdin.getWriter();
  }

  /** Runs a command of brokers/sqlite/commands.ts; `wrapper` goes before it, e.g. `["prlimit", "--fsize=1000"]`. */
  static command(name: string, args: readonly string[], wrapper: readonly string[] = []): OtherProcess {
    return new OtherProcess([...wrapper, Deno.execPath(), "run", "-A", "--no-lock", SCRIPT, name, ...args]);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The next line it writes. */
  async line(): Promise<string> {
    const line = await this.lineOrEnd();
    assert.ok(line !== undefined, "the process has ended");
    return line;
  }

  /** The next line it writes; undefined at the end. */
  async lineOrEnd(): Promise<string | undefined> {
    const { value } = await soon("a line from the other process", this.#lines.read());
    return value;
  }

  async tell(line: string): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode(`${line}\n`));
  }

  /** Waits for its end; all that it still writes. */
  async rest(): Promise<string[]> {
    const lines = [];
    for (let line = await this.lineOrEnd(); line !== undefined; line = await this.lineOrEnd()) {
      lines.push(line);
    }
    return lines;
  }

  /** SIGKILL, and waits for its end. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
    await this.#lines.cancel();
    await this.#stdin.close().catch(() => {});
  }
}

function splitLines(): TransformStream<string, string> {
  let rest = "";
  return new TransformStream({
    transform(chunk, controller) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      for (const line of lines) controller.enqueue(line);
    },
  });
}
