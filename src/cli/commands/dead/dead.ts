import { Command } from "@commander-js/extra-typings";
import type { Failure } from "../../../core/admin.ts";
import { payloadFields } from "../../../core/text/payload.ts";
import { visible } from "../../../core/text/visible.ts";
import { wholeNumber } from "../../arguments.ts";
import type { Context } from "../../context.ts";
import { changeCommand } from "./change.ts";
import { groupsCommand } from "./groups.ts";
import {
  dateOf,
  filterOptions,
  letterJson,
  letterTable,
  listLetters,
  notFound,
  openDead,
} from "./letters.ts";
import { jsonLine } from "../../text/json_line.ts";
import { brokerOption, configOption, jsonOption } from "../../options.ts";
import { hintAtCode, hintAtQueue } from "../../hints.ts";
import { counted } from "../../../core/text/plural.ts";

export function deadCommand(context: Context) {
  return new Command("dead")
    .summary("list, group, show, retry and remove dead letters")
    .description("Dead letters are jobs that failed for good. They stay until they are retried or removed.")
    .addCommand(listCommand(context))
    .addCommand(groupsCommand(context))
    .addCommand(showCommand(context))
    .addCommand(changeCommand(context, "retry", "Retried"))
    .addCommand(changeCommand(context, "remove", "Removed"))
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker dead list\n  $ fervo-worker dead show 42\n  $ fervo-worker dead retry --all",
    );
}

function listCommand(context: Context) {
  const { io } = context;
  const { queue, code, since, match } = filterOptions();
  return new Command("list")
    .summary("list dead letters, the most recent first")
    .description("Lists dead letters, the most recent first.")
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(queue)
    .addOption(code)
    .addOption(since)
    .addOption(match)
    .option("--limit <n>", "at most this many", wholeNumber(1), 50)
    .option(
      "--after <place>",
      "continue after this place, which the previous page printed, or after this job",
    )
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker dead list
  $ fervo-worker dead list --queue mail --code JOB_TIMEOUT --since 1d
  $ fervo-worker dead list --match ann@example.org --json
  $ fervo-worker dead list --limit 20 --after 1790000000123:42`,
    )
    .action(async (options, command) => {
      await using dead = await openDead(context, options);
      // An id stands for its job's place, while the job is there.
      const named = options.after === undefined ? undefined : await dead.letters.get(options.after);
      const page = { limit: options.limit, after: named?.place ?? options.after };
      const letters = await listLetters(command, dead, options, page);
      if (letters.length === 0) {
        // A queue without a consumer may still have dead letters.
        hintAtQueue(io, dead.config, options.queue);
        hintAtCode(io, options.code);
      }
      if (options.json) return io.out(jsonLine(letters.map(letterJson)));
      if (letters.length === 0) return io.out("No dead letters\n");
      io.out(letterTable(letters));
      if (letters.length === options.limit) {
        io.err(`There may be more: continue with --after ${letters.at(-1)!.place}\n`);
      }
    });
}

function showCommand(context: Context) {
  const { io } = context;
  return new Command("show")
    .summary("show a dead letter with its errors, STDERR and payload")
    .description(
      "Shows a dead letter: its error, its earlier errors as far as the broker stores them, its STDERR, and " +
        "its payload.",
    )
    .argument("<id>", "the job's id")
    .addOption(configOption())
    .addOption(brokerOption())
    .option("--payload", "print only the payload, byte for byte into a file or a pipe")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker dead show 42
  $ fervo-worker dead show 42 --json
  $ fervo-worker dead show 42 --payload > payload`,
    )
    .action(async (id, options, command) => {
      if (options.json && options.payload) command.error("Give --json or --payload, not both");
      await using dead = await openDead(context, options);
      const letter = await dead.letters.get(id);
      if (letter === undefined) throw notFound(id);
      if (options.json) return io.out(jsonLine(letterJson(letter)));
      if (options.payload) return io.outBytes(letter.payload);
      const { earlierErrors = [], payload } = letter;
      const size = counted(payload.length, "byte");
      io.out([
        `Job:      ${visible(letter.id)}`,
        `Queue:    ${visible(letter.queue)}`,
        `Pushed:   ${dateOf(letter.enqueuedAtMs) ?? "(unknown)"}`,
        `Died:     ${dateOf(letter.diedAtMs) ?? "(unknown)"}`,
        `Attempts: ${letter.attempts}`,
        `Error:    ${letter.error.code}: ${letter.error.message.replaceAll("\n", "\n          ")}`,
        "STDERR:",
        indent(letter.error.stderr ?? "(nothing)"),
        ...(earlierErrors.length > 0 ? ["Earlier errors:", ...earlierErrors.map(earlierText)] : []),
        isText(payload)
          ? `Payload (${size}):`
          : `Payload (${size}, not all of it text; --payload prints them):`,
        new TextDecoder().decode(payload),
        "",
      ].join("\n"));
    });
}

function earlierText({ code, message, stderr, attempt, atMs }: Failure): string {
  const when = [dateOf(atMs), attempt === undefined ? undefined : `attempt ${attempt}`];
  const head = [...when, `${code}: ${message}`].filter((part) => part !== undefined).join("  ");
  return indent(stderr === undefined ? head : `${head}\n${indent(stderr)}`);
}

function isText(payload: Uint8Array): boolean {
  return "payload" in payloadFields(payload);
}

function indent(text: string): string {
  return text.split("\n").map((line) => `  ${line}`).join("\n");
}
