import type { Clock } from "../core/time/clock.ts";
import { type QueueDepth, UNKNOWN_DEPTH } from "../core/admin.ts";
import type { Broker } from "../core/broker.ts";
import { asFervoError, type FervoError, QueueError } from "../core/errors.ts";
import { Probe, PROBE_LIMIT_MS } from "./probe.ts";

export interface BrokerWatchDeps {
  readonly clock: Clock;
  readonly broker: Pick<Broker, "admin">;
}

/** How a broker is doing now. */
export type BrokerState =
  | {
    readonly isUp: true;
    readonly depths: readonly (readonly [queue: string, depth: QueueDepth, latencyMs: number | undefined])[];
  }
  | { readonly isUp: false; readonly error: FervoError };

/** A broker as the worker sees it: whether it answers, and how many jobs wait there. */
export class BrokerWatch {
  /** By which the configuration calls it. */
  readonly name: string;
  readonly #probe: Probe<BrokerState>;

  /** @param options.queues Those that are consumed, each once. */
  constructor({ clock, broker }: BrokerWatchDeps, options: { name: string; queues: readonly string[] }) {
    this.name = options.name;
    this.#probe = new Probe({ clock }, () => ask(broker, options.queues));
  }

  /** Asks the broker, at most once a second and one time after the other. Never rejects, and takes 2 s at most. */
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
