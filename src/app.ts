import type { Config, ConsumerConfig, FastCgiConsumerConfig } from "./config/config.ts";
import type { Clock } from "./core/clock.ts";
import type { Driver } from "./core/driver.ts";
import { FervoError } from "./core/errors.ts";
import type { Observer } from "./core/observer.ts";
import { DIALECTS } from "./dialects/mod.ts";
import type { Dialect } from "./dialects/dialect.ts";
import { type DriverDeps, openDriver } from "./drivers/mod.ts";
import type { Executor } from "./executors/executor.ts";
import { FastCgiExecutor } from "./executors/fastcgi.ts";
import { FpmControl } from "./executors/fpm_control.ts";
import { ProcessExecutor } from "./executors/process.ts";
import { BrokerWatch } from "./http/broker_watch.ts";
import { FpmWatch } from "./http/fpm_watch.ts";
import type { WorkerView } from "./http/worker_view.ts";
import { Pool } from "./fastcgi/pool.ts";
import { isTooSmall } from "./fastcgi/status.ts";
import { Consumer } from "./worker/consumer.ts";
import { Worker } from "./worker/worker.ts";

/** A broker, opened, with the format of its messages. */
export interface Broker extends AsyncDisposable {
  readonly driver: Driver;
  readonly dialect: Dialect;
}

/** What a broker's driver tells the worker that uses it. */
type WorkerEars = Required<Pick<DriverDeps, "observe" | "onSignal">>;

/**
 * Opens the broker of that name.
 *
 * @param ears Of a worker; whoever only looks at the broker has none.
 * @throws {FervoError} CONFIG_INVALID when the configuration has none of that name; QUEUE_UNAVAILABLE
 */
export function openBroker(config: Config, name: string, clock: Clock, ears?: WorkerEars): Broker {
  const options = config.brokers.get(name);
  if (options === undefined) {
    const known = [...config.brokers.keys()].map((key) => `"${key}"`).join(", ");
    throw new FervoError("CONFIG_INVALID", `The configuration has no broker "${name}"; it has ${known}`);
  }
  const dialect = DIALECTS[options.dialect];
  const driver = openDriver(options.driver, {
    clock,
    owner: processName(),
    process: processInfo(config, name),
    ...("recovered" in dialect && { jobs: dialect }),
    ...ears,
  }, options);
  return { driver, dialect, [Symbol.asyncDispose]: () => driver.close() };
}

/** What a worker does with a broker, for those who look into the broker. */
function processInfo(config: Config, broker: string): NonNullable<DriverDeps["process"]> {
  const consumers = config.consumers.filter((consumer) => consumer.broker === broker);
  return {
    concurrency: consumers.reduce((sum, consumer) => sum + consumer.concurrency, 0),
    queues: consumers.flatMap(({ queues }) => queues),
  };
}

/** The connections to a php-fpm pool, as many as its consumers run jobs. */
function createPool(config: Config, name: string, clock: Clock): Pool {
  const fpm = config.fpm.get(name)!;
  const maxConnections = Math.max(totalConcurrency(config, name), 1);
  return new Pool({ address: fpm.address, clock }, { ...fpm, maxConnections });
}

/** How many jobs the consumers of a php-fpm pool run at the same time. */
export function totalConcurrency(config: Config, fpm: string): number {
  const users = config.consumers.filter(({ executor }) => isOn(executor, fpm));
  return users.reduce((sum, consumer) => sum + consumer.concurrency, 0);
}

/** Whether that php-fpm pool runs the jobs of a consumer. */
export function isOn(executor: ConsumerConfig["executor"], fpm: string): executor is FastCgiConsumerConfig {
  return executor.kind === "fastcgi" && executor.fpm === fpm;
}

/** A php-fpm pool: the connections to it, and how it is looked at from the outside. */
interface Fpm {
  readonly pool: Pool;
  readonly control: FpmControl;
}

/** A worker with all that it uses. */
export interface App extends AsyncDisposable {
  readonly config: Config;
  readonly worker: Worker;
  /** Each broker and the queues that are consumed from it. */
  readonly sources: readonly { readonly driver: Driver; readonly queues: readonly string[] }[];
  /** For those who watch the worker. */
  readonly view: WorkerView;
}

/**
 * Puts a worker together from its configuration: the only place that knows all the parts.
 *
 * @throws {FervoError} QUEUE_UNAVAILABLE; CONFIG_INVALID when a php-fpm pool says that it cannot serve so many jobs
 */
export async function createApp(config: Config, deps: { clock: Clock; observe: Observer }): Promise<App> {
  await using opened = new AsyncDisposableStack();
  const brokers = new Map<string, Broker>();
  const ears: WorkerEars = {
    observe: deps.observe,
    // What a person tells the worker by way of the broker.
    onSignal: (signal) => signal === "stop" ? worker.drain() : worker.quiet(),
  };
  const fpms = new Map<string, Fpm>();
  for (const { broker } of [...config.consumers, ...config.schedule]) {
    if (!brokers.has(broker)) {
      brokers.set(broker, opened.use(openBroker(config, broker, deps.clock, ears)));
    }
  }
  for (const { executor } of config.consumers) {
    if (executor.kind === "fastcgi" && !fpms.has(executor.fpm)) {
      const pool = opened.use(createPool(config, executor.fpm, deps.clock));
      const control = new FpmControl(deps, config.fpm.get(executor.fpm)!);
      fpms.set(executor.fpm, { pool, control });
    }
  }
  for (const [name, { control }] of fpms) await refuseTooManyJobs(config, name, control);

  const consumers = config.consumers.map((options) => {
    const { driver, dialect } = brokers.get(options.broker)!;
    const executor = opened.use(createExecutor(config, options.executor, fpms, deps));
    return new Consumer({ driver, dialect, executor, ...deps, random: Math.random }, options);
  });
  // croner is loaded by those who have a schedule.
  const { Schedule } = config.schedule.length > 0 ? await import("./worker/schedule.ts") : {};
  const schedules = config.schedule.map(({ broker, ...options }) =>
    new Schedule!({ ...brokers.get(broker)!, ...deps, random: Math.random }, options)
  );
  const onQuiet = () => brokers.forEach(({ driver }) => driver.quiet?.());
  const worker = new Worker({ consumers, schedules, ...deps, onQuiet }, config);
  const sources = config.consumers.map(({ broker, queues }) => ({
    driver: brokers.get(broker)!.driver,
    queues: queues.map((queue) => queue.name),
  }));
  const view: WorkerView = {
    worker,
    consumers,
    brokers: [...brokers].map(([name, { driver }]) =>
      new BrokerWatch({ clock: deps.clock, driver }, { name, queues: queuesOf(config, name) })
    ),
    fpms: [...fpms].map(([name, fpm]) =>
      new FpmWatch({ clock: deps.clock, ...fpm }, {
        name,
        slots: totalConcurrency(config, name),
        hasStatusAddress: config.fpm.get(name)!.statusAddress !== undefined,
      })
    ),
  };
  const resources = opened.move();
  return { config, worker, sources, view, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

function queuesOf(config: Config, broker: string): string[] {
  return config.consumers.filter((consumer) => consumer.broker === broker)
    .flatMap(({ queues }) => queues.map((queue) => queue.name));
}

function createExecutor(
  config: Config,
  options: ConsumerConfig["executor"],
  fpms: ReadonlyMap<string, Fpm>,
  deps: { clock: Clock; observe: Observer },
): Executor {
  if (options.kind === "process") return new ProcessExecutor(deps, config.processes.get(options.process)!);
  const { script, params, killOnTimeout, firstByteTimeoutMs } = config.fpm.get(options.fpm)!;
  const { ackOn, payloadParam } = options;
  const { pool, control } = fpms.get(options.fpm)!;
  return new FastCgiExecutor({ ...deps, pool, fpm: control }, {
    script,
    params,
    killOnTimeout,
    firstByteTimeoutMs,
    ackOn,
    payloadParam,
  });
}

/**
 * Jobs beyond the pool's children would wait in its listen queue, where they can neither be timed nor taken back. A
 * pool that cannot be asked now is no reason not to start: the worker waits for it.
 */
async function refuseTooManyJobs(config: Config, name: string, fpm: FpmControl): Promise<void> {
  const status = await fpm.status().catch(() => undefined);
  const wanted = totalConcurrency(config, name);
  if (status === undefined || !isTooSmall(status, wanted)) return;
  throw new FervoError(
    "CONFIG_INVALID",
    `The consumers of [fpm.${name}] run up to ${wanted} jobs at the same time, and its pool "${status.pool}" has ` +
      `${status.totalProcesses} children: lower "concurrency", or raise pm.max_children of the pool`,
  );
}

/** Tells this process from all others, for people and brokers. */
function processName(): string {
  const nonce = crypto.getRandomValues(new Uint8Array(6)).toHex();
  return `${Deno.hostname()}:${Deno.pid}:${nonce}`;
}
