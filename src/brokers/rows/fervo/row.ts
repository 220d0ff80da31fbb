import { JobError } from "../../../core/errors.ts";
import {
  type Format,
  isUnreadable,
  type JobHead,
  type Message,
  readJob,
  type Unreadable,
  unreadable,
} from "../../../core/format.ts";
import { tooLarge } from "../../../core/text/payload.ts";
import type { SqlRow } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import type { ClaimedRow } from "../layout.ts";
import { parsed } from "../../job_columns.ts";

/** The lease of a ready job that was put back while it ran: it has no owner, and makes the next delivery a repeat. */
export const CUT_OFF = "cut off";

/** A claimed job of our own table. */
export interface FervoRow extends ClaimedRow {
  readonly attempt: number;
  /** The column as it was. */
  readonly error: string | null;
  readonly errors: string | null;
  readonly uniqueKey: string | undefined;
}

const NO_BYTES = new Uint8Array(0);
const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});
const MAX_COUNT = Number.MAX_SAFE_INTEGER;

/**
 * Reads a row by itself: an invalid one is handed out with the reason, and does not affect others.
 *
 * @param payload Undefined when it is NULL or too long.
 */
export function readRow(
  row: SqlRow,
  queue: string,
  payload: Uint8Array | undefined,
  options: { readonly format: Format; readonly maxPayloadBytes: number },
): FervoRow {
  const lease = row["lease"];
  const createdAtMs = countOf(row["created_at"], 0, MAX_COUNT);
  const readyAtMs = countOf(row["due_at"], 0, MAX_COUNT);
  return {
    id: String(row["id"]),
    queue,
    ...messageOf(row, queue, payload, options),
    attempt: (countOf(row["attempts"], 0, MAX_COUNT - 1) ?? 0) + 1,
    redeliveries: lease === null || lease === CUT_OFF ? 0 : 1,
    ...(lease !== null && { isRepeat: true }),
    ...(createdAtMs !== undefined && { enqueuedAtMs: createdAtMs }),
    ...(readyAtMs !== undefined && { readyAtMs }),
    error: row["error"] as string | null,
    errors: row["errors"] as string | null,
    uniqueKey: row["unique_key"] as string | null ?? undefined,
  };
}

/** The message and job of a row. A limit of attempts in the message overrides the row's. */
function messageOf(
  row: SqlRow,
  queue: string,
  payload: Uint8Array | undefined,
  { format, maxPayloadBytes }: { readonly format: Format; readonly maxPayloadBytes: number },
): { message: Message; job: JobHead | Unreadable } {
  const body = payload ?? NO_BYTES;
  if (payload === undefined) {
    const error = row["bytes"] === null
      ? nullPayload()
      : tooLarge(queue, Number(row["bytes"]), maxPayloadBytes);
    return { message: { body, headers: NO_HEADERS }, job: unreadable(error) };
  }
  const headers = row["headers_bytes"] === null ? NO_HEADERS : headersOf(row["headers"] as string | null);
  if (headers instanceof JobError) {
    return { message: { body, headers: NO_HEADERS }, job: unreadable(headers) };
  }
  const message = { body, headers };
  const maxAttempts = row["max_attempts"];
  const most = maxAttempts === null ? undefined : countOf(maxAttempts, 1, MAX_COUNT);
  if (maxAttempts !== null && most === undefined) {
    return { message, job: unreadable(notACount("max_attempts", maxAttempts, "1 to 2^53 - 1")) };
  }
  if (countOf(row["attempts"], 0, MAX_COUNT - 1) === undefined) {
    return { message, job: unreadable(notACount("attempts", row["attempts"], "0 to 2^53 - 2")) };
  }
  const job = readJob(format, message);
  return { message, job: most === undefined || isUnreadable(job) ? job : { maxAttempts: most, ...job } };
}

/** A whole number of a column; undefined when it is invalid. */
function countOf(value: SqlValue | undefined, least: number, most: number): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= least && value <= most
    ? value
    : undefined;
}

function nullPayload(): JobError {
  return new JobError("JOB_MALFORMED", 'Cannot run the job: its "payload" is NULL; its producer must set it');
}

function notACount(column: string, value: unknown, range: string): JobError {
  return new JobError(
    "JOB_MALFORMED",
    `Cannot run the job: its "${column}" is ${String(value)}, and must be a whole number from ${range}`,
  );
}

/** @param text Null when it is too long. */
function headersOf(text: string | null): Record<string, string> | JobError {
  const value = text === null ? undefined : parsed(text);
  const isHeaders = typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((header) => typeof header === "string");
  if (isHeaders) return value as Record<string, string>;
  return new JobError(
    "JOB_MALFORMED",
    "Cannot read the job's headers: they are not a JSON object of strings",
  );
}
