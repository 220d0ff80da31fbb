/** How a consumer is doing now. */
export interface ConsumerStats {
  /** How many jobs, or batches, can run at the same time. */
  readonly slots: number;
  readonly busySlots: number;
  /** Deliveries taken and not settled: those that run, wait for a slot, or are being settled. */
  readonly inFlight: number;
  /** It waits until what runs the jobs is back. */
  readonly isPaused: boolean;
  /** When the broker answered last, with jobs or without, epoch milliseconds; undefined when it has not yet. */
  readonly receivedAtMs: number | undefined;
}
