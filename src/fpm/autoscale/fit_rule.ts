import type { FitReason } from "../../core/observer.ts";

/** The bounds of the slots. */
export interface FitBounds {
  /** Slots at least; 1 or more. */
  readonly min: number;
  /** Slots at most; Infinity for the number of children. */
  readonly max: number;
  /** Children that stay idle for other clients. */
  readonly reserve: number;
}

/** An observation of a php-fpm pool, and of the work on it since the last one. */
export interface PoolObservation {
  /** The time of the look, monotonic milliseconds. */
  readonly nowMs: number;
  /** All slots were in use. */
  readonly isSaturated: boolean;
  /** The largest number of children of the pool; undefined if unknown. */
  readonly children: number | undefined;
  /** Children that are left when each of our slots has one; negative when there are too few; undefined if unknown. */
  readonly idle: number | undefined;
  /** Children that run for other clients; 0 if unknown. */
  readonly others: number;
  /** A request waits in php-fpm's listen queue. */
  readonly isQueued: boolean;
  /** How often php-fpm had no room for a connection since the last look. */
  readonly overloads: number;
}

/** For this long after a refused connection nothing grows, and no other one counts, milliseconds. */
const CALM_MS = 1_000;
const OVERLOADED = 0.5;
/** For this long, other clients that were seen once still count, milliseconds. */
const SHARED_MS = 5_000;
/** How often a full pool is shared again, half as long more or less, milliseconds: so workers do not act in step. */
const SHARE_MS = 2_000;
/** The part that is given up then, times the own share of the pool: a worker with almost everything gives up the most. */
const SHARE = 0.4;
/** A fraction of a slot that counts as a whole one. */
const EPSILON = 1e-9;

/**
 * How many jobs to run at the same time on a php-fpm pool, by observation: additive increase and multiplicative decrease, as in
 * TCP, so that several independent workers end with equal shares.
 *
 * 1. Never more than the children that others leave, less the reserve; without others, all of those.
 * 2. With others, and without an idle child: gives up some slots every two seconds, more with a larger share of the pool. It
 *    takes one more at each look with an idle child; a worker with more than all others together, at every second one.
 * 3. Half as many when php-fpm has no room for a connection.
 */
export class FitRule {
  readonly #bounds: FitBounds;
  readonly #random: () => number;
  /** With a fraction, so that small steps count, too. */
  #slots: number;
  #others = 0;
  /** When others were last seen. */
  #sharedMs = -Infinity;
  /** At a look, an idle child was left to consumers with less. */
  #hasLeft = false;
  #calmUntilMs = -Infinity;
  /** When the pool is shared again; undefined while it is not full, or all ours. */
  #shareMs: number | undefined;

  /** @param idle The idle children at the start, or else the number of children; undefined if unknown. */
  constructor(deps: { random: () => number }, bounds: FitBounds, idle: number | undefined) {
    this.#random = deps.random;
    this.#bounds = bounds;
    this.#slots = idle === undefined ? bounds.min : this.#bounded(idle - bounds.reserve);
  }

  get slots(): number {
    return Math.floor(this.#slots + EPSILON);
  }

  /** Adjusts the slots to an observation. Returns the reason of a change; undefined without one. */
  adjust(observation: PoolObservation): FitReason | undefined {
    const before = this.slots;
    const reason = this.#adjust(observation);
    return this.slots === before ? undefined : reason;
  }

  #adjust(observation: PoolObservation): FitReason {
    const { nowMs, idle, overloads, isSaturated } = observation;
    const { reserve } = this.#bounds;
    if (overloads > 0 && nowMs >= this.#calmUntilMs) {
      this.#calmUntilMs = nowMs + CALM_MS;
      return this.#change(this.#slots * OVERLOADED, "overloaded");
    }
    const room = this.#room(observation);
    if (this.#slots > room) return this.#change(room, this.#others > 0 ? "others" : "children");

    const isShared = this.#others > 0 || observation.isQueued;
    if (isShared) this.#sharedMs = nowMs;
    // A client with one child of many is not seen at each look.
    const wasShared = nowMs - this.#sharedMs < SHARED_MS;
    if (wasShared && isSaturated && idle !== undefined && idle <= reserve) {
      this.#shareMs ??= nowMs + this.#sharePauseMs();
      if (nowMs < this.#shareMs) return "others";
      this.#shareMs = nowMs + this.#sharePauseMs();
      const ownShare = this.#slots / (this.#slots + Math.max(this.#others, 1));
      return this.#change(this.#slots * (1 - ownShare * SHARE), "others");
    }
    this.#shareMs = undefined;

    const mayGrow = idle === undefined || idle > reserve;
    if (!mayGrow || !isSaturated || nowMs < this.#calmUntilMs) return "idle";
    this.#hasLeft = isShared && this.#slots > this.#others && !this.#hasLeft;
    if (this.#hasLeft) return "idle";
    const step = isShared || idle === undefined ? 1 : idle - reserve;
    return this.#change(Math.min(this.#slots + step, room), "idle");
  }

  /** The number of slots that the pool has room for. */
  #room({ children, others }: PoolObservation): number {
    // A child between two requests can look like another client's; hardly twice in a row.
    const twice = Math.min(this.#others, others);
    this.#others = others;
    if (children === undefined) return this.#bounds.max;
    return this.#bounded(children - twice - this.#bounds.reserve);
  }

  #sharePauseMs(): number {
    return SHARE_MS * (0.5 + this.#random());
  }

  #change(slots: number, reason: FitReason): FitReason {
    this.#slots = this.#bounded(slots);
    return reason;
  }

  #bounded(slots: number): number {
    return Math.max(Math.min(slots, this.#bounds.max), this.#bounds.min);
  }
}
