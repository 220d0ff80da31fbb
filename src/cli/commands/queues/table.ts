import { type PausedQueue, type QueueDepth, shownPause } from "../../../core/admin.ts";
import { table } from "../../text/table.ts";

/** A queue in the table, and in `--json`. */
export interface QueueRow extends QueueDepth {
  readonly broker: string;
  readonly queue: string;
  readonly paused: boolean;
  /** When the pause ends by itself, ISO 8601; null without an end. */
  readonly paused_until: string | null;
  /** The reason of the pause, if any. */
  readonly pause_reason: string | null;
  /** The change of the number of jobs that are not dead, a second; undefined if unknown. */
  readonly change_per_s?: number;
}

/** The fields of a queue's pause. */
export function pausedFields(pause: PausedQueue | undefined) {
  const { until, reason } = shownPause(pause);
  return { paused: pause !== undefined, paused_until: until, pause_reason: reason };
}

/**
 * Counts first, so that no name moves them off the screen; "-" for an unknown count.
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
