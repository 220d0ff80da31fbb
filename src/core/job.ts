/** One unit of work as an executor sees it: what the broker delivered, read by its format. */
export interface Job {
  /** Names the job in logs, in FPM's access log and to PHP; unique within its broker. */
  readonly id: string;
  /** The queue it came from. */
  readonly queue: string;
  /** What PHP reads on STDIN, byte for byte as it was pushed. */
  readonly payload: Uint8Array;
  /** 1 on the first attempt. */
  readonly attempt: number;
  /** This attempt may have been begun before, so that the job is done again, wholly or in part. PHP is told so. */
  readonly isRepeat?: boolean;
  /** The attempt after which a failure is final. */
  readonly maxAttempts: number;
  /** After this time a failure is final as well, epoch milliseconds. */
  readonly retryUntilMs?: number;
  /** When it was pushed, epoch milliseconds. */
  readonly enqueuedAtMs: number;
  /** When its time is up and its result no longer counts, epoch milliseconds. */
  readonly deadlineMs: number;
  /** W3C trace context, where the producer sent one that keeps its rules. */
  readonly traceparent?: string;
  /** What goes with it, untouched. */
  readonly tracestate?: string;
  /** Of a message that the application's framework reads; the payload is all of its body then. */
  readonly framework?: {
    /** The format's name. */
    readonly format: string;
    /** What the broker keeps beside the body. */
    readonly headers: Readonly<Record<string, string>>;
  };
  /** Fields of its message that break their rules, and are not handed on. */
  readonly ignored?: readonly string[];
}
