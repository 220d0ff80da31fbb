import type { Clock } from "../../core/time/clock.ts";
import type { SqliteChanges } from "./store/changes.ts";
import type { SqliteFile } from "./store/file.ts";
import type { SqliteWriter } from "./store/writer.ts";

/** Shared by the parts of the broker. */
export interface SqliteShared {
  readonly file: SqliteFile;
  readonly clock: Clock;
  readonly writer: SqliteWriter;
  readonly changes: SqliteChanges;
}
