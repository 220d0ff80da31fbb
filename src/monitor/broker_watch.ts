import type { Clock } from "../core/time/clock.ts";
import { type QueueDepth, UNKNOWN_DEPTH } from "../core/admin.ts";
import type { Broker } from "../core/broker.ts";
import { asFervoError, type FervoError, QueueError } from "../core/errors.ts";
import { Probe, PROBE_LIMIT_MS } from "./probe.ts";

export interface BrokerWatchDeps {
  readonly clock: Clock;
  readonly broker: Pick<Broker, "admin">;
}

/** The state of a broker now. */
export type BrokerState =
  | {
    readonly isUp: true;
    readonly depths: readonly (readonly [queue: string, depth: QueueDepth, latencyMs: number | undefined])[];
  }
  | { readonly isUp: false; readonly error: FervoError };

/** A broker from the worker's point of view: whether it answers, and its waiting jobs. */
export class BrokerWatch {
  /** Its name in the configuration. */
  readonly name: string;
  readonly #probe: Probe<BrokerState>;

  /** @param options.queues The consumed ones, each once. */
  constructor({ clock, broker }: BrokerWatchDeps, options: { name: string; queues: readonly string[] }) {
    this.name = options.name;
    this.#probe = new Probe({ clock }, () => ask(broker, options.queues));
  }

  /** Asks the broker, at most once a second and one call after the other. Never rejects, and takes at most 2 s. */
  async state(): Promise<BrokerState> {
    return await this.#probe.get() ?? TOO_LATE;
  }
}

const TOO_LATE: BrokerState = {
  isUp: false,
  error: new QueueError("QUEUE_UNAVAILABLE", `The broker has not counted its jobs in ${PROBE_LIMIT_MS} ms`),
};

async function ask({ admin }: BrokerWatchDeps["broker"], queues: readonly string[]): Promise<BrokerState> {
  try {
    const depths = await Promise.all(queues.map(async (queue) => {
      const [depth, latencyMs] = await Promise.all([admin.depth?.(queue), admin.latencyMs?.(queue)]);
      return [queue, depth ?? UNKNOWN_DEPTH, latencyMs] as const;
    }));
    return { isUp: true, depths };
  } catch (error) {
    return { isUp: false, error: asFervoError(error) };
  }
}
