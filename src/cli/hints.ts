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
  hint(io, "No consumer of this configuration takes jobs from", queue, known);
}

/**
 * Says when an error code that a person has named, and that no dead letter has, is none of fervo-worker's, and which one may be
 * meant: of other programs' errors, in their own words, there is no list.
 */
export function hintAtCode(io: Io, code: string | undefined): void {
  hint(io, "No error of fervo-worker has the code", code, ERROR_CODES);
}

/** Says that a word is not one of those that are known, where a person has named one, and which one may be meant. */
function hint(io: Io, what: string, word: string | undefined, known: readonly string[]): void {
  if (word === undefined || known.includes(word)) return;
  const meant = nearest(word, known);
  io.err(`fervo-worker: ${what} "${word}"${meant === undefined ? "" : `; did you mean "${meant}"?`}\n`);
}
