import { Command } from "@commander-js/extra-typings";
import example from "../../config.example.toml" with { type: "text" };
import { FervoError, reasonOf } from "../core/errors.ts";
import type { Context } from "./context.ts";
import { CONFIG_PLACES } from "./settings.ts";

export function initCommand({ io }: Context) {
  return new Command("init")
    .summary("write a commented configuration")
    .description("Writes a configuration file with every option, its default and what it does.")
    .argument("[file]", "where to; - for standard output", CONFIG_PLACES[0]!)
    .option("--force", "overwrite an existing file", false)
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker init\n  $ fervo-worker init /etc/fervo-worker/fervo-worker.toml",
    )
    .action(async (file, { force }) => {
      if (file === "-") return io.out(example);
      try {
        // Private, for it may come to hold passwords.
        await Deno.writeTextFile(file, example, { createNew: !force, mode: 0o600 });
      } catch (error) {
        if (error instanceof Deno.errors.AlreadyExists) {
          throw new FervoError("CONFIG_INVALID", `"${file}" exists; --force overwrites it`);
        }
        throw new FervoError("CONFIG_INVALID", `Cannot write "${file}": ${reasonOf(error)}`);
      }
      io.out(
        `Wrote "${file}"; set "address" and "script" in it, then run: fervo-worker check --config ${file}\n`,
      );
    });
}
