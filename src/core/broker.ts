import type { BrokerAdmin } from "./admin.ts";
import type { Delivery } from "./delivery.ts";
import type { Format, PushOptions } from "./format.ts";

/** Which delays a broker keeps. */
export interface DelayRange {
  /** Longer ones: a push is refused, a retry comes earlier. 0 where there are none at all. */
  readonly maxMs: number;
  /** They are kept in steps of this many milliseconds, never shortened by one. */
  readonly stepMs: number;
}

/**
 * What a broker can do. Configuration, `check`, the table in the documentation and the conformance suite go by it, and for each
 * value there is a test that it is true.
 */
export interface Capabilities {
  /** How a delivery stays ours: for a time that is renewed, or as long as this process, or its connection, is there. */
  readonly lease: "timed" | "connection";
  /** What {@link Delivery.redeliveries} tells: how often its holder was lost, whether it ever was, or nothing. */
  readonly redeliveries: "counted" | "flagged" | "unknown";
  /** {@link Delivery.attempt} is known. */
  readonly attempts: boolean;
  /** {@link Delivery.isRepeat} is known. */
  readonly repeats: boolean;
  /** Whether a release costs an attempt. */
  readonly release: "uncounted" | "counted";
  /** The same of a release with a delay. */
  readonly delayedRelease: "uncounted" | "counted";
  /** Where a job that was released is: taken next, or behind all others. */
  readonly releasePlace: "front" | "back";
  /** Whether a message takes the place of another at once; or is put first, and the other removed then, so that both can be there. */
  readonly replace: "one-step" | "two-step";
  /** What keeps a settle that comes too late from the job of another holder. */
  readonly fence: "token" | "connection" | "none";
  /** In which orders a consumer can take jobs from several queues; `mixed` is whatever comes. */
  readonly orders: readonly ("strict" | "weighted" | "mixed")[];
  readonly pushDelay: DelayRange;
  /** Of a retry, a replacement and a release with a delay. Every broker keeps some: without, a job that fails would never rest. */
  readonly retryDelay: DelayRange;
  /** A push takes a priority. */
  readonly priority: boolean;
  /** A push takes headers, and the broker keeps them beside the payload, with a limit of attempts. */
  readonly headers: boolean;
  /** How well jobs are counted. Unless it is `none`, {@link BrokerAdmin} has `queues`, `depth`, `census` and `latencyMs`. */
  readonly counts: "exact" | "estimated" | "none";
  /** Jobs that wait or run can be looked at: {@link BrokerAdmin.jobs}. */
  readonly jobs: boolean;
  /**
   * What is known of dead letters. `errors`: why and when each job died; they are listed by when, and keep their ids when they
   * are retried. `bare`: that they are dead. `none`: they cannot be looked at.
   */
  readonly dead: "errors" | "bare" | "none";
  /**
   * How long {@link Pauses} without a time last: until somebody resumes the queue; `loose`, which may end by itself when the broker restarts, or
   * when nobody uses the queue and it holds no job; or there are none.
   */
  readonly pauses: "kept" | "loose" | "none";
  /** A pause keeps the reason of whoever paused. */
  readonly pauseReasons: boolean;
  /** The ready jobs of a queue can be deleted: {@link BrokerAdmin.purge}. */
  readonly purge: boolean;
  /** It keeps a {@link ScheduleBook}. */
  readonly schedule: boolean;
}

/** What a subscription is for. */
export interface SubscribeOptions {
  /** All queues that may be asked for, at least one. */
  readonly queues: readonly string[];
  /** How many deliveries the consumer has room for: a broker that sends jobs by itself sends no more. */
  readonly capacity: number;
  /** Is told of deliveries that are ours no more, before they are settled, where the broker notices. Settling them is LEASE_LOST. */
  readonly onLost: (gone: readonly Delivery[]) => void;
}

/** What to receive. */
export interface ReceiveRequest {
  /**
   * Those of the subscription's queues that may be taken from now. In order: a later queue is only looked at when the earlier
   * ones have nothing ready.
   */
  readonly queues: readonly string[];
  /** At most this many deliveries; at least 1. */
  readonly max: number;
  /** Once their messages have this many bytes, no further one is given; the first always is. No limit when absent. */
  readonly maxBytes?: number;
  /** Wait at most this long for the first one, milliseconds. 0 asks without waiting. */
  readonly waitMs: number;
}

/** Jobs of some queues, for one consumer. To be disposed of after the last settle of what it has given. */
export interface Subscription extends AsyncDisposable {
  /**
   * Resolves with what is ready; with `[]` when the wait ended or `signal` aborted. Never drops a job it has taken. One at a
   * time.
   *
   * @throws {FervoError} QUEUE_UNAVAILABLE
   */
  receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]>;
  /** The consumer has room for this many deliveries now. */
  resize(capacity: number): void;
  /** Takes no more jobs, and gives back those that nobody has received; what was received can still be settled. Not during a receive. */
  stop(): Promise<void>;
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

  subscribe(options: SubscribeOptions): Subscription;
  /**
   * Resolves with the job's id once the broker holds it durably, as a message of its format.
   *
   * @throws {FervoError} JOB_MALFORMED when the format has rules for payloads that this one breaks, or what is asked for has no place
   */
  push(queue: string, payload: Uint8Array, options?: PushOptions): Promise<string>;
  readonly admin: BrokerAdmin;
  /** Where people see this process; undefined where the broker shows none. */
  readonly presence?: Presence;

  /** Waits for calls under way, then closes. Idempotent. */
  close(): Promise<void>;
}

/** This process as people see it in the broker, where that shows the processes that use it. */
export interface Presence {
  /** Shows that it takes no more jobs. Idempotent. */
  quiet(): void;
}
