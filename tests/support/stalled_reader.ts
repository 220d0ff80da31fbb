import { runProgram } from "./run_program.ts";

/**
 * A named pipe that is full, and whose reader stands still, as a terminal with Ctrl-S or a log collector that hangs does;
 * until it is told to read on.
 */
export class StalledReader implements Disposable {
  readonly path: string;
  readonly #pipe: Deno.FsFile;

  private constructor(path: string, pipe: Deno.FsFile) {
    this.path = path;
    this.#pipe = pipe;
  }

  static async create(path: string): Promise<StalledReader> {
    await runProgram("mkfifo", path);
    // For both directions, so that no other end has to be there.
    const pipe = await Deno.open(path, { read: true, write: true });
    // To the brim: dd fails at the first byte for which there is no room.
    await runProgram("dd", "if=/dev/zero", `of=${path}`, "bs=4096", "oflag=nonblock");
    return new StalledReader(path, pipe);
  }

  /** Reads on, until it has read `text`; all that was read, without what had filled the pipe. */
  async readUntil(text: string): Promise<string> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(65_536);
    let read = "";
    while (!read.includes(text)) {
      const length = await this.#pipe.read(buffer);
      read += decoder.decode(buffer.subarray(0, length ?? 0), { stream: true }).replaceAll("\0", "");
    }
    return read;
  }

  [Symbol.dispose](): void {
    this.#pipe.close();
  }
}
