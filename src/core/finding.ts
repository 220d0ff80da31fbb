import type { ErrorCode } from "./errors.ts";

/**
 * How much a finding matters: looked at and in order; worth knowing, or not to be known; will lose, repeat or delay jobs
 * some day; jobs cannot run, or others can run code.
 */
export const SEVERITIES = ["ok", "notice", "warning", "error"] as const;
export type Severity = typeof SEVERITIES[number];

/**
 * The stable ids of findings, beside those of brokers: `findingIds` of their types. They appear in `check --json` and
 * docs/operations.md; an id is never renamed or reused.
 */
export const FINDING_IDS = [
  "config.valid",
  "config.writable",
  "secrets.readable",
  "broker.reachable",
  "queue.unconsumed",
  "queue.paused",
  "queue.dead",
  "schedule.queue",
  "schedule.claimed_ahead",
  "fpm.reachable",
  "fpm.status_page",
  "fpm.status_listen",
  "fpm.ping",
  "fpm.children",
  "fpm.shared_pool",
  "fpm.shared_master",
  "fpm.socket_mode",
  "fpm.tcp",
  "fpm.script",
  "fpm.limit_extensions",
  "fpm.open_basedir",
  "fpm.kill_on_timeout",
  "fpm.settings",
  "fpm.process_control_timeout",
  "fpm.request_terminate_timeout",
  "php.settings",
  "php.display_errors",
  "php.log_errors",
  "php.error_log",
  "php.fastcgi_logging",
  "php.memory_limit",
  "php.max_execution_time",
  "php.opcache",
  "php.opcache_timestamps",
  "process.program",
  "process.directory",
  "http.listen",
  "http.token",
  "control.socket",
  "tracing.endpoint",
  "worker.open_files",
  "worker.stuck_jobs",
  "worker.user",
] as const;
/** One of these, or of a broker's. */
export type FindingId = typeof FINDING_IDS[number] | BrokerFindingId;
/** The name of what is looked at, a point, and what of it. */
export type BrokerFindingId = `${string}.${string}`;

/** One thing that was looked at, before jobs are entrusted to it. */
export interface Finding {
  readonly id: FindingId;
  readonly severity: Severity;
  /** What was seen: a sentence without a full stop. */
  readonly what: string;
  /** Why that matters: what happens to jobs. */
  readonly why?: string;
  /** What to change: the line itself, and where it belongs. */
  readonly fix?: string;
  /** What a program has said about it, in lines. It is not ours, and may hold anything. */
  readonly details?: string;
  /** Of an error: which kind. */
  readonly code?: ErrorCode;
}
