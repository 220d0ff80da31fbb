import type { OutputListener } from "../core/output.ts";
import type { Io } from "./io.ts";

const LF = 10;

/** Prints what an application writes as it comes: STDOUT byte for byte, STDERR as text beside it. */
export class AnswerPrinter implements OutputListener {
  readonly #io: Io;
  readonly #utf8 = new TextDecoder();
  #isOutOpen = false;
  #isErrOpen = false;

  constructor(io: Io) {
    this.#io = io;
  }

  stdout(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#io.outBytes(piece);
    this.#isOutOpen = piece.at(-1) !== LF;
  }

  stderr(piece: Uint8Array): void {
    const text = this.#utf8.decode(piece, { stream: true });
    if (text === "") return;
    this.#io.err(text);
    this.#isErrOpen = !text.endsWith("\n");
  }

  /** No more comes: what is said next begins a line. STDOUT that goes to a program or a file is left as it came. */
  end(): void {
    if (this.#isErrOpen || (this.#isOutOpen && this.#io.outSize() !== undefined)) this.#io.err("\n");
    this.#isErrOpen = this.#isOutOpen = false;
  }
}
