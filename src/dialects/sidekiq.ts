import { type FervoError, JobError, reasonOf } from "../core/errors.ts";
import type { Delivery } from "../core/delivery.ts";
import type { Dialect, Message } from "./dialect.ts";
import { JsonObject } from "./json_object.ts";

/** What differs between the versions of Sidekiq. */
interface Generation {
  readonly name: string;
  readonly version: string;
  readonly workKeys: readonly string[];
  /** A time as it stands in the JSON. */
  readonly time: (epochMs: number) => string;
  /** The random part of a retry's delay, whole seconds. @param random A number in [0, 1). */
  readonly jitterS: (count: number, random: number) => number;
}

/** Since 8.0 a whole number is milliseconds, one with a fraction seconds: the fraction has to be there, be it 0. */
const seconds = (epochMs: number) => (epochMs / 1_000).toFixed(3);
const milliseconds = (epochMs: number) => Math.round(epochMs).toFixed(0);

/** Tries after the first one that a job may have which only says that it wants some. */
const DEFAULT_RETRIES = 25;
/** As Sidekiq cuts it, characters. */
const MAX_ERROR_MESSAGE = 10_000;
/** The class whose only argument is the payload: the jobs of FervoDeferredEventBundle. */
const DEFERRED_EVENT = "DeferEvent";

/** Fields that tell of failures; a job that begins anew has none of them. */
const FAILURE_FIELDS = [
  "retry_count",
  "failed_at",
  "retried_at",
  "error_message",
  "error_class",
  "error_backtrace",
  "fervo_stderr",
  "fervo_recovered",
];

/** What is asked of a job when it is filed; see JobFormat of the Redis driver. */
interface Failure {
  readonly id: string;
  readonly queue: string;
  readonly error: FervoError;
  readonly nowMs: number;
}

/**
 * Sidekiq's job, a JSON object: https://github.com/sidekiq/sidekiq/wiki/Job-Format.
 *
 * 1. Reads what PHP gets: the whole message; of a `DeferEvent` its one argument, as the Ruby worker gave it to PHP.
 * 2. Reads how often the job may be tried, and says how long to wait before the next try, by Sidekiq's rules.
 * 3. Writes what happens to a job into its message, in the fields and units of one version of Sidekiq. Two fields are
 *    our own: `fervo_stderr`, and `fervo_recovered`, how often the job's worker died.
 */
export class SidekiqDialect implements Dialect {
  readonly name: string;
  readonly version: string;
  readonly workKeys: readonly string[];
  readonly #time: Generation["time"];
  readonly #jitterS: Generation["jitterS"];

  constructor({ name, version, workKeys, time, jitterS }: Generation) {
    this.name = name;
    this.version = version;
    this.workKeys = workKeys;
    this.#time = time;
    this.#jitterS = jitterS;
  }

  decode({ raw, parsed }: Pick<Delivery, "raw" | "headers" | "parsed">): Message {
    const job = parsed instanceof JsonObject ? parsed : parseJob(raw);
    const jid = job.string("jid");
    const maxAttempts = maxAttemptsOf(job);
    const enqueuedAtMs = timeOf(job, "created_at") ?? timeOf(job, "enqueued_at");
    const traceparent = job.string("traceparent");
    const tracestate = job.string("tracestate");
    return {
      payload: payloadOf(job, raw),
      ...(jid !== undefined && { id: checkedId(jid) }),
      ...(maxAttempts !== undefined && { maxAttempts: maxAttempts + recoveriesOf(job) }),
      ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
      ...(traceparent !== undefined && { traceparent }),
      ...(tracestate !== undefined && { tracestate }),
    };
  }

  /** The payload has to be a job already, with `class` and `args`. */
  encode({ payload, id, maxAttempts, enqueuedAtMs, traceparent, tracestate }: Message): Uint8Array {
    const job = parseJob(payload);
    return job.with({
      ...(id !== undefined && { jid: JSON.stringify(id) }),
      ...(maxAttempts !== undefined && { retry: retryField(maxAttempts) }),
      ...(enqueuedAtMs !== undefined && !job.has("created_at") && { created_at: this.#time(enqueuedAtMs) }),
      ...(traceparent !== undefined && { traceparent: JSON.stringify(traceparent) }),
      ...(tracestate !== undefined && { tracestate: JSON.stringify(tracestate) }),
    });
  }

  /**
   * The wait before the next try, milliseconds: 15 s at first, with tries growing to days.
   *
   * @param attempt The try that has just failed, 1-based.
   * @param random A number in [0, 1).
   */
  retryDelayMs(attempt: number, random: number): number {
    const count = attempt - 1;
    return (baseDelayS(count) + this.#jitterS(count, random)) * 1_000;
  }

  read(raw: Uint8Array) {
    const job = parseJob(raw);
    const id = job.string("jid");
    const queue = job.string("queue");
    const recoveries = recoveriesOf(job);
    const failures = failuresOf(job);
    const createdAtMs = timeOf(job, "created_at");
    const enqueuedAtMs = timeOf(job, "enqueued_at");
    const error = errorOf(job);
    return {
      parsed: job,
      tries: failures + recoveries,
      recoveries,
      isKeptWhenDead: job.get("dead") !== false,
      ...(id !== undefined && { id: checkedId(id) }),
      ...(queue !== undefined && { queue }),
      ...(createdAtMs !== undefined && { createdAtMs }),
      ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
      ...(error !== undefined && { error }),
    };
  }

  pushed(
    raw: Uint8Array,
    o: { id: string; queue: string; isDelayed: boolean; nowMs: number },
  ): { readonly raw: Uint8Array; readonly id: string } {
    const job = parseJob(raw);
    const id = job.string("jid") ?? o.id;
    const now = this.#time(o.nowMs);
    return {
      id,
      raw: job.with({
        queue: JSON.stringify(o.queue),
        ...(!job.has("jid") && { jid: JSON.stringify(id) }),
        ...(!job.has("created_at") && { created_at: now }),
        at: undefined,
        enqueued_at: o.isDelayed ? undefined : now,
      }),
    };
  }

  failed(raw: Uint8Array, { id, queue, error, nowMs }: Failure): { raw: Uint8Array; queue: string } {
    const job = parseJob(raw);
    const target = job.string("retry_queue") ?? queue;
    const now = this.#time(nowMs);
    const isFirst = job.number("retry_count") === undefined;
    const { stderr } = error.details;
    return {
      queue: target,
      raw: job.with({
        ...(!job.has("jid") && { jid: JSON.stringify(id) }),
        queue: JSON.stringify(target),
        error_message: jsonText(error.message.slice(0, MAX_ERROR_MESSAGE)),
        error_class: JSON.stringify(error.code),
        retry_count: `${failuresOf(job)}`,
        ...(isFirst ? { failed_at: now } : { retried_at: now }),
        // A former error's, of a try by Sidekiq: ours have none.
        error_backtrace: undefined,
        fervo_stderr: stderr === undefined ? undefined : jsonText(stderr),
      }),
    };
  }

  enqueued(raw: Uint8Array, nowMs: number): { raw: Uint8Array; queue: string } {
    const job = parseJob(raw);
    return {
      queue: job.string("queue") ?? "default",
      raw: job.with({ enqueued_at: this.#time(nowMs) }),
    };
  }

  revived(raw: Uint8Array, nowMs: number): { raw: Uint8Array; queue: string } {
    const job = parseJob(raw);
    const cleared = Object.fromEntries(FAILURE_FIELDS.map((name) => [name, undefined]));
    return {
      queue: job.string("queue") ?? "default",
      raw: job.with({ ...cleared, enqueued_at: this.#time(nowMs) }),
    };
  }

  recovered(raw: Uint8Array, { id, queue }: { id: string; queue: string }): Uint8Array {
    const job = parseJob(raw);
    return job.with({
      ...(!job.has("jid") && { jid: JSON.stringify(id) }),
      ...(!job.has("queue") && { queue: JSON.stringify(queue) }),
      fervo_recovered: `${recoveriesOf(job) + 1}`,
    });
  }
}

/** The random part until 7.3; since 8.0 the product is what is random. */
const formerJitterS = (count: number, random: number) => Math.floor(random * 10) * (count + 1);

export const sidekiq6 = new SidekiqDialect({
  name: "sidekiq6",
  version: "6.5.12",
  // Up to 6.4.1 it was called "workers".
  workKeys: ["work", "workers"],
  time: seconds,
  jitterS: formerJitterS,
});

export const sidekiq7 = new SidekiqDialect({
  name: "sidekiq7",
  version: "7.3.10",
  workKeys: ["work"],
  time: seconds,
  jitterS: formerJitterS,
});

export const sidekiq8 = new SidekiqDialect({
  name: "sidekiq8",
  version: "8.1.7",
  workKeys: ["work"],
  time: milliseconds,
  jitterS: (count, random) => Math.floor(random * 10 * (count + 1)),
});

function parseJob(raw: Uint8Array): JsonObject {
  let job: JsonObject;
  try {
    job = JsonObject.parse(raw);
  } catch (error) {
    throw malformed(reasonOf(error));
  }
  if (job.string("class") === undefined) throw malformed(`it has no "class", or one that is not a text`);
  if (!Array.isArray(job.get("args"))) throw malformed(`it has no "args", or some that are not a list`);
  return job;
}

function payloadOf(job: JsonObject, raw: Uint8Array): Uint8Array {
  if (job.string("class") !== DEFERRED_EVENT) return raw;
  const [event, ...others] = job.get("args") as unknown[];
  if (typeof event !== "string" || others.length > 0) return raw;
  if (!event.isWellFormed()) throw malformed("its argument has a lone surrogate");
  return new TextEncoder().encode(event);
}

/** Tries that failed: Sidekiq counts from 0, and writes no count before the first. */
function failuresOf(job: JsonObject): number {
  const count = job.number("retry_count");
  return count === undefined ? 0 : Math.max(Math.trunc(count), 0) + 1;
}

function recoveriesOf(job: JsonObject): number {
  return Math.max(Math.trunc(job.number("fervo_recovered") ?? 0), 0);
}

/** Tries that a job may have in all; undefined when it leaves that to whoever runs it. */
function maxAttemptsOf(job: JsonObject): number | undefined {
  const windowS = job.number("retry_for");
  if (windowS !== undefined) return attemptsWithin(windowS);
  if (!job.has("retry")) return undefined;
  const retry = job.get("retry");
  if (retry === false || retry === null) return 1;
  const retries = typeof retry === "number" && Number.isInteger(retry) ? retry : DEFAULT_RETRIES;
  return Math.max(retries, 0) + 1;
}

/** Tries that a job can have until it has been failing for longer than `windowS` seconds. */
function attemptsWithin(windowS: number): number {
  let attempts = 1;
  for (let failingS = 0; failingS <= windowS && attempts < 1_000; attempts++) {
    failingS += baseDelayS(attempts - 1);
  }
  return attempts;
}

/** The part of a retry's delay that grows, seconds. */
function baseDelayS(count: number): number {
  return count ** 4 + 15;
}

function retryField(maxAttempts: number): string {
  return maxAttempts <= 1 ? "false" : String(maxAttempts - 1);
}

/** A time in epoch milliseconds, whatever its unit is: in seconds it would be before 1973, in milliseconds after 5000. */
function timeOf(job: JsonObject, name: string): number | undefined {
  const time = job.number(name);
  if (time === undefined || time < 0) return undefined;
  return Math.round(time < 1e11 ? time * 1_000 : time);
}

/** Ours have a code for their class; of Ruby's the class is a part of the text. */
function errorOf(job: JsonObject): { code: string; message: string; stderr?: string } | undefined {
  const message = job.string("error_message");
  const errorClass = job.string("error_class");
  if (message === undefined && errorClass === undefined) return undefined;
  if (errorClass !== undefined && /^[A-Z]+(?:_[A-Z]+)+$/.test(errorClass)) {
    const stderr = job.string("fervo_stderr");
    return { code: errorClass, message: message ?? "", ...(stderr !== undefined && { stderr }) };
  }
  return { code: "JOB_FAILED", message: [errorClass, message].filter(Boolean).join(": ") };
}

/** It becomes a param and part of a URI: PHP cuts a param at its first NUL, and a lone surrogate has no bytes. */
function checkedId(jid: string): string {
  if (jid.isWellFormed() && !/\p{Cc}/u.test(jid)) return jid;
  throw malformed(`field "jid" has a control character or a lone surrogate`);
}

function jsonText(text: string): string {
  return JSON.stringify(text.toWellFormed());
}

function malformed(reason: string): JobError {
  return new JobError("JOB_MALFORMED", `Cannot read the message as a Sidekiq job: ${reason}`);
}
