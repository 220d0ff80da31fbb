import { JobError } from "../../core/errors.ts";
import { ACK, type Outcome } from "../../core/outcome.ts";
import { failureDetails } from "../failure_details.ts";
import { failedOutcome, failureOf, pidOf } from "../told_outcome.ts";

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

/** Of a message behind a record: as the brokers' `max_payload_bytes` unless it is set. A broker refuses what is beyond its own limit. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

/** A job that asks to come later comes no sooner: one that always asks must not keep a worker busy. */
const MIN_POSTPONED_MS = 1_000;
/** The longest that a queue is paused by one record. */
const MAX_QUEUE_PAUSE_MS = 60_000;

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

/** What a job's record says, where no message follows; a word that we do not know may have meant anything. */
export function outcomeOfRecord(record: Record<string, unknown>, stderr: string): Outcome {
  return withPause(record, wordOf(record, stderr));
}

/** With what the record says of the whole queue. */
function withPause({ queue_pause_ms: pauseMs }: Record<string, unknown>, outcome: Outcome): Outcome {
  return isDelay(pauseMs) && pauseMs > 0
    ? { ...outcome, queuePauseMs: Math.min(pauseMs, MAX_QUEUE_PAUSE_MS) }
    : outcome;
}

function wordOf(record: Record<string, unknown>, stderr: string): Outcome {
  const { outcome, delay_ms: delayMs } = record;
  if (outcome === "ack") return ACK;
  if (outcome === "release") return postponed(isDelay(delayMs) ? delayMs : 0);
  const failure = { ...failureIn(record), stderr };
  if (outcome === "handled") return { kind: "handled", error: failureOf(failure) };
  if (outcome === "retry" || outcome === "bury") {
    return failedOutcome(outcome, { ...failure, delayMs: isDelay(delayMs) ? delayMs : undefined });
  }
  if (outcome === "replace") {
    const text =
      `The job's record announces a replacement message, and the answer has no valid one: in the answer to a batch, as many bytes as ` +
      `"headers_bytes" and "bytes" say must follow, ${MAX_MESSAGE_BYTES} at most`;
    return noWord(text, stderr);
  }
  const word = typeof outcome === "string" ? ` with the unknown outcome "${outcome.slice(0, 40)}"` : "";
  return noWord(`The job's record came ${word === "" ? "without an outcome" : word.trimStart()}`, stderr);
}

/** How many bytes of a message stand behind a record, headers and body; undefined when none, or too many. */
export function messageLengths(
  { outcome, headers_bytes: headers = 0, bytes: body }: Record<string, unknown>,
): { readonly headers: number; readonly body: number } | undefined {
  if (outcome !== "replace" || !isLength(headers) || !isLength(body)) return undefined;
  return headers + body <= MAX_MESSAGE_BYTES ? { headers, body } : undefined;
}

/** What the record of a job says in whose place this message is put. */
export function replacedBy(
  record: Record<string, unknown>,
  { headers, body }: { readonly headers: Uint8Array; readonly body: Uint8Array },
  stderr: string,
): Outcome {
  const names = headers.length === 0 ? {} : parseText(headers);
  if (
    !isRecord(names) || Array.isArray(names) ||
    Object.values(names).some((value) => typeof value !== "string")
  ) {
    return noWord(
      "The headers of the replacement message are not a JSON object of strings",
      stderr,
    );
  }
  const { delay_ms: delayMs } = record;
  return withPause(record, {
    kind: "replace",
    message: { body, headers: names as Record<string, string> },
    delayMs: isDelay(delayMs) ? delayMs : 0,
    error: failureOf({ ...failureIn(record), stderr }),
  });
}

function postponed(delayMs: number): Outcome {
  const error = new JobError("JOB_POSTPONED", "The job did not run, and asked to run later");
  return { kind: "release", reason: "asked", delayMs: Math.max(delayMs, MIN_POSTPONED_MS), error };
}

function failureIn({ error, pid }: Record<string, unknown>) {
  return {
    // One line, as in a header.
    reason: typeof error === "string" ? error.replaceAll(/\p{Cc}+/gu, " ") : undefined,
    pid: typeof pid === "number" ? pidOf(String(pid)) : undefined,
  };
}

function noWord(text: string, stderr: string): Outcome {
  return { kind: "retry", error: new JobError("JOB_NO_OUTCOME", text, { details: failureDetails(stderr) }) };
}

function isLength(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isDelay(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_DELAY_MS;
}
