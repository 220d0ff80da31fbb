/*
 * What the fields of a Sidekiq job say. Others write them: each is read by itself, and one that cannot be used counts as
 * missing.
 */
import { type FervoError, JobError, reasonOf } from "../core/errors.ts";
import { whyIdIsRefused } from "../core/text/job_id.ts";
import { JsonObject } from "./json_object.ts";

/** Attempts after the first one of a job that only says that it wants some. */
const DEFAULT_RETRIES = 25;
/** No count that is read or written is larger. */
const MAX_COUNT = 2 ** 31 - 1;
/** The last time that a date can hold, epoch milliseconds. */
const MAX_TIME_MS = 8.64e15;

/** What a broker has to know of a job to deliver and to file it. Times are epoch milliseconds. */
export interface JobFacts {
  /** The job's own id; absent in messages of some producers. */
  readonly id?: string;
  /** The queue that the message names, if it does. */
  readonly queue?: string;
  /** Attempts that have begun, 0 for a new job: those that failed and those whose worker died. */
  readonly attempts: number;
  /** How often the job was taken back from a worker that died. */
  readonly recoveries: number;
  /** When it was first pushed, and when it last entered its queue. */
  readonly createdAtMs?: number;
  readonly enqueuedAtMs?: number;
  /** A former run of it may not have ended. */
  readonly isRepeat: boolean;
  /** Whether its producer wants it kept when it has failed for good. */
  readonly isKeptWhenDead: boolean;
  /** Why it failed last, where it did. */
  readonly error?: { readonly code: string; readonly message: string; readonly stderr?: string };
}

/** What is told of a dead letter. */
export interface LetterFacts extends Partial<JobFacts> {
  /** The message that died. */
  readonly payload: Uint8Array;
  /** Where it came from; "" where that is not known of a message that is no job. */
  readonly queue?: string;
}

/** A message and the queue that it belongs into. */
export interface PlacedMessage {
  readonly raw: Uint8Array;
  readonly queue: string;
}

/** An attempt that failed. */
export interface JobFailure {
  readonly id: string;
  /** Where the job came from. */
  readonly queue: string;
  readonly error: FervoError;
  readonly nowMs: number;
}

/** @throws {JobError} JOB_MALFORMED when the bytes are no JSON object with `class` and `args` */
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

/** The class in which Rails wraps the jobs of ActiveJob: their only argument says which, and what its arguments are. */
const ACTIVE_JOB = "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper";

/**
 * Why Sidekiq's Web UI would raise at a job, and so show none that is on the same page; undefined when it would not. It
 * looks for these arguments without being asked: lib/sidekiq/api.rb, `display_class` and `display_args`.
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

/** Changes without which Sidekiq's Web UI would raise at a job, or its "Retry" refuse it and so lose it: `tags` have to be a list. */
export function mendsOf(job: JsonObject): Record<string, string> {
  const tags = job.get("tags");
  return !tags || Array.isArray(tags) ? {} : { tags: `[${job.source("tags")}]` };
}

/**
 * Attempts that failed. Sidekiq counts them from 0 and writes no count before the first; "Retry" in its Web UI takes one
 * off, so that -1 is none.
 */
export function failuresOf(job: JsonObject): number {
  const count = job.number("retry_count");
  return count === undefined ? 0 : Math.min(Math.max(Math.trunc(count), -1), MAX_COUNT) + 1;
}

/** Attempts whose worker died. */
export function recoveriesOf(job: JsonObject): number {
  return Math.min(Math.max(Math.trunc(job.number("fervo_recovered") ?? 0), 0), MAX_COUNT);
}

/** How often and until when a job may be tried. */
export interface Limits {
  /** Attempts in all, beside those whose worker died; undefined when the job leaves that to whoever runs it. */
  readonly maxAttempts?: number;
  /** After this time a failure is final, epoch milliseconds. */
  readonly retryUntilMs?: number;
}

/**
 * As https://github.com/sidekiq/sidekiq/blob/main/lib/sidekiq/job_retry.rb: `retry` is a count when it is an integer, which
 * 5.0 is not; any other value but `false` wants the usual count. `retry_for` is a time, seconds since the first failure.
 *
 * @param isTimeAlone Whether `retry_for` stands instead of the count of `retry`, rather than beside it.
 */
export function limitsOf(job: JsonObject, isTimeAlone: boolean): Limits {
  if (job.get("retry") === false) return { maxAttempts: 1 };
  const retries = retriesOf(job);
  const windowS = job.number("retry_for");
  if (windowS === undefined) return retries === undefined ? {} : { maxAttempts: retries + 1 };
  // The time begins with the first failure: of none, it is over with it.
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
 * A time in epoch milliseconds, whatever its unit is: in seconds it would be before 1973, in milliseconds after 5000.
 * Undefined for what no date can hold.
 */
export function timeOf(job: JsonObject, name: string): number | undefined {
  const time = job.number(name);
  if (time === undefined || time < 0) return undefined;
  const timeMs = Math.round(time < 1e11 ? time * 1_000 : time);
  return timeMs > MAX_TIME_MS ? undefined : timeMs;
}

/** The name of a queue; an empty one is none. */
export function queueOf(job: JsonObject, name = "queue"): string | undefined {
  return job.string(name) || undefined;
}

/** Why it failed last. Ours have a code for their class; of Ruby's the class is a part of the text. */
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

/** @throws {JobError} JOB_MALFORMED when it is none that a job can have */
export function idOf(job: JsonObject): string | undefined {
  const jid = job.string("jid");
  const reason = jid && whyIdIsRefused(jid);
  if (reason) throw malformed(`field "jid" ${reason}`);
  return jid;
}

/** A text as JSON that any reader takes. */
export function jsonText(text: string): string {
  return JSON.stringify(text.toWellFormed());
}

export function malformed(reason: string): JobError {
  return new JobError("JOB_MALFORMED", `Cannot read the message as a Sidekiq job: ${reason}`);
}
