/** How many slots a consumer has: jobs, or batches, at the same time. It may change while the consumer works. */
export interface SlotLimit {
  /** Now; at least 1. Slots that are in use beyond it are used until they are free. */
  readonly slots: number;
}
