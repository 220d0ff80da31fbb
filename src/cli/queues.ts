import { Command } from "@commander-js/extra-typings";
import { openBroker } from "../app.ts";
import { systemClock } from "../core/clock.ts";
import type { QueueDepth } from "../core/driver.ts";
import type { Context } from "./context.ts";
import { configOption, jsonOption } from "./options.ts";
import { readConfig } from "./settings.ts";
import { table } from "./table.ts";

export function queuesCommand({ io }: Context) {
  return new Command("queues")
    .summary("show how many jobs are in the queues")
    .description(
      "Shows all queues that are consumed or hold a job, and how many jobs they hold in each state.",
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker queues
  $ fervo-worker queues --json | jq '.[] | select(.dead > 0)'`,
    )
    .action(async (options) => {
      const config = await readConfig(io, options.config);
      const rows: ({ broker: string; queue: string } & QueueDepth)[] = [];
      for (const name of config.brokers.keys()) {
        await using broker = openBroker(config, name, systemClock);
        const consumed = config.consumers.filter((consumer) => consumer.broker === name)
          .flatMap(({ queues }) => queues.map((queue) => queue.name));
        const queues = [...new Set([...consumed, ...await broker.driver.queues()])].sort();
        for (const queue of queues) rows.push({ broker: name, queue, ...await broker.driver.depth(queue) });
      }
      if (options.json) return io.out(`${JSON.stringify(rows)}\n`);
      const head = ["BROKER", "QUEUE", "READY", "DELAYED", "RESERVED", "DEAD"];
      io.out(
        table(
          head,
          rows.map((row) => [row.broker, row.queue, row.ready, row.delayed, row.reserved, row.dead]),
        ),
      );
    });
}
