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

/** The whole configuration, checked and resolved: paths absolute, references existing, defaults filled in. */
export interface Config extends WorkerOptions {
  readonly log: LogConfig;
  /** Where metrics and health are served; undefined for nowhere. */
  readonly http: HttpConfig | undefined;
  /** Where traces are sent; undefined for nowhere. */
  readonly tracing: TracingConfig | undefined;
  /** The socket where a running worker takes commands, absolute; undefined for none. */
  readonly controlSocket: string | undefined;
  /** By name; at least one. */
  readonly brokers: ReadonlyMap<string, BrokerConfig>;
  /** The php-fpm pools, by name; at least one where a consumer uses them. */
  readonly fpm: ReadonlyMap<string, FpmConfig>;
  /** What runs a process a job, by name; at least one where a consumer uses them. */
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

/** Of `token` and `tokenFile` one is set at most; one is where others than this machine can reach it. */
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
  /** The share of the traces that begin in the worker which are sent, 0 to 1. */
  readonly sampleRatio: number;
  /** By name; may be secret. */
  readonly headers: Readonly<Record<string, string>>;
}

/** A php-fpm pool. `maxConnections` is not here: it follows from the consumers' concurrency. */
export interface FpmConfig
  extends
    Omit<PoolOptions, "maxConnections">,
    Pick<FastCgiExecutorOptions, "script" | "params" | "killOnTimeout"> {
  readonly address: FastCgiAddress;
  /** The pool's `pm.status_path`; undefined when there is none. */
  readonly statusPath: string | undefined;
  /** The pool's `pm.status_listen`, where the status page answers though all children are busy; else undefined. */
  readonly statusAddress: FastCgiAddress | undefined;
  /** The pool's `ping.path`; undefined when there is none. */
  readonly pingPath: string | undefined;
  /** The pool's `pm.max_children`; undefined when only the status page can tell. */
  readonly children: number | undefined;
  /** For its consumers with `concurrency = "auto"`, all together. */
  readonly fit: FitBounds;
}

export type ProcessConfig = Omit<ProcessExecutorOptions, keyof StderrOptions>;

export interface ConsumerConfig extends Omit<ConsumerOptions, "concurrency"> {
  /** How many jobs, or batches, at the same time; "auto" for what the php-fpm pool has room for. */
  readonly concurrency: number | "auto";
  /** A key of `Config.brokers`. */
  readonly broker: string;
  readonly executor: FastCgiConsumerConfig | ProcessConsumerConfig;
}

export interface ScheduleConfig extends ScheduleOptions {
  /** A key of `Config.brokers`; it keeps a schedule. */
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

/** Defaults of what belongs to no component; the others come from the components themselves. */
export const DEFAULT_LOG: LogConfig = { level: "info", format: "auto" };
/** A socket's name that follows from the configuration's own. */
export const DEFAULT_CONTROL_SOCKET = "auto";
export const DEFAULT_EXECUTOR: ConsumerConfig["executor"]["kind"] = "fastcgi";
/** The time zone of a schedule that does not say its own: the same for all workers, wherever they are. */
export const DEFAULT_TIME_ZONE = "UTC";
/** The period of a rate limit that does not say its own, milliseconds. */
export const DEFAULT_RATE_PERIOD_MS = 1_000;
/** The weight of a queue that does not say its own. */
export const DEFAULT_QUEUE_WEIGHT = 1;
