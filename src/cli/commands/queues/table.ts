import type { QueueDepth } from "../../../core/admin.ts";
import { table } from "../../text/table.ts";

/** A queue as it is shown, and printed by `--json`. */
export interface QueueRow extends QueueDepth {
  readonly broker: string;
  readonly queue: string;
  readonly paused: boolean;
  /** How many more jobs that are not dead there are each second; undefined where that is not known. */
  readonly change_per_s?: number;
}

/**
 * Counts first, so that no name moves them out of sight; "-" for what the broker cannot count.
 *
 * @param isWatched With the change of each queue.
 */
export function queueTable(rows: readonly QueueRow[], isWatched = false): string {
  const change = isWatched ? ["CHANGE/S"] : [];
  return table(
    ["READY", "DELAYED", "RESERVED", "DEAD", ...change, "PAUSED", "BROKER", "QUEUE"],
    rows.map((row) => [
      ...[row.ready, row.delayed, row.reserved, row.dead].map((count) => count ?? "-"),
      ...change.map(() => row.change_per_s ?? "-"),
      row.paused ? "paused" : "",
      row.broker,
      row.queue,
    ]),
  );
}
