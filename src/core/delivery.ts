import type { JobHead, Message, Unreadable } from "./format.ts";
import type { Verdict } from "./outcome.ts";

/**
 * One job as a broker handed it to us.
 *
 * Exactly one call of `settle` settles it. The call resolves when the broker has stored the new state, and rejects with
 *
 * - LEASE_LOST when the job is no longer ours, because somebody else has it or it is settled: nothing was changed;
 * - JOB_MALFORMED when the broker refuses the message of a `replace`, for its length for instance: nothing was changed, and the
 *   delivery needs another verdict;
 * - QUEUE_UNAVAILABLE when the broker cannot be reached: the result is unknown, and the same call may be made again.
 */
export interface Delivery {
  /** Unique within the broker. */
  readonly id: string;
  readonly queue: string;
  readonly message: Message;
  /** The job, read once from the message by the broker's format. If the message is too long, `body` may be empty. */
  readonly job: JobHead | Unreadable;
  /** 1 on the first delivery, where the broker knows. */
  readonly attempt?: number;
  /** How many earlier holders were lost, where the broker knows: killed, or without their lease or connection. */
  readonly redeliveries?: number;
  /** An earlier run may not have ended: the job was put back while it ran, or its holder was lost. Where the broker knows. */
  readonly isRepeat?: boolean;
  /** When it was pushed, epoch milliseconds, where the broker knows. */
  readonly enqueuedAtMs?: number;
  /** When it became ready to run, epoch milliseconds, where the broker knows: its wait begins here. */
  readonly readyAtMs?: number;

  /**
   * - `ack`: done, the job is gone.
   * - `retry`: failed; ready again in `delayMs` milliseconds; this attempt counts.
   * - `bury`: failed for good; to the dead letters, with `error`.
   * - `handled`: failed, and there is nothing left to do; the job is gone.
   * - `replace`: failed; `message` takes its place in `delayMs` milliseconds, with no attempt counted. The broker stores it
   *   before the original is gone.
   * - `release`: not run, or cut off; ready again at once in its old place, or in `delayMs` milliseconds. This attempt does not
   *   count, except where `Capabilities.release` or `delayedRelease` says so. With `mayRunOn` the next delivery is a repeat,
   *   where the broker can store that.
   */
  settle(verdict: Verdict): Promise<void>;
  /** Renews the lease; absent where the delivery stays ours without renewal. */
  readonly lease?: Lease;
}

/** The time for which a delivery stays ours. */
export interface Lease {
  /** Its length unless renewed, milliseconds. */
  readonly ms: number;
  /**
   * Renews it for its whole length.
   *
   * @throws {FervoError} LEASE_LOST, QUEUE_UNAVAILABLE
   */
  extend(): Promise<void>;
}
