import { systemClock } from "../core/time/clock.ts";
import { fileReason } from "../core/text/file_error.ts";
import { visibleLines } from "../core/text/visible.ts";
import { LineWriter } from "../telemetry/line_writer.ts";

/**
 * The input and output of a command; the only way from commands to the terminal.
 *
 * Queues, ids, errors and payloads are foreign. So each text is escaped where a terminal would obey it; our own control
 * sequences go through `live`.
 */
export interface Io {
  /** Data for other programs. */
  out(text: string): void;
  /** Foreign data, byte for byte; on a terminal as text. */
  outBytes(bytes: Uint8Array): void;
  /** The size of the terminal for data; undefined without one. */
  outSize(): { readonly columns: number; readonly rows: number } | undefined;
  /** Messages and logs for people. */
  err(text: string): void;
  /**
   * For a command that goes on whether or not its output is read. From now on `out`, or `err`, goes this way, too, and does not
   * wait; else both wait for their readers. Text written here is not escaped.
   */
  live(stream: "out" | "err"): LineWriter;
  /** Waits until live output is written, for at most a second. */
  flush(): Promise<void>;
  /** Whether messages go to a terminal. */
  readonly isErrTerminal: boolean;
  /**
   * All of standard input.
   *
   * @throws {StreamError}
   */
  readStdin(): Promise<Uint8Array>;
  /** Whether a person can be asked. */
  readonly isAttended: boolean;
  /** Asks a person at the terminal for a yes. */
  confirm(question: string): Promise<boolean>;
  env(name: string): string | undefined;
}

/** The output could not be written, or the input not read: a sentence for people. */
export class StreamError extends Error {}

export function outputError(cause: unknown): StreamError {
  return new StreamError(`Cannot write the output: ${fileReason(cause)}`, { cause });
}

const utf8 = new TextEncoder();

/** How much may wait for a reader that stands still: some thousand lines, in UTF-16 units. */
const LIVE_LENGTH = 1024 * 1024;
/** How long the end of a command may wait for the reader of live output, milliseconds. */
const FLUSH_MS = 1_000;

/** A character may come in two pieces. */
const terminalText = new TextDecoder();

const live: { out?: LineWriter; err?: LineWriter } = {};

/** The process's own streams. */
export const processIo: Io = {
  out: (text) => {
    const seen = visibleLines(text);
    if (live.out === undefined) writeAll(Deno.stdout, utf8.encode(seen));
    else live.out.write(seen);
  },
  outBytes: (bytes) => {
    if (Deno.stdout.isTerminal()) processIo.out(terminalText.decode(bytes, { stream: true }));
    else writeAll(Deno.stdout, bytes);
  },
  outSize: () => Deno.stdout.isTerminal() ? Deno.consoleSize() : undefined,
  err: (text) => {
    const seen = visibleLines(text);
    if (live.err !== undefined) return live.err.write(seen);
    try {
      writeAll(Deno.stderr, utf8.encode(seen));
    } catch {
      // A log on a full disk must not end the jobs.
    }
  },
  live: (stream) =>
    live[stream] ??= new LineWriter({
      clock: systemClock,
      sink: stream === "out" ? Deno.stdout : Deno.stderr,
    }, { maxLength: LIVE_LENGTH }),
  flush: async () => {
    await Promise.all(Object.values(live).map((writer) => writer.flush(FLUSH_MS)));
  },
  isErrTerminal: Deno.stderr.isTerminal(),
  readStdin: async () => {
    try {
      return new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer());
    } catch (cause) {
      throw new StreamError(`Cannot read standard input: ${fileReason(cause)}`, { cause });
    }
  },
  isAttended: Deno.stdin.isTerminal() && Deno.stderr.isTerminal(),
  confirm: async (question) => {
    processIo.err(`${question} [y/N] `);
    const line = new Uint8Array(256);
    const length = await Deno.stdin.read(line) ?? 0;
    return /^\s*y(?:es)?\s*$/i.test(new TextDecoder().decode(line.subarray(0, length)));
  },
  env: (name) => Deno.env.get(name),
};

function writeAll(stream: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  try {
    for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
  } catch (error) {
    // The reader of our output is gone, as in `fervo-worker queues | head -1`.
    if (error instanceof Deno.errors.BrokenPipe) return;
    throw outputError(error);
  }
}
