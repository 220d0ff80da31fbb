import type { GateState } from "./pause.ts";

/** How a consumer is doing now. */
export interface ConsumerStats {
  /** How many jobs, or batches, can run at the same time. */
  readonly slots: number;
  readonly busySlots: number;
  /** Deliveries taken and not settled: those that run, wait for a slot, or are being settled. */
  readonly inFlight: number;
  /** It may take more jobs: it is not quiet, within its limits, and has a place for one, if not a free slot. */
  readonly hasRoom: boolean;
  /** It waits until what runs the jobs is back. */
  readonly isPaused: boolean;
  /** Its queues that the application holds back, and for how long, milliseconds; 0 where a job is finding out whether it still does. */
  readonly heldBack: readonly { readonly queue: string; readonly forMs: number }[];
  /** When the broker answered last, with jobs or without, epoch milliseconds; undefined when it has not yet. */
  readonly receivedAtMs: number | undefined;
}

/** What a consumer does now, to the job. It has no payloads. */
export interface ConsumerSnapshot extends ConsumerStats {
  readonly gate: GateState;
  /** Deliveries that wait here for a slot. */
  readonly ahead: number;
  /** Slots in use, in the order in which that began. */
  readonly inUse: readonly SlotSnapshot[];
}

/** A slot that is in use. */
export interface SlotSnapshot {
  /** How long the job that runs has been running, milliseconds. */
  readonly runMs: number;
  /** The jobs of its batch; one where jobs run by themselves. */
  readonly jobs: readonly {
    readonly id: string;
    readonly queue: string;
    readonly attempt: number;
    /** It has run, and is being settled or was. */
    readonly isSettling: boolean;
  }[];
}
