import { asFervoError, type FervoError } from "./errors.ts";

/** A message as the broker stores it. */
export interface Message {
  readonly body: Uint8Array;
  /** Headers beside the body. A framework's names keep their case and their order; others are in lower case. */
  readonly headers: Readonly<Record<string, string>>;
}

/** The job in a message. The broker or the consumer's settings supply absent fields. */
export interface JobHead {
  /** The bytes for PHP. */
  readonly payload: Uint8Array;
  readonly id?: string;
  readonly maxAttempts?: number;
  /** At least this many attempts, whatever the limit is: a person or another program put the job back. */
  readonly minAttempts?: number;
  /** After this time a failure is final, epoch milliseconds. */
  readonly retryUntilMs?: number;
  /** When it was pushed, epoch milliseconds. */
  readonly enqueuedAtMs?: number;
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** The same while it is being filled in. */
export type Writable<T> = { -readonly [Name in keyof T]: T[Name] };

/** Options of a push. */
export interface PushOptions {
  /** Not before this many milliseconds from now. */
  readonly delayMs?: number;
  /** Higher runs first within a queue; 0 when absent. A whole number. */
  readonly priority?: number;
  /** The job's own limit of attempts instead of its consumer's. */
  readonly maxAttempts?: number;
  /** Stored beside the payload, e.g. `traceparent`. Names as in {@link Message}. */
  readonly headers?: Readonly<Record<string, string>>;
  /** A key of which the queue has one waiting job at most: while there is one, nothing is pushed, and its id is returned. */
  readonly unique?: string;
  /** Called before the push resolves with the id of a job that waits already: nothing was pushed. */
  readonly onWaiting?: () => void;
}

/** The unique keys that every broker with them can store, for people. */
export const UNIQUE_KEYS = "1 to 255 characters without NUL";

export function isUniqueKey(text: string): boolean {
  const { length } = [...text];
  return length >= 1 && length <= 255 && !text.includes("\0");
}

/** A message that no job can be read from. */
export interface Unreadable {
  readonly error: FervoError;
  /**
   * `message`: only this message, which becomes a dead letter. `producer`: others as well, so none is buried, and the consumer
   * backs off.
   */
  readonly concerns: "message" | "producer";
}

export function isUnreadable(job: JobHead | Unreadable): job is Unreadable {
  return "error" in job;
}

/** An unreadable message that becomes a dead letter. */
export function unreadable(error: FervoError): Unreadable {
  return { error, concerns: "message" };
}

/** The message format of a producer. Pure. */
export interface Format {
  readonly name: string;
  /**
   * The application's framework reads the messages: PHP gets the whole message, says when it begins a job, and may do retries
   * and dead letters itself (docs/protocol.md, section 8).
   */
  readonly framework?: {
    /** PHP gets a post-mortem of a job that died without an outcome, so that the framework counts the failure. */
    readonly isToldFailures: boolean;
  };
  /** @throws {JobError} JOB_MALFORMED when the message is not of this format */
  read(message: Message): JobHead;
  /**
   * The format's own wait before the next attempt of a failed job, milliseconds.
   *
   * @param attempt The attempt that has just failed, 1-based.
   * @param random A number in [0, 1).
   */
  retryDelayMs?(attempt: number, random: number): number;
}

/** A format whose messages describe only the job, for a broker that stores everything else itself. */
export interface PlainFormat extends Format {
  /** Whether a message carries the job's limit of attempts; else the broker stores it beside the message, if it can. */
  readonly hasAttempts: boolean;
  write(job: JobHead): Message;
}

/** The job in a message, or why it cannot be read. */
export function readJob(format: Pick<Format, "read">, message: Message): JobHead | Unreadable {
  try {
    return format.read(message);
  } catch (thrown) {
    const error = asFervoError(thrown);
    // A fault of the format does not concern one message.
    return { error, concerns: error.code === "JOB_MALFORMED" ? "message" : "producer" };
  }
}
