import { systemClock } from "../../../src/core/time/clock.ts";
import { visibleLines } from "../../../src/core/text/visible.ts";
import { LineWriter } from "../../../src/telemetry/line_writer.ts";
import { main } from "../../../src/cli/main.ts";
import type { Io } from "../../../src/cli/io.ts";

/** Remembers what was written. */
export class FakeIo implements Io {
  stdout = "";
  stderr = "";
  readonly isErrTerminal = false;
  readonly isAttended = false;
  readonly #live: { out?: LineWriter; err?: LineWriter } = {};
  readonly #env: Readonly<Record<string, string>>;

  constructor(env: Readonly<Record<string, string>> = {}) {
    this.#env = env;
  }

  readonly out = (text: string): void => {
    const seen = visibleLines(text);
    if (this.#live.out === undefined) this.stdout += seen;
    else this.#live.out.write(seen);
  };

  readonly outBytes = (bytes: Uint8Array): void => {
    this.stdout += new TextDecoder().decode(bytes);
  };

  /** Takes all at once; a write is never under way. */
  readonly live = (stream: "out" | "err"): LineWriter => {
    const write = (bytes: Uint8Array) => {
      const text = new TextDecoder().decode(bytes);
      if (stream === "out") this.stdout += text;
      else this.stderr += text;
      return Promise.resolve(bytes.length);
    };
    return this.#live[stream] ??= new LineWriter({ clock: systemClock, sink: { write } }, {
      maxLength: Infinity,
    });
  };

  readonly flush = async (): Promise<void> => {
    for (const writer of Object.values(this.#live)) await writer.drained();
  };

  size: ReturnType<Io["outSize"]>;

  readonly outSize = () => this.size;

  readonly err = (text: string): void => {
    const seen = visibleLines(text);
    if (this.#live.err === undefined) this.stderr += seen;
    else this.#live.err.write(seen);
  };

  readonly readStdin = (): Promise<Uint8Array> => Promise.resolve(new Uint8Array(0));

  readonly confirm = (): Promise<boolean> => Promise.resolve(false);

  readonly env = (name: string): string | undefined => this.#env[name];
}

/** Runs the program and returns what it said and exited with. */
export async function runMain(
  args: readonly string[],
  io = new FakeIo(),
): Promise<{ code: number; stdout: string; stderr: string }> {
  const code = await main(args, io);
  return { code, stdout: io.stdout, stderr: io.stderr };
}
