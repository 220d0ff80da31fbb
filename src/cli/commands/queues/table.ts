import { type PausedQueue, type QueueDepth, shownPause } from "../../../core/admin.ts";
import { table } from "../../text/table.ts";

/** A queue as it is shown, and printed by `--json`. */
export interface QueueRow extends QueueDepth {
  readonly broker: string;
  readonly queue: string;
  readonly paused: boolean;
  /** When the pause ends by itself, ISO 8601; null for no such time. */
  readonly paused_until: string | null;
  /** Why it is paused, where somebody said so. */
  readonly pause_reason: string | null;
  /** How many more jobs that are not dead there are each second; undefined where that is not known. */
  readonly change_per_s?: number;
}

/** What a row says of its queue's pause, if it has one. */
export function pausedFields(pause: PausedQueue | undefined) {
  const { until, reason } = shownPause(pause);
  return { paused: pause !== undefined, paused_until: until, pause_reason: reason };
}

/**
 * Counts first, so that no name moves them off the screen; "-" for what the broker cannot count.
 *
 * @param isWatched With the change of each queue.
 */
export function queueTable(rows: readonly QueueRow[], isWatched = false): string {
  const change = isWatched ? ["CHANGE/S"] : [];
  const reason = rows.some(({ pause_reason }) => pause_reason !== null) ? ["REASON"] : [];
  return table(
    ["READY", "DELAYED", "RESERVED", "DEAD", ...change, "PAUSED", "BROKER", "QUEUE", ...reason],
    rows.map((row) => [
      ...[row.ready, row.delayed, row.reserved, row.dead].map((count) => count ?? "-"),
      ...change.map(() => row.change_per_s ?? "-"),
      row.paused_until !== null ? `until ${row.paused_until}` : row.paused ? "paused" : "",
      row.broker,
      row.queue,
      ...reason.map(() => row.pause_reason ?? ""),
    ]),
  );
}
