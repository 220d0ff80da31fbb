/** The number of slots of a consumer: jobs, or batches, at the same time. It may change while the consumer works. */
export interface SlotLimit {
  /** At least 1. When it drops, slots in use stay until they are free. */
  readonly slots: number;
}
