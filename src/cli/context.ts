import type { BrokerType } from "../brokers/broker_type.ts";
import type { ExitCode } from "./exit_code.ts";
import type { Faults } from "./faults.ts";
import type { Io } from "./io.ts";

/** Shared by all subcommands. */
export interface Context {
  readonly io: Io;
  /** The kinds of brokers in a configuration. */
  readonly brokerTypes: readonly BrokerType[];
  /** Sets the exit code of a command that ends without an error; else 0. */
  setExitCode(code: ExitCode): void;
  /** The handler of unforeseen faults. */
  readonly faults: Pick<Faults, "handleBy">;
}

/** The parts for reading a configuration. */
export type ConfigReader = Pick<Context, "io" | "brokerTypes">;
