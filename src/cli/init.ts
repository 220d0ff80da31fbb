import { Command } from "@commander-js/extra-typings";
import example from "../../config.example.toml" with { type: "text" };
import type { Context } from "./context.ts";
import { fileReason } from "./file_error.ts";
import { CONFIG_PLACES } from "./settings.ts";

export function initCommand({ io }: Context) {
  return new Command("init")
    .summary("write a commented configuration")
    .description("Writes a configuration file with every option, its default and what it does.")
    .argument("[file]", "where to; - for standard output", CONFIG_PLACES[0]!)
    .option("--force", "overwrite an existing file")
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker init\n  $ fervo-worker init /etc/fervo-worker/fervo-worker.toml",
    )
    .action(async (file, { force }, command) => {
      if (file === "-") return io.out(example);
      try {
        // Private, for it may come to hold passwords.
        await Deno.writeTextFile(file, example, { createNew: !force, mode: 0o600 });
      } catch (error) {
        if (error instanceof Deno.errors.AlreadyExists) {
          return command.error(`"${file}" exists; --force overwrites it`);
        }
        return command.error(`Cannot write "${file}": ${fileReason(error)}`);
      }
      io.out(
        `Wrote "${file}"; set "address" and "script" in it, then run: fervo-worker check --config ${file}\n`,
      );
    });
}
