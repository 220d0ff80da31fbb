import type { Clock } from "../core/time/clock.ts";
import { FastCgiExecutor, type FastCgiExecutorOptions } from "../executors/fastcgi/executor.ts";
import { jobRequests } from "../executors/fastcgi/requests.ts";
import { FpmControl, type FpmControlOptions } from "../fpm/control.ts";
import { ProcessExecutor, type ProcessExecutorOptions } from "../executors/process/executor.ts";
import { DEFAULT_POOL_OPTIONS, Pool, type PoolOptions } from "../fastcgi/pool.ts";
import { type BenchExecutor, benchJob, FIRST_JOB_ID } from "./load.ts";
import { encodeRequest, RawLoop } from "./raw_loop.ts";
import type { ModeName } from "./result.ts";

/** The measured parts: a php-fpm pool and its script, and the command that does the same in a process. */
export interface Target {
  readonly pool: FpmControlOptions & Omit<PoolOptions, "maxConnections">;
  readonly request: FastCgiExecutorOptions;
  /** Undefined without the mode `process`. */
  readonly process: ProcessExecutorOptions | undefined;
}

export interface ModeOptions {
  /** Connections, or processes, at the same time. */
  readonly concurrency: number;
  /** The queue's name for PHP. */
  readonly queue: string;
  readonly payload: Uint8Array;
  readonly timeoutMs: number;
}

/** Opens the executor of a mode. */
export async function openMode(
  mode: ModeName,
  target: Target,
  deps: { clock: Clock },
  options: ModeOptions,
): Promise<BenchExecutor> {
  const { concurrency } = options;
  switch (mode) {
    case "fastcgi":
      return fastCgi(target, deps, concurrency, target.pool.idleMs || DEFAULT_POOL_OPTIONS.idleMs);
    case "fastcgi-fresh":
      return fastCgi(target, deps, concurrency, 0);
    case "process":
      if (target.process === undefined) throw new TypeError("There is no command to run");
      return new ProcessExecutor({ ...deps, observe: () => {} }, target.process);
    case "raw": {
      const job = benchJob(FIRST_JOB_ID, options, deps.clock.nowMs());
      const request = await encodeRequest(jobRequests(target.request, deps.clock)(job));
      return new RawLoop({ address: target.pool.address, clock: deps.clock }, request);
    }
  }
}

function fastCgi(
  { pool, request }: Target,
  deps: { clock: Clock },
  concurrency: number,
  idleMs: number,
): BenchExecutor {
  const { address } = pool;
  return new FastCgiExecutor({
    clock: deps.clock,
    observe: () => {},
    pool: new Pool({ address, clock: deps.clock }, { ...pool, maxConnections: concurrency, idleMs }),
    fpm: new FpmControl(deps, pool),
  }, request);
}
