/** What decides how many jobs a consumer asks its broker for. */
export interface DemandFacts {
  /** Slots that may be in use now: all, one to find out whether the executor is back, or none. */
  readonly usableSlots: number;
  readonly busySlots: number;
  readonly slots: number;
  readonly batchSize: number;
  /** Whether jobs can be run, and nothing is in doubt. */
  readonly isOpen: boolean;
  /** Whether a queue is not paused. */
  readonly hasQueue: boolean;
  /** Deliveries that are taken and not settled, without those that wait for their time. */
  readonly inFlight: number;
  /** How many more may be taken before a slot is free for them. */
  readonly aheadRoom: number;
  /** How many more may be in flight than slots ask for: those that wait for a slot, and settles that lag. */
  readonly allowance: number;
  /** How many bytes more the messages in flight may have. */
  readonly roomBytes: number;
  /** How many jobs may start now; Infinity without a rate limit. */
  readonly rateRoom: () => number;
}

/** How many jobs a consumer asks its broker for now; 0 for none. Pure, but that a rate limit may set its timer. */
export function demand(facts: DemandFacts): number {
  const { usableSlots, busySlots, slots, batchSize, isOpen, inFlight } = facts;
  const free = usableSlots - busySlots;
  const room = Math.min(
    // To find out whether the executor is back, one job will do.
    isOpen ? free * batchSize + facts.aheadRoom : free,
    2 * slots * batchSize + facts.allowance - inFlight,
  );
  return room > 0 && facts.roomBytes > 0 && facts.hasQueue ? Math.min(room, facts.rateRoom()) : 0;
}
