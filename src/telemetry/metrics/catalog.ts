/** A metric of /metrics, as Prometheus and the documentation show it. */
export interface Metric {
  readonly type: "counter" | "gauge" | "histogram";
  /** Names from the configuration, and codes; never job ids, so that their number is bounded. */
  readonly labels: readonly string[];
  /** One line of plain text: what is counted. */
  readonly help: string;
  /** What else an operator needs to know, in Markdown. */
  readonly note?: string;
}

const OF_QUEUE = ["consumer", "queue"] as const;

/** All metrics. Names, types and labels are stable. docs/reference/metrics.md is made of this, in this order. */
const METRICS = {
  fervo_jobs_total: {
    type: "counter",
    labels: [...OF_QUEUE, "outcome"],
    help: "Attempts that have ended, by their outcome.",
    note:
      "`outcome` is `ack` (done), `retry`, `bury` (dead letter), `release` (put back, not counted as an attempt), and for jobs " +
      "of a framework `handled` and `replace`.",
  },
  fervo_job_errors_total: {
    type: "counter",
    labels: [...OF_QUEUE, "outcome", "code"],
    help: "Attempts that failed or were put back, by the code of the error.",
    note: "What each `code` means: [errors.md](errors.md).",
  },
  fervo_job_wait_seconds: {
    type: "histogram",
    labels: OF_QUEUE,
    help: "From when a job was ready until it began, if the broker knows.",
  },
  fervo_job_run_seconds: {
    type: "histogram",
    labels: OF_QUEUE,
    help: "How long attempts ran.",
  },
  fervo_leases_lost_total: {
    type: "counter",
    labels: OF_QUEUE,
    help: "Jobs of this worker that another worker has taken.",
    note: "Each of them may have run twice: [jobs run twice](../troubleshooting.md#jobs-run-twice).",
  },
  fervo_jobs_recovered_total: {
    type: "counter",
    labels: ["queue", "result"],
    help:
      "Jobs that were taken back from workers that died or no longer have them, if the broker reports them.",
    note: "`result` is `put_back` (they run again) or `buried` (they are dead letters).",
  },
  fervo_consumer_up: {
    type: "gauge",
    labels: ["consumer"],
    help: "1 while the consumer works; 0 when it is stuck, or its php-fpm or program is misconfigured.",
  },
  fervo_consumer_paused: {
    type: "gauge",
    labels: ["consumer"],
    help: "1 while the consumer backs off, because php-fpm or the broker is unavailable.",
  },
  fervo_consumer_pauses_total: {
    type: "counter",
    labels: ["consumer"],
    help: "How often the consumer backed off, because jobs could not be run.",
  },
  fervo_consumer_queues_held_back: {
    type: "gauge",
    labels: ["consumer"],
    help: "Queues of the consumer that the application holds back: no job of them begins now.",
  },
  fervo_consumer_starved_seconds: {
    type: "gauge",
    labels: ["consumer"],
    help:
      "For how long jobs have been ready and slots free while the consumer took no job; else 0. Measured every 5 s.",
    note: "A few seconds are no fault. See [stuck jobs](../monitoring.md#stuck-jobs).",
  },
  fervo_slots: {
    type: "gauge",
    labels: ["consumer"],
    help: "Jobs, or batches, that can run at the same time.",
  },
  fervo_slots_busy: { type: "gauge", labels: ["consumer"], help: "Slots in use." },
  fervo_jobs_in_flight: {
    type: "gauge",
    labels: ["consumer"],
    help: "Jobs taken and not settled: running, waiting for a slot, or being settled.",
  },
  fervo_last_receive_timestamp_seconds: {
    type: "gauge",
    labels: ["consumer"],
    help: "When the broker last answered a request for jobs, with jobs or without; in seconds since 1970.",
    note: "A worker with free slots asks again after at most 30 s.",
  },
  fervo_broker_up: { type: "gauge", labels: ["broker"], help: "1 when the broker answers within 2 s." },
  fervo_broker_orphans: {
    type: "gauge",
    labels: ["broker"],
    help:
      "Jobs that the broker has counted as in flight with this worker for 30 s or more, and that the worker does not have.",
    note: "See [stuck jobs](../monitoring.md#stuck-jobs).",
  },
  fervo_broker_errors_total: {
    type: "counter",
    labels: ["consumer", "during"],
    help:
      "Failed calls to the broker, which the worker makes again; for the broker's own background work, outages.",
    note: "Without a `consumer` it is the broker's own work.",
  },
  fervo_queue_jobs: {
    type: "gauge",
    labels: ["broker", "queue", "state"],
    help:
      "Jobs in the broker, by state. All workers of a broker report the same: take the maximum, not the sum.",
    note: "`state` is `ready`, `delayed`, `reserved` (in flight) or `dead`.",
  },
  fervo_queue_latency_seconds: {
    type: "gauge",
    labels: ["broker", "queue"],
    help:
      "For how long the next job of the queue has been ready; 0 when none is. All workers of a broker report the same: take the maximum.",
    note: "A broker that does not know when a job became ready counts from when it was pushed.",
  },
  fervo_fpm_up: {
    type: "gauge",
    labels: ["fpm"],
    help: "1 when php-fpm accepts connections, even if it is too busy to answer.",
  },
  fervo_fpm_processes: {
    type: "gauge",
    labels: ["fpm", "state"],
    help: "Children of the pool, by its status page.",
    note: "`state` is `idle` or `active`.",
  },
  fervo_fpm_listen_queue: {
    type: "gauge",
    labels: ["fpm"],
    help:
      "Requests that wait for a child, by the status page; always 0 on a unix socket, where php-fpm cannot tell.",
  },
  fervo_fpm_slots: {
    type: "gauge",
    labels: ["fpm"],
    help: 'Jobs, or batches, that consumers with concurrency = "auto" may run on the pool at the same time.',
  },
  fervo_fpm_slots_changes_total: {
    type: "counter",
    labels: ["fpm", "reason"],
    help: "Changes of that number, by their reason.",
    note: "`reason` is `overloaded`, `children`, `others` or `idle`.",
  },
  fervo_fpm_connections: {
    type: "gauge",
    labels: ["fpm", "state"],
    help: "The worker's connections to php-fpm.",
    note: "`state` is `busy` or `idle`.",
  },
  fervo_fpm_connections_opened_total: {
    type: "counter",
    labels: ["fpm"],
    help: "Connections that were opened.",
  },
  fervo_fpm_connections_not_kept: {
    type: "gauge",
    labels: ["fpm"],
    help: "1 since a script of the pool went on after its answer: the worker no longer keeps connections.",
  },
  fervo_fpm_requests_total: { type: "counter", labels: ["fpm"], help: "Requests that php-fpm has answered." },
  fervo_fpm_requests_resent_total: {
    type: "counter",
    labels: ["fpm"],
    help: "Requests that were sent again, because the child had closed its kept connection before them.",
  },
  fervo_event_loop_lag_seconds: {
    type: "histogram",
    labels: [],
    help:
      "How late a timer fires, measured twice a second: for this long the worker was busy with something else.",
    note: "Above 0.1 the worker itself is short of CPU.",
  },
  fervo_log_lines_dropped_total: {
    type: "counter",
    labels: [],
    help: "Lines of the log that were dropped: its reader is too slow, or the log cannot be written.",
  },
  process_cpu_seconds_total: {
    type: "counter",
    labels: [],
    help: "CPU time of the worker itself, without PHP.",
  },
  process_resident_memory_bytes: {
    type: "gauge",
    labels: [],
    help: "Memory of the worker itself, without PHP.",
  },
  fervo_heap_bytes: {
    type: "gauge",
    labels: [],
    help: "The part of that memory that objects take, garbage included.",
  },
  process_start_time_seconds: {
    type: "gauge",
    labels: [],
    help: "When the worker started, in seconds since 1970.",
  },
  fervo_build_info: { type: "gauge", labels: ["version"], help: "Always 1; the label has the version." },
} as const satisfies Readonly<Record<string, Metric>>;

type Catalog = typeof METRICS;
export type MetricName = keyof Catalog;
export type HistogramName = {
  [Name in MetricName]: Catalog[Name]["type"] extends "histogram" ? Name : never;
}[
  MetricName
];

/** A counter or a gauge. */
export type NumberName = Exclude<MetricName, HistogramName>;

/** By name, in the order of the documentation. */
export const METRIC_TEXTS: Readonly<Record<MetricName, Metric>> = METRICS;
