import type { FervoError } from "./errors.ts";
import type { Verdict } from "./outcome.ts";

/**
 * One job as a broker handed it to us.
 *
 * It is settled by exactly one call of `settle`, which resolves when the broker holds the new state, and rejects with
 *
 * - LEASE_LOST when the job is no longer ours, for somebody else has it or it is settled: nothing was changed;
 * - QUEUE_UNAVAILABLE when the broker cannot be reached: nothing is known, and the same call may be made again.
 */
export interface Delivery {
  /** Unique within the broker. */
  readonly id: string;
  readonly queue: string;
  /** The message's bytes, exact. */
  readonly raw: Uint8Array;
  /** What came beside the bytes, by name; lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** The message as the driver has read it already by the format's own rules, where it has to: for that format. */
  readonly parsed?: unknown;
  /**
   * Why the message cannot be run as it is: longer than the limit (`raw` may be empty then; the broker has the bytes), or
   * headers that cannot be read. All there is to do is to bury it.
   */
  readonly problem?: FervoError;
  /** 1 on the first delivery. */
  readonly attempt: number;
  /**
   * A former run of it may not have ended: it was put back while it ran, or its holder was lost. Where the broker knows.
   */
  readonly isRepeat?: boolean;
  /** The job's own limit of tries, where its producer set one beside the bytes. */
  readonly maxAttempts?: number;
  /** When it was pushed, epoch milliseconds, where the broker knows. */
  readonly enqueuedAtMs?: number;
  /** When it became ready to run, epoch milliseconds, where the broker knows: the wait is counted from here. */
  readonly readyAtMs?: number;

  /**
   * - `ack`: done, the job is gone.
   * - `retry`: failed; ready again in `delayMs` milliseconds; this attempt counts.
   * - `bury`: failed for good; to the dead letters, with `error` beside it.
   * - `release`: not run, or cut off; ready again at once, in its old place; this attempt does not count. With `mayRunOn` the
   *   next delivery is a repeat, where the broker can keep that.
   */
  settle(verdict: Verdict): Promise<void>;
  /**
   * Renews the lease by its whole length. Absent where the broker needs none.
   *
   * @throws {FervoError} LEASE_LOST, QUEUE_UNAVAILABLE
   */
  extend?(): Promise<void>;
}
