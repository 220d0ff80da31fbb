import type { BrokerType } from "../../brokers/broker_type.ts";
import { checkNamed, listOf, namesIn, type Table, usedBroker } from "../tables.ts";
import type { ScheduleConfig } from "../config.ts";
import { isTable, missingKey, type Path, type Problem, show } from "../problems.ts";
import type { ConfigFile } from "../schema.ts";

/** How the values of the tables [[schedule]] fit together, and to their brokers. */
export function checkSchedules(
  brokers: unknown,
  schedules: unknown,
  types: readonly BrokerType[],
): Problem[] {
  const taken = new Set<unknown>();
  return listOf(schedules).flatMap((value, index) => {
    const path = ["schedule", index];
    const schedule = isTable(value) ? value : {};
    const { name } = schedule;
    const isTaken = typeof name === "string" && taken.has(name);
    taken.add(name);
    const broker = usedBroker(brokers, schedule, types);
    return [
      ...(isTaken
        ? [{
          path: [...path, "name"],
          text: `another schedule is called ${show(name)}: give it another name`,
        }]
        : []),
      ...checkNamed("broker", namesIn(brokers), "brokers", schedule, path),
      ...checkRule(schedule, path),
      ...(broker === undefined ? [] : checkBroker(broker, schedule, path, types)),
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

function checkBroker(
  { type, table }: { readonly type: BrokerType; readonly table: Table },
  schedule: Table,
  path: Path,
  types: readonly BrokerType[],
): Problem[] {
  if (!type.capabilities.schedule) {
    const others = types.filter(({ capabilities }) => capabilities.schedule).map(({ driver }) =>
      show(driver)
    );
    return [{
      path: [...path, schedule["broker"] === undefined ? "name" : "broker"],
      text:
        `${type.driver} keeps no schedules: it has no step in which several workers can push a job once; use a broker ` +
        `with driver = ${others.join(" or ")}`,
    }];
  }
  const payload = new TextEncoder().encode(String(schedule["payload"] ?? ""));
  const { max_payload_bytes: maxBytes } = table;
  if (typeof maxBytes === "number" && payload.length > maxBytes) {
    const text =
      `payload has ${payload.length} bytes, more than max_payload_bytes = ${maxBytes} of its broker allows`;
    return [{ path: [...path, "payload"], text: `${text}: shorten it, or raise that` }];
  }
  const problems: Problem[] = [];
  if (!type.capabilities.priority && (schedule["priority"] ?? 0) !== 0) {
    problems.push({
      path: [...path, "priority"],
      text: `jobs of driver = ${show(type.driver)} have no priority: remove it, and use another queue`,
    });
  }
  const name = table["format"] ?? type.defaultFormat;
  const format = typeof name === "string" && Object.hasOwn(type.formats, name)
    ? type.formats[name]
    : undefined;
  if (format === undefined || typeof (schedule["payload"] ?? "") !== "string") return problems;
  const reason = type.whyPayloadIsRefused?.(payload, format);
  if (reason !== undefined) problems.push({ path: [...path, "payload"], text: `payload ${reason}` });
  return problems;
}
