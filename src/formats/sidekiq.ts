import type { Format, JobHead, Message, Writable } from "../core/format.ts";
import { JsonObject } from "./json_object.ts";
import {
  errorOf,
  failuresOf,
  idOf,
  type JobFacts,
  type JobFailure,
  jsonText,
  type LetterFacts,
  limitsOf,
  malformed,
  mendsOf,
  parseJob,
  type PlacedMessage,
  queueOf,
  recoveriesOf,
  timeOf,
} from "./sidekiq_fields.ts";
import { fileUnreadable, readUnreadable, unreadableIn } from "./sidekiq_unreadable.ts";

/** The differences between versions of Sidekiq. */
interface Generation {
  readonly name: string;
  readonly version: string;
  readonly workKeys: readonly string[];
  /** A time in JSON. */
  readonly time: (epochMs: number) => string;
  /** The random part of a retry's delay, whole seconds. @param random A number in [0, 1). */
  readonly jitterS: (count: number, random: number) => number;
  /** `retry_for` replaces the count of `retry`; else both apply. */
  readonly isTimeAlone: boolean;
}

/** Since 8.0 a whole number is milliseconds and a fraction is seconds: so the fraction must be written, even .000. */
const seconds = (epochMs: number) => (epochMs / 1_000).toFixed(3);
const milliseconds = (epochMs: number) => Math.round(epochMs).toFixed(0);

/** The longest wait of a retry: a hundred years, seconds. */
const MAX_DELAY_S = 100 * 366 * 86_400;
/** The queue of a job without one. */
const DEFAULT_QUEUE = "default";
/** Sidekiq cuts it there, characters. */
const MAX_ERROR_MESSAGE = 10_000;
/** The class with the payload as its only argument: jobs of FervoDeferredEventBundle. */
const DEFERRED_EVENT = "DeferEvent";

/** Fields about failures; a job that starts again has none. */
const FAILURE_FIELDS = [
  "retry_count",
  "failed_at",
  "retried_at",
  "error_message",
  "error_class",
  "error_backtrace",
  "fervo_stderr",
  "fervo_recovered",
  "fervo_lost",
  "fervo_repeat",
];

/**
 * Sidekiq's job, a JSON object: https://github.com/sidekiq/sidekiq/wiki/Job-Format.
 *
 * 1. Reads the payload for PHP: the whole message; for a `DeferEvent`, its one argument, as the Ruby worker passed it to PHP.
 * 2. Reads the limits of attempts and of time, and the wait before the next attempt, by Sidekiq's rules. A job in a queue runs
 *    once, whatever its count says: somebody has put it there.
 * 3. Writes the results of a job into its message, in the fields and units of one version of Sidekiq. Four fields are ours:
 *    `fervo_stderr`; `fervo_recovered`, how often the job's worker died; `fervo_lost`, it died in the last attempt; and
 *    `fervo_repeat`, the job was put back while it ran.
 * 4. Wraps an unreadable message in a form that Sidekiq's Web UI can show, with its bytes ({@link fileUnreadable}).
 */
export class SidekiqFormat implements Format {
  readonly name: string;
  /** The version of Sidekiq that it follows, for the process list. */
  readonly version: string;
  /** The suffixes of a process's list of running jobs: `work`, and `workers` in earlier versions. */
  readonly workKeys: readonly string[];
  readonly #time: Generation["time"];
  readonly #jitterS: Generation["jitterS"];
  readonly #isTimeAlone: boolean;

  constructor({ name, version, workKeys, time, jitterS, isTimeAlone }: Generation) {
    this.name = name;
    this.version = version;
    this.workKeys = workKeys;
    this.#time = time;
    this.#jitterS = jitterS;
    this.#isTimeAlone = isTimeAlone;
  }

  /** @throws {JobError} JOB_MALFORMED when the bytes are not a job, or wrap an unreadable message */
  parse(raw: Uint8Array): JsonObject {
    const job = parseJob(raw);
    if (unreadableIn(job) !== undefined) {
      throw malformed("it is a dead letter that holds an unreadable message");
    }
    return job;
  }

  read({ body }: Pick<Message, "body">): JobHead {
    return this.head(parseJob(body));
  }

  /** @throws {JobError} JOB_MALFORMED */
  head(job: JsonObject): JobHead {
    // Field by field: a spread would cost every job.
    const head: Writable<JobHead> = { payload: payloadOf(job) };
    const id = idOf(job);
    if (id !== undefined) head.id = id;
    const recoveries = recoveriesOf(job);
    const { maxAttempts, retryUntilMs } = limitsOf(job, this.#isTimeAlone);
    if (maxAttempts !== undefined) head.maxAttempts = maxAttempts + recoveries;
    if (job.get("fervo_lost") !== true) head.minAttempts = failuresOf(job) + recoveries + 1;
    if (retryUntilMs !== undefined) head.retryUntilMs = retryUntilMs;
    const enqueuedAtMs = timeOf(job, "created_at") ?? timeOf(job, "enqueued_at");
    if (enqueuedAtMs !== undefined) head.enqueuedAtMs = enqueuedAtMs;
    const traceparent = job.string("traceparent");
    if (traceparent !== undefined) head.traceparent = traceparent;
    const tracestate = job.string("tracestate");
    if (tracestate !== undefined) head.tracestate = tracestate;
    return head;
  }

  /**
   * The wait before the next attempt, milliseconds: 15 s at first, growing to days.
   *
   * @param attempt The attempt that has just failed, 1-based.
   * @param random A number in [0, 1).
   */
  retryDelayMs(attempt: number, random: number): number {
    const count = attempt - 1;
    return Math.min(count ** 4 + 15 + this.#jitterS(count, random), MAX_DELAY_S) * 1_000;
  }

  /** @throws {JobError} JOB_MALFORMED */
  facts(job: JsonObject): JobFacts {
    const recoveries = recoveriesOf(job);
    const facts: Writable<JobFacts> = {
      attempts: failuresOf(job) + recoveries,
      recoveries,
      isRepeat: job.get("fervo_repeat") === true || job.get("fervo_lost") === true,
      isKeptWhenDead: job.get("dead") !== false,
    };
    const id = idOf(job);
    if (id !== undefined) facts.id = id;
    const queue = queueOf(job);
    if (queue !== undefined) facts.queue = queue;
    const createdAtMs = timeOf(job, "created_at");
    if (createdAtMs !== undefined) facts.createdAtMs = createdAtMs;
    const enqueuedAtMs = timeOf(job, "enqueued_at");
    if (enqueuedAtMs !== undefined) facts.enqueuedAtMs = enqueuedAtMs;
    const error = errorOf(job);
    if (error !== undefined) facts.error = error;
    return facts;
  }

  /**
   * A new job for its queue or the schedule. The payload must be a job already, with `class` and `args`; it keeps its own id.
   *
   * @throws {JobError} JOB_MALFORMED
   */
  pushed(
    payload: Uint8Array,
    o: { id: string; queue: string; isDelayed: boolean; nowMs: number; maxAttempts?: number | undefined },
  ): { readonly raw: Uint8Array; readonly id: string } {
    const job = parseJob(payload);
    const id = job.string("jid") ?? o.id;
    const now = this.#time(o.nowMs);
    return {
      id,
      raw: job.with({
        ...mendsOf(job),
        ...(o.maxAttempts !== undefined && { retry: retryField(o.maxAttempts) }),
        queue: JSON.stringify(o.queue),
        ...(!job.has("jid") && { jid: JSON.stringify(id) }),
        ...(!job.has("created_at") && { created_at: now }),
        at: undefined,
        enqueued_at: o.isDelayed ? undefined : now,
      }),
    };
  }

  /** The facts of a dead letter, and its original message. */
  letter(raw: Uint8Array): LetterFacts {
    const unreadable = readUnreadable(raw);
    if (unreadable === undefined) return { payload: raw, ...this.facts(this.parse(raw)) };
    const { message: payload, queue = "", ...facts } = unreadable;
    return { payload, queue, ...facts, attempts: 1 };
  }

  /** The dead letter of an unreadable message; `queue` is its queue, if known. Never throws. */
  unreadable(
    raw: Uint8Array,
    { id, queue, error, nowMs }: Omit<JobFailure, "queue"> & { readonly queue: string | undefined },
  ): Uint8Array {
    return fileUnreadable(raw, { id, queue, error, now: this.#time(nowMs) });
  }

  /**
   * A failed job, for its next attempt or the dead set.
   *
   * @param isReady Whether it enters its queue at once.
   */
  failed(job: JsonObject, { id, queue, error, nowMs }: JobFailure, isReady = false): PlacedMessage {
    const target = queueOf(job, "retry_queue") ?? queue;
    const now = this.#time(nowMs);
    const isFirst = job.number("retry_count") === undefined;
    const { stderr } = error.details;
    return {
      queue: target,
      raw: job.with({
        ...mendsOf(job),
        ...(!job.has("jid") && { jid: JSON.stringify(id) }),
        queue: JSON.stringify(target),
        error_message: jsonText(error.message.slice(0, MAX_ERROR_MESSAGE)),
        error_class: JSON.stringify(error.code),
        retry_count: `${failuresOf(job)}`,
        ...((isFirst || timeOf(job, "failed_at") === undefined) && { failed_at: now }),
        ...(!isFirst && { retried_at: now }),
        // From an attempt by Sidekiq; our errors have none.
        error_backtrace: undefined,
        fervo_stderr: stderr === undefined ? undefined : jsonText(stderr),
        fervo_lost: undefined,
        fervo_repeat: undefined,
        ...(isReady && { enqueued_at: now }),
      }),
    };
  }

  /** A due job, for its queue. */
  enqueued(raw: Uint8Array, nowMs: number): PlacedMessage {
    const job = parseJob(raw);
    return {
      queue: queueOf(job) ?? DEFAULT_QUEUE,
      raw: job.with({ enqueued_at: this.#time(nowMs) }),
    };
  }

  /** A dead letter's job, to start again; an unreadable message goes back unchanged. */
  revived(raw: Uint8Array, nowMs: number): PlacedMessage {
    const unreadable = readUnreadable(raw);
    if (unreadable !== undefined) {
      if (unreadable.queue === undefined) throw malformed("it is not a job, and its queue is unknown");
      return { raw: unreadable.message, queue: unreadable.queue };
    }
    const job = parseJob(raw);
    const cleared = Object.fromEntries(FAILURE_FIELDS.map((name) => [name, undefined]));
    return {
      queue: queueOf(job) ?? DEFAULT_QUEUE,
      raw: job.with({ ...cleared, enqueued_at: this.#time(nowMs) }),
    };
  }

  /** A job that is put back while it runs. */
  repeated(job: JsonObject): Uint8Array {
    return job.with({ fervo_repeat: "true" });
  }

  /** A job whose worker died. */
  recovered(job: JsonObject, { id, queue }: { id: string; queue: string }): Uint8Array {
    return job.with({
      ...(!job.has("jid") && { jid: JSON.stringify(id) }),
      ...(!job.has("queue") && { queue: JSON.stringify(queue) }),
      fervo_recovered: `${recoveriesOf(job) + 1}`,
      fervo_lost: "true",
    });
  }
}

/** The random part until 7.3; since 8.0 the whole product is random. */
const formerJitterS = (count: number, random: number) => Math.floor(random * 10) * (count + 1);

export const sidekiq6 = new SidekiqFormat({
  name: "sidekiq6",
  version: "6.5.12",
  // Up to 6.4.1 it was called "workers".
  workKeys: ["work", "workers"],
  time: seconds,
  jitterS: formerJitterS,
  isTimeAlone: false,
});

export const sidekiq7 = new SidekiqFormat({
  name: "sidekiq7",
  version: "7.3.10",
  workKeys: ["work"],
  time: seconds,
  jitterS: formerJitterS,
  isTimeAlone: false,
});

export const sidekiq8 = new SidekiqFormat({
  name: "sidekiq8",
  version: "8.1.7",
  workKeys: ["work"],
  time: milliseconds,
  jitterS: (count, random) => Math.floor(random * 10 * (count + 1)),
  isTimeAlone: true,
});

function payloadOf(job: JsonObject): Uint8Array {
  if (job.string("class") !== DEFERRED_EVENT) return job.bytes;
  const [event, ...others] = job.get("args") as unknown[];
  if (typeof event !== "string" || others.length > 0) return job.bytes;
  if (!event.isWellFormed()) throw malformed("its argument has a lone surrogate");
  return new TextEncoder().encode(event);
}

function retryField(maxAttempts: number): string {
  return maxAttempts <= 1 ? "false" : String(maxAttempts - 1);
}
