import type { StuckJobs } from "../core/stuck_jobs.ts";

/** A consumer at one moment. */
export interface ConsumerObservation {
  readonly name: string;
  readonly queues: readonly string[];
  /** It has a free slot and may take a job: it is not quiet, nor backing off, nor at its rate limit. */
  readonly canTake: boolean;
  /** Jobs that it has ever taken: any other number than before says that it takes some. */
  readonly taken: number;
}

/** A broker at one moment, and its consumers. */
export interface BrokerObservation {
  readonly name: string;
  readonly consumers: readonly ConsumerObservation[];
  /** Undefined when it could not be asked. */
  readonly counts: BrokerCounts | undefined;
}

export interface BrokerCounts {
  /** By queue, at least those of suspects. */
  readonly ready: ReadonlyMap<string, number>;
  /** Queues that nobody takes from. */
  readonly paused: readonly string[];
  /** Jobs in flight with this worker, as the broker counts them; undefined where it does not. */
  readonly inFlightThere: number | undefined;
  /** The same as the worker counts them: the most there were while the broker was asked. */
  readonly inFlightHere: number;
}

/**
 * Compares what the brokers count with what the worker does, look by look.
 *
 * 1. Starved: at every look the consumer could take a job, queues of it that are not paused had some ready, and it has taken
 *    none in between.
 * 2. Orphaned: at every look the broker counted more jobs in flight with this worker than the worker did. The least
 *    difference counts, for jobs may be on their way at a look.
 * 3. A look at which that does not hold, or the broker could not be asked, begins anew.
 */
export class StuckJobsRule {
  /** Jobs taken up to the last look, by consumer. */
  #taken: ReadonlyMap<string, number> = new Map();
  #found: ReadonlyMap<string, { readonly stuck: StuckJobs; readonly sinceMs: number }> = new Map();

  /** Those for whom the broker has to be asked: they could take jobs, and have taken none since the last look. */
  suspects(consumers: readonly ConsumerObservation[]): ConsumerObservation[] {
    return consumers.filter(({ name, canTake, taken }) => canTake && this.#taken.get(name) === taken);
  }

  /**
   * Takes in a look at all brokers.
   *
   * @param nowMs Monotonic milliseconds.
   * @returns What is stuck, be it since this look
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

/** Tells what is stuck with one consumer, or at one broker, from all else. */
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
