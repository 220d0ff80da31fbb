import { resolve } from "node:path";
import { parseAddress } from "../fastcgi/address.ts";
import { defaultConsumerName } from "./checks.ts";
import {
  type BrokerConfig,
  type Config,
  type ConsumerConfig,
  DEFAULT_QUEUE_WEIGHT,
  type FpmConfig,
} from "./config.ts";
import type { ConfigFile } from "./schema.ts";

/**
 * The configuration that a checked file means.
 *
 * @param folder Where the file is: its relative paths begin there.
 */
export function resolveConfig(file: ConfigFile, folder: string): Config {
  const brokers = new Map(
    Object.entries(file.brokers).map(([name, broker]) => [name, brokerOf(broker, folder)]),
  );
  const fpm = new Map(Object.entries(file.fpm).map(([name, pool]) => [name, fpmOf(pool)]));
  const only = { broker: [...brokers.keys()][0]!, fpm: [...fpm.keys()][0]! };
  return {
    shutdownTimeoutMs: file.shutdown_timeout_ms,
    log: file.log,
    brokers,
    fpm,
    consumers: file.consumers.map((consumer) => consumerOf(consumer, only)),
  };
}

function brokerOf(broker: ConfigFile["brokers"][string], folder: string): BrokerConfig {
  return {
    driver: broker.driver,
    dialect: broker.dialect,
    path: resolve(folder, broker.path),
    leaseMs: broker.lease_ms,
    busyTimeoutMs: broker.busy_timeout_ms,
    fileMode: Number.parseInt(broker.file_mode, 8),
    maxPayloadBytes: broker.max_payload_bytes,
  };
}

function fpmOf(pool: ConfigFile["fpm"][string]): FpmConfig {
  return {
    address: parseAddress(pool.address),
    script: pool.script,
    params: pool.params,
    statusPath: pool.status_path === "" ? undefined : pool.status_path,
    pingPath: pool.ping_path === "" ? undefined : pool.ping_path,
    children: pool.children === 0 ? undefined : pool.children,
    connectTimeoutMs: pool.connect_timeout_ms,
    idleMs: pool.idle_ms,
    maxResponseBytes: pool.max_response_bytes,
    maxStderrBytes: pool.max_stderr_bytes,
  };
}

/** @param only The names to use where the consumer gives none; checked to be the only ones then. */
function consumerOf(
  consumer: ConfigFile["consumers"][number],
  only: { broker: string; fpm: string },
): ConsumerConfig {
  const queues = consumer.queues.map((queue) =>
    typeof queue === "string"
      ? { name: queue, weight: DEFAULT_QUEUE_WEIGHT }
      : { name: queue.name, weight: queue.weight ?? DEFAULT_QUEUE_WEIGHT }
  );
  return {
    name: consumer.name ?? defaultConsumerName(queues.map((queue) => queue.name)),
    broker: consumer.broker ?? only.broker,
    fpm: consumer.fpm ?? only.fpm,
    queues,
    order: consumer.order,
    concurrency: consumer.concurrency,
    timeoutMs: consumer.timeout_ms,
    ackOn: consumer.ack_on,
    payloadParam: consumer.payload_param,
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
