import type { ExitCode } from "./exit_code.ts";
import type { Io } from "./io.ts";

/** What every subcommand works with. */
export interface Context {
  readonly io: Io;
  /** What to exit with when the command ends without an error; 0 unless called. */
  setExitCode(code: ExitCode): void;
}
