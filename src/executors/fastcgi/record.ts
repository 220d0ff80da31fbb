import { JobError } from "../../core/errors.ts";
import { ACK, type Outcome } from "../../core/outcome.ts";
import { failureDetails } from "../failure_details.ts";
import { failedOutcome, pidOf } from "../told_outcome.ts";

/*
 * A record of an answer's body (docs/protocol.md, sections 2 and 7): what became of one job, as JSON between 0x1E and an
 * end of line.
 */

/** Begins a record. */
export const RECORD_SEPARATOR = 0x1e;
/** Ends one. */
export const LF = 0x0a;
/** A longer record does not count: what is kept of one has an end. */
export const MAX_RECORD_BYTES = 65_536;

/** As many digits as X-Fervo-Delay-Ms may have. */
const MAX_DELAY_MS = 999_999_999_999;

const lenientUtf8 = new TextDecoder();

/**
 * The record that an answer to a single job ends with; undefined when the body ends in any other way, or when the record
 * is for another job: then it is output.
 *
 * @param end What the body ends with.
 */
export function lastRecord(end: Uint8Array, jobId: string): Record<string, unknown> | undefined {
  const last = end.length - 1;
  if (end[last] !== LF) return undefined;
  const start = end.lastIndexOf(RECORD_SEPARATOR);
  if (start < 0 || last - start > MAX_RECORD_BYTES || end.indexOf(LF, start) !== last) return undefined;
  const record = parseText(end.subarray(start + 1, last));
  return isRecord(record) && record["id"] === jobId ? record : undefined;
}

/** What is between the marks of a record, parsed; undefined when it is no JSON. */
export function parseText(text: Uint8Array): unknown {
  try {
    return JSON.parse(lenientUtf8.decode(text));
  } catch {
    return undefined;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** What a job's record says; a word that we do not know may have meant anything. */
export function outcomeOfRecord(record: Record<string, unknown>, stderr: string): Outcome {
  const { outcome, error, delay_ms: delayMs, pid } = record;
  if (outcome === "ack") return ACK;
  if (outcome === "retry" || outcome === "bury") {
    return failedOutcome(outcome, {
      // One line, as in a header.
      reason: typeof error === "string" ? error.replaceAll(/\p{Cc}+/gu, " ") : undefined,
      delayMs: isDelay(delayMs) ? delayMs : undefined,
      pid: typeof pid === "number" ? pidOf(String(pid)) : undefined,
      stderr,
    });
  }
  const word = typeof outcome === "string" ? ` with the unknown outcome "${outcome.slice(0, 40)}"` : "";
  const text = `The job's record came ${word === "" ? "without an outcome" : word.trimStart()}`;
  return { kind: "retry", error: new JobError("JOB_NO_OUTCOME", text, { details: failureDetails(stderr) }) };
}

function isDelay(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_DELAY_MS;
}
