import { JobError } from "../../../core/errors.ts";
import {
  type Format,
  type JobHead,
  type Message,
  readJob,
  type Unreadable,
  unreadable,
} from "../../../core/format.ts";
import { tooLarge } from "../../../core/text/payload.ts";
import type { SqlRow } from "../../../sql/driver.ts";
import { parsed } from "../../job_columns.ts";
import type { ClaimedRow } from "../layout.ts";
import { type Facts, splitHeaders } from "./facts.ts";
import { type Fenced, type Mark } from "./table.ts";
import type { Zone } from "./zone.ts";
import { idOf } from "../row_values.ts";

/** A claimed message. */
export interface MessengerRow extends ClaimedRow, Fenced {
  readonly attempt: number;
  /** The column, without the worker's facts; undefined when it was too long to be read. */
  readonly headers: string | undefined;
  readonly facts: Facts;
}

const NO_BYTES = new Uint8Array(0);
const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/**
 * Reads a row by itself: an invalid one is handed out with the reason, and does not affect others.
 *
 * @param body Undefined when it is too long.
 * @param mark What the claim writes.
 */
export function readRow(
  row: SqlRow,
  { queue, body, mark }: {
    readonly queue: string;
    readonly body: Uint8Array | undefined;
    readonly mark: Mark;
  },
  { format, zone, maxPayloadBytes }: {
    readonly format: Format;
    readonly zone: Zone;
    readonly maxPayloadBytes: number;
  },
): MessengerRow {
  const column = row["headers"] === null ? undefined : String(row["headers"]);
  const { headers, facts } = column === undefined ? { headers: undefined, facts: {} } : splitHeaders(column);
  const { lost = 0, maxAttempts } = facts;
  const { message, job } = messageOf(
    headers,
    body,
    format,
    () => tooLarge(queue, Number(row["bytes"]), maxPayloadBytes),
  );
  const enqueuedAtMs = zone.instantMs(row["created_text"]);
  const readyAtMs = zone.instantMs(row["available_text"]);
  return {
    id: idOf(row),
    queue,
    message,
    job: maxAttempts === undefined || "error" in job ? job : { maxAttempts, ...job },
    attempt: attemptsOf(facts) + 1,
    redeliveries: lost,
    ...(facts.isRepeat && { isRepeat: true }),
    ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
    ...(readyAtMs !== undefined && { readyAtMs }),
    marks: [mark],
    headers,
    facts,
  };
}

/** How many attempts have ended, those of lost holders included. */
export function attemptsOf({ attempts = 0, lost = 0 }: Facts): number {
  return attempts + lost;
}

/** @throws {JobError} JOB_MALFORMED when they are not a JSON object of strings; PHP writes `[]` for none */
export function headersOf(column: string): Readonly<Record<string, string>> {
  const value = parsed(column);
  if (Array.isArray(value) && value.length === 0) return NO_HEADERS;
  const isHeaders = typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((header) => typeof header === "string");
  if (isHeaders) return value as Record<string, string>;
  throw new JobError(
    "JOB_MALFORMED",
    "Cannot read the message's headers: they are not a JSON object of strings",
  );
}

function messageOf(
  headers: string | undefined,
  body: Uint8Array | undefined,
  format: Format,
  tooLong: () => JobError,
): { readonly message: Message; readonly job: JobHead | Unreadable } {
  const bare = { body: body ?? NO_BYTES, headers: NO_HEADERS };
  if (body === undefined || headers === undefined) return { message: bare, job: unreadable(tooLong()) };
  try {
    const message = { body, headers: headersOf(headers) };
    return { message, job: readJob(format, message) };
  } catch (error) {
    return { message: bare, job: unreadable(error as JobError) };
  }
}
