import { Command, Option } from "@commander-js/extra-typings";
import { openBroker } from "../../app/assembly.ts";
import { systemClock } from "../../core/time/clock.ts";
import { durationMs, queueName, uniqueKey, wholeNumber } from "../arguments.ts";
import type { Context } from "../context.ts";
import { jsonLine } from "../text/json_line.ts";
import { brokerOption, configOption, jsonOption } from "../options.ts";
import { hintAtQueue } from "../hints.ts";
import { chooseBroker, readConfig } from "../settings.ts";

/** Jobs that are pushed together: the broker makes one transaction of them. */
const BATCH_JOBS = 500;

export function pushCommand(context: Context) {
  const { io } = context;
  return new Command("push")
    .summary("push a job")
    .description(
      "Pushes a job and prints its id. The broker has stored the job when the command ends. With --unique nothing is pushed " +
        "while a job of the queue with that key waits: its id is printed instead.",
    )
    .argument("<queue>", "the queue", queueName)
    .argument(
      "[payload]",
      "the payload, which PHP reads on STDIN (default: empty); - reads it from standard input",
    )
    .addOption(configOption())
    .addOption(brokerOption())
    .option("--count <n>", "push it this many times", wholeNumber(1), 1)
    .option("--delay <duration>", "run it after this delay at the earliest, e.g. 10s", durationMs)
    .option(
      "--priority <n>",
      "jobs with a higher priority run first",
      wholeNumber(Number.MIN_SAFE_INTEGER),
      0,
    )
    .option("--attempts <n>", "attempts at most, instead of the consumer's", wholeNumber(1))
    .addOption(
      new Option("--unique <key>", "push nothing while a job of the queue with this key waits")
        .argParser(uniqueKey)
        .conflicts("count"),
    )
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker push mail '{"to":"ann@example.org"}'
  $ fervo-worker push mail - < message.json
  $ fervo-worker push reports '{"month":7}' --delay 10s --priority 5
  $ fervo-worker push search '{"index":"products"}' --unique products
  $ fervo-worker push default '{}' --count 1000`,
    )
    .action(async (queue, text = "", options) => {
      const config = await readConfig(context, options.config);
      await using broker = openBroker(config, chooseBroker(config, options.broker, queue), systemClock);
      const payload = text === "-" ? await io.readStdin() : new TextEncoder().encode(text);
      const { priority, attempts, unique } = options;
      let wasWaiting = false;
      const job = {
        priority,
        delayMs: options.delay ?? 0,
        ...(attempts !== undefined && { maxAttempts: attempts }),
        ...(unique !== undefined && { unique, onWaiting: () => wasWaiting = true }),
      };
      hintAtQueue(io, config, queue);
      const ids: string[] = [];
      while (ids.length < options.count) {
        const batch = Array.from(
          { length: Math.min(BATCH_JOBS, options.count - ids.length) },
          () => broker.push(queue, payload, job),
        );
        const results = await Promise.allSettled(batch);
        for (const result of results) if (result.status === "fulfilled") ids.push(result.value);
        const failure = results.find((result) => result.status === "rejected");
        if (failure === undefined) continue;
        // The user must know that these exist before running the command again.
        if (ids.length > 0) {
          io.err(
            `Pushed ${ids.length} of the ${options.count} jobs, ${ids[0]} to ${
              ids.at(-1)
            }, and then failed\n`,
          );
        }
        throw failure.reason;
      }
      if (options.json) {
        const count = wasWaiting ? 0 : ids.length;
        return io.out(
          jsonLine({ queue, count, ids, ...(unique !== undefined && { was_waiting: wasWaiting }) }),
        );
      }
      if (wasWaiting) {
        return io.out(`Pushed nothing to "${queue}": job ${ids[0]} with the same key waits already\n`);
      }
      const what = ids.length === 1 ? `job ${ids[0]}` : `${ids.length} jobs, ${ids[0]} to ${ids.at(-1)},`;
      io.out(`Pushed ${what} to "${queue}"\n`);
    });
}
