import type { BrokerAdmin } from "./admin.ts";
import type { Delivery } from "./delivery.ts";
import type { Format, PushOptions } from "./format.ts";

/** The delays that a broker supports. */
export interface DelayRange {
  /** A push with a longer delay is refused; a retry with a longer one comes earlier. 0 without delays. */
  readonly maxMs: number;
  /** Delays are rounded up to steps of this many milliseconds. */
  readonly stepMs: number;
}

/**
 * What a broker can do. Configuration, `check`, the documentation and the conformance suite read it, and a test proves each
 * value.
 */
export interface Capabilities {
  /** What keeps a delivery ours: a renewed lease, or the life of this process or its connection. */
  readonly lease: "timed" | "connection";
  /** What {@link Delivery.redeliveries} says: how often a holder was lost, whether one ever was, or nothing. */
  readonly redeliveries: "counted" | "flagged" | "unknown";
  /** {@link Delivery.attempt} is known. */
  readonly attempts: boolean;
  /** {@link Delivery.isRepeat} is known. */
  readonly repeats: boolean;
  /** Whether a release costs an attempt. */
  readonly release: "uncounted" | "counted";
  /** The same of a release with a delay. */
  readonly delayedRelease: "uncounted" | "counted";
  /** Where a released job goes: it is taken next, or after all others. */
  readonly releasePlace: "front" | "back";
  /** Whether a replacement is one atomic step. In two steps the new message is put first, so both can exist for a moment. */
  readonly replace: "one-step" | "two-step";
  /** What keeps a late settle from changing the job of another holder. */
  readonly fence: "token" | "connection" | "none";
  /** The orders in which a consumer can take jobs from several queues; `mixed` is the broker's own. */
  readonly orders: readonly ("strict" | "weighted" | "mixed")[];
  readonly pushDelay: DelayRange;
  /**
   * For a retry, a replacement and a delayed release. Every broker supports some delay: a failing job would never rest without
   * one.
   */
  readonly retryDelay: DelayRange;
  /** A push takes a priority. */
  readonly priority: boolean;
  /** A push takes headers and a limit of attempts, and the broker stores both beside the payload. */
  readonly headers: boolean;
  /** A push takes a unique key: {@link PushOptions.unique}. */
  readonly unique: boolean;
  /** How exactly jobs are counted. Unless it is `none`, {@link BrokerAdmin} has `queues`, `depth`, `census` and `latencyMs`. */
  readonly counts: "exact" | "estimated" | "none";
  /** Waiting and running jobs can be listed: {@link BrokerAdmin.jobs}. */
  readonly jobs: boolean;
  /**
   * What the broker stores about dead letters. `errors`: why and when each job died; they are listed by time, and keep their
   * ids when they are retried. `bare`: no errors. `none`: dead letters cannot be listed.
   */
  readonly dead: "errors" | "bare" | "none";
  /**
   * How long a pause without a time lasts: `kept`, until somebody resumes the queue; `loose`, which may end when the broker
   * restarts, or when the queue has no jobs and no users; `none`, there are no pauses.
   */
  readonly pauses: "kept" | "loose" | "none";
  /** A pause stores its reason. */
  readonly pauseReasons: boolean;
  /** The ready jobs of a queue can be deleted: {@link BrokerAdmin.purge}. */
  readonly purge: boolean;
  /** It has a {@link ScheduleBook}. */
  readonly schedule: boolean;
}

/** What a subscription is for. */
export interface SubscribeOptions {
  /** All queues that may be requested, at least one. */
  readonly queues: readonly string[];
  /** The number of deliveries that the consumer has room for. A broker that sends jobs by itself sends no more. */
  readonly capacity: number;
  /**
   * Called, where the broker notices, with deliveries that are no longer ours and not yet settled. Settling them is LEASE_LOST.
   */
  readonly onLost: (gone: readonly Delivery[]) => void;
}

/** What to receive. */
export interface ReceiveRequest {
  /**
   * The queues of the subscription that may be taken from now, in order: a later queue counts only while the earlier ones have
   * nothing ready.
   */
  readonly queues: readonly string[];
  /** At most this many deliveries; at least 1. */
  readonly max: number;
  /** No further delivery is added once the messages have this many bytes; the first one always is. No limit when absent. */
  readonly maxBytes?: number;
  /** How long to wait for the first delivery, milliseconds. 0 asks without waiting. */
  readonly waitMs: number;
}

/** Jobs of some queues, for one consumer. It is disposed of after the last settle of its deliveries. */
export interface Subscription extends AsyncDisposable {
  /**
   * Resolves with the ready deliveries, or with `[]` when the wait ended or `signal` aborted. Never drops a job that it has
   * taken. One call at a time.
   *
   * @throws {FervoError} QUEUE_UNAVAILABLE
   */
  receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]>;
  /** The consumer has room for this many deliveries now. */
  resize(capacity: number): void;
  /**
   * Takes no more jobs, and gives back deliveries that nobody has received; received ones can still be settled. Not during a
   * receive.
   */
  stop(): Promise<void>;
}

/**
 * One broker.
 *
 * 1. Hands out deliveries, each to one holder at a time, and never more than requested.
 * 2. Loses nothing: a job stays in the broker until it is acknowledged, whatever dies meanwhile.
 * 3. Reads a message once, by its format, and never looks into a payload.
 *
 * Every method may reject with QUEUE_UNAVAILABLE, and may then be called again.
 */
export interface Broker extends AsyncDisposable {
  readonly capabilities: Capabilities;
  /** The format of its messages. */
  readonly format: Format;

  subscribe(options: SubscribeOptions): Subscription;
  /**
   * Resolves with the job's id once the broker has stored the job, as a message of its format; with a unique key, possibly with
   * the id of a job that waits already.
   *
   * @throws {FervoError} JOB_MALFORMED when the payload breaks a rule of the format, or the broker cannot store an option
   */
  push(queue: string, payload: Uint8Array, options?: PushOptions): Promise<string>;
  readonly admin: BrokerAdmin;
  /** Where people see this process; undefined where the broker shows no processes. */
  readonly presence?: Presence;

  /** Waits for calls under way, then closes. Idempotent. */
  close(): Promise<void>;
}

/** This process in the broker's own list of processes. */
export interface Presence {
  /** Shows that it takes no more jobs. Idempotent. */
  quiet(): void;
}
