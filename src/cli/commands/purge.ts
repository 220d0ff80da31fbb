import { Command } from "@commander-js/extra-typings";
import { openBroker } from "../../app/assembly.ts";
import { systemClock } from "../../core/time/clock.ts";
import { counted } from "../../core/text/plural.ts";
import { queueName } from "../arguments.ts";
import { purgeOf } from "../broker_parts.ts";
import { confirmation } from "../confirmation.ts";
import type { Context } from "../context.ts";
import { hintAtQueue } from "../hints.ts";
import { brokerOption, configOption, jsonOption } from "../options.ts";
import { chooseBroker, readConfig } from "../settings.ts";
import { jsonLine } from "../text/json_line.ts";

export function purgeCommand(context: Context) {
  const { io } = context;
  return new Command("purge")
    .summary("delete the ready jobs of a queue")
    .description(
      "Deletes the jobs of a queue that are ready when the command begins. Running, delayed and dead jobs stay. It asks " +
        "first, unless --yes is given.",
    )
    .argument("<queue>", "the queue", queueName)
    .option("--yes", "do not ask for confirmation")
    .option("--dry-run", "show how many jobs it would delete, and change nothing")
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker purge mial --dry-run\n  $ fervo-worker purge mial --yes",
    )
    .action(async (queue, options, command) => {
      const isConfirmed = confirmation(context, command, options);
      const config = await readConfig(context, options.config);
      const name = chooseBroker(config, options.broker, queue);
      await using broker = openBroker(config, name, systemClock);
      const purge = purgeOf(broker, name);
      const ready = (await broker.admin.depth?.(queue))?.ready;
      const jobs = ready === undefined ? "the ready jobs" : counted(ready, "ready job");
      const tell = (facts: object, text: string) =>
        io.out(options.json ? jsonLine({ broker: name, queue, ...facts }) : `${text}\n`);
      if (ready === 0) hintAtQueue(io, config, queue);
      if (options.dryRun) {
        return tell({ ready: ready ?? null }, `Would delete ${jobs} of "${queue}"; nothing was changed`);
      }
      if (ready !== 0 && !await isConfirmed(`Delete ${jobs} of "${queue}"?`)) return;
      const purged = ready === 0 ? 0 : await purge(queue);
      tell({ purged }, `Deleted ${counted(purged, "job")} of "${queue}"`);
    });
}
