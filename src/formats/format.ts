import type { Delivery } from "../core/delivery.ts";

/** What a message says of its job. What is absent is taken from the delivery or the consumer's settings. */
export interface Message {
  readonly payload: Uint8Array;
  readonly id?: string;
  readonly maxAttempts?: number;
  /** Attempts that it may have whatever the limit is, for it was put back by a person or another program. */
  readonly minAttempts?: number;
  /** After this time a failure is final, epoch milliseconds. */
  readonly retryUntilMs?: number;
  readonly enqueuedAtMs?: number;
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** A producer's message format: bytes to job and back. Pure. */
export interface Format {
  readonly name: string;
  /** @throws {JobError} JOB_MALFORMED when the bytes are not of this format. */
  decode(delivery: Pick<Delivery, "raw" | "headers" | "parsed">): Message;
  encode(content: Message): Uint8Array;
  /**
   * The wait before the next try of a failed job, milliseconds, where the format has a rule of its own for it.
   *
   * @param attempt The try that has just failed, 1-based.
   * @param random A number in [0, 1).
   */
  retryDelayMs?(attempt: number, random: number): number;
}
