/* The meaning of a Sidekiq job's fields. Others write them: each is read by itself, and an invalid one counts as missing. */
import { type FervoError, JobError, reasonOf } from "../core/errors.ts";
import { whyIdIsRefused } from "../core/text/job_id.ts";
import { JsonObject } from "./json_object.ts";

/** Attempts after the first one for a job with `retry: true`. */
const DEFAULT_RETRIES = 25;
/** The largest count that is read or written. */
const MAX_COUNT = 2 ** 31 - 1;
/** The latest time that a date can hold, epoch milliseconds. */
const MAX_TIME_MS = 8.64e15;

/** The facts that a broker needs to deliver and settle a job. Times are epoch milliseconds. */
export interface JobFacts {
  /** The job's own id; some producers write none. */
  readonly id?: string;
  /** The queue in the message, if any. */
  readonly queue?: string;
  /** Attempts that have begun, 0 for a new job: failed ones, and ones whose worker died. */
  readonly attempts: number;
  /** How often the job was taken back from a dead worker. */
  readonly recoveries: number;
  /** When it was first pushed, and when it last entered its queue. */
  readonly createdAtMs?: number;
  readonly enqueuedAtMs?: number;
  /** An earlier run may not have ended. */
  readonly isRepeat: boolean;
  /** Whether its producer wants a dead letter. */
  readonly isKeptWhenDead: boolean;
  /** Its last failure, if any. */
  readonly error?: { readonly code: string; readonly message: string; readonly stderr?: string };
}

/** The facts of a dead letter. */
export interface LetterFacts extends Partial<JobFacts> {
  /** The original message. */
  readonly payload: Uint8Array;
  /** Its queue; "" when it is unknown for an unreadable message. */
  readonly queue?: string;
}

/** A message and its queue. */
export interface PlacedMessage {
  readonly raw: Uint8Array;
  readonly queue: string;
}

/** A failed attempt. */
export interface JobFailure {
  readonly id: string;
  /** The job's queue. */
  readonly queue: string;
  readonly error: FervoError;
  readonly nowMs: number;
}

/** @throws {JobError} JOB_MALFORMED when the bytes are not a JSON object with `class` and `args` */
export function parseJob(raw: Uint8Array): JsonObject {
  let job: JsonObject;
  try {
    job = JsonObject.parse(raw);
  } catch (error) {
    throw malformed(reasonOf(error));
  }
  if (job.string("class") === undefined) throw malformed(`its "class" is missing or is not a string`);
  const args = job.get("args");
  if (!Array.isArray(args)) throw malformed(`its "args" is missing or is not a list`);
  const reason = whyNotShown(job, args);
  if (reason !== undefined) throw malformed(reason);
  return job;
}

/** Rails wraps ActiveJob's jobs in this class: its only argument has the real class and arguments. */
const ACTIVE_JOB = "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper";

/**
 * Why Sidekiq's Web UI would fail at a job, and so at the whole page; undefined when it would not. It reads these arguments
 * always: lib/sidekiq/api.rb, `display_class` and `display_args`.
 */
function whyNotShown(job: JsonObject, args: readonly unknown[]): string | undefined {
  if (job.get("encrypt") && args.length === 0) return `it has "encrypt" and no argument`;
  if (job.string("class") !== ACTIVE_JOB) return undefined;
  const wrapped = job.get("wrapped") || args[0];
  const isMail = wrapped === "ActionMailer::MailDeliveryJob";
  if (!job.get("wrapped") && !isMail && wrapped !== "ActionMailer::DeliveryJob") return undefined;
  const inner = isObject(args[0]) ? args[0]["arguments"] : undefined;
  return Array.isArray(inner) && (!isMail || isObject(inner[3]))
    ? undefined
    : "it is a job of ActiveJob without its arguments";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Changes that a job needs for Sidekiq's Web UI: `tags` must be a list. Else the page fails, or its "Retry" refuses the job and
 * loses it.
 */
export function mendsOf(job: JsonObject): Record<string, string> {
  const tags = job.get("tags");
  return !tags || Array.isArray(tags) ? {} : { tags: `[${job.source("tags")}]` };
}

/**
 * Failed attempts. Sidekiq counts them from 0 and writes no count before the first; "Retry" in its Web UI subtracts one, so -1
 * means none.
 */
export function failuresOf(job: JsonObject): number {
  const count = job.number("retry_count");
  return count === undefined ? 0 : Math.min(Math.max(Math.trunc(count), -1), MAX_COUNT) + 1;
}

/** Attempts whose worker died. */
export function recoveriesOf(job: JsonObject): number {
  return Math.min(Math.max(Math.trunc(job.number("fervo_recovered") ?? 0), 0), MAX_COUNT);
}

/** A job's limits of attempts and time. */
export interface Limits {
  /** Attempts in all, without those whose worker died; undefined when the consumer decides. */
  readonly maxAttempts?: number;
  /** After this time a failure is final, epoch milliseconds. */
  readonly retryUntilMs?: number;
}

/**
 * By https://github.com/sidekiq/sidekiq/blob/main/lib/sidekiq/job_retry.rb: `retry` is a count if it is an integer, which 5.0
 * is not; any other value but `false` means the default count. `retry_for` is a time, seconds since the first failure.
 *
 * @param isTimeAlone Whether `retry_for` replaces the count of `retry`.
 */
export function limitsOf(job: JsonObject, isTimeAlone: boolean): Limits {
  if (job.get("retry") === false) return { maxAttempts: 1 };
  const retries = retriesOf(job);
  const windowS = job.number("retry_for");
  if (windowS === undefined) return retries === undefined ? {} : { maxAttempts: retries + 1 };
  // The time begins with the first failure: an empty time ends with it.
  if (windowS <= 0) return { maxAttempts: 1 };
  const maxAttempts = (isTimeAlone ? MAX_COUNT : retries ?? DEFAULT_RETRIES) + 1;
  const failedAtMs = failuresOf(job) > 0 ? timeOf(job, "failed_at") : undefined;
  return failedAtMs === undefined
    ? { maxAttempts }
    : { maxAttempts, retryUntilMs: failedAtMs + windowS * 1_000 };
}

function retriesOf(job: JsonObject): number | undefined {
  const retry = job.get("retry");
  if (retry === undefined || retry === null) return undefined;
  const isCount = typeof retry === "number" && job.isInteger("retry");
  return isCount ? Math.min(Math.max(retry, 0), MAX_COUNT) : DEFAULT_RETRIES;
}

/**
 * A time in epoch milliseconds, from either unit: in seconds it would be before 1973, in milliseconds after 5000. Undefined
 * when no date can hold it.
 */
export function timeOf(job: JsonObject, name: string): number | undefined {
  const time = job.number(name);
  if (time === undefined || time < 0) return undefined;
  const timeMs = Math.round(time < 1e11 ? time * 1_000 : time);
  return timeMs > MAX_TIME_MS ? undefined : timeMs;
}

/** The name of a queue; undefined for an empty one. */
export function queueOf(job: JsonObject, name = "queue"): string | undefined {
  return job.string(name) || undefined;
}

/** Its last failure. Our errors have a code as their class; for Ruby's the class is part of the text. */
export function errorOf(job: JsonObject): { code: string; message: string; stderr?: string } | undefined {
  const message = job.string("error_message");
  const errorClass = job.string("error_class");
  if (message === undefined && errorClass === undefined) return undefined;
  if (errorClass !== undefined && /^[A-Z]+(?:_[A-Z]+)+$/.test(errorClass)) {
    const stderr = job.string("fervo_stderr");
    return { code: errorClass, message: message ?? "", ...(stderr !== undefined && { stderr }) };
  }
  return { code: "JOB_FAILED", message: [errorClass, message].filter(Boolean).join(": ") };
}

/** @throws {JobError} JOB_MALFORMED for an invalid id */
export function idOf(job: JsonObject): string | undefined {
  const jid = job.string("jid");
  const reason = jid && whyIdIsRefused(jid);
  if (reason) throw malformed(`field "jid" ${reason}`);
  return jid;
}

/** A text as JSON for any parser. */
export function jsonText(text: string): string {
  return JSON.stringify(text.toWellFormed());
}

export function malformed(reason: string): JobError {
  return new JobError("JOB_MALFORMED", `Cannot read the message as a Sidekiq job: ${reason}`);
}
