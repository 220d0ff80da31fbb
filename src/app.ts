import type { ConfigChanges } from "./config/changes.ts";
import type { Config, ConsumerConfig, FastCgiConsumerConfig } from "./config/config.ts";
import type { Clock } from "./core/clock.ts";
import type { Driver } from "./core/driver.ts";
import { FervoError } from "./core/errors.ts";
import type { Observer } from "./core/observer.ts";
import type { Tracer } from "./core/trace.ts";
import { DIALECTS } from "./dialects/mod.ts";
import type { Dialect } from "./dialects/dialect.ts";
import { type DriverDeps, openDriver } from "./drivers/mod.ts";
import type { Executor } from "./executors/executor.ts";
import { FastCgiExecutor } from "./executors/fastcgi.ts";
import { FpmControl } from "./executors/fpm_control.ts";
import { ProcessExecutor } from "./executors/process.ts";
import { Pool } from "./fastcgi/pool.ts";
import { isTooSmall } from "./fastcgi/status.ts";
import { Consumer } from "./worker/consumer.ts";
import type { Schedule } from "./worker/schedule.ts";

/** A broker, opened, with the format of its messages. */
export interface Broker extends AsyncDisposable {
  readonly driver: Driver;
  readonly dialect: Dialect;
}

/** What a broker's driver tells the worker that uses it. */
export type WorkerEars = Required<Pick<DriverDeps, "observe" | "onSignal">>;

/**
 * Opens the broker of that name.
 *
 * @param ears Of a worker; whoever only looks at the broker has none.
 * @param configNow That of the worker, which may have another one later.
 * @throws {FervoError} CONFIG_INVALID when the configuration has none of that name; QUEUE_UNAVAILABLE
 */
export function openBroker(
  config: Config,
  name: string,
  clock: Clock,
  ears?: WorkerEars,
  configNow = () => config,
): Broker {
  const options = config.brokers.get(name);
  if (options === undefined) {
    const known = [...config.brokers.keys()].map((key) => `"${key}"`).join(", ");
    throw new FervoError("CONFIG_INVALID", `The configuration has no broker "${name}"; it has ${known}`);
  }
  const dialect = DIALECTS[options.dialect];
  const driver = openDriver(options.driver, {
    clock,
    owner: processName(),
    process: processInfo(configNow, name),
    ...("recovered" in dialect && { jobs: dialect }),
    ...ears,
  }, options);
  return { driver, dialect, [Symbol.asyncDispose]: () => driver.close() };
}

/** What a worker does with a broker, for those who look into the broker. */
function processInfo(configNow: () => Config, broker: string): NonNullable<DriverDeps["process"]> {
  const consumers = () => configNow().consumers.filter((consumer) => consumer.broker === broker);
  return {
    get concurrency() {
      return consumers().reduce((sum, consumer) => sum + consumer.concurrency, 0);
    },
    get queues() {
      return consumers().flatMap(({ queues }) => queues);
    },
  };
}

/** The connections to a php-fpm pool, as many as its consumers run jobs. */
function createPool(config: Config, name: string, clock: Clock): Pool {
  const fpm = config.fpm.get(name)!;
  return new Pool({ address: fpm.address, clock }, { ...fpm, maxConnections: maxConnections(config, name) });
}

/** How many connections a php-fpm pool has at most: as many as its consumers run jobs. */
export function maxConnections(config: Config, fpm: string): number {
  return Math.max(totalConcurrency(config, fpm), 1);
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
export interface Fpm {
  readonly pool: Pool;
  readonly control: FpmControl;
}

/** What all parts need. */
export type AppDeps = { clock: Clock; observe: Observer; tracer?: Tracer };

/** The parts of a worker, by name. Two assemblies share those that are the same in both configurations. */
export interface Assembly {
  readonly config: Config;
  readonly brokers: ReadonlyMap<string, Broker>;
  readonly fpms: ReadonlyMap<string, Fpm>;
  readonly consumers: ReadonlyMap<string, { readonly consumer: Consumer; readonly executor: Executor }>;
  readonly schedules: ReadonlyMap<string, Schedule>;
}

export type Parts = Omit<Assembly, "config">;

export interface AssemblyDeps extends AppDeps {
  readonly ears: WorkerEars;
  readonly configNow: () => Config;
}

/**
 * Makes the parts that a configuration asks for; none of them works yet.
 *
 * @param from Another assembly, whose parts are taken where nothing has changed.
 */
export async function assemble(
  config: Config,
  deps: AssemblyDeps,
  from?: { readonly assembly: Assembly; readonly changes: ConfigChanges },
): Promise<Assembly> {
  await using opened = new AsyncDisposableStack();
  /** The part of that name, kept or made; a part that is made is disposed of when another one cannot be. */
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
    const open = () => opened.use(openBroker(config, name, clock, deps.ears, deps.configNow));
    brokers.set(name, part("brokers", kept?.brokers, name, open));
  }
  const fpms = new Map<string, Fpm>();
  for (const { executor } of config.consumers) {
    if (executor.kind !== "fastcgi" || fpms.has(executor.fpm)) continue;
    const { fpm: name } = executor;
    const open = () => ({
      pool: opened.use(createPool(config, name, clock)),
      control: new FpmControl(deps, config.fpm.get(name)!),
    });
    fpms.set(name, part("fpm", kept?.fpms, name, open));
  }
  for (const [name, { control }] of fpms) await refuseTooManyJobs(config, name, control);

  const consumers = new Map(config.consumers.map((options) => {
    const create = () => {
      const { driver, dialect } = brokers.get(options.broker)!;
      const executor = opened.use(createExecutor(config, options.executor, fpms, deps));
      const consumer = new Consumer({ driver, dialect, executor, ...deps, random: Math.random }, options);
      return { consumer, executor };
    };
    return [options.name, part("consumers", kept?.consumers, options.name, create)];
  }));
  // croner is loaded by those who have a schedule.
  const { Schedule } = config.schedule.length > 0 ? await import("./worker/schedule.ts") : {};
  const schedules = new Map(config.schedule.map(({ broker, ...options }) => {
    const create = () => new Schedule!({ ...brokers.get(broker)!, ...deps, random: Math.random }, options);
    return [options.name, part("schedule", kept?.schedules, options.name, create)];
  }));
  // All is well: they are the assembly's now.
  opened.move();
  return { config, brokers, fpms, consumers, schedules };
}

function createExecutor(
  config: Config,
  options: ConsumerConfig["executor"],
  fpms: ReadonlyMap<string, Fpm>,
  deps: AppDeps,
): Executor {
  if (options.kind === "process") return new ProcessExecutor(deps, config.processes.get(options.process)!);
  const { script, params, killOnTimeout, firstByteTimeoutMs } = config.fpm.get(options.fpm)!;
  const { ackOn, payloadParam } = options;
  const { pool, control } = fpms.get(options.fpm)!;
  // Other consumers use the pool, too; it is closed by whoever has opened it.
  const shared: Pick<Pool, "request" | "close"> = {
    request: (request, signal) => pool.request(request, signal),
    close: () => Promise.resolve(),
  };
  return new FastCgiExecutor({ ...deps, pool: shared, fpm: control }, {
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
