import type { ExitCode } from "./exit_code.ts";
import type { Faults } from "./faults.ts";
import type { Io } from "./io.ts";

/** What every subcommand works with. */
export interface Context {
  readonly io: Io;
  /** What to exit with when the command ends without an error; 0 unless called. */
  setExitCode(code: ExitCode): void;
  /** What happens when something goes wrong that nobody has foreseen. */
  readonly faults: Pick<Faults, "handleBy">;
}
