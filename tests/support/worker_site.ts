/**
 * A whole worker in this process, on the embedded queue and a php-fpm of its own, for tests of how it behaves under load
 * and in trouble.
 */
import assert from "node:assert/strict";
import { systemClock } from "../../src/core/time/clock.ts";
import { raw } from "../../src/formats/raw.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteBroker } from "../../src/brokers/sqlite/broker.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  FastCgiExecutor,
  type FastCgiExecutorOptions,
} from "../../src/executors/fastcgi/executor.ts";
import { parseAddress } from "../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool, type PoolOptions } from "../../src/fastcgi/pool.ts";
import {
  Consumer,
  type ConsumerOptions,
  DEFAULT_CONSUMER_OPTIONS,
} from "../../src/worker/consumer/consumer.ts";
import { type RunResult, Worker } from "../../src/worker/worker.ts";
import { EventLog } from "./event_log.ts";
import { eventually } from "./eventually.ts";
import { PhpFpm, type PhpFpmOptions } from "./php_fpm.ts";

/** A line a run in the file `runs`: the job's id and which attempt it was. */
export const REMEMBER =
  `file_put_contents(__DIR__ . '/runs', "{$_SERVER['FERVO_JOB_ID']} {$_SERVER['FERVO_ATTEMPT']}\\n",
  FILE_APPEND | LOCK_EX);`;
export const SAY_ACK = "header('X-Fervo-Outcome: ack');";
export const KILL_ITSELF = "shell_exec('kill -9 ' . getmypid());";
/** Holds a job until the test makes the file `go`. */
export const HOLD = `touch(__DIR__ . "/began-{$_SERVER['FERVO_JOB_ID']}-{$_SERVER['FERVO_ATTEMPT']}");
  while (!file_exists(__DIR__ . '/go')) usleep(1000);`;
/** The depth of a queue without jobs. */
export const EMPTY = { ready: 0, delayed: 0, reserved: 0, dead: 0 };
export const QUEUE = "default";

export interface WorkerSiteSettings {
  readonly fpm?: PhpFpmOptions;
  readonly consumer?: Partial<ConsumerOptions>;
  readonly shutdownTimeoutMs?: number;
  /** The front controller's file name; what it is not, php-fpm does not find. */
  readonly script?: string;
  readonly pool?: Partial<PoolOptions>;
  readonly executor?: Partial<FastCgiExecutorOptions>;
  /** Without its status page, a php-fpm that was reloaded looks like one that was not. */
  readonly hasStatusPage?: boolean;
}

/** The whole of a worker in this process: the embedded queue, a consumer, and a php-fpm with this script. */
export async function startWorkerSite(code: string, settings: WorkerSiteSettings = {}) {
  await using opened = new AsyncDisposableStack();
  const concurrency = settings.consumer?.concurrency ?? 4;
  const children = settings.fpm?.children ?? concurrency;
  const fpm = opened.use(await PhpFpm.start({ ...settings.fpm, children }));
  const file = (name: string) => `${fpm.directory}/${name}`;
  await fpm.writeScript("job.php", `<?php ${code}`);
  await Deno.writeTextFile(file("runs"), "");
  const broker = opened.use(
    SqliteBroker.open({ clock: systemClock, owner: "test", format: raw }, {
      ...DEFAULT_SQLITE_OPTIONS,
      path: file("queue.sqlite"),
    }),
  );
  const address = parseAddress(fpm.address);
  const pool = new Pool({ address, clock: systemClock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: concurrency,
    ...settings.pool,
  });
  const control = fpm.control({ hasStatusPage: settings.hasStatusPage ?? true });
  await eventually("php-fpm has started its children", async () => {
    const { processes } = (await fpm.control().status())!;
    return processes.filter(({ pid }) => pid > 0).length === children;
  });
  // As a worker does when it starts.
  await control.status();
  const script = file(settings.script ?? "job.php");
  const log = new EventLog();
  const executor = opened.use(
    new FastCgiExecutor({ pool, fpm: control, clock: systemClock, observe: log.observe }, {
      ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
      script,
      ...settings.executor,
    }),
  );
  const deps = {
    broker,
    executor,
    clock: systemClock,
    observe: log.observe,
    random: Math.random,
  };
  const consumer = new Consumer(deps, {
    ...DEFAULT_CONSUMER_OPTIONS,
    name: "main",
    queues: [{ name: QUEUE, weight: 1 }],
    ...settings.consumer,
  });
  const worker = new Worker({ consumers: [consumer], clock: systemClock, observe: log.observe }, {
    shutdownTimeoutMs: settings.shutdownTimeoutMs ?? 60_000,
  });
  // At the end the worker stops first, whatever a test that failed has left behind.
  let running: Promise<RunResult> | undefined;
  opened.defer(async () => {
    worker.stop();
    worker.stop();
    await running;
    await fpm.stop();
  });
  const resources = opened.move();
  return {
    fpm,
    broker,
    pool,
    log,
    worker,
    file,
    run: (options: { untilEmpty: boolean }) => running = worker.run(options),
    /** Pushes so many jobs and returns their ids. */
    async push(count: number, payload = ""): Promise<string[]> {
      const bytes = new TextEncoder().encode(payload);
      return await Promise.all(Array.from({ length: count }, () => broker.push(QUEUE, bytes)));
    },
    /** What the script has remembered: `id attempt` of each run. */
    async runs(): Promise<string[]> {
      return (await Deno.readTextFile(file("runs"))).split("\n").slice(0, -1);
    },
    /** Resolves when so many jobs are done. */
    done: (count: number) =>
      log.count("job_settled", count, ({ verdict: outcome }) => outcome.kind === "ack"),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Each of the jobs ran once, at its first attempt. */
export function assertRanOnce(runs: readonly string[], ids: readonly string[]): void {
  assert.deepEqual([...runs].sort(), ids.map((id) => `${id} 1`).sort());
}
