import type { Clock, Timer } from "../core/time/clock.ts";
import type { Broker } from "../core/broker.ts";
import type { Observer } from "../core/observer.ts";
import { isLasting, type StuckJobs } from "../core/stuck_jobs.ts";
import { inTime } from "../core/time/time_limit.ts";
import type { Consumer } from "../worker/consumer/consumer.ts";
import {
  type BrokerCounts,
  type BrokerObservation,
  type ConsumerObservation,
  keyOf,
  StuckJobsRule,
} from "./stuck_jobs_rule.ts";

/** How often to look, milliseconds. */
const LOOK_MS = 5_000;
/** How long a broker may take to count, milliseconds. */
const LIMIT_MS = 2_000;
/** How often a lasting state is reported again, milliseconds. */
const TELL_AGAIN_MS = 60_000;

/** A broker, and the consumers that take jobs from it. */
export interface WatchedBroker {
  readonly name: string;
  readonly broker: Pick<Broker, "admin">;
  readonly consumers: readonly {
    readonly consumer: Pick<Consumer, "name" | "stats" | "ran" | "inFlight">;
    readonly queues: readonly string[];
  }[];
}

export interface StuckJobsWatchDeps {
  readonly clock: Clock;
  readonly observe: Observer;
  /** The current ones. */
  readonly brokers: () => readonly WatchedBroker[];
}

/**
 * Looks every few seconds for jobs that do not move though they should ({@link StuckJobsRule}).
 *
 * 1. Asks a broker for ready jobs only for idle consumers, so that a busy worker asks next to nothing.
 * 2. Reports jobs that have been stuck for a while, now and then while they are, and when they move again.
 */
export class StuckJobsWatch implements Disposable {
  readonly #deps: StuckJobsWatchDeps;
  readonly #rule = new StuckJobsRule();
  /** Brokers without an answer yet; they are not asked again meanwhile, however long it takes. */
  readonly #asked = new WeakSet<WatchedBroker["broker"]>();
  /** The reported ones, with the time, monotonic milliseconds. */
  readonly #told = new Map<string, { readonly stuck: StuckJobs; readonly atMs: number }>();
  readonly #ended = new AbortController();
  #stuck: readonly StuckJobs[] = [];
  #timer: Timer | undefined;

  constructor(deps: StuckJobsWatchDeps) {
    this.#deps = deps;
    this.#lookLater();
  }

  /** The stuck jobs at the last look, also since then. */
  get stuck(): readonly StuckJobs[] {
    return this.#stuck;
  }

  [Symbol.dispose](): void {
    this.#ended.abort();
    this.#timer?.cancel();
  }

  #lookLater(): void {
    this.#timer = this.#deps.clock.setTimer(async () => {
      await this.#look();
      if (!this.#ended.signal.aborted) this.#lookLater();
    }, LOOK_MS);
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    const { clock, brokers } = this.#deps;
    const observations = await Promise.all(brokers().map((broker) => this.#observe(broker)));
    if (this.#ended.signal.aborted) return;
    this.#stuck = this.#rule.look(observations, clock.monotonicMs());
    this.#tell();
  }

  async #observe(broker: WatchedBroker): Promise<BrokerObservation> {
    const consumers = broker.consumers.map(observeConsumer);
    const counts = await this.#countsOf(broker, this.#rule.suspects(consumers));
    return { name: broker.name, consumers, counts };
  }

  async #countsOf(
    { broker, consumers }: WatchedBroker,
    suspects: readonly ConsumerObservation[],
  ): Promise<BrokerCounts | undefined> {
    if (this.#asked.has(broker)) return undefined;
    this.#asked.add(broker);
    const inFlight = () => consumers.reduce((sum, { consumer }) => sum + consumer.inFlight, 0);
    const inFlightBefore = inFlight();
    const asking = ask(broker, suspects).finally(() => this.#asked.delete(broker));
    try {
      const counts = await inTime(this.#deps.clock, asking, { ms: LIMIT_MS, discard: () => {} });
      return { ...counts, inFlightHere: Math.max(inFlightBefore, inFlight()) };
    } catch {
      // It is unavailable, which others report.
      return undefined;
    }
  }

  #tell(): void {
    const { clock, observe } = this.#deps;
    const nowMs = clock.monotonicMs();
    const lasting = new Map(this.#stuck.filter(isLasting).map((stuck) => [keyOf(stuck), stuck]));
    for (const [key, { stuck }] of this.#told) {
      if (lasting.has(key)) continue;
      this.#told.delete(key);
      observe({ type: "jobs_moving", stuck });
    }
    for (const [key, stuck] of lasting) {
      const toldAtMs = this.#told.get(key)?.atMs ?? -Infinity;
      if (nowMs - toldAtMs < TELL_AGAIN_MS) continue;
      this.#told.set(key, { stuck, atMs: nowMs });
      observe({ type: "jobs_stuck", stuck });
    }
  }
}

function observeConsumer({ consumer, queues }: WatchedBroker["consumers"][number]): ConsumerObservation {
  const { slots, busySlots, isPaused, heldBack, hasRoom, inFlight } = consumer.stats;
  return {
    name: consumer.name,
    queues: queues.filter((queue) => !heldBack.some((one) => one.queue === queue)),
    canTake: hasRoom && !isPaused && busySlots < slots,
    taken: consumer.ran.jobs + inFlight,
  };
}

async function ask(
  { admin }: WatchedBroker["broker"],
  suspects: readonly ConsumerObservation[],
): Promise<Omit<BrokerCounts, "inFlightHere">> {
  const pauses = suspects.length === 0 ? [] : await admin.pauses?.list() ?? [];
  const paused = pauses.map(({ queue }) => queue);
  const queues = new Set(suspects.flatMap((suspect) => suspect.queues));
  const census = await admin.census?.([...queues].filter((queue) => !paused.includes(queue)));
  return { ready: census?.ready ?? new Map(), paused, inFlightThere: census?.inFlight };
}
