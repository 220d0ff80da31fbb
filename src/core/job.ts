/** One unit of work as an executor sees it: what the broker delivered, read by its format. */
export interface Job {
  /** Names the job in logs, in FPM's access log and to PHP; unique within its broker. */
  readonly id: string;
  readonly queue: string;
  /** What PHP reads on STDIN, byte for byte as it was pushed. */
  readonly payload: Uint8Array;
  /** 1 on the first attempt. */
  readonly attempt: number;
  /** An earlier run may have done this job, wholly or in part. PHP is told so. */
  readonly isRepeat?: boolean;
  /** The attempt after which a failure is final. */
  readonly maxAttempts: number;
  /** After this time a failure is final as well, epoch milliseconds. */
  readonly retryUntilMs?: number;
  /** When it was pushed, epoch milliseconds. */
  readonly enqueuedAtMs: number;
  /** The worker stops waiting then, and ignores a later result, epoch milliseconds. */
  readonly deadlineMs: number;
  /** W3C trace context of the producer, if it is valid. */
  readonly traceparent?: string;
  /** Passed on unchanged. */
  readonly tracestate?: string;
  /** For a message that the application's framework reads: the payload is the whole body. */
  readonly framework?: {
    readonly format: string;
    /** The message's headers; names in their own case and order. */
    readonly headers: Readonly<Record<string, string>>;
  };
  /** Invalid fields of the message, which are not passed on. */
  readonly ignored?: readonly string[];
}
