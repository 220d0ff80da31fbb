import { Command, Option } from "@commander-js/extra-typings";
import { openBroker } from "../../app/assembly.ts";
import type { JobState, ListedJob } from "../../core/admin.ts";
import { payloadFields } from "../../core/text/payload.ts";
import { systemClock } from "../../core/time/clock.ts";
import { isoDate } from "../../core/time/iso_date.ts";
import { queueName, wholeNumber } from "../arguments.ts";
import { jobsOf } from "../broker_parts.ts";
import type { Context } from "../context.ts";
import { hintAtQueue } from "../hints.ts";
import { brokerOption, configOption, jsonOption } from "../options.ts";
import { chooseBroker, readConfig } from "../settings.ts";
import { jsonLine } from "../text/json_line.ts";
import { table } from "../text/table.ts";

const STATES: readonly JobState[] = ["ready", "delayed", "reserved"];

export function jobsCommand(context: Context) {
  const { io } = context;
  return new Command("jobs")
    .summary("list the jobs of a queue")
    .description(
      "Lists the jobs of a queue in one state: ready, with the next job first; delayed, by due time; or reserved, which means " +
        "in flight. For dead letters, see dead list.",
    )
    .argument("<queue>", "the queue", queueName)
    .addOption(
      new Option("--state <state>", "the state of the jobs").choices(STATES).default("ready" as JobState),
    )
    .option("--limit <n>", "at most this many", wholeNumber(1), 50)
    .option("--after <place>", "continue after this place, which the previous page printed")
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker jobs mail\n  $ fervo-worker jobs mail --state delayed --limit 10 --json",
    )
    .action(async (queue, { state, limit, ...options }) => {
      const config = await readConfig(context, options.config);
      const name = chooseBroker(config, options.broker, queue);
      await using broker = openBroker(config, name, systemClock);
      const page = jobsOf(broker, name);
      const jobs: ListedJob[] = [];
      let next = options.after;
      do {
        const read = await page(queue, state, { limit: limit - jobs.length, after: next });
        jobs.push(...read.jobs);
        next = read.next;
      } while (jobs.length < limit && next !== undefined);
      if (jobs.length === 0) hintAtQueue(io, config, queue);
      if (options.json) {
        return io.out(jsonLine({ queue, state, jobs: jobs.map(jobJson), next: next ?? null }));
      }
      if (jobs.length === 0) return io.out(`No ${state} jobs in "${queue}"\n`);
      io.out(jobTable(jobs));
      if (next !== undefined) io.err(`There may be more: continue with --after ${next}\n`);
    });
}

function jobTable(jobs: readonly ListedJob[]): string {
  return table(
    ["ID", "PUSHED", "READY", "ATTEMPTS", "BYTES", "PAYLOAD"],
    jobs.map(({ id, enqueuedAtMs, readyAtMs, attempts, payloadBytes, payload }) => [
      id,
      dateOf(enqueuedAtMs) ?? "-",
      dateOf(readyAtMs) ?? "-",
      attempts ?? "-",
      payloadBytes,
      new TextDecoder().decode(payload),
    ]),
  );
}

/** `payload_bytes` is the length of the whole payload, which may be cut. */
function jobJson({ id, payload, payloadBytes, attempts, enqueuedAtMs, readyAtMs }: ListedJob) {
  return {
    id,
    attempts: attempts ?? null,
    enqueued_at: dateOf(enqueuedAtMs) ?? null,
    ready_at: dateOf(readyAtMs) ?? null,
    payload_bytes: payloadBytes,
    ...payloadFields(payload),
  };
}

function dateOf(timeMs: number | undefined): string | undefined {
  return timeMs === undefined ? undefined : isoDate(timeMs);
}
