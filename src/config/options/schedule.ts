import type { ScheduleConfig } from "../config.ts";
import { anyOf, missingKey, show } from "../problems.ts";
import {
  type Check,
  checkNamed,
  isTaken,
  problem,
  type Problems,
  type Reading,
  type Schedule,
  tablesIn,
  usedBroker,
} from "../tables.ts";

/** Checks that the values of a table [[schedule]] fit together, and to its broker. */
export const SCHEDULE_CHECKS: readonly Check<Schedule>[] = [
  (schedule, reading) => checkNamed("broker", "brokers", schedule, reading),
  checkName,
  checkRule,
  checkBroker,
];

/** The options of a checked table. */
export function scheduleOf(schedule: Schedule["value"], onlyBroker: string): ScheduleConfig {
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

function* checkName(schedule: Schedule, reading: Reading): Problems {
  if (!isTaken(schedule, tablesIn("schedule", reading), ({ value }) => value.name)) return;
  const text = `another schedule is called ${show(schedule.value.name)}: give it another name`;
  yield problem(schedule, "name", text);
}

function* checkRule(schedule: Schedule): Problems {
  const { cron, every_ms: everyMs, time_zone: timeZone } = schedule.written;
  if (everyMs === undefined) {
    const expected = 'set cron, such as cron = "30 2 * * *", or every_ms, such as every_ms = 60000';
    if (cron === undefined) yield missingKey([...schedule.path, "cron"], expected);
  } else if (cron !== undefined) {
    yield problem(schedule, "every_ms", "set either cron or every_ms, not both");
  } else if (timeZone !== undefined) {
    const text = "time_zone has no effect with every_ms, which counts from 1970: remove it, or use cron";
    yield problem(schedule, "time_zone", text);
  }
}

function* checkBroker(schedule: Schedule, reading: Reading): Problems {
  const used = usedBroker(schedule, reading);
  if (used === undefined) return;
  const { type, broker } = used;
  const { capabilities } = type;
  if (!capabilities.schedule) {
    const others = reading.types.filter(({ capabilities }) => capabilities.schedule).map(({ driver }) =>
      driver
    );
    const isFormat = others.includes(type.driver);
    const text =
      `${type.driver}${
        isFormat ? ` with format = ${show(broker.format)}` : ""
      } cannot store schedules: it has no ` +
      `atomic way to push one job per due time; use a broker with driver = ${anyOf(others)}` +
      (isFormat ? `, and without format = ${show(broker.format)}` : "");
    yield problem(schedule, schedule.written["broker"] === undefined ? "name" : "broker", text);
    return;
  }
  const payload = new TextEncoder().encode(schedule.value.payload);
  const maxBytes = Number(broker["max_payload_bytes"] ?? Infinity);
  const reason = type.whyPayloadIsRefused?.(payload, type.formats[broker.format]!);
  if (payload.length > maxBytes) {
    const text =
      `payload has ${payload.length} bytes, more than max_payload_bytes = ${maxBytes} of its broker allows`;
    yield problem(schedule, "payload", `${text}: shorten the payload, or raise the limit`);
  } else if (reason !== undefined) yield problem(schedule, "payload", `payload ${reason}`);
  if (!capabilities.priority && schedule.value.priority !== 0) {
    const text = `jobs of driver = ${
      show(type.driver)
    } have no priority: remove it, or use a queue of its own`;
    yield problem(schedule, "priority", text);
  }
}
