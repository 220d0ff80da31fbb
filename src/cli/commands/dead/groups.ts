import { Command } from "@commander-js/extra-typings";
import { hintAtQueue } from "../../hints.ts";
import type { Context } from "../../context.ts";
import { brokerOption, configOption, jsonOption } from "../../options.ts";
import { groupsOf } from "../../broker_parts.ts";
import { jsonLine } from "../../text/json_line.ts";
import { table } from "../../text/table.ts";
import { dateOf, filterOptions, openDead } from "./letters.ts";

export function groupsCommand(context: Context) {
  const { io } = context;
  return new Command("groups")
    .summary("count dead letters by error")
    .description(
      "Counts dead letters by error: the code and the first line of the text, with # for numbers. It counts the newest if there are very many.",
    )
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(filterOptions().queue)
    .addOption(jsonOption())
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker dead groups\n  $ fervo-worker dead groups --queue mail --json",
    )
    .action(async (options) => {
      await using dead = await openDead(context, options);
      const { groups, counted, isWhole } = await groupsOf(dead)({ queue: options.queue });
      if (groups.length === 0) hintAtQueue(io, dead.config, options.queue);
      if (options.json) {
        const rows = groups.map(({ code, message, count, newestMs, oldestMs, exampleId }) => ({
          code,
          message,
          count,
          newest_at: dateOf(newestMs) ?? null,
          oldest_at: dateOf(oldestMs) ?? null,
          example_id: exampleId,
        }));
        return io.out(jsonLine({ groups: rows, counted, whole: isWhole }));
      }
      if (groups.length === 0) return io.out("No dead letters\n");
      io.out(table(
        ["COUNT", "CODE", "NEWEST", "OLDEST", "EXAMPLE", "ERROR"],
        groups.map(({ code, message, count, newestMs, oldestMs, exampleId }) => [
          count,
          code,
          dateOf(newestMs) ?? "-",
          dateOf(oldestMs) ?? "-",
          exampleId,
          message,
        ]),
      ));
      if (!isWhole) io.err(`Only the newest were counted: ${counted}\n`);
    });
}
