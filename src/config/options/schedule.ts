import { JobError } from "../../core/errors.ts";
import { FORMATS } from "../../formats/mod.ts";
import { checkNamed, listOf, namesIn, type Table, tablesIn } from "../tables.ts";
import { DEFAULT_SIDEKIQ_FORMAT, SCHEDULE_DRIVERS, type ScheduleConfig, SIDEKIQ_FORMATS } from "../config.ts";
import { isTable, missingKey, type Path, type Problem, show } from "../problems.ts";
import type { ConfigFile } from "../schema.ts";

/** How the values of the tables [[schedule]] fit together, and to their brokers. */
export function checkSchedules(brokers: unknown, schedules: unknown): Problem[] {
  const taken = new Set<unknown>();
  return listOf(schedules).flatMap((value, index) => {
    const path = ["schedule", index];
    const schedule = isTable(value) ? value : {};
    const { name } = schedule;
    const isTaken = typeof name === "string" && taken.has(name);
    taken.add(name);
    const broker = brokerOf(brokers, schedule);
    return [
      ...(isTaken
        ? [{
          path: [...path, "name"],
          text: `another schedule is called ${show(name)}: give it another name`,
        }]
        : []),
      ...checkNamed("broker", namesIn(brokers), "brokers", schedule, path),
      ...checkRule(schedule, path),
      ...(broker === undefined ? [] : checkBroker(broker, schedule, path)),
    ];
  });
}

/** The options that a checked table means. */
export function scheduleOf(schedule: ConfigFile["schedule"][number], onlyBroker: string): ScheduleConfig {
  return {
    name: schedule.name,
    broker: schedule.broker ?? onlyBroker,
    queue: schedule.queue,
    rule: schedule.cron === undefined
      ? { everyMs: schedule.every_ms! }
      : { cron: schedule.cron, timeZone: schedule.time_zone },
    catchUp: schedule.catch_up,
    payload: new TextEncoder().encode(schedule.payload),
    priority: schedule.priority,
    attempts: schedule.attempts === 0 ? undefined : schedule.attempts,
  };
}

/** Undefined when there is none, or it cannot be told which. */
function brokerOf(brokers: unknown, schedule: Table): Table | undefined {
  const [only, ...others] = namesIn(brokers);
  const name = schedule["broker"] ?? (others.length === 0 ? only : undefined);
  return tablesIn(brokers).find(([key]) => key === name)?.[1];
}

function checkRule(schedule: Table, path: Path): Problem[] {
  const { cron, every_ms: everyMs, time_zone: timeZone } = schedule;
  if (cron === undefined && everyMs === undefined) {
    return [missingKey([...path, "cron"], 'say when it is due: cron = "30 2 * * *", or every_ms = 60000')];
  }
  if (everyMs === undefined) return [];
  if (cron !== undefined) {
    return [{ path: [...path, "every_ms"], text: "there are cron and every_ms: remove one of them" }];
  }
  if (timeZone === undefined) return [];
  return [{
    path: [...path, "time_zone"],
    text: "time_zone has no effect with every_ms, which counts from 1970: remove it, or use cron",
  }];
}

function checkBroker(broker: Table, schedule: Table, path: Path): Problem[] {
  const { driver } = broker;
  if (driver === "beanstalkd") {
    return [{
      path: [...path, schedule["broker"] === undefined ? "name" : "broker"],
      text:
        "a beanstalkd keeps no schedule, for it has nothing by which several workers can push a job once: use a " +
        `broker with driver = ${SCHEDULE_DRIVERS.map(show).join(" or ")}`,
    }];
  }
  const { max_payload_bytes: maxBytes } = broker;
  const bytes = new TextEncoder().encode(String(schedule["payload"] ?? "")).length;
  if (typeof maxBytes === "number" && bytes > maxBytes) {
    const text = `payload has ${bytes} bytes, more than max_payload_bytes = ${maxBytes} of its broker allows`;
    return [{ path: [...path, "payload"], text: `${text}: shorten it, or raise that` }];
  }
  return driver === "redis" ? checkSidekiqJob(broker, schedule, path) : [];
}

/** Sidekiq's jobs have a form, and no priority. */
function checkSidekiqJob(broker: Table, schedule: Table, path: Path): Problem[] {
  const problems: Problem[] = [];
  const { payload = "", priority = 0 } = schedule;
  if (priority !== 0) {
    problems.push({
      path: [...path, "priority"],
      text: "Sidekiq's jobs have no priority: remove it, and use another queue",
    });
  }
  const { format: written = DEFAULT_SIDEKIQ_FORMAT } = broker;
  const format = SIDEKIQ_FORMATS.find((name) => name === written);
  if (typeof payload !== "string" || format === undefined) return problems;
  try {
    FORMATS[format].read({ body: new TextEncoder().encode(payload) });
  } catch (error) {
    if (!(error instanceof JobError)) throw error;
    problems.push({
      path: [...path, "payload"],
      text: `payload is no job of Sidekiq's: expected one such as '{"class":"ReportJob","args":[]}' ` +
        `(${error.message})`,
    });
  }
  return problems;
}
