import type { Clock } from "../../core/time/clock.ts";
import type { SqliteChanges } from "./changes.ts";
import type { SqliteFile } from "./file.ts";
import type { SqliteWriter } from "./writer.ts";

/** What the parts of the broker share. */
export interface SqliteShared {
  readonly file: SqliteFile;
  readonly clock: Clock;
  readonly writer: SqliteWriter;
  readonly changes: SqliteChanges;
}
