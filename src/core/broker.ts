import type { Census, DeadLetters, Pauses, QueueDepth, ScheduleBook } from "./admin.ts";
import type { Delivery } from "./delivery.ts";
import type { Finding } from "./finding.ts";
import type { Format, PushOptions } from "./format.ts";

/** What a broker can do. A broker declares it; the conformance suite and the documentation go by it. */
export interface Capabilities {
  /** How a delivery stays ours: for a time that `extend` renews, as long as the connection lives, or for ever. */
  readonly lease: "timed" | "connection" | "none";
  /** `push` takes a delay. */
  readonly delay: boolean;
  /** `push` takes a priority. */
  readonly priority: boolean;
  /** `push` takes headers, and the broker keeps them beside the payload, with a limit of attempts. */
  readonly headers: boolean;
  /**
   * A dead letter keeps why and when its job died, is listed by when, and keeps its id when it is retried. Else its
   * error says that nothing is known.
   */
  readonly deadErrors: boolean;
  /** It keeps a {@link ScheduleBook}. */
  readonly schedule: boolean;
  /**
   * How long {@link Pauses} last: until somebody resumes the queue, or `loose`, which may end by itself: when the broker
   * restarts, or when nobody uses the queue and it holds no job.
   */
  readonly pauses: "kept" | "loose";
  /** Its deliveries tell {@link Delivery.isRepeat}. */
  readonly repeats: boolean;
}

/** What to receive. */
export interface ReceiveRequest {
  /** In order: a later queue is only looked at when the earlier ones have nothing ready. */
  readonly queues: readonly string[];
  /** At most this many deliveries; at least 1. */
  readonly max: number;
  /** Once their messages have this many bytes, no further one is given; the first always is. No limit when absent. */
  readonly maxBytes?: number;
  /** Wait at most so long for the first one, milliseconds. 0 asks without waiting. */
  readonly waitMs: number;
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

/**
 * One broker.
 *
 * 1. Hands out deliveries, each to one holder at a time, and never more than were asked for.
 * 2. Loses nothing: a job is in the broker until it is acknowledged, whatever dies in between.
 * 3. Reads a message once, by its format, and never looks into a payload.
 *
 * Every method may reject with QUEUE_UNAVAILABLE, and may then be called again.
 */
export interface Broker extends AsyncDisposable {
  readonly capabilities: Capabilities;
  /** Of its messages. */
  readonly format: Format;

  /** Resolves with what is ready; with `[]` when the wait ended or `signal` aborted. Never drops a job it has taken. */
  receive(request: ReceiveRequest): Promise<Delivery[]>;
  /**
   * Resolves with the job's id once the broker holds it durably, as a message of its format.
   *
   * @throws {FervoError} JOB_MALFORMED when the format has rules for payloads that this one breaks, or what is asked for has no place
   */
  push(queue: string, payload: Uint8Array, options?: PushOptions): Promise<string>;
  depth(queue: string): Promise<QueueDepth>;
  /**
   * For how long the next job of the queue has been ready, milliseconds; undefined when none is, or it is not known. Of
   * beanstalkd, since it was put.
   */
  latencyMs(queue: string): Promise<number | undefined>;
  /** Asked every few seconds while jobs run, so it costs the broker next to nothing, however many jobs there are. */
  census(queues: readonly string[]): Promise<Census>;
  /** Names of all queues that hold a job, sorted. */
  queues(): Promise<string[]>;
  readonly dead: DeadLetters;
  readonly pauses: Pauses;
  /** Undefined where the broker has no place for it. */
  readonly schedule?: ScheduleBook;
  /** What is to be said of the broker's own settings, good and bad. */
  findings?(): Promise<Finding[]>;

  /** Shows that this process takes no more jobs, where the broker shows its processes to people. Idempotent. */
  quiet?(): void;

  /** Waits for calls under way, then closes. Idempotent. */
  close(): Promise<void>;
}
