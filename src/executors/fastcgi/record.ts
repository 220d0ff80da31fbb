import { JobError } from "../../core/errors.ts";
import { ACK, type Outcome } from "../../core/outcome.ts";
import { failureDetails } from "../failure_details.ts";
import { failedOutcome, failureOf, pidOf } from "../told_outcome.ts";

/*
 * A record in an answer's body (docs/protocol.md, sections 2 and 7): the outcome of one job, as JSON between 0x1E and a line
 * end.
 */

export const RECORD_SEPARATOR = 0x1e;
/** Ends a record. */
export const LF = 0x0a;
/** A longer record does not count: the kept end is limited. */
export const MAX_RECORD_BYTES = 65_536;

/** For a message after a record: the default of the brokers' `max_payload_bytes`. A broker refuses more than its own limit. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

/** A job that asks to run later runs no sooner: a job that always asks must not keep a worker busy. */
const MIN_POSTPONED_MS = 1_000;
/** The longest time for which one record can hold back a queue. */
const MAX_QUEUE_PAUSE_MS = 60_000;

/** X-Fervo-Delay-Ms has at most as many digits. */
const MAX_DELAY_MS = 999_999_999_999;

const lenientUtf8 = new TextDecoder();

/**
 * The record at the end of an answer to a single job; undefined when the body ends otherwise, or the record is for another job:
 * then it is output.
 *
 * @param end The end of the body.
 */
export function lastRecord(end: Uint8Array, jobId: string): Record<string, unknown> | undefined {
  const last = end.length - 1;
  if (end[last] !== LF) return undefined;
  const start = end.lastIndexOf(RECORD_SEPARATOR);
  if (start < 0 || last - start > MAX_RECORD_BYTES || end.indexOf(LF, start) !== last) return undefined;
  const record = parseText(end.subarray(start + 1, last));
  return isRecord(record) && record["id"] === jobId ? record : undefined;
}

/** The JSON between the marks of a record; undefined when it is invalid. */
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

/** The outcome in a job's record without a message; an unknown word may mean anything. */
export function outcomeOfRecord(record: Record<string, unknown>, stderr: string): Outcome {
  return withPause(record, wordOf(record, stderr));
}

/** Adds the record's word about the whole queue. */
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

/** The lengths of the headers and body of a message after a record; undefined without one, or when it is too long. */
export function messageLengths(
  { outcome, headers_bytes: headers = 0, bytes: body }: Record<string, unknown>,
): { readonly headers: number; readonly body: number } | undefined {
  if (outcome !== "replace" || !isLength(headers) || !isLength(body)) return undefined;
  return headers + body <= MAX_MESSAGE_BYTES ? { headers, body } : undefined;
}

/** The outcome of a record with a replacement message. */
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
