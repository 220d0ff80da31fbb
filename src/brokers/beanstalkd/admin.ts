import type { BrokerAdmin, Census, DeadLetters, Pauses, QueueDepth } from "../../core/admin.ts";
import type { Finding } from "../../core/finding.ts";
import type { Clock } from "../../core/time/clock.ts";
import { checkBeanstalkd } from "./check.ts";
import type { BeanstalkdConnection } from "./connection.ts";
import { ageOfNext, BeanstalkdDeadLetters, tubesOf, tubeStats } from "./dead_letters.ts";
import { whyTubeIsRefused } from "./mapping.ts";
import { BeanstalkdPauses } from "./pauses.ts";
import { deleteJob } from "./put.ts";

/** Calls `run` with the connection that never waits. */
export type Call = <T>(run: (connection: BeanstalkdConnection) => Promise<T>) => Promise<T>;

const NO_JOBS: QueueDepth = { ready: 0, delayed: 0, reserved: 0, dead: 0 };

/** Administration of a beanstalkd. It cannot store schedules: beanstalkd has no atomic way to claim a slot. */
export class BeanstalkdAdmin implements BrokerAdmin {
  readonly dead: DeadLetters;
  readonly pauses: Pauses;
  readonly #call: Call;
  readonly #maxPayloadBytes: number;

  constructor(deps: { clock: Clock; call: Call }, options: { maxPayloadBytes: number }) {
    this.#call = deps.call;
    this.#maxPayloadBytes = options.maxPayloadBytes;
    this.dead = new BeanstalkdDeadLetters(deps);
    this.pauses = new BeanstalkdPauses(deps);
  }

  queues(): Promise<string[]> {
    return this.#call(async (connection) => {
      const tubes = await tubesOf(connection);
      const depths = await Promise.all(tubes.map((tube) => tubeStats(connection, tube)));
      const hasJobs = (depth: QueueDepth = NO_JOBS) => Object.values(depth).some((count = 0) => count > 0);
      return tubes.filter((_, i) => hasJobs(depths[i])).sort();
    });
  }

  depth(queue: string): Promise<QueueDepth> {
    return this.#call(async (connection) =>
      whyTubeIsRefused(queue) === undefined ? await tubeStats(connection, queue) ?? NO_JOBS : NO_JOBS
    );
  }

  latencyMs(queue: string): Promise<number | undefined> {
    return this.#call((connection) =>
      whyTubeIsRefused(queue) === undefined ? ageOfNext(connection, queue) : Promise.resolve(undefined)
    );
  }

  async census(queues: readonly string[]): Promise<Census> {
    const ready = queues.map(async (queue) => [queue, (await this.depth(queue)).ready ?? 0] as const);
    return { ready: new Map(await Promise.all(ready)), inFlight: undefined };
  }

  /**
   * One job after the other: beanstalkd has no command for many, and for a paused tube shows only one. A worker may reserve one
   * in between.
   */
  purge(queue: string): Promise<number> {
    return this.#call(async (connection) => {
      if (whyTubeIsRefused(queue) !== undefined) return 0;
      let purged = 0;
      for (let left = (await tubeStats(connection, queue))?.ready ?? 0; left > 0; left--) {
        connection.use(queue);
        // Both at once would be slower: beanstalkd's second short reply waits until the first is acknowledged (Nagle).
        const first = await connection.send("peek-ready", ["FOUND", "NOT_FOUND"]);
        if (first.word === "NOT_FOUND") break;
        if (await deleteJob(connection, first.args[0]!)) purged++;
      }
      return purged;
    });
  }

  findings(): Promise<Finding[]> {
    return this.#call((connection) => checkBeanstalkd(connection, this.#maxPayloadBytes));
  }
}
