import {
  type AppDeps,
  assemble,
  type Assembly,
  type AssemblyDeps,
  type BrokerEvents,
  maxConnections,
  type Parts,
} from "./assembly.ts";
import { changesBetween, type ConfigChanges } from "../config/changes.ts";
import type { Config } from "../config/config.ts";
import { consumedQueues } from "../config/options/consumed_queues.ts";
import type { Broker } from "../core/broker.ts";
import { FervoError } from "../core/errors.ts";
import { BrokerWatch } from "../monitor/broker_watch.ts";
import { FpmWatch } from "../monitor/fpm_watch.ts";
import { StuckJobsWatch, type WatchedBroker } from "../monitor/stuck_jobs_watch.ts";
import type { WorkerView } from "../monitor/worker_view.ts";
import type { Consumer } from "../worker/consumer/consumer.ts";
import { Worker, type Working } from "../worker/worker.ts";

/** A worker with all its parts. */
export interface App extends AsyncDisposable {
  /** The current configuration; during a reload the old one, until its parts have ended. */
  readonly config: Config;
  readonly worker: Worker;
  /** Each broker with its consumed queues. */
  readonly sources: readonly { readonly broker: Broker; readonly queues: readonly string[] }[];
  /** For observers of the worker. */
  readonly view: WorkerView;
  /**
   * Replaces the configuration while the worker runs: equal parts go on undisturbed. One call after the other.
   *
   * @throws {FervoError} CONTROL_REFUSED unless the worker is running; else as {@link createApp}. Nothing has changed then.
   */
  reload(config: Config): Promise<Reload>;
}

/** A successful reload. */
export interface Reload {
  readonly changes: ConfigChanges;
  /** Resolves when the old parts have ended and the new ones work. */
  readonly finished: Promise<void>;
}

/**
 * Puts a worker together from its configuration.
 *
 * @throws {FervoError} QUEUE_UNAVAILABLE, unless it is patient
 */
export async function createApp(config: Config, deps: AppDeps): Promise<App> {
  let assembly: Assembly;
  const events: BrokerEvents = {
    observe: deps.observe,
    // A person's signal through the broker.
    onSignal: (signal) => signal === "stop" ? worker.drain() : worker.quiet(),
  };
  const assembling: AssemblyDeps = {
    ...deps,
    events,
    live: {
      config: () => assembly?.config ?? config,
      slotsOn: (fpm) => assembly?.fpms.get(fpm)?.fit?.slots ?? 0,
    },
  };
  assembly = await assemble(config, assembling);
  let view = viewOf(assembly, deps);
  let finished = Promise.resolve();
  const onQuiet = () => assembly.brokers.forEach((broker) => broker.presence?.quiet());
  const stuckJobs = new StuckJobsWatch({ ...deps, brokers: () => watchedBrokers(assembly) });
  const worker = new Worker({ ...workingOf(assembly), ...deps, onQuiet }, config);

  async function reload(next: Config): Promise<Reload> {
    await finished;
    refuseUnlessRunning(worker);
    const old = assembly;
    const changes = changesBetween(old.config, next);
    const now = await assemble(next, assembling, { assembly: old, changes });
    const [going, coming] = [partsOnlyIn(old, now), partsOnlyIn(now, old)];
    try {
      refuseUnlessRunning(worker);
    } catch (error) {
      await dispose(coming);
      throw error;
    }
    worker.setOptions(next);
    // The cause of a fault may be corrected with the reload.
    for (const consumer of worker.consumers) consumer.probeNow();
    const losesBroker = ({ name }: Consumer) => going.brokers.has(brokerOf(old.config, name));
    const replaced = worker.replace(workingOf(going), () => {
      for (const [name, { pool, fit }] of now.fpms) {
        if (fit === undefined) pool.resize(maxConnections(next, name));
      }
      assembly = now;
      view = viewOf(now, deps);
      return workingOf(coming);
    }, losesBroker);
    // A worker that was stopped meanwhile keeps the old assembly.
    finished = replaced.then(() => dispose(assembly === now ? going : coming));
    return { changes, finished };
  }

  return {
    worker,
    reload,
    get config() {
      return assembly.config;
    },
    get sources() {
      return assembly.config.consumers.map(({ broker, queues }) => ({
        broker: assembly.brokers.get(broker)!,
        queues: queues.map((queue) => queue.name),
      }));
    },
    view: {
      worker,
      get consumers() {
        return worker.consumers;
      },
      get schedules() {
        return worker.schedules;
      },
      get brokers() {
        return view.brokers;
      },
      get fpms() {
        return view.fpms;
      },
      get stuck() {
        return stuckJobs.stuck;
      },
    },
    [Symbol.asyncDispose]: async () => {
      stuckJobs[Symbol.dispose]();
      await finished;
      await dispose(assembly);
    },
  };
}

function refuseUnlessRunning({ state }: Worker): void {
  if (state === "running") return;
  throw new FervoError(
    "CONTROL_REFUSED",
    `Cannot reload the configuration: the worker takes no jobs, it is ${state}`,
  );
}

/** The parts of an assembly that another one does not share. */
function partsOnlyIn(assembly: Assembly, other: Assembly): Parts {
  const only = <T>(parts: ReadonlyMap<string, T>, others: ReadonlyMap<string, T>) =>
    new Map([...parts].filter(([name, part]) => others.get(name) !== part));
  return {
    brokers: only(assembly.brokers, other.brokers),
    fpms: only(assembly.fpms, other.fpms),
    consumers: only(assembly.consumers, other.consumers),
    schedules: only(assembly.schedules, other.schedules),
  };
}

/** In the order in which they use each other. */
async function dispose({ brokers, fpms, consumers }: Parts): Promise<void> {
  await using all = new AsyncDisposableStack();
  for (const broker of brokers.values()) all.use(broker);
  for (const { pool, fit } of fpms.values()) {
    all.use(pool);
    if (fit !== undefined) all.use(fit);
  }
  for (const { executor } of consumers.values()) all.use(executor);
}

function workingOf({ consumers, schedules }: Parts): Working {
  return {
    consumers: [...consumers.values()].map(({ consumer }) => consumer),
    schedules: [...schedules.values()],
  };
}

function viewOf(
  { config, brokers, fpms }: Assembly,
  { clock }: AppDeps,
): Pick<WorkerView, "brokers" | "fpms"> {
  return {
    brokers: [...brokers].map(([name, broker]) =>
      new BrokerWatch({ clock, broker }, { name, queues: consumedQueues(config, name) })
    ),
    fpms: [...fpms].map(([name, fpm]) =>
      new FpmWatch({ clock, ...fpm }, {
        name,
        hasStatusAddress: config.fpm.get(name)!.statusAddress !== undefined,
      })
    ),
  };
}

/** A broker that only a schedule uses has no consumer to compare with. */
function watchedBrokers({ config, brokers, consumers }: Assembly): WatchedBroker[] {
  return [...brokers].map(([name, broker]) => ({
    name,
    broker,
    consumers: config.consumers.filter(({ broker }) => broker === name).map((one) => ({
      consumer: consumers.get(one.name)!.consumer,
      queues: one.queues.map((queue) => queue.name),
    })),
  }));
}

function brokerOf(config: Config, consumer: string): string {
  return config.consumers.find(({ name }) => name === consumer)!.broker;
}
