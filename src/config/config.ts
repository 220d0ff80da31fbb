import type { SocketAddress } from "../net/address.ts";
import type { FastCgiAddress } from "../fastcgi/address.ts";
import type { PoolOptions } from "../fastcgi/pool.ts";
import type { BrokerConfig } from "../brokers/broker_type.ts";
import type { StderrOptions } from "../executors/fastcgi/acked_stderr.ts";
import type { FastCgiExecutorOptions } from "../executors/fastcgi/executor.ts";
import type { ProcessExecutorOptions } from "../executors/process/executor.ts";
import type { ConsumerOptions } from "../worker/consumer/consumer.ts";
import type { FitBounds } from "../fpm/autoscale/fit_rule.ts";
import type { ScheduleOptions } from "../worker/schedule/schedule.ts";
import type { WorkerOptions } from "../worker/worker.ts";

/** The whole configuration, checked and resolved: absolute paths, valid references, defaults filled in. */
export interface Config extends WorkerOptions {
  readonly log: LogConfig;
  /** Metrics and health; undefined without them. */
  readonly http: HttpConfig | undefined;
  /** Traces; undefined without them. */
  readonly tracing: TracingConfig | undefined;
  /** The control socket of a running worker, absolute; undefined without one. */
  readonly controlSocket: string | undefined;
  /** By name; at least one. */
  readonly brokers: ReadonlyMap<string, BrokerConfig>;
  /** The php-fpm pools, by name; at least one if a consumer uses them. */
  readonly fpm: ReadonlyMap<string, FpmConfig>;
  /** Programs with a process for each job, by name; at least one if a consumer uses them. */
  readonly processes: ReadonlyMap<string, ProcessConfig>;
  /** At least one; names are unique. */
  readonly consumers: readonly ConsumerConfig[];
  /** Names are unique. */
  readonly schedule: readonly ScheduleConfig[];
}

export const CATCH_UPS = ["skip", "one", "all"] as const satisfies readonly ScheduleOptions["catchUp"][];

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export const LOG_FORMATS = ["auto", "pretty", "json"] as const;

export interface LogConfig {
  readonly level: typeof LOG_LEVELS[number];
  /** `auto` is `pretty` on a terminal, else `json`. */
  readonly format: typeof LOG_FORMATS[number];
}

/** At most one of `token` and `tokenFile` is set; exactly one if other machines can reach the address. */
export interface HttpConfig {
  readonly listen: SocketAddress;
  readonly token: string | undefined;
  /** Absolute. */
  readonly tokenFile: string | undefined;
}

/** The traces of jobs, sent by OTLP/HTTP. */
export interface TracingConfig {
  /** A whole URL. */
  readonly endpoint: string;
  readonly serviceName: string;
  /** The share, 0 to 1, of exported traces among those that begin in the worker. */
  readonly sampleRatio: number;
  /** By name; may be secret. */
  readonly headers: Readonly<Record<string, string>>;
}

/** A php-fpm pool. `maxConnections` follows from the consumers' concurrency. */
export interface FpmConfig
  extends
    Omit<PoolOptions, "maxConnections">,
    Pick<FastCgiExecutorOptions, "script" | "params" | "killOnTimeout"> {
  readonly address: FastCgiAddress;
  /** The pool's `pm.status_path`; undefined without one. */
  readonly statusPath: string | undefined;
  /** The pool's `pm.status_listen`, where the status page answers although all children are busy; undefined without it. */
  readonly statusAddress: FastCgiAddress | undefined;
  /** The pool's `ping.path`; undefined without one. */
  readonly pingPath: string | undefined;
  /** The pool's `pm.max_children`; undefined if only the status page knows it. */
  readonly children: number | undefined;
  /** For all its consumers with `concurrency = "auto"` together. */
  readonly fit: FitBounds;
}

export type ProcessConfig = Omit<ProcessExecutorOptions, keyof StderrOptions>;

export interface ConsumerConfig extends Omit<ConsumerOptions, "concurrency"> {
  /** Jobs, or batches, at the same time; "auto" for the room of the php-fpm pool. */
  readonly concurrency: number | "auto";
  /** A key of `Config.brokers`. */
  readonly broker: string;
  readonly executor: FastCgiConsumerConfig | ProcessConsumerConfig;
}

export interface ScheduleConfig extends ScheduleOptions {
  /** A key of `Config.brokers`; the broker stores schedules. */
  readonly broker: string;
}

/** Each job is a request to php-fpm. */
export interface FastCgiConsumerConfig
  extends StderrOptions, Pick<FastCgiExecutorOptions, "ackOn" | "payloadParam"> {
  readonly kind: "fastcgi";
  /** A key of `Config.fpm`. */
  readonly fpm: string;
}

/** Each job is a process. */
export interface ProcessConsumerConfig extends StderrOptions {
  readonly kind: "process";
  /** A key of `Config.processes`. */
  readonly process: string;
}

/** Defaults without a component; other defaults come from the components. */
export const DEFAULT_LOG: LogConfig = { level: "info", format: "auto" };
/** The socket's path follows from the configuration's own. */
export const DEFAULT_CONTROL_SOCKET = "auto";
export const DEFAULT_EXECUTOR: ConsumerConfig["executor"]["kind"] = "fastcgi";
/** The default time zone of a schedule: the same for all workers, wherever they are. */
export const DEFAULT_TIME_ZONE = "UTC";
/** The default period of a rate limit, milliseconds. */
export const DEFAULT_RATE_PERIOD_MS = 1_000;
/** The default weight of a queue. */
export const DEFAULT_QUEUE_WEIGHT = 1;
