import type { Config } from "../config/config.ts";
import { nearest } from "../config/problems.ts";
import type { Io } from "./io.ts";

/**
 * Says when no consumer of the configuration takes from a queue that a person has named, and which one may be meant: a queue
 * needs no other sign to exist.
 */
export function hintAtQueue(io: Io, { consumers }: Config, queue: string | undefined): void {
  const known = consumers.flatMap(({ queues }) => queues.map(({ name }) => name));
  if (queue === undefined || known.includes(queue)) return;
  const meant = nearest(queue, known);
  const hint = meant === undefined ? "" : `; did you mean "${meant}"?`;
  io.err(`fervo-worker: No consumer of this configuration takes jobs from "${queue}"${hint}\n`);
}
