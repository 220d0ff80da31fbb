import { ExitCode } from "./exit_code.ts";
import type { Io } from "./io.ts";

/** Handles an unforeseen error. Returns whether the command now ends in order by itself; else the process ends at once. */
export type FaultHandler = (error: unknown) => boolean;

/**
 * Unforeseen errors of this process: rejections and exceptions that reach the runtime, which would end the process in the
 * middle of its work.
 *
 * 1. Gives the first one to the command, which can end in order; a second one ends the process at once.
 * 2. Prints them as plain text if the command does not report them itself, without the runtime's colours.
 */
export class Faults implements Disposable {
  /** Resolves when the process must end at once. */
  readonly fatal: Promise<ExitCode>;
  readonly #end: (code: ExitCode) => void;
  readonly #io: Pick<Io, "err">;
  #handler: FaultHandler | undefined;
  #count = 0;

  constructor(io: Pick<Io, "err">) {
    this.#io = io;
    ({ promise: this.fatal, resolve: this.#end } = Promise.withResolvers<ExitCode>());
    globalThis.addEventListener("unhandledrejection", this.#onRejection);
    globalThis.addEventListener("error", this.#onError);
  }

  /** Lets a command handle further ones. */
  handleBy(handler: FaultHandler): void {
    this.#handler = handler;
  }

  /** Leaves further ones to the runtime. */
  [Symbol.dispose](): void {
    globalThis.removeEventListener("unhandledrejection", this.#onRejection);
    globalThis.removeEventListener("error", this.#onError);
  }

  readonly #onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    this.#take(event.reason);
  };

  readonly #onError = (event: ErrorEvent) => {
    event.preventDefault();
    this.#take(event.error);
  };

  #take(error: unknown): void {
    let endsByItself = false;
    try {
      if (this.#handler === undefined) this.#io.err(faultText(error));
      else endsByItself = this.#handler(error);
    } catch (another) {
      this.#io.err(faultText(error) + faultText(another));
    }
    if (++this.#count > 1 || !endsByItself) this.#end(ExitCode.failed);
  }
}

/** For people. */
export function faultText(error: unknown): string {
  return `fervo-worker: This is a fault in fervo-worker itself; please report it:\n${stackOf(error)}\n`;
}

/** The origin of an error, or the thrown value if it is not an error. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error);
}
