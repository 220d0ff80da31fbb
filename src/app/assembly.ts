import type { ConfigChanges } from "../config/changes.ts";
import { fixedConcurrency, hasAuto, leastConcurrency } from "../config/options/concurrency.ts";
import { brokerOf } from "../config/broker_of.ts";
import type { Config, ConsumerConfig } from "../config/config.ts";
import type { Clock } from "../core/time/clock.ts";
import type { Broker } from "../core/broker.ts";
import { FervoError } from "../core/errors.ts";
import type { Observer } from "../core/observer.ts";
import type { OutputListener } from "../core/text/output.ts";
import type { Tracer } from "../core/trace.ts";
import type { BrokerDeps } from "../brokers/broker_type.ts";
import type { Executor } from "../executors/executor.ts";
import { FastCgiExecutor } from "../executors/fastcgi/executor.ts";
import { FpmControl } from "../fpm/control.ts";
import { LingerWatch } from "../fpm/linger_watch.ts";
import { ProcessExecutor } from "../executors/process/executor.ts";
import { Pool } from "../fastcgi/pool.ts";
import { isTooSmall } from "../fpm/status.ts";
import { QueuePauses } from "../worker/queue_pauses.ts";
import { Consumer } from "../worker/consumer/consumer.ts";
import { PoolFit } from "../fpm/autoscale/pool_fit.ts";
import type { Schedule } from "../worker/schedule/schedule.ts";
import type { SlotLimit } from "../core/slot_limit.ts";

/** Where a broker reports events to the worker that uses it. */
export type BrokerEvents = Required<Pick<BrokerDeps, "observe" | "onSignal">> & Pick<BrokerDeps, "isPatient">;

/** Current configuration and slot counts, re-read on every call. */
export interface LiveWorker {
  readonly config: () => Config;
  /** The slots of its consumers with `concurrency = "auto"` on that php-fpm pool. */
  readonly slotsOn: (fpm: string) => number;
}

/**
 * Opens the broker of that name.
 *
 * @param events Of a worker; a command that only looks at the broker has none.
 * @param live The worker's, for what the broker shows of this process.
 * @throws {FervoError} CONFIG_INVALID when the configuration has none of that name; QUEUE_UNAVAILABLE
 */
export function openBroker(
  config: Config,
  name: string,
  clock: Clock,
  events?: BrokerEvents,
  live: LiveWorker = { config: () => config, slotsOn: () => 0 },
): Broker {
  const broker = brokerOf(config, name);
  return broker.type.open(
    {
      clock,
      owner: processName(),
      process: processInfo(live, name),
      ...events,
      ...(events && { observe: withBroker(events.observe, name) }),
    },
    broker.settings,
    broker.format,
  );
}

/** Adds the broker's name to the failures of its own work. */
function withBroker(observe: Observer, broker: string): Observer {
  return (event) =>
    observe(
      event.type === "broker_failed" || event.type === "broker_recovered" ? { ...event, broker } : event,
    );
}

/** Adds the consumer's name to the events of its executor. */
function withConsumer(observe: Observer, consumer: string): Observer {
  return (event) => {
    switch (event.type) {
      case "job_resent":
      case "job_stderr":
      case "child_ended":
      case "child_not_ended":
        return observe({ ...event, consumer });
      default:
        return observe(event);
    }
  };
}

/** The worker's data for people who look into the broker. */
function processInfo({ config, slotsOn }: LiveWorker, broker: string): NonNullable<BrokerDeps["process"]> {
  const consumers = () => config().consumers.filter((consumer) => consumer.broker === broker);
  return {
    get concurrency() {
      const fixed = consumers().reduce(
        (sum, one) => sum + (one.concurrency === "auto" ? 0 : one.concurrency),
        0,
      );
      // Consumers that share a pool share its slots.
      const shared = new Set(
        consumers().flatMap(({ concurrency, executor }) =>
          concurrency === "auto" && executor.kind === "fastcgi" ? [executor.fpm] : []
        ),
      );
      return [...shared].reduce((sum, fpm) => sum + slotsOn(fpm), fixed);
    },
    get queues() {
      return consumers().flatMap(({ queues }) => queues);
    },
  };
}

/** The connections to a php-fpm pool, as many as its consumers run jobs. */
export function createPool(config: Config, name: string, clock: Clock): Pool {
  const fpm = config.fpm.get(name)!;
  return new Pool({ address: fpm.address, clock }, { ...fpm, maxConnections: maxConnections(config, name) });
}

/** The largest number of connections to a php-fpm pool: as many as its consumers run jobs. A {@link PoolFit} changes it. */
export function maxConnections(config: Config, fpm: string): number {
  return Math.max(leastConcurrency(config, fpm), 1);
}

/** A php-fpm pool: its connections, and its status page. */
export interface Fpm {
  readonly pool: Pool;
  readonly control: FpmControl;
  /** For consumers with `concurrency = "auto"`. */
  readonly fit?: PoolFit;
}

/** The dependencies of all parts. */
export type AppDeps = {
  clock: Clock;
  observe: Observer;
  tracer?: Tracer;
  /** Wait for a broker that cannot open at the start. */
  isPatient?: boolean;
};

/** The parts of a worker, by name. Two assemblies share the parts that are equal in both configurations. */
export interface Assembly {
  readonly config: Config;
  readonly brokers: ReadonlyMap<string, Broker>;
  /** By broker. */
  readonly queuePauses: ReadonlyMap<string, QueuePauses>;
  readonly fpms: ReadonlyMap<string, Fpm>;
  readonly consumers: ReadonlyMap<string, { readonly consumer: Consumer; readonly executor: Executor }>;
  readonly schedules: ReadonlyMap<string, Schedule>;
}

export type Parts = Omit<Assembly, "config" | "queuePauses">;

export interface AssemblyDeps extends AppDeps {
  readonly events: BrokerEvents;
  readonly live: LiveWorker;
}

/**
 * Makes the parts of a configuration; none of them works yet.
 *
 * @param from Another assembly, whose equal parts are kept. With it, a part that a start would wait for is a reason to refuse.
 * @throws {FervoError} QUEUE_UNAVAILABLE; with `from`, also FPM_MISCONFIGURED when a pool has fewer children than jobs
 */
export async function assemble(
  config: Config,
  deps: AssemblyDeps,
  from?: { readonly assembly: Assembly; readonly changes: ConfigChanges },
): Promise<Assembly> {
  await using opened = new AsyncDisposableStack();
  /** The part of that name, kept or new; a new part is disposed of when another one cannot be made. */
  const part = <T>(
    kind: keyof ConfigChanges,
    all: ReadonlyMap<string, T> | undefined,
    name: string,
    make: () => T,
  ) => {
    const kept = from?.changes[kind].kept.includes(name) ? all?.get(name) : undefined;
    return kept ?? make();
  };
  const { clock } = deps;
  const kept = from?.assembly;
  const brokers = new Map<string, Broker>();
  for (const { broker: name } of [...config.consumers, ...config.schedule]) {
    if (brokers.has(name)) continue;
    const isPatient = from === undefined && deps.isPatient === true;
    const open = () => opened.use(openBroker(config, name, clock, { ...deps.events, isPatient }, deps.live));
    brokers.set(name, part("brokers", kept?.brokers, name, open));
  }
  const fpms = new Map<string, Fpm>();
  for (const { executor } of config.consumers) {
    if (executor.kind !== "fastcgi" || fpms.has(executor.fpm)) continue;
    const { fpm: name } = executor;
    const open = () => {
      const pool = opened.use(createPool(config, name, clock));
      const control = new FpmControl(deps, config.fpm.get(name)!);
      new LingerWatch({ ...deps, pool, fpm: control }, name);
      return { pool, control };
    };
    fpms.set(name, part("fpm", kept?.fpms, name, open));
  }
  const problems = new Map<string, FervoError>();
  for (const [name, fpm] of fpms) {
    const problem = await poolProblem(config, name, fpm.control);
    if (problem !== undefined && from !== undefined) throw problem;
    if (problem !== undefined) problems.set(name, problem);
    if (fpm.fit === undefined && hasAuto(config, name)) {
      fpms.set(name, { ...fpm, fit: opened.use(await startFit(config, name, fpm, deps)) });
    }
  }

  const queuePauses = new Map([...brokers.keys()].map((name) => {
    const open = () => new QueuePauses(deps, { broker: name });
    return [name, part("brokers", kept?.queuePauses, name, open)];
  }));
  const consumers = new Map(config.consumers.map((options) => {
    const create = () => {
      const broker = brokers.get(options.broker)!;
      const executor = opened.use(createExecutor(config, options.executor, fpms, {
        ...deps,
        observe: withConsumer(deps.observe, options.name),
      }));
      const limit = limitOf(options, fpms, () => consumer);
      const problem = options.executor.kind === "fastcgi" && problems.get(options.executor.fpm);
      const consumer: Consumer = new Consumer(
        {
          broker,
          executor,
          ...deps,
          random: Math.random,
          queuePauses: queuePauses.get(options.broker)!,
          limit,
          ...problem && { problem },
        },
        { ...options, concurrency: leastOf(config, options) },
      );
      return { consumer, executor };
    };
    return [options.name, part("consumers", kept?.consumers, options.name, create)];
  }));
  // croner is loaded only if there is a schedule.
  const { Schedule } = config.schedule.length > 0 ? await import("../worker/schedule/schedule.ts") : {};
  const schedules = new Map(config.schedule.map(({ broker, ...options }) => {
    const create = () =>
      new Schedule!({ broker: brokers.get(broker)!, ...deps, random: Math.random }, options);
    return [options.name, part("schedule", kept?.schedules, options.name, create)];
  }));
  // No part failed: they belong to the assembly now.
  opened.move();
  return { config, brokers, queuePauses, fpms, consumers, schedules };
}

function startFit(config: Config, name: string, fpm: Fpm, deps: AppDeps): Promise<PoolFit> {
  const { fit, children, statusPath, statusAddress } = config.fpm.get(name)!;
  return PoolFit.start({ ...deps, ...fpm, random: Math.random }, {
    ...fit,
    name,
    children,
    statusPath,
    hasStatusAddress: statusAddress !== undefined,
    fixed: fixedConcurrency(config, name),
  });
}

/**
 * The slots of a consumer.
 *
 * @param consumer Not called before the consumer exists.
 */
function limitOf(
  { concurrency, executor }: ConsumerConfig,
  fpms: ReadonlyMap<string, Fpm>,
  consumer: () => Consumer,
): SlotLimit {
  const fit = executor.kind === "fastcgi" ? fpms.get(executor.fpm)?.fit : undefined;
  return concurrency === "auto" ? fit!.join(consumer) : { slots: concurrency };
}

/** The least number of slots of a consumer. */
function leastOf(config: Config, { concurrency, executor }: ConsumerConfig): number {
  if (concurrency !== "auto") return concurrency;
  return executor.kind === "fastcgi" ? config.fpm.get(executor.fpm)!.fit.min : 1;
}

/**
 * The executor of a consumer.
 *
 * @param fpms Has its pool, which its opener closes.
 * @param deps.output Receives the output of processes.
 */
export function createExecutor(
  config: Config,
  options: ConsumerConfig["executor"],
  fpms: ReadonlyMap<string, { readonly pool: Pick<Pool, "request">; readonly control: FpmControl }>,
  deps: Pick<AppDeps, "clock" | "observe"> & {
    readonly live: Pick<LiveWorker, "config">;
    readonly output?: OutputListener;
  },
): Executor {
  const { stderrLevel, fatalAfterAck } = options;
  if (options.kind === "process") {
    const process = config.processes.get(options.process)!;
    return new ProcessExecutor(deps, { ...process, stderrLevel, fatalAfterAck });
  }
  const { script, params, killOnTimeout, firstByteTimeoutMs } = config.fpm.get(options.fpm)!;
  const { ackOn, payloadParam } = options;
  const { pool, control } = fpms.get(options.fpm)!;
  const shared: Pick<Pool, "request" | "close"> = {
    request: (...args) => pool.request(...args),
    close: () => Promise.resolve(),
  };
  const problem = () => poolProblem(deps.live.config(), options.fpm, control);
  return new FastCgiExecutor({ ...deps, pool: shared, fpm: control, poolProblem: problem }, {
    script,
    params,
    killOnTimeout,
    firstByteTimeoutMs,
    ackOn,
    payloadParam,
    stderrLevel,
    fatalAfterAck,
  });
}

/**
 * More jobs than children would wait in the pool's listen queue, where they can be neither timed nor taken back. A pool that
 * does not answer now is no problem: the worker waits for it.
 */
async function poolProblem(
  config: Config,
  name: string,
  fpm: FpmControl,
): Promise<FervoError | undefined> {
  const status = await fpm.status().catch(() => undefined);
  const wanted = leastConcurrency(config, name);
  if (status === undefined || !isTooSmall(status, wanted)) return undefined;
  return new FervoError(
    "FPM_MISCONFIGURED",
    `The consumers of [fpm.${name}] run up to ${wanted} jobs at the same time, and its pool "${status.pool}" has ` +
      `${status.totalProcesses} children: lower "concurrency", or raise pm.max_children of the pool`,
  );
}

/** Identifies this process for people and brokers. */
function processName(): string {
  const nonce = crypto.getRandomValues(new Uint8Array(6)).toHex();
  return `${Deno.hostname()}:${Deno.pid}:${nonce}`;
}
