import type { JobHead, Message, Unreadable } from "./format.ts";
import type { Verdict } from "./outcome.ts";

/**
 * One job as a broker handed it to us.
 *
 * It is settled by exactly one call of `settle`, which resolves when the broker holds the new state, and rejects with
 *
 * - LEASE_LOST when the job is no longer ours, for somebody else has it or it is settled: nothing was changed;
 * - JOB_MALFORMED when the broker does not take the message of a `replace`, as for its length: nothing was changed, and the delivery
 *   is to be settled in another way;
 * - QUEUE_UNAVAILABLE when the broker cannot be reached: nothing is known, and the same call may be made again.
 */
export interface Delivery {
  /** Unique within the broker. */
  readonly id: string;
  readonly queue: string;
  readonly message: Message;
  /** What the message says of its job, as the broker's format has read it, once. Of a message that is too long, `body` may be empty. */
  readonly job: JobHead | Unreadable;
  /** 1 on the first delivery, where the broker knows. */
  readonly attempt?: number;
  /** How often a holder of it was lost before, where the broker knows: it was killed, or lost its lease or its connection. */
  readonly redeliveries?: number;
  /**
   * A former run of it may not have ended: it was put back while it ran, or its holder was lost. Where the broker knows.
   */
  readonly isRepeat?: boolean;
  /** When it was pushed, epoch milliseconds, where the broker knows. */
  readonly enqueuedAtMs?: number;
  /** When it became ready to run, epoch milliseconds, where the broker knows: the wait is counted from here. */
  readonly readyAtMs?: number;

  /**
   * - `ack`: done, the job is gone.
   * - `retry`: failed; ready again in `delayMs` milliseconds; this attempt counts.
   * - `bury`: failed for good; to the dead letters, with `error` beside it.
   * - `handled`: failed, and there is nothing left to do; the job is gone.
   * - `replace`: failed; `message` is ready in `delayMs` milliseconds in its place, with no attempt counted. It is durable before
   *   the original is gone.
   * - `release`: not run, or cut off; ready again at once, in its old place, or in `delayMs` milliseconds; this attempt does not
   *   count, but as `Capabilities.release` and `delayedRelease` say. With `mayRunOn` the next delivery is a repeat, where the
   *   broker can keep that.
   */
  settle(verdict: Verdict): Promise<void>;
  /** What to do to keep it; absent where it stays ours without. */
  readonly lease?: Lease;
}

/** How a delivery stays ours for a time. */
export interface Lease {
  /** How long, unless renewed, milliseconds. */
  readonly ms: number;
  /**
   * Renews it by its whole length.
   *
   * @throws {FervoError} LEASE_LOST, QUEUE_UNAVAILABLE
   */
  extend(): Promise<void>;
}
