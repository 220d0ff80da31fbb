import { counted } from "../../core/text/plural.ts";
import { visible } from "../../core/text/visible.ts";
import { table } from "../text/table.ts";
import type { ConsumerReport, StatusReport } from "../../app/worker_status.ts";

/** The state of a worker, for people. */
export function statusText(status: StatusReport): string {
  const { version, pid, state, uptime_s, config, log_lines_dropped, consumers, brokers, fpm } = status;
  // A worker of an older version reports none.
  const { schedules = [] } = status as Partial<StatusReport>;
  const reasons = [
    ...consumers.map(({ name, state, reason }) =>
      reason && `Consumer "${name}" is ${stateText(state)}: ${reason}`
    ),
    // A worker of an older version reports none.
    ...consumers.flatMap(({ name, paused_queues = [] }: Partial<ConsumerReport>) =>
      paused_queues.map(({ queue, until, reason }) =>
        `Queue "${queue}" of consumer "${name}" is paused${until ? ` until ${until}` : ""}${
          reason ? `: ${visible(reason)}` : ""
        }`
      )
    ),
    // The same for held-back queues.
    ...consumers.flatMap(({ name, held_back = [] }) =>
      held_back.map(({ queue, for_s }) =>
        `Consumer "${name}": the application holds back "${queue}"${
          for_s > 0 ? `, for ${duration(for_s)}` : ""
        }`
      )
    ),
    ...schedules.map(({ name, reason }) => reason && `Schedule "${name}": ${reason}`),
    ...brokers.map(({ name, error }) => error && `Broker "${name}" is unavailable: ${error}`),
    ...brokers.map(({ name, orphans }) =>
      orphans > 0 && `Broker "${name}" counts jobs in flight that this worker does not have: ${orphans}`
    ),
    ...fpm.map(({ name, error }) => error && `php-fpm "${name}" is unavailable: ${error}`),
    // A worker of an older version reports none.
    log_lines_dropped > 0 &&
    `The log has lost ${counted(log_lines_dropped, "line")}: the reader of standard error is too slow`,
  ].filter(Boolean);
  return [
    `fervo-worker ${version}, process ${pid}: ${state === "running" ? "" : `${state}, `}running for ${
      duration(uptime_s)
    } with "${config}"\n`,
    table(
      ["CONSUMER", "BROKER", "QUEUES", "STATE", "LAST RECEIVE", "SLOTS", "IN FLIGHT"],
      consumers.map(row),
      2,
    ),
    ...(schedules.length === 0 ? [] : [
      table(
        ["SCHEDULE", "BROKER", "QUEUE", "NEXT DUE"],
        schedules.map(({ name, broker, queue, next_due }) => [name, broker, queue, next_due ?? "-"]),
      ),
    ]),
    table(["SERVER", "STATE", "CONNECTIONS"], [
      ...brokers.map(({ name, up }) => [`broker ${name}`, upText(up), "-"]),
      ...fpm.map(({ name, up, connections: { busy, idle } }) => [
        `php-fpm ${name}`,
        upText(up),
        `${busy} busy, ${idle} idle`,
      ]),
    ]),
    ...(reasons.length > 0 ? [`${reasons.join("\n")}\n`] : []),
  ].join("\n");
}

function row({ name, broker, queues, state, slots, busy, in_flight, last_receive_s }: ConsumerReport) {
  const received = last_receive_s === null ? "never" : `${duration(last_receive_s)} ago`;
  return [name, broker, queues.join(" "), stateText(state), received, `${busy}/${slots}`, `${in_flight}`];
}

/** Only people pause, and only queues: a consumer backs off. */
function stateText(state: ConsumerReport["state"]): string {
  return state === "paused" ? "backing off" : state;
}

function upText(isUp: boolean): string {
  return isUp ? "up" : "unavailable";
}

/** Seconds in their two largest units: `1 d 2 h`, `3 min 4 s`, `5 s`. */
function duration(seconds: number): string {
  const units = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]] as const;
  let left = Math.round(seconds);
  const parts = units.map(([unit, length]) => {
    const count = Math.floor(left / length);
    left -= count * length;
    return { count, text: `${count} ${unit}` };
  });
  const first = parts.findIndex(({ count }) => count > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(({ count }) => count > 0).map(({ text }) => text).join(" ");
}
