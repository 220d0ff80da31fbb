import { type Clock, sleep } from "../core/time/clock.ts";
import { FervoError } from "../core/errors.ts";
import { type BenchExecutor, FIRST_JOB_ID, Load, type LoadResult } from "./load.ts";
import { type ModeOptions, openMode, type Target } from "./modes.ts";
import type { ModeName, RoundResult } from "./result.ts";
import { type Memory, ownCpuUs, type PhpUsage } from "./usage.ts";
import { cpuBetween } from "./usage.ts";

export interface BenchOptions extends ModeOptions {
  /** At least one. */
  readonly modes: readonly ModeName[];
  /** For each mode in each round; for `process` in all. */
  readonly jobs: number;
  /** Unmeasured jobs before each round; for `process` at most `concurrency`. */
  readonly warmup: number;
  /** Rounds. */
  readonly repeat: number;
  readonly ratePerS: number | undefined;
  /** Children of the pool, if known. */
  readonly children: number | undefined;
}

export interface BenchDeps {
  readonly clock: Clock;
  readonly target: Target;
  /** Measures PHP's part; undefined if it cannot be measured. */
  readonly usageOf: (mode: ModeName) => PhpUsage | undefined;
  /** Called as each round of a mode ends. */
  readonly onRound: (mode: ModeName, round: number, result: RoundResult) => void;
}

/** The measurements of one mode. */
export interface ModeRun {
  readonly mode: ModeName;
  readonly rounds: readonly MeasuredRound[];
  readonly memory: Memory | null;
  readonly workerMemoryBytes: number | null;
  /** The extra round with as many jobs at once as children. */
  readonly atChildren: LoadResult | undefined;
}

export interface MeasuredRound {
  readonly load: LoadResult;
  readonly workerCpuUs: number;
  readonly phpCpuUs: number | null;
}

/** All measurements. */
export interface BenchRun {
  readonly modes: readonly ModeRun[];
  /** Why `process` was left out, if it was. */
  readonly processFailure: FervoError | undefined;
  readonly isComplete: boolean;
}

/** How often memory is read, and how many times at most. */
const MEMORY_PAUSE_MS = 20;
const MEMORY_SAMPLES = 20;

type Mutable = { -readonly [K in keyof ModeRun]: ModeRun[K] } & { rounds: MeasuredRound[] };

/**
 * Measures the modes, one after the other.
 *
 * 1. Runs rounds: each has every mode once, so that changes on the machine affect all of them. Each round begins with another
 *    mode, so that none always follows the same one.
 * 2. Before each measurement warms up; takes the CPU time from just before the first measured job to just after the last.
 * 3. Measures memory in separate passes after the rounds, because that takes CPU.
 * 4. With more jobs at once than children, also measures with as many.
 * 5. When it is stopped, returns what it has.
 */
export class Bench {
  readonly #deps: BenchDeps;
  readonly #options: BenchOptions;
  readonly #runs: Map<ModeName, Mutable>;
  #processFailure: FervoError | undefined;
  #nextId = FIRST_JOB_ID;
  #ended = 0;
  #load: Load | undefined;

  constructor(deps: BenchDeps, options: BenchOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#runs = new Map(options.modes.map((mode) => [mode, {
      mode,
      rounds: [],
      memory: null,
      workerMemoryBytes: null,
      atChildren: undefined,
    }]));
  }

  /** The jobs of all rounds, warm-up included. */
  get total(): number {
    const { modes, repeat } = this.#options;
    const perRound = modes.map((mode) => this.#jobsOf(mode) + this.#warmupOf(mode));
    return repeat * perRound.reduce((sum, jobs) => sum + jobs, 0);
  }

  /** The ended ones. */
  get ended(): number {
    return this.#ended + (this.#load?.ended ?? 0);
  }

  /** The largest number of runs, with the passes after the rounds. */
  most(): { requests: number; processes: number } {
    const most = { requests: 0, processes: 0 };
    for (const mode of this.#options.modes) {
      const [jobs, warmup, extra] = [
        this.#jobsOf(mode),
        this.#warmupOf(mode),
        Number(this.#isOverfull(mode)),
      ];
      const count = (this.#options.repeat + extra) * (jobs + warmup) + jobs;
      if (mode === "process") most.processes += count;
      else most.requests += count;
    }
    return most;
  }

  /**
   * @param stop Ends it early.
   * @param mayLeaveOut The mode `process` is left out when all of its first jobs fail.
   * @throws {FervoError} when no job can run, or all first jobs of a mode fail.
   */
  async run(stop: AbortSignal, mayLeaveOut: boolean): Promise<BenchRun> {
    const { repeat } = this.#options;
    for (let round = 1; round <= repeat; round++) {
      const runs = [...this.#runs.values()];
      const first = (round - 1) % runs.length;
      for (const run of [...runs.slice(first), ...runs.slice(0, first)]) {
        if (stop.aborted) break;
        try {
          await this.#round(run, round, stop);
        } catch (error) {
          if (!(error instanceof FervoError && mayLeaveOut && run.mode === "process")) throw error;
          this.#runs.delete(run.mode);
          this.#processFailure = error;
        }
      }
    }
    for (const run of this.#runs.values()) {
      if (!stop.aborted) await this.#memoryPass(run, stop);
      if (!stop.aborted && this.#isOverfull(run.mode)) await this.#atChildren(run, stop);
    }
    return {
      modes: [...this.#runs.values()].filter(({ rounds }) => rounds.length > 0),
      processFailure: this.#processFailure,
      isComplete: !stop.aborted,
    };
  }

  async #round(run: Mutable, round: number, stop: AbortSignal): Promise<void> {
    const { mode } = run;
    const usage = this.#deps.usageOf(mode);
    await using executor = await this.#open(mode, this.#options.concurrency);
    await this.#warmUp(executor, mode, stop);
    if (stop.aborted) return;
    const phpBefore = await usage?.cpu() ?? null;
    const workerBefore = ownCpuUs();
    const load = await this.#measure(executor, mode, this.#options.concurrency, stop);
    const workerCpuUs = ownCpuUs() - workerBefore;
    const phpCpuUs = cpuBetween(phpBefore, await usage?.cpu() ?? null);
    if (load.jobs === 0) return;
    const measured = { load, workerCpuUs, phpCpuUs };
    run.rounds.push(measured);
    this.#deps.onRound(mode, round, roundResult(measured));
  }

  /** @throws {FervoError} the first failure when all jobs fail */
  async #warmUp(executor: BenchExecutor, mode: ModeName, stop: AbortSignal): Promise<void> {
    const jobs = this.#warmupOf(mode);
    if (jobs === 0) return;
    const { failures, failed } = await this.#run(executor, this.#options.concurrency, jobs, undefined, stop);
    const first = failures.entries().next().value;
    if (first === undefined || failed < jobs) return;
    const [message, { error }] = first;
    throw new FervoError(
      error.code,
      `None of the first ${jobs} jobs of the mode "${mode}" succeeded: ${message}`,
      { details: error.details },
    );
  }

  async #memoryPass(run: Mutable, stop: AbortSignal): Promise<void> {
    const { concurrency } = this.#options;
    await using executor = await this.#open(run.mode, concurrency);
    const over = new AbortController();
    const end = () => over.abort();
    await Promise.all([
      this.#measure(executor, run.mode, concurrency, AbortSignal.any([stop, over.signal])).finally(end),
      this.#lookAtMemory(run, over.signal).finally(end),
    ]);
  }

  async #lookAtMemory(run: Mutable, over: AbortSignal): Promise<void> {
    const usage = this.#deps.usageOf(run.mode);
    for (let sample = 0; sample < MEMORY_SAMPLES && !over.aborted; sample++) {
      const memory = await usage?.memory() ?? null;
      if (memory !== null && memory.bytes > (run.memory?.bytes ?? 0)) run.memory = memory;
      run.workerMemoryBytes = Math.max(run.workerMemoryBytes ?? 0, Deno.memoryUsage().rss);
      await sleep(this.#deps.clock, MEMORY_PAUSE_MS, over);
    }
  }

  async #atChildren(run: Mutable, stop: AbortSignal): Promise<void> {
    const children = this.#options.children!;
    await using executor = await this.#open(run.mode, children);
    await this.#run(executor, children, this.#warmupOf(run.mode), undefined, stop);
    const load = await this.#measure(executor, run.mode, children, stop);
    if (load.isComplete) run.atChildren = load;
  }

  #open(mode: ModeName, concurrency: number): Promise<BenchExecutor> {
    const { target, clock } = this.#deps;
    return openMode(mode, target, { clock }, { ...this.#options, concurrency });
  }

  #measure(
    executor: BenchExecutor,
    mode: ModeName,
    concurrency: number,
    stop: AbortSignal,
  ): Promise<LoadResult> {
    return this.#run(executor, concurrency, this.#jobsOf(mode), this.#options.ratePerS, stop);
  }

  async #run(
    executor: BenchExecutor,
    concurrency: number,
    jobs: number,
    ratePerS: number | undefined,
    stop: AbortSignal,
  ): Promise<LoadResult> {
    const { queue, payload, timeoutMs } = this.#options;
    const firstId = this.#nextId;
    this.#nextId += jobs;
    const load = new Load({ executor, clock: this.#deps.clock }, {
      jobs,
      concurrency,
      queue,
      payload,
      timeoutMs,
      ratePerS,
      firstId,
    });
    this.#load = load;
    try {
      return await load.run(stop);
    } finally {
      this.#load = undefined;
      this.#ended += load.ended;
    }
  }

  #jobsOf(mode: ModeName): number {
    const { jobs, repeat } = this.#options;
    return mode === "process" ? Math.ceil(jobs / repeat) : jobs;
  }

  #warmupOf(mode: ModeName): number {
    const { warmup, concurrency } = this.#options;
    return mode === "process" ? Math.min(warmup, concurrency) : warmup;
  }

  #isOverfull(mode: ModeName): boolean {
    const { children, concurrency, ratePerS } = this.#options;
    const isOnPool = mode === "fastcgi" || mode === "fastcgi-fresh";
    return isOnPool && ratePerS === undefined && children !== undefined && concurrency > children;
  }
}

/** Successful jobs a second. */
export function throughputOf({ jobs, failed, elapsedMs }: LoadResult): number {
  return (jobs - failed) / elapsedMs * 1_000;
}

/** The figures of one round. */
export function roundResult({ load, workerCpuUs, phpCpuUs }: MeasuredRound): RoundResult {
  const { jobs, failed, elapsedMs, isComplete } = load;
  return {
    jobs,
    failed,
    duration_s: elapsedMs / 1_000,
    throughput_per_s: throughputOf(load),
    worker_cpu_us_per_job: workerCpuUs / jobs,
    php_cpu_us_per_job: phpCpuUs === null ? null : phpCpuUs / jobs,
    complete: isComplete,
  };
}
