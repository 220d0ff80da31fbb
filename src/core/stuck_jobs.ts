/** Jobs that do not move though they should, by the counts of a worker and its broker. */
export type StuckJobs =
  | {
    /** They are ready, and a consumer with free slots takes none. */
    readonly kind: "starved";
    readonly broker: string;
    readonly consumer: string;
    /** The queues that they are in. */
    readonly queues: readonly string[];
    readonly jobs: number;
    readonly forMs: number;
  }
  | {
    /** The broker gave them to this worker, which does not have them: no worker runs them. */
    readonly kind: "orphaned";
    readonly broker: string;
    /** At least. */
    readonly jobs: number;
    readonly forMs: number;
  };

/** What lasts for this long is no coincidence, milliseconds. */
export const STUCK_MS = 30_000;

/** Whether it has lasted long enough to be reported. */
export function isLasting({ forMs }: StuckJobs): boolean {
  return forMs >= STUCK_MS;
}

/** The fault of the consumer or the broker, as the end of a sentence. */
export function stuckReason(stuck: StuckJobs): string {
  const lasting = `for ${Math.round(stuck.forMs / 1_000)} s`;
  if (stuck.kind === "orphaned") {
    return `it counts ${stuck.jobs} ${
      stuck.jobs === 1 ? "job" : "jobs"
    } in flight that this worker does not have, ${lasting}`;
  }
  const queues = stuck.queues.map((queue) => `"${queue}"`).join(", ");
  return `no job has been taken ${lasting}, though slots are free and ${queues} ${
    stuck.queues.length === 1 ? "has" : "have"
  } jobs ready: ${stuck.jobs}`;
}
