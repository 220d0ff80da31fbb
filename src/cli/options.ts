import { Option } from "@commander-js/extra-typings";

/** The options that several commands share. */
export const configOption = () =>
  new Option(
    "-c, --config <file>",
    "configuration (default: FERVO_CONFIG, ./fervo-worker.toml, /etc/fervo-worker/)",
  );

export const brokerOption = () =>
  new Option("--broker <name>", "the broker, if the configuration has several");

export const jsonOption = () => new Option("--json", "print JSON");
