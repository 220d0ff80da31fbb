import { asFervoError, type FervoError } from "./errors.ts";

/** A message as a broker keeps it. */
export interface Message {
  /** Its bytes, exact. */
  readonly body: Uint8Array;
  /** What is kept beside the bytes, by name; lower case. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What a message says of its job. What is absent is known from the broker, or from the consumer's settings. */
export interface JobHead {
  /** What PHP gets. */
  readonly payload: Uint8Array;
  readonly id?: string;
  readonly maxAttempts?: number;
  /** Attempts that it may have whatever the limit is, for it was put back by a person or another program. */
  readonly minAttempts?: number;
  /** After this time a failure is final, epoch milliseconds. */
  readonly retryUntilMs?: number;
  /** When it was pushed, epoch milliseconds. */
  readonly enqueuedAtMs?: number;
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** What a message says while it is being read. */
export type Writable<T> = { -readonly [Name in keyof T]: T[Name] };

/** What may be said of a new job. */
export interface PushOptions {
  /** Not before this many milliseconds from now. */
  readonly delayMs?: number;
  /** Higher runs first within a queue; 0 when absent. A whole number. */
  readonly priority?: number;
  /** The job's own limit of attempts instead of its consumer's. */
  readonly maxAttempts?: number;
  /** Stored beside the payload, e.g. `traceparent`. Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** A message that no job can be read from. */
export interface Unreadable {
  readonly error: FervoError;
  /** This message alone, which is a dead letter; or others as well, so that none is filed, and the consumer backs off. */
  readonly concerns: "message" | "producer";
}

export function isUnreadable(job: JobHead | Unreadable): job is Unreadable {
  return "error" in job;
}

/** A message that is a dead letter, and says nothing of others. */
export function unreadable(error: FervoError): Unreadable {
  return { error, concerns: "message" };
}

/** A producer's message format. Pure. */
export interface Format {
  readonly name: string;
  /**
   * The application's framework reads its messages: PHP is sent the whole message, says when it takes a job up, and may keep
   * retries and dead letters itself (docs/protocol.md, section 8).
   */
  readonly framework?: {
    /** PHP is told of jobs that died without a word, so that the framework counts them. */
    readonly isToldFailures: boolean;
  };
  /** @throws {JobError} JOB_MALFORMED when the message is not of this format */
  read(message: Message): JobHead;
  /**
   * The wait before the next attempt of a failed job, milliseconds, where the format has a rule of its own for it.
   *
   * @param attempt The attempt that has just failed, 1-based.
   * @param random A number in [0, 1).
   */
  retryDelayMs?(attempt: number, random: number): number;
}

/** A format of messages that say no more than what their job is, for a broker that keeps the rest itself. */
export interface PlainFormat extends Format {
  /** Whether a message says how often its job may be tried; else the broker keeps that beside it, where it has a place. */
  readonly hasAttempts: boolean;
  write(job: JobHead): Message;
}

/** What a message says of its job, or why none can be read. */
export function readJob(format: Pick<Format, "read">, message: Message): JobHead | Unreadable {
  try {
    return format.read(message);
  } catch (thrown) {
    const error = asFervoError(thrown);
    // A fault of the format says nothing of the message.
    return { error, concerns: error.code === "JOB_MALFORMED" ? "message" : "producer" };
  }
}
