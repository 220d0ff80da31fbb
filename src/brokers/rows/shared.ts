import type { Clock } from "../../core/time/clock.ts";
import type { SqlDatabase } from "../../sql/database.ts";
import type { Turns } from "./turns.ts";
import type { Wakeups } from "./wakeups.ts";

/** Shared by the parts of the broker. */
export interface RowsShared {
  readonly clock: Clock;
  /** The connection for questions of people and their tools, and for notifications: a long answer delays no job. */
  readonly side: SqlDatabase;
  /** Changes, on the connection for jobs. */
  readonly turns: Turns;
  readonly wakeups: Wakeups;
  /** The latest look for jobs. */
  readonly latest: { atMs: number; hasPauses: boolean };
}
