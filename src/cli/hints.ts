import type { Config } from "../config/config.ts";
import { nearest } from "../config/problems.ts";
import { ERROR_CODES } from "../core/errors.ts";
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

/**
 * Says when an error code that a person has named, and that no dead letter has, is none of fervo-worker's, and which one may be
 * meant: of other programs' errors, in their own words, there is no list.
 */
export function hintAtCode(io: Io, code: string | undefined): void {
  const known: readonly string[] = ERROR_CODES;
  if (code === undefined || known.includes(code)) return;
  const meant = nearest(code, known);
  const hint = meant === undefined ? "" : `; did you mean "${meant}"?`;
  io.err(`fervo-worker: No error of fervo-worker has the code "${code}"${hint}\n`);
}
