/**
 * What a benchmark found, as `fervo-worker bench --json` prints it; docs/bench.md explains each field. Every report is
 * a pure function of it.
 *
 * Units are in the names. A figure that could not be measured is null, and `notes` says why.
 */
export interface BenchResult {
  /** Of this format; incremented when a field changes its meaning or is removed. */
  readonly version: 1;
  readonly conditions: Conditions;
  /** In the order in which they ran. A mode that was left out is missing here and has a note. */
  readonly modes: readonly ModeResult[];
  /** Empty at a fixed rate, where the throughput is given. */
  readonly ratios: readonly Ratio[];
  /** The cost of more concurrency than children, by mode; empty without that, or when they are unknown. */
  readonly waiting: readonly Waiting[];
  /** Facts for the reader, in sentences: modes left out, figures that could not be measured. */
  readonly notes: readonly string[];
}

export const MODE_NAMES = ["fastcgi", "fastcgi-fresh", "process", "raw"] as const;

/**
 * - `fastcgi`: a request to php-fpm a job, on kept connections.
 * - `fastcgi-fresh`: the same, and a connection a job.
 * - `process`: a PHP process a job.
 * - `raw`: the bytes of one such request, written and read with nothing around: the ceiling.
 */
export type ModeName = typeof MODE_NAMES[number];

/** The conditions that a comparable run needs. */
export interface Conditions {
  readonly fervo_worker_version: string;
  readonly runtime: string;
  readonly cpu_model: string | null;
  readonly cpu_cores: number;
  readonly memory_bytes: number | null;
  readonly kernel: string | null;
  /** The system's load over the last minute, before the start. */
  readonly load_average: number | null;
  /** Of the `process` mode's command line PHP. */
  readonly php_version: string | null;
  readonly php_fpm_version: string | null;
  /** The php-fpm: bench's own, or the configuration's. */
  readonly pool: "own" | "configured";
  readonly address: string;
  readonly transport: "unix" | "tcp";
  readonly pm: string | null;
  /** The most jobs that the pool runs at once. */
  readonly children: number | null;
  readonly script: string;
  /** What the `process` mode runs for each job. */
  readonly process_command: readonly string[] | null;
  /** The queue's name for PHP. */
  readonly queue: string;
  readonly payload_bytes: number;
  /** Of each mode in each round; `process` runs this many in all, split over the rounds. */
  readonly jobs: number;
  readonly concurrency: number;
  /** Unmeasured jobs before each round; for `process` at most `concurrency`. */
  readonly warmup: number;
  /** Rounds. */
  readonly repeat: number;
  /** The fixed arrival rate; null for a closed loop, where each job starts when the one before it has ended. */
  readonly rate_per_s: number | null;
  readonly timeout_ms: number;
  readonly started_at: string;
  readonly duration_s: number;
  /** False when it was interrupted. */
  readonly complete: boolean;
}

export interface ModeResult {
  readonly mode: ModeName;
  /** Measured jobs of all rounds, failed ones included. */
  readonly jobs: number;
  readonly failed: number;
  readonly failures: readonly Failure[];
  /** Successful jobs a second: the median of the rounds. */
  readonly throughput_per_s: number;
  /** Of successful jobs, over all rounds; null without any. */
  readonly run_time_s: RunTime | null;
  readonly worker_cpu_us_per_job: number | null;
  readonly php_cpu_us_per_job: number | null;
  /** The most memory of the mode's PHP processes at once. */
  readonly peak_memory_bytes: number | null;
  /** `pss` counts shared pages once; `rss` counts them for each process. */
  readonly memory_kind: "pss" | "rss" | null;
  /** The most memory of this program meanwhile, resident. */
  readonly worker_memory_bytes: number | null;
  readonly rounds: readonly RoundResult[];
  readonly rate: RateResult | null;
  /** Jobs by run time, on a log scale; buckets without jobs are left out. */
  readonly histogram: readonly Bucket[];
}

/** Exact, of all samples. `stdev` is that of the population; percentiles are by nearest rank. */
export interface RunTime {
  readonly mean: number;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly stdev: number;
  readonly p95: number;
  readonly p99: number;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly count: number;
}

export interface RoundResult {
  readonly jobs: number;
  readonly failed: number;
  readonly duration_s: number;
  readonly throughput_per_s: number;
  readonly worker_cpu_us_per_job: number | null;
  readonly php_cpu_us_per_job: number | null;
  /** False when it was interrupted. */
  readonly complete: boolean;
}

/** How a fixed rate was kept, in the worst round. */
export interface RateResult {
  readonly asked_per_s: number;
  readonly achieved_per_s: number;
  readonly met: boolean;
  /** How long after their time the jobs started. */
  readonly late_start_s: { readonly mean: number; readonly p99: number; readonly max: number };
}

export interface Bucket {
  readonly from_s: number;
  readonly to_s: number;
  readonly jobs: number;
}

/** How many times the throughput of one mode is that of another, round by round. */
export interface Ratio {
  readonly of: ModeName;
  readonly to: ModeName;
  readonly throughput: { readonly median: number; readonly min: number; readonly max: number };
}

/** The same mode with more jobs at once than the pool has children, and with just as many. */
export interface Waiting {
  readonly mode: ModeName;
  readonly children: number;
  readonly concurrency: number;
  readonly at_concurrency: WaitingTimes;
  readonly at_children: WaitingTimes;
  /**
   * The least share of its time that a job waited for a PHP process, by Little's law; null where it says nothing, because the
   * pool did not run that many jobs all the time.
   */
  readonly waiting_share: number | null;
}

export interface WaitingTimes {
  readonly throughput_per_s: number;
  /** Of the run times. */
  readonly mean_s: number;
  readonly stdev_s: number;
  readonly p99_s: number;
}
