import { dirname, resolve } from "node:path";
import { type BrokerConfig, type BrokerType, typeOf } from "../brokers/broker_type.ts";
import { DEFAULT_PROCESS_EXECUTOR_OPTIONS } from "../executors/process/executor.ts";
import { parseAddress } from "../fastcgi/address.ts";
import { defaultConsumerName } from "./checks.ts";
import {
  type Config,
  type ConsumerConfig,
  DEFAULT_QUEUE_WEIGHT,
  type FpmConfig,
  type HttpConfig,
  type ProcessConfig,
  type TracingConfig,
} from "./config.ts";
import { controlSocketOf } from "./options/control.ts";
import { scheduleOf } from "./options/schedule.ts";
import type { BrokerTable } from "./options/broker.ts";
import type { ConfigFile } from "./schema.ts";

/**
 * The configuration of a checked file.
 *
 * @param source The file's path: its relative paths begin at its folder.
 * @param types The kinds of brokers.
 */
export function resolveConfig(file: ConfigFile, source: string, types: readonly BrokerType[]): Config {
  const folder = dirname(source);
  const brokers = new Map(
    Object.entries(file.brokers).map(([name, broker]) => [name, brokerOf(broker, folder, types)]),
  );
  const fpm = new Map(Object.entries(file.fpm).map(([name, pool]) => [name, fpmOf(pool)]));
  const processes = new Map(
    Object.entries(file.processes).map(([name, process]) => [name, processOf(process, source)]),
  );
  const only = {
    broker: [...brokers.keys()][0]!,
    fpm: [...fpm.keys()][0]!,
    process: [...processes.keys()][0]!,
  };
  return {
    shutdownTimeoutMs: file.shutdown_timeout_ms,
    log: file.log,
    http: httpOf(file.http, folder),
    tracing: tracingOf(file.tracing),
    controlSocket: controlSocketOf(file.control.socket, source),
    brokers,
    fpm,
    processes,
    consumers: file.consumers.map((consumer) => consumerOf(consumer, only)),
    schedule: file.schedule.map((one) => scheduleOf(one, only.broker)),
  };
}

function httpOf(http: ConfigFile["http"], folder: string): HttpConfig | undefined {
  if (http.listen === "") return undefined;
  return {
    listen: parseAddress(http.listen),
    token: http.token === "" ? undefined : http.token,
    tokenFile: http.token_file === "" ? undefined : resolve(folder, http.token_file),
  };
}

function tracingOf(tracing: ConfigFile["tracing"]): TracingConfig | undefined {
  if (tracing.endpoint === "") return undefined;
  return {
    endpoint: tracing.endpoint,
    serviceName: tracing.service_name,
    sampleRatio: tracing.sample_ratio,
    headers: tracing.headers,
  };
}

function brokerOf(broker: BrokerTable, folder: string, types: readonly BrokerType[]): BrokerConfig {
  const type = typeOf(types, broker)!;
  // The schema has checked its values by the type's options.
  return { type, format: type.formats[broker.format]!, settings: type.settings(broker as never, folder) };
}

function fpmOf(pool: ConfigFile["fpm"][string]): FpmConfig {
  return {
    address: parseAddress(pool.address),
    script: pool.script,
    params: pool.params,
    statusPath: pool.status_path === "" ? undefined : pool.status_path,
    statusAddress: pool.status_address === "" ? undefined : parseAddress(pool.status_address),
    pingPath: pool.ping_path === "" ? undefined : pool.ping_path,
    children: pool.children === 0 ? undefined : pool.children,
    fit: {
      min: pool.auto.min,
      max: pool.auto.max === 0 ? Infinity : pool.auto.max,
      reserve: pool.auto.reserve,
    },
    killOnTimeout: pool.kill_on_timeout,
    connectTimeoutMs: pool.connect_timeout_ms,
    keepaliveMs: pool.keepalive_ms,
    firstByteTimeoutMs: pool.first_byte_timeout_ms,
    idleMs: pool.idle_ms,
    maxResponseBytes: pool.max_response_bytes,
    maxHeaderBytes: pool.max_header_bytes,
    maxStderrBytes: pool.max_stderr_bytes,
  };
}

function processOf(process: ConfigFile["processes"][string], source: string): ProcessConfig {
  const [program, ...args] = process.command;
  const exitCodes = Object.entries(process.exit_codes).map(([code, meaning]) =>
    [Number(code), meaning] as const
  );
  return {
    command: [program!, ...args],
    payload: process.payload,
    payloadVariable: process.payload_variable,
    // The worker's own folder may be removed by the next release.
    directory: process.directory === "" ? dirname(resolve(source)) : process.directory,
    env: process.env,
    exitCodes: new Map([...DEFAULT_PROCESS_EXECUTOR_OPTIONS.exitCodes, ...exitCodes]),
    killAfterMs: process.kill_after_ms,
    maxStderrBytes: process.max_stderr_bytes,
  };
}

/** @param only The names for a consumer without its own; checked to be the only ones. */
function consumerOf(
  consumer: ConfigFile["consumers"][number],
  only: { broker: string; fpm: string; process: string },
): ConsumerConfig {
  const queues = consumer.queues.map((queue) =>
    typeof queue === "string"
      ? { name: queue, weight: DEFAULT_QUEUE_WEIGHT }
      : { name: queue.name, weight: queue.weight ?? DEFAULT_QUEUE_WEIGHT }
  );
  return {
    name: consumer.name ?? defaultConsumerName(queues.map((queue) => queue.name)),
    broker: consumer.broker ?? only.broker,
    executor: executorOf(consumer, only),
    queues,
    order: consumer.order,
    concurrency: consumer.concurrency,
    batchSize: consumer.batch_size,
    maxInFlightBytes: consumer.max_in_flight_bytes,
    timeoutMs: consumer.timeout_ms,
    rateLimit: consumer.rate_limit === 0
      ? undefined
      : { jobs: consumer.rate_limit, periodMs: consumer.rate_period_ms },
    postMortemTimeoutMs: consumer.post_mortem_timeout_ms,
    redeliveriesMax: consumer.redeliveries_max,
    pauseMaxMs: consumer.pause_max_ms,
    retry: {
      attempts: consumer.retry.attempts,
      delayMs: consumer.retry.delay_ms,
      factor: consumer.retry.factor,
      maxDelayMs: consumer.retry.max_delay_ms,
      jitter: consumer.retry.jitter,
    },
  };
}

function executorOf(
  consumer: ConfigFile["consumers"][number],
  only: { fpm: string; process: string },
): ConsumerConfig["executor"] {
  const stderr = { stderrLevel: consumer.stderr_level, fatalAfterAck: consumer.fatal_after_ack };
  if (consumer.executor === "process") {
    return { kind: "process", process: consumer.process ?? only.process, ...stderr };
  }
  return {
    kind: "fastcgi",
    fpm: consumer.fpm ?? only.fpm,
    ackOn: consumer.ack_on,
    payloadParam: consumer.payload_param,
    ...stderr,
  };
}
