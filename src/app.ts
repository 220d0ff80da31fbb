import type { Config, ConsumerConfig, FpmConfig } from "./config/config.ts";
import type { Clock } from "./core/clock.ts";
import type { Driver } from "./core/driver.ts";
import { FervoError } from "./core/errors.ts";
import type { Observer } from "./core/observer.ts";
import { DIALECTS } from "./dialects/mod.ts";
import type { Dialect } from "./dialects/dialect.ts";
import { openDriver } from "./drivers/mod.ts";
import { FastCgiExecutor } from "./executors/fastcgi.ts";
import { formatAddress } from "./fastcgi/address.ts";
import type { FastCgiRequest } from "./fastcgi/connection.ts";
import { Pool } from "./fastcgi/pool.ts";
import type { FastCgiResponse } from "./fastcgi/response.ts";
import { type FpmStatus, readStatus, statusRequest } from "./fastcgi/status.ts";
import { Consumer } from "./worker/consumer.ts";
import { Worker } from "./worker/worker.ts";

/** A broker, opened, with the format of its messages. */
export interface Broker extends AsyncDisposable {
  readonly driver: Driver;
  readonly dialect: Dialect;
}

/**
 * Opens the broker of that name.
 *
 * @throws {FervoError} CONFIG_INVALID when the configuration has none of that name; QUEUE_UNAVAILABLE
 */
export function openBroker(config: Config, name: string, clock: Clock): Broker {
  const options = config.brokers.get(name);
  if (options === undefined) {
    const known = [...config.brokers.keys()].map((key) => `"${key}"`).join(", ");
    throw new FervoError("CONFIG_INVALID", `The configuration has no broker "${name}"; it has ${known}`);
  }
  const driver = openDriver(options.driver, { clock, owner: processName() }, options);
  return { driver, dialect: DIALECTS[options.dialect], [Symbol.asyncDispose]: () => driver.close() };
}

/** The connections to a php-fpm pool, as many as its consumers run jobs. */
export function createPool(config: Config, name: string, clock: Clock): Pool {
  const fpm = config.fpm.get(name)!;
  const maxConnections = Math.max(totalConcurrency(config, name), 1);
  return new Pool({ address: fpm.address, clock }, { ...fpm, maxConnections });
}

/** How many jobs the consumers of a php-fpm pool run at the same time. */
export function totalConcurrency(config: Config, fpm: string): number {
  return config.consumers.reduce(
    (sum, consumer) => sum + (consumer.fpm === fpm ? consumer.concurrency : 0),
    0,
  );
}

/** A worker with all that it uses. */
export interface App extends AsyncDisposable {
  readonly worker: Worker;
  /** Each broker and the queues that are consumed from it. */
  readonly sources: readonly { readonly driver: Driver; readonly queues: readonly string[] }[];
}

/**
 * Puts a worker together from its configuration: the only place that knows all the parts.
 *
 * @throws {FervoError} QUEUE_UNAVAILABLE; CONFIG_INVALID when a php-fpm pool says that it cannot serve so many jobs
 */
export async function createApp(config: Config, deps: { clock: Clock; observe: Observer }): Promise<App> {
  await using opened = new AsyncDisposableStack();
  const brokers = new Map<string, Broker>();
  const pools = new Map<string, Pool>();
  for (const { broker, fpm } of config.consumers) {
    if (!brokers.has(broker)) brokers.set(broker, opened.use(openBroker(config, broker, deps.clock)));
    if (!pools.has(fpm)) pools.set(fpm, opened.use(createPool(config, fpm, deps.clock)));
  }
  for (const [name, pool] of pools) await refuseTooManyJobs(config, name, pool);

  const consumers = config.consumers.map((consumer) =>
    createConsumer(
      consumer,
      config.fpm.get(consumer.fpm)!,
      brokers.get(consumer.broker)!,
      pools.get(consumer.fpm)!,
      deps,
    )
  );
  const worker = new Worker({ consumers, clock: deps.clock, observe: deps.observe }, config);
  const sources = config.consumers.map(({ broker, queues }) => ({
    driver: brokers.get(broker)!.driver,
    queues: queues.map((queue) => queue.name),
  }));
  const resources = opened.move();
  return { worker, sources, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

function createConsumer(
  options: ConsumerConfig,
  fpm: FpmConfig,
  { driver, dialect }: Broker,
  pool: Pool,
  deps: { clock: Clock; observe: Observer },
): Consumer {
  const executor = new FastCgiExecutor({ pool }, {
    script: fpm.script,
    params: fpm.params,
    ackOn: options.ackOn,
    payloadParam: options.payloadParam,
  });
  return new Consumer({ driver, dialect, executor, ...deps, random: Math.random }, options);
}

/** How long php-fpm may take to answer a question of ours, milliseconds. */
const ASK_TIMEOUT_MS = 3_000;

/**
 * Asks php-fpm something that is no job.
 *
 * @throws {FervoError} FASTCGI_*; FASTCGI_OVERLOADED also when there is no answer in time
 */
export async function ask(fpm: FpmConfig, pool: Pool, request: FastCgiRequest): Promise<FastCgiResponse> {
  const signal = AbortSignal.timeout(ASK_TIMEOUT_MS);
  try {
    return await pool.request(request, signal);
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
    throw new FervoError(
      "FASTCGI_OVERLOADED",
      `php-fpm at "${
        formatAddress(fpm.address)
      }" did not answer in ${ASK_TIMEOUT_MS} ms: all its children may be busy`,
    );
  }
}

/**
 * What the status page of a php-fpm pool says, or undefined when it has none.
 *
 * @throws {FervoError} FASTCGI_* when php-fpm cannot be asked
 */
export async function askStatus(fpm: FpmConfig, pool: Pool): Promise<FpmStatus | undefined> {
  if (fpm.statusPath === undefined) return undefined;
  return readStatus(await ask(fpm, pool, statusRequest(fpm.statusPath)));
}

/** Whether a pool has fewer children than `wanted`. Of a dynamic one the page tells only how many it has now. */
export function isTooSmall({ processManager, totalProcesses }: FpmStatus, wanted: number): boolean {
  return processManager === "static" && totalProcesses < wanted;
}

/**
 * Jobs beyond the pool's children would wait in its listen queue, where they can neither be timed nor taken back. A
 * pool that cannot be asked now is no reason not to start: the worker waits for it.
 */
async function refuseTooManyJobs(config: Config, name: string, pool: Pool): Promise<void> {
  const status = await askStatus(config.fpm.get(name)!, pool).catch(() => undefined);
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
  const nonce = crypto.getRandomValues(new Uint8Array(3)).toHex();
  return `${Deno.hostname()}:${Deno.pid}:${nonce}`;
}
