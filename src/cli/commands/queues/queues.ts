import { UNKNOWN_DEPTH } from "../../../core/admin.ts";
import type { Broker } from "../../../core/broker.ts";
import { Command } from "@commander-js/extra-typings";
import { openBroker } from "../../../app/assembly.ts";
import type { Config } from "../../../config/config.ts";
import { isQueueOfOther } from "../../shared_stores.ts";
import { systemClock } from "../../../core/time/clock.ts";
import type { Context } from "../../context.ts";
import { jsonLine } from "../../text/json_line.ts";
import { configOption, jsonOption } from "../../options.ts";
import { pausedFields, type QueueRow, queueTable } from "./table.ts";
import { readConfig } from "../../settings.ts";
import { onSignals, STOP_SIGNALS } from "../run/signals.ts";
import { watch } from "./watch.ts";

export function queuesCommand(context: Context) {
  const { io } = context;
  return new Command("queues")
    .summary("show how many jobs are in the queues")
    .description(
      "Shows every queue that is consumed, is paused or has jobs, and how many jobs it has in each state.",
    )
    .addOption(configOption())
    .option(
      "--watch",
      "refresh each second, with the change of jobs that are not dead, until Ctrl-C",
    )
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker queues
  $ fervo-worker queues --watch
  $ fervo-worker queues --json | jq '.[] | select(.dead > 0)'`,
    )
    .action(async (options) => {
      const config = await readConfig(context, options.config);
      await using opened = new AsyncDisposableStack();
      const brokers = [...config.brokers.keys()].map((name) =>
        [name, opened.use(openBroker(config, name, systemClock))] as const
      );
      const look = async () =>
        (await Promise.all(brokers.map(([name, broker]) => rowsOf(config, name, broker)))).flat();
      if (options.watch) {
        const ending = new AbortController();
        using _stop = onSignals(STOP_SIGNALS, () => ending.abort());
        return await watch({ io, clock: systemClock, look }, {
          isJson: options.json === true,
          signal: ending.signal,
        });
      }
      const rows = await look();
      io.out(options.json ? jsonLine(rows) : queueTable(rows));
    });
}

async function rowsOf(config: Config, name: string, broker: Broker): Promise<QueueRow[]> {
  const consumed = config.consumers.filter((consumer) => consumer.broker === name)
    .flatMap(({ queues }) => queues.map((queue) => queue.name));
  const paused = await broker.admin.pauses?.list() ?? [];
  const pauses = new Map(paused.map((pause) => [pause.queue, pause]));
  const isOfOther = isQueueOfOther(config, name);
  const found = (await broker.admin.queues?.() ?? []).filter((queue) => !isOfOther(queue));
  const queues = [...new Set([...consumed, ...pauses.keys(), ...found])].sort();
  return await Promise.all(
    queues.map(async (queue) => ({
      broker: name,
      queue,
      ...await broker.admin.depth?.(queue) ?? UNKNOWN_DEPTH,
      ...pausedFields(pauses.get(queue)),
    })),
  );
}
