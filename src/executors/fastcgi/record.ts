import { JobError } from "../../core/errors.ts";
import { ACK, type Outcome } from "../../core/outcome.ts";
import { failureDetails } from "../failure_details.ts";
import { failedOutcome, failureOf, MAX_REASON_LENGTH, pidOf } from "../told_outcome.ts";

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

/** A record at the end of an answer, with the replacement message that follows it, if it announces one. */
export interface LastRecord {
  readonly record: Record<string, unknown>;
  readonly message?: { readonly headers: Uint8Array; readonly body: Uint8Array };
}

/**
 * The record at the end of an answer to a single job; undefined when the body ends otherwise, or the record is for another job:
 * then it is output. A message can contain anything, also a record: the first record counts whose message ends with the body.
 *
 * @param end The end of the body.
 */
export function lastRecord(end: Uint8Array, jobId: string): LastRecord | undefined {
  let lineStart = 0;
  for (let lf = end.indexOf(LF); lf >= 0; lf = end.indexOf(LF, lineStart)) {
    const line = end.subarray(lineStart, lf);
    lineStart = lf + 1;
    const start = line.lastIndexOf(RECORD_SEPARATOR);
    if (start < 0 || line.length - start > MAX_RECORD_BYTES) continue;
    const record = parseText(line.subarray(start + 1));
    if (!isRecord(record) || record["id"] !== jobId) continue;
    const lengths = messageLengths(record);
    if (lengths === undefined) {
      if (lineStart === end.length) return { record };
    } else if (lineStart + lengths.headers + lengths.body === end.length) {
      const bodyStart = lineStart + lengths.headers;
      return {
        record,
        message: { headers: end.subarray(lineStart, bodyStart), body: end.subarray(bodyStart) },
      };
    }
  }
  return undefined;
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

/** The outcome in the record of a single job, with its message. */
export function outcomeOfLast({ record, message }: LastRecord, stderr: string): Outcome {
  return message === undefined ? outcomeOfRecord(record, stderr) : replacedBy(record, message, stderr);
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
  const failure = { ...failureIn(record), stderr };
  if (outcome === "release") return postponed(isDelay(delayMs) ? delayMs : 0, failure.reason);
  if (outcome === "handled") return { kind: "handled", error: failureOf(failure) };
  if (outcome === "retry" || outcome === "bury") {
    return failedOutcome(outcome, { ...failure, delayMs: isDelay(delayMs) ? delayMs : undefined });
  }
  if (outcome === "replace") {
    const text =
      `The job's record announces a replacement message, and the answer has no valid one: as many bytes as "headers_bytes" and "bytes" ` +
      `say must follow, ${MAX_MESSAGE_BYTES} at most; the answer to a single job must fit into max_response_bytes`;
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

function postponed(delayMs: number, reason: string | undefined): Outcome {
  const why = reason === undefined ? "" : `: ${reason.slice(0, MAX_REASON_LENGTH)}`;
  const error = new JobError("JOB_POSTPONED", `The job did not run, and asked to run later${why}`);
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
