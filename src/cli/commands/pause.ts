import { Command } from "@commander-js/extra-typings";
import { openBroker } from "../../app/assembly.ts";
import { systemClock } from "../../core/time/clock.ts";
import { queueName } from "../arguments.ts";
import type { Context } from "../context.ts";
import { brokerOption, configOption, jsonOption } from "../options.ts";
import { hintAtQueue } from "../hints.ts";
import { jsonLine } from "../text/json_line.ts";
import { pausesOf } from "../broker_parts.ts";
import { chooseBroker, readConfig } from "../settings.ts";

export function pauseCommand(context: Context) {
  const { io } = context;
  return new Command("pause")
    .summary("take no more jobs from a queue")
    .description(
      "Has all workers on the broker take no more jobs from a queue, within two seconds and until it is resumed. Jobs that " +
        "run go on, and jobs can be pushed. Of some brokers a pause may end by itself: see docs/operations.md.",
    )
    .argument("<queue>", "the queue", queueName)
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker pause mail\n  $ fervo-worker pause mail --broker jobs",
    )
    .action(async (queue, options) => {
      const config = await readConfig(context, options.config);
      const name = chooseBroker(config, options.broker, queue);
      await using broker = openBroker(config, name, systemClock);
      await pausesOf(broker, name).pause(queue);
      io.out(options.json ? jsonLine({ broker: name, queue, paused: true }) : `Paused "${queue}"\n`);
      hintAtQueue(io, config, queue);
      if (broker.capabilities.pauses === "loose") {
        io.err(
          "fervo-worker: this broker forgets the pause when it restarts, or when the queue is empty and no worker waits " +
            "for its jobs\n",
        );
      }
    });
}

export function resumeCommand(context: Context) {
  const { io } = context;
  return new Command("resume")
    .summary("take jobs again from a queue that was paused")
    .description(
      "Has all workers on the broker take jobs again from a queue that was paused, within two seconds.",
    )
    .argument("<queue>", "the queue", queueName)
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker resume mail\n  $ fervo-worker resume mail --broker jobs",
    )
    .action(async (queue, options) => {
      const config = await readConfig(context, options.config);
      const name = chooseBroker(config, options.broker, queue);
      await using broker = openBroker(config, name, systemClock);
      const wasPaused = await pausesOf(broker, name).resume(queue);
      const text = wasPaused ? `Resumed "${queue}"\n` : `"${queue}" was not paused\n`;
      io.out(options.json ? jsonLine({ broker: name, queue, paused: false, was_paused: wasPaused }) : text);
      if (!wasPaused) hintAtQueue(io, config, queue);
    });
}
