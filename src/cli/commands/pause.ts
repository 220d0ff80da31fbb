import { Command, Option } from "@commander-js/extra-typings";
import { InvalidArgumentError } from "commander";
import { openBroker } from "../../app/assembly.ts";
import { systemClock } from "../../core/time/clock.ts";
import { type PauseOptions, shownPause } from "../../core/admin.ts";
import { dateMs, durationMs, queueName } from "../arguments.ts";
import type { Context } from "../context.ts";
import { brokerOption, configOption, jsonOption } from "../options.ts";
import { hintAtQueue } from "../hints.ts";
import { pauseText } from "../text/pause_text.ts";
import { jsonLine } from "../text/json_line.ts";
import { pausesOf } from "../broker_parts.ts";
import { chooseBroker, readConfig } from "../settings.ts";

export function pauseCommand(context: Context) {
  const { io } = context;
  return new Command("pause")
    .summary("stop taking jobs from a queue")
    .description(
      "All workers on the broker stop taking jobs from the queue within two seconds, until it is resumed or the time is " +
        "over. Running jobs go on, and jobs can still be pushed. A second pause replaces the first. With some brokers a " +
        "pause may end earlier by itself: see docs/queues.md.",
    )
    .argument("<queue>", "the queue", queueName)
    .addOption(
      new Option("--for <duration>", "for this long, e.g. 30m or 2h").argParser(durationMs).conflicts(
        "until",
      ),
    )
    .addOption(
      new Option("--until <time>", "until this time, e.g. 2026-01-31T12:00Z; in UTC unless it has an offset")
        .argParser(momentMs),
    )
    .addOption(
      new Option("--reason <text>", "the reason, which queues, status and check show").argParser(reasonText),
    )
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker pause mail
  $ fervo-worker pause mail --for 2h --reason "the mail server is being moved"`,
    )
    .action(async (queue, options, command) => {
      const nowMs = systemClock.nowMs();
      const untilMs = options.for === undefined ? options.until : nowMs + options.for;
      if (untilMs !== undefined && untilMs <= nowMs) {
        command.error("The pause would end at once: give --for or --until a time in the future");
      }
      const config = await readConfig(context, options.config);
      const name = chooseBroker(config, options.broker, queue);
      await using broker = openBroker(config, name, systemClock);
      const pauses = pausesOf(broker, name);
      if (options.reason !== undefined && !broker.capabilities.pauseReasons) {
        command.error("This broker stores no reason of a pause: leave out --reason");
      }
      const pause: PauseOptions = {
        ...(untilMs !== undefined && { untilMs }),
        ...(options.reason !== undefined && { reason: options.reason }),
      };
      await pauses.pause(queue, pause);
      io.out(
        options.json
          ? jsonLine({ broker: name, queue, paused: true, ...shownPause(pause) })
          : `Paused "${queue}"${pauseText(pause)}\n`,
      );
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
    .summary("take jobs from a paused queue again")
    .description(
      "All workers on the broker take jobs from the queue again, within two seconds.",
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

/** The longest reason, as a line of `queues` shows it, code units. */
const MAX_REASON_LENGTH = 200;

function reasonText(text: string): string {
  if (text.trim() !== "" && text.length <= MAX_REASON_LENGTH) return text;
  throw new InvalidArgumentError(`Expected a text of at most ${MAX_REASON_LENGTH} characters.`);
}

function momentMs(text: string): number {
  const ms = dateMs(text);
  if (ms === undefined) throw new InvalidArgumentError("Expected a date such as 2026-01-31T12:00Z.");
  return ms;
}
