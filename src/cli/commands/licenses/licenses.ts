import { Command } from "@commander-js/extra-typings";
import { type RustCrate, rustCratesIn } from "../../../system/rust_crates.ts";
import type { Context } from "../../context.ts";
import { jsonOption } from "../../options.ts";
import { jsonLine } from "../../text/json_line.ts";
import { notices, partsIn } from "./notices.ts";

export function licensesCommand({ io }: Context) {
  return new Command("licenses")
    .summary("print the licences of the software that this program contains")
    .description(
      "Prints the licences of the npm packages and of the runtime that this program contains, and the Rust crates of the runtime.",
    )
    .addOption(jsonOption())
    .addHelpText("after", "\nExamples:\n  $ fervo-worker licenses | less\n  $ fervo-worker licenses --json")
    .action(async ({ json }) => {
      // The runtime has read this file to start, so it is readable.
      const crates = rustCratesIn(await Deno.readFile(Deno.execPath()));
      io.out(json ? jsonLine({ parts: partsIn(notices), crates }) : `${notices}\n${crateList(crates)}`);
    });
}

function crateList(crates: readonly RustCrate[]): string {
  return `${"=".repeat(80)}
Rust crates of the runtime

This executable names ${crates.length} Rust crates as sources of its code. The licence of each is in its source package.

${crates.map(({ name, version }) => `  ${name} ${version}\n`).join("")}`;
}
