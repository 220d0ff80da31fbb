import type { FitReason } from "../../core/observer.ts";

/** Between what, and with how much left to others. */
export interface FitBounds {
  /** Slots at least; 1 or more. */
  readonly min: number;
  /** Slots at most; Infinity for as many as there are children. */
  readonly max: number;
  /** Children that are left idle, for others. */
  readonly reserve: number;
}

/** What was seen of a php-fpm pool, and of the work on it since the last look. */
export interface PoolObservation {
  /** When that look is, monotonic milliseconds. */
  readonly nowMs: number;
  /** All slots were in use. */
  readonly isSaturated: boolean;
  /** How many children the pool may have; undefined when that is not known. */
  readonly children: number | undefined;
  /** Children that are left when each of our slots has one; fewer than 0 when not each has; undefined when not known. */
  readonly idle: number | undefined;
  /** Children that others have; 0 when that is not known. */
  readonly others: number;
  /** A request waits in php-fpm's listen queue. */
  readonly isQueued: boolean;
  /** How often php-fpm had no room for a connection, since the last look. */
  readonly overloads: number;
}

/** For this long after a refused connection nothing grows, and no other one counts, milliseconds. */
const CALM_MS = 1_000;
const OVERLOADED = 0.5;
/** For this long, other clients that were seen once still count, milliseconds. */
const SHARED_MS = 5_000;
/** A pool that is full is shared anew so often, half as long more or less, milliseconds: never all workers in one order. */
const SHARE_MS = 2_000;
/** What is given up then, as a share of one's own share: who has all but nothing gives up all but nothing. */
const SHARE = 0.4;
/** Slots for a job that cannot be told from those of a whole number. */
const EPSILON = 1e-9;

/**
 * How many jobs to run at the same time on a php-fpm pool, by what is seen of it: additive increase and multiplicative
 * decrease, as in TCP, so that several workers that know nothing of each other end with equal shares.
 *
 * 1. Never more than the children that others leave, less the reserve; and while nobody else is there all of those.
 * 2. While others are there and no child is idle, gives up some every two seconds, the more the more it has of the pool;
 *    and takes one more with each look that shows an idle child; who has more than all others, with each second one.
 * 3. Half as many when php-fpm has no room for a connection.
 */
export class FitRule {
  readonly #bounds: FitBounds;
  readonly #random: () => number;
  /** With a fraction: what is given up of a small share counts, too. */
  #slots: number;
  #others = 0;
  /** When others were seen last. */
  #sharedMs = -Infinity;
  /** A look has shown an idle child that was left to consumers with less. */
  #hasLeft = false;
  #calmUntilMs = -Infinity;
  /** When the pool is shared anew; undefined while it is not full, or all ours. */
  #shareMs: number | undefined;

  /** @param idle How many children are idle at the start, or how many there are; undefined when neither is known. */
  constructor(deps: { random: () => number }, bounds: FitBounds, idle: number | undefined) {
    this.#random = deps.random;
    this.#bounds = bounds;
    this.#slots = idle === undefined ? bounds.min : this.#bounded(idle - bounds.reserve);
  }

  /** How many jobs may run at the same time. */
  get slots(): number {
    return Math.floor(this.#slots + EPSILON);
  }

  /** Adjusts the slots to an observation. Returns why there are more or fewer slots now; undefined when there are not. */
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
    // Who has one child of many is not seen at each look.
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

  /** For how many slots the pool has room. */
  #room({ children, others }: PoolObservation): number {
    // A child between two requests can look like somebody else's; it hardly does so twice.
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
