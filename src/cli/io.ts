import { systemClock } from "../core/time/clock.ts";
import { fileReason } from "../core/text/file_error.ts";
import { visibleLines } from "../core/text/visible.ts";
import { LineWriter } from "../telemetry/line_writer.ts";

/**
 * What a command can say and be told; the only way from the commands to the terminal.
 *
 * Queues, ids, errors and payloads come from others. So each text is escaped where a terminal would obey it; what is our own to
 * be obeyed goes through `live`.
 */
export interface Io {
  /** Data: what another program may read. */
  out(text: string): void;
  /** Data of others, byte for byte; on a terminal as text. */
  outBytes(bytes: Uint8Array): void;
  /** The size of the terminal that data goes to; undefined when it goes elsewhere. */
  outSize(): { readonly columns: number; readonly rows: number } | undefined;
  /** Messages and logs for people. */
  err(text: string): void;
  /**
   * For a command that goes on whether or not somebody reads what it says. From now on `out`, or `err`, goes this way, too,
   * and waits for nobody; else both wait for their readers. What is written here is not escaped.
   */
  live(stream: "out" | "err"): LineWriter;
  /** Waits until what was said live is written, for a second at most. */
  flush(): Promise<void>;
  /** Whether messages go to a terminal. */
  readonly isErrTerminal: boolean;
  /**
   * All of standard input.
   *
   * @throws {StreamError}
   */
  readStdin(): Promise<Uint8Array>;
  /** Whether somebody is there to be asked. */
  readonly isAttended: boolean;
  /** Asks a person at the terminal for a yes. */
  confirm(question: string): Promise<boolean>;
  env(name: string): string | undefined;
}

/** What a command has to say could not be written, or what it is told not be read: a sentence for people. */
export class StreamError extends Error {}

export function outputError(cause: unknown): StreamError {
  return new StreamError(`Cannot write the output: ${fileReason(cause)}`, { cause });
}

const utf8 = new TextEncoder();

/** What may wait for a reader that stands still: some thousand lines, in UTF-16 units. */
const LIVE_LENGTH = 1024 * 1024;
/** How long the end of a command may wait for whoever reads what was said live, milliseconds. */
const FLUSH_MS = 1_000;

/** A character may be in two pieces. */
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
    // Whoever read our output has gone, as in `fervo-worker queues | head -1`.
    if (error instanceof Deno.errors.BrokenPipe) return;
    throw outputError(error);
  }
}
