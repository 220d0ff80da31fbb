import type { GateState } from "./pause.ts";

/** The state of a consumer now. */
export interface ConsumerStats {
  /** How many jobs, or batches, can run at the same time. */
  readonly slots: number;
  readonly busySlots: number;
  /** Deliveries in flight: running, waiting for a slot, or being settled. */
  readonly inFlight: number;
  /** It may take more jobs: it is not quiet, within its limits, and has room, if not a free slot. */
  readonly hasRoom: boolean;
  /** It backs off. */
  readonly isPaused: boolean;
  /** The queues that the application holds back, and for how long, milliseconds; 0 while a job tests whether it still does. */
  readonly heldBack: readonly { readonly queue: string; readonly forMs: number }[];
  /** When the broker last answered, with or without jobs, epoch milliseconds; undefined before the first answer. */
  readonly receivedAtMs: number | undefined;
}

/** The same, with each job. It has no payloads. */
export interface ConsumerSnapshot extends ConsumerStats {
  readonly gate: GateState;
  /** Prefetched deliveries. */
  readonly ahead: number;
  /** The slots in use, the longest first. */
  readonly inUse: readonly SlotSnapshot[];
}

export interface SlotSnapshot {
  /** How long the running job has been running, milliseconds. */
  readonly runMs: number;
  /** The jobs of its batch; one without batches. */
  readonly jobs: readonly {
    readonly id: string;
    readonly queue: string;
    readonly attempt: number;
    /** It has ended, and its settle has begun. */
    readonly isSettling: boolean;
  }[];
}
