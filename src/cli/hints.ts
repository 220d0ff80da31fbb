import type { Config } from "../config/config.ts";
import { nearest } from "../config/problems.ts";
import { ERROR_CODES } from "../core/errors.ts";
import type { Io } from "./io.ts";

/**
 * Reports that no consumer of the configuration takes from a queue that a person has named, with the queue that may be meant: a
 * queue needs nothing else to exist.
 */
export function hintAtQueue(io: Io, { consumers }: Config, queue: string | undefined): void {
  const known = consumers.flatMap(({ queues }) => queues.map(({ name }) => name));
  hint(io, "No consumer of this configuration takes jobs from", queue, known);
}

/**
 * Reports that an error code that a person has named, and that no dead letter has, is not fervo-worker's, with the code that
 * may be meant. Errors of other programs have their own words.
 */
export function hintAtCode(io: Io, code: string | undefined): void {
  hint(io, "No error of fervo-worker has the code", code, ERROR_CODES);
}

/** Reports that a word that a person has named is unknown, with the word that may be meant. */
function hint(io: Io, what: string, word: string | undefined, known: readonly string[]): void {
  if (word === undefined || known.includes(word)) return;
  const meant = nearest(word, known);
  io.err(`fervo-worker: ${what} "${word}"${meant === undefined ? "" : `; did you mean "${meant}"?`}\n`);
}
