import { fileReason } from "../../../core/text/file_error.ts";
import { visibleLines } from "../../../core/text/visible.ts";
import type { BenchFlags } from "./flags.ts";
import { type Io, StreamError } from "../../io.ts";

const FORMATS = ["json", "csv", "html"] as const;
type Format = typeof FORMATS[number];

interface OpenFile {
  readonly path: string;
  readonly file: Deno.FsFile;
  /** It existed before. */
  readonly isOld: boolean;
}

/**
 * The destinations of the reports.
 *
 * 1. Opens the files before the measurement, so that an unwritable one is known in time.
 * 2. Replaces a file only when there is something to write; removes a new file that stayed empty.
 */
export class BenchOutput implements AsyncDisposable {
  readonly #io: Io;
  readonly #files: ReadonlyMap<Format, OpenFile>;
  /** The format that replaces the report on standard output. */
  readonly #onStdout: Format | undefined;
  #isWritten = false;

  private constructor(io: Io, files: ReadonlyMap<Format, OpenFile>, onStdout: Format | undefined) {
    this.#io = io;
    this.#files = files;
    this.#onStdout = onStdout;
  }

  /** @param fail Called with the reason when a file cannot be written. */
  static async open(io: Io, flags: BenchFlags, fail: (text: string) => never): Promise<BenchOutput> {
    const files = new Map<Format, OpenFile>();
    const output = new BenchOutput(io, files, FORMATS.find((format) => flags[format] === "-"));
    for (const format of FORMATS) {
      const path = flags[format];
      if (path === undefined || path === "-") continue;
      try {
        const isOld = await Deno.lstat(path).then(() => true, () => false);
        files.set(format, { path, file: await Deno.open(path, { write: true, create: true }), isOld });
      } catch (error) {
        await output[Symbol.asyncDispose]();
        fail(`Cannot write "${path}": ${fileReason(error)}`);
      }
    }
    return output;
  }

  /** Writes the report, or its replacement, to standard output, and the files. */
  async write(
    reports: { readonly text: () => string } & Readonly<Record<Format, () => string>>,
  ): Promise<void> {
    for (const [format, { path, file }] of this.#files) {
      const bytes = new TextEncoder().encode(visibleLines(reports[format]()));
      try {
        await file.truncate();
        for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
      } catch (cause) {
        throw new StreamError(`Cannot write "${path}": ${fileReason(cause)}`, { cause });
      }
    }
    this.#isWritten = true;
    this.#io.out(reports[this.#onStdout ?? "text"]());
    for (const { path } of this.#files.values()) this.#io.err(`Wrote "${path}"\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { path, file, isOld } of this.#files.values()) {
      file.close();
      if (!this.#isWritten && !isOld) await Deno.remove(path);
    }
  }
}
