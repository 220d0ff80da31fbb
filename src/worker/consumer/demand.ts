/** The facts that decide how many jobs a consumer requests from its broker. */
export interface DemandFacts {
  /** Slots that may be in use now: all, one as a probe, or none. */
  readonly usableSlots: number;
  readonly busySlots: number;
  readonly slots: number;
  readonly batchSize: number;
  /** Whether jobs can run for certain. */
  readonly isOpen: boolean;
  /** Whether a queue is not paused. */
  readonly hasQueue: boolean;
  /** Deliveries in flight, without postponed ones. */
  readonly inFlight: number;
  /** How many may be prefetched now. */
  readonly aheadRoom: number;
  /** How many more may be in flight than slots need: prefetched jobs and lagging settles. */
  readonly allowance: number;
  /** How many bytes more the messages in flight may have. */
  readonly roomBytes: number;
  /** How many jobs may start now; Infinity without a rate limit. */
  readonly rateRoom: () => number;
}

/** How many jobs a consumer requests from its broker now; 0 for none. Pure, except that a rate limit may set its timer. */
export function demand(facts: DemandFacts): number {
  const { usableSlots, busySlots, slots, batchSize, isOpen, inFlight } = facts;
  const free = usableSlots - busySlots;
  const room = Math.min(
    // One job is enough as a probe.
    isOpen ? free * batchSize + facts.aheadRoom : free,
    2 * slots * batchSize + facts.allowance - inFlight,
  );
  return room > 0 && facts.roomBytes > 0 && facts.hasQueue ? Math.min(room, facts.rateRoom()) : 0;
}
