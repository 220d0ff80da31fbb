import type { BrokerType } from "../brokers/broker_type.ts";
import type { ExitCode } from "./exit_code.ts";
import type { Faults } from "./faults.ts";
import type { Io } from "./io.ts";

/** What every subcommand works with. */
export interface Context {
  readonly io: Io;
  /** The kinds of brokers that a configuration may name. */
  readonly brokerTypes: readonly BrokerType[];
  /** What to exit with when the command ends without an error; 0 unless called. */
  setExitCode(code: ExitCode): void;
  /** What happens when something goes wrong that nobody has foreseen. */
  readonly faults: Pick<Faults, "handleBy">;
}

/** What reading a configuration takes. */
export type ConfigReader = Pick<Context, "io" | "brokerTypes">;
