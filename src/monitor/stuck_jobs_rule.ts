import type { StuckJobs } from "../core/stuck_jobs.ts";

/** A consumer at one moment. */
export interface ConsumerObservation {
  readonly name: string;
  readonly queues: readonly string[];
  /** It has a free slot and may take a job: it is neither quiet, nor backing off, nor at its rate limit. */
  readonly canTake: boolean;
  /** Jobs that it has ever taken: a changed number means that it takes jobs. */
  readonly taken: number;
}

/** A broker and its consumers at one moment. */
export interface BrokerObservation {
  readonly name: string;
  readonly consumers: readonly ConsumerObservation[];
  /** Undefined without an answer. */
  readonly counts: BrokerCounts | undefined;
}

export interface BrokerCounts {
  /** By queue, at least for suspects. */
  readonly ready: ReadonlyMap<string, number>;
  /** Paused queues. */
  readonly paused: readonly string[];
  /** Jobs in flight with this worker by the broker's count; undefined where it cannot count. */
  readonly inFlightThere: number | undefined;
  /** The same by the worker's count: the maximum while the broker was asked. */
  readonly inFlightHere: number;
}

/**
 * Compares the brokers' counts with the worker's actions, look by look.
 *
 * 1. Starved: at every look the consumer could take a job, its queues that are not paused had ready jobs, and it has taken none
 *    in between.
 * 2. Orphaned: at every look the broker counted more jobs in flight with this worker than the worker did. The smallest
 *    difference counts, because jobs may be on their way at a look.
 * 3. A look without that, or without an answer of the broker, starts again.
 */
export class StuckJobsRule {
  /** Jobs taken up to the last look, by consumer. */
  #taken: ReadonlyMap<string, number> = new Map();
  #found: ReadonlyMap<string, { readonly stuck: StuckJobs; readonly sinceMs: number }> = new Map();

  /** The consumers for whom the broker must be asked: they could take jobs, and have taken none since the last look. */
  suspects(consumers: readonly ConsumerObservation[]): ConsumerObservation[] {
    return consumers.filter(({ name, canTake, taken }) => canTake && this.#taken.get(name) === taken);
  }

  /**
   * Adds a look at all brokers.
   *
   * @param nowMs Monotonic milliseconds.
   * @returns The stuck jobs, also since this look
   */
  look(brokers: readonly BrokerObservation[], nowMs: number): StuckJobs[] {
    const stuck = brokers.flatMap(({ name, consumers, counts }) =>
      counts === undefined ? [] : [
        ...this.suspects(consumers).flatMap((one) => starvedOf(one, name, counts)),
        ...orphanedOf(name, counts),
      ]
    );
    const all = brokers.flatMap(({ consumers }) => consumers);
    this.#taken = new Map(all.map(({ name, taken }) => [name, taken]));
    const before = this.#found;
    this.#found = new Map(stuck.map((one) => {
      const { sinceMs, stuck: { jobs } } = before.get(keyOf(one)) ?? { sinceMs: nowMs, stuck: one };
      const least = one.kind === "orphaned" ? Math.min(one.jobs, jobs) : one.jobs;
      return [keyOf(one), { sinceMs, stuck: { ...one, jobs: least, forMs: nowMs - sinceMs } }];
    }));
    return [...this.#found.values()].map(({ stuck }) => stuck);
  }
}

/** Identifies stuck jobs of one consumer, or at one broker. */
export function keyOf(stuck: StuckJobs): string {
  return `${stuck.kind} ${stuck.kind === "starved" ? stuck.consumer : stuck.broker}`;
}

function starvedOf({ name, queues }: ConsumerObservation, broker: string, counts: BrokerCounts): StuckJobs[] {
  const readyIn = (queue: string) => counts.paused.includes(queue) ? 0 : counts.ready.get(queue) ?? 0;
  const filled = queues.filter((queue) => readyIn(queue) > 0);
  const jobs = filled.reduce((sum, queue) => sum + readyIn(queue), 0);
  return jobs > 0 ? [{ kind: "starved", broker, consumer: name, queues: filled, jobs, forMs: 0 }] : [];
}

function orphanedOf(broker: string, { inFlightThere, inFlightHere }: BrokerCounts): StuckJobs[] {
  const jobs = (inFlightThere ?? 0) - inFlightHere;
  return jobs > 0 ? [{ kind: "orphaned", broker, jobs, forMs: 0 }] : [];
}
