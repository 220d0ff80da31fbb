import { Command } from "@commander-js/extra-typings";
import type { ScheduleConfig } from "../../config/config.ts";
import { systemClock } from "../../core/time/clock.ts";
import { isoDate } from "../../core/time/iso_date.ts";
import { createRule } from "../../worker/schedule/schedule_rule.ts";
import type { Context } from "../context.ts";
import { jsonLine } from "../text/json_line.ts";
import { configOption, jsonOption } from "../options.ts";
import { readConfig } from "../settings.ts";
import { table } from "../text/table.ts";

/** How many times of each schedule are shown. */
const TIMES = 5;

export function scheduleCommand(context: Context) {
  return new Command("schedule")
    .summary("show when schedules are due")
    .description("Shows what the configuration's schedules mean.")
    .addCommand(listCommand(context))
    .addHelpText("after", "\nExamples:\n  $ fervo-worker schedule list");
}

function listCommand(context: Context) {
  const { io } = context;
  return new Command("list")
    .summary("show the next five times of each schedule")
    .description(
      "Shows the next five times of each schedule, in its own time zone and in UTC. They come from the " +
        "configuration alone: `fervo-worker status` shows the schedules of the running worker.",
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker schedule list
  $ fervo-worker schedule list --json | jq '.[] | {name, next: .next[0].utc}'`,
    )
    .action(async (options) => {
      const config = await readConfig(context, options.config);
      const schedules = config.schedule.map((schedule) => report(schedule, systemClock.nowMs()));
      if (options.json) return io.out(jsonLine(schedules));
      if (schedules.length === 0) return io.out("The configuration has no schedule\n");
      io.out(table(
        ["SCHEDULE", "BROKER", "QUEUE", "RULE", "LOCAL TIME", "UTC"],
        schedules.flatMap(({ name, broker, queue, rule, next }) =>
          next.map(({ local, utc }, i) =>
            i === 0 ? [name, broker, queue, rule, local, utc] : ["", "", "", "", local, utc]
          )
        ),
      ));
    });
}

/** A schedule in `--json`. */
function report({ name, broker, queue, rule }: ScheduleConfig, nowMs: number) {
  const times = createRule(rule);
  const timeZone = "cron" in rule ? rule.timeZone : "UTC";
  const next: { readonly local: string; readonly utc: string }[] = [];
  for (let ms = times.nextAfter(nowMs); ms !== undefined && next.length < TIMES; ms = times.nextAfter(ms)) {
    next.push({ local: localTime(ms, timeZone), utc: isoDate(ms) });
  }
  return { name, broker, queue, rule: times.text, next };
}

/** The wall clock's time with its offset to UTC: `2026-10-25 02:30:00 +02:00`. */
function localTime(ms: number, timeZone: string): string {
  const digits = { year: "numeric", month: "2-digit", day: "2-digit" } as const;
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" } as const;
  // Swedish dates have the form of ISO 8601.
  const text = new Intl.DateTimeFormat("sv", { timeZone, ...digits, ...time, timeZoneName: "longOffset" })
    .format(ms);
  return text.replace(/(?:GMT|UTC)$/, "+00:00").replace(/(?:GMT|UTC)(?=[+−-])/, "").replace("−", "-");
}
