import type { Clock } from "../../core/time/clock.ts";

/** A step of the server's time of less than this costs at most this much of a lease, milliseconds. */
const LEAST_STEP_MS = 2_000;

/**
 * Notices that the server's time of day was set ahead. Leases end by that time: all would end at once, although their holders
 * live. They renew their leases, each within its length. So for that long nobody ends the leases of others.
 */
export class ServerTime {
  readonly #clock: Clock;
  readonly #leaseMs: number;
  readonly #onStep: (byMs: number) => void;
  /** How far the server's time is ahead of our monotonic clock, milliseconds. */
  #aheadMs: number | undefined;
  #trustedFromMs = -Infinity;

  constructor(deps: { clock: Clock; onStep: (byMs: number) => void }, options: { leaseMs: number }) {
    this.#clock = deps.clock;
    this.#onStep = deps.onStep;
    this.#leaseMs = options.leaseMs;
  }

  /** Whether a lease ends at its time of day. */
  get isTrusted(): boolean {
    return this.#clock.monotonicMs() >= this.#trustedFromMs;
  }

  /** @param beforeMs When the server was asked, monotonic milliseconds. */
  note(serverMs: number, beforeMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    const aheadMs = serverMs - beforeMs;
    const stepMs = aheadMs - (this.#aheadMs ?? aheadMs);
    this.#aheadMs = aheadMs;
    // The answer may have come late; then the server's time is only more than it seems.
    if (stepMs - (nowMs - beforeMs) < LEAST_STEP_MS) return;
    this.#trustedFromMs = nowMs + this.#leaseMs;
    this.#onStep(stepMs);
  }
}
