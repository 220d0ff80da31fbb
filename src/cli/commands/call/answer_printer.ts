import type { OutputListener } from "../../../core/text/output.ts";
import type { Io } from "../../io.ts";

const LF = 10;

/**
 * Prints an application's output as it comes: STDOUT byte for byte, STDERR as text beside it. If a terminal shows both, each
 * begins its own line.
 */
export class AnswerPrinter implements OutputListener {
  readonly #io: Io;
  readonly #isTerminal: boolean;
  readonly #outText = new TextDecoder();
  readonly #errText = new TextDecoder();
  /** The streams with an unfinished line. */
  readonly #open = new Set<"out" | "err">();

  constructor(io: Io) {
    this.#io = io;
    this.#isTerminal = io.outSize() !== undefined;
  }

  stdout(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#endLineOf("err");
    if (!this.#isTerminal) this.#io.outBytes(piece);
    else this.#io.out(this.#outText.decode(piece, { stream: true }).replaceAll("\r\n", "\n"));
    this.#note("out", piece);
  }

  stderr(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#endLineOf("out");
    this.#io.err(this.#errText.decode(piece, { stream: true }));
    this.#note("err", piece);
  }

  /** Ends the output: the next text begins a line. STDOUT to a program or a file stays unchanged. */
  end(): void {
    if (this.#open.has("err") || (this.#open.has("out") && this.#isTerminal)) this.#io.err("\n");
    this.#open.clear();
  }

  #endLineOf(other: "out" | "err"): void {
    if (this.#isTerminal && this.#io.isErrTerminal && this.#open.delete(other)) this.#io.err("\n");
  }

  #note(stream: "out" | "err", piece: Uint8Array): void {
    if (piece.at(-1) === LF) this.#open.delete(stream);
    else this.#open.add(stream);
  }
}
