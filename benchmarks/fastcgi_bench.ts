/**
 * The FastCGI client beside its ceiling and beside another client, on one php-fpm pool with one null job:
 *
 * 1. throughput and CPU: rounds of the raw loop, the pool, the executor, each with kept connections, of the pool with a
 *    connection a request, and of nginx + wrk, one after the other; ratios are taken round by round;
 * 2. steadiness: bursts of 1,000 jobs with as many slots as php-fpm has children;
 * 3. endurance: many requests through a pool with pm.max_requests = 500: failures, memory, file descriptors.
 *
 * `deno task bench:fastcgi [--quick] [--write] [throughput] [steadiness] [endurance]`; `--write` puts the result into
 * benchmarks/results/fastcgi.md.
 */
import process from "node:process";
import { encodeRequest } from "../src/bench/raw_loop.ts";
import { systemClock } from "../src/core/time/clock.ts";
import type { Job } from "../src/core/job.ts";
import { DEFAULT_FASTCGI_EXECUTOR_OPTIONS, FastCgiExecutor } from "../src/executors/fastcgi/executor.ts";
import { jobRequests } from "../src/executors/fastcgi/requests.ts";
import { parseAddress } from "../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../src/fastcgi/pool.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { conditions, Report, spread } from "./report.ts";
import { Nginx } from "./nginx.ts";
import { bareLoop } from "./bare_loop.ts";

const isQuick = Deno.args.includes("--quick");
const CHILDREN = 8;
const ROUNDS = isQuick ? 3 : 9;
const ROUND_JOBS = isQuick ? 10_000 : 30_000;
const WRK_SECONDS = isQuick ? 2 : 4;
const BURSTS = isQuick ? 5 : 20;
const SOAK_REQUESTS = isQuick ? 50_000 : 1_000_000;

const SCRIPT = new URL("null_job.php", import.meta.url).pathname;
const OPTIONS = { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script: SCRIPT };
const NEVER = new AbortController().signal;
const JOB: Job = {
  id: "1",
  queue: "bench",
  payload: new TextEncoder().encode(`{"n":1}`),
  attempt: 1,
  maxAttempts: 5,
  enqueuedAtMs: Date.now(),
  deadlineMs: Date.now() + 60_000,
};

const report = new Report("The FastCGI client");
report.say(await conditions());
const parts = { throughput, steadiness, endurance };
const chosen = Deno.args.filter((arg) => arg in parts);
for (const [name, part] of Object.entries(parts)) {
  if (chosen.length === 0 || chosen.includes(name)) await part();
}
if (Deno.args.includes("--write")) await report.write(new URL("results/fastcgi.md", import.meta.url));
Deno.exit(0);

async function throughput(): Promise<void> {
  await using fpm = await PhpFpm.start({ children: CHILDREN });
  const request = jobRequests(OPTIONS, systemClock)(JOB);
  const bytes = await encodeRequest(request);
  const raw = () => bareLoop(fpm.address, bytes, { jobs: ROUND_JOBS, connections: CHILDREN });
  const throughPool = async (idleMs: number) => {
    await using pool = poolOn(fpm.address, idleMs);
    await inSlots(ROUND_JOBS, async () => {
      const { headers } = await pool.request(request, NEVER);
      if (headers.get("x-fervo-outcome") !== "ack") throw new Error("A request failed");
    });
  };
  const throughExecutor = async () => {
    await using executor = executorOn(fpm, poolOn(fpm.address, DEFAULT_POOL_OPTIONS.idleMs));
    await inSlots(ROUND_JOBS, async () => {
      const outcome = await executor.execute(JOB, NEVER);
      if (outcome.kind !== "ack") throw outcome.error;
    });
  };
  const throughNginx = async () => {
    // One for each round: the connections that it keeps would hold all children for a minute.
    await using nginx = await Nginx.start({ fpmAddress: fpm.address, script: SCRIPT, connections: CHILDREN });
    return await nginx.measure(WRK_SECONDS);
  };
  const rows: Record<string, number[]>[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const row = {
      raw: await measured(raw),
      pool: await measured(() => throughPool(DEFAULT_POOL_OPTIONS.idleMs)),
      executor: await measured(throughExecutor),
      fresh: await measured(() => throughPool(0)),
      nginx: [await throughNginx(), 0],
    };
    // The first one warms everything up.
    if (round > 0) rows.push(row);
  }
  const title =
    `${ROUNDS} rounds of ${ROUND_JOBS} null jobs, ${CHILDREN} children, ${CHILDREN} connections, unix socket`;
  report.say(`\n## Throughput and CPU: ${title}\n\nMedian (lowest to highest) of the rounds.\n`);
  report.say("| client | jobs/s | of raw | client CPU, µs/job | of raw |");
  report.say("|---|---|---|---|---|");
  const names = {
    raw: "raw loop: the same bytes, no codec (the ceiling)",
    pool: "pool, connections kept",
    executor: "executor on the pool: a job in, an outcome out",
    nginx: "nginx + wrk, connections kept",
    fresh: "pool, a connection a request",
  };
  for (const [name, text] of Object.entries(names)) {
    const of = (index: number) => rows.map((row) => row[name]![index]!);
    const ratio = (index: number) => rows.map((row) => row[name]![index]! / row["raw"]![index]!);
    const cpu = name === "nginx" ? "– | –" : `${spread(of(1), 1)} | ${spread(ratio(1), 2)}`;
    report.say(`| ${text} | ${spread(of(0), 0)} | ${spread(ratio(0), 2)} | ${cpu} |`);
  }
}

async function steadiness(): Promise<void> {
  await using fpm = await PhpFpm.start({ children: CHILDREN });
  await using executor = executorOn(fpm, poolOn(fpm.address, DEFAULT_POOL_OPTIONS.idleMs));
  const shares: number[] = [], means: number[] = [], maxima: number[] = [];
  for (let burst = 0; burst <= BURSTS; burst++) {
    const times: number[] = [];
    await inSlots(1_000, async () => {
      const startMs = performance.now();
      await executor.execute(JOB, NEVER);
      times.push(performance.now() - startMs);
    });
    if (burst === 0) continue;
    const mean = times.reduce((sum, ms) => sum + ms, 0) / times.length;
    const variance = times.reduce((sum, ms) => sum + (ms - mean) ** 2, 0) / times.length;
    means.push(mean);
    shares.push(Math.sqrt(variance) / mean);
    maxima.push(Math.max(...times));
  }
  report.say(
    `\n## Steadiness: ${BURSTS} bursts of 1,000 null jobs, ${CHILDREN} slots on ${CHILDREN} children\n`,
  );
  report.say(
    `Run time: mean ${spread(means, 2)} ms, standard deviation ${spread(shares, 2)} of the mean, longest ` +
      `${spread(maxima, 1)} ms.`,
  );
}

async function endurance(): Promise<void> {
  await using fpm = await PhpFpm.start({ children: CHILDREN, poolLines: ["pm.max_requests = 500"] });
  const pool = poolOn(fpm.address, DEFAULT_POOL_OPTIONS.idleMs);
  await using executor = executorOn(fpm, pool);
  let failed = 0;
  const samples: string[] = [];
  for (let tenth = 1; tenth <= 10; tenth++) {
    await inSlots(SOAK_REQUESTS / 10, async () => {
      if ((await executor.execute(JOB, NEVER)).kind !== "ack") failed++;
    });
    const descriptors = [...Deno.readDirSync("/proc/self/fd")].length;
    samples.push(
      `| ${tenth * SOAK_REQUESTS / 10} | ${failed} | ${(Deno.memoryUsage().rss / 2 ** 20).toFixed(0)} | ` +
        `${
          (Deno.memoryUsage().heapUsed / 2 ** 20).toFixed(1)
        } | ${descriptors} | ${pool.stats.opened} | ${pool.stats.resent} |`,
    );
  }
  report.say(`\n## Endurance: ${SOAK_REQUESTS} jobs through a pool with pm.max_requests = 500\n`);
  report.say(
    "| jobs | failed | resident MiB | heap MiB | descriptors | connections opened | requests sent again |",
  );
  report.say("|---|---|---|---|---|---|---|");
  for (const line of samples) report.say(line);
}

function poolOn(address: string, idleMs: number): Pool {
  return new Pool({ address: parseAddress(address), clock: systemClock }, {
    ...DEFAULT_POOL_OPTIONS,
    idleMs,
    maxConnections: CHILDREN,
  });
}

function executorOn(fpm: PhpFpm, pool: Pool): FastCgiExecutor {
  return new FastCgiExecutor({ pool, fpm: fpm.control(), clock: systemClock, observe: () => {} }, OPTIONS);
}

async function inSlots(jobs: number, run: () => Promise<void>): Promise<void> {
  let left = jobs;
  await Promise.all(Array.from({ length: CHILDREN }, async () => {
    while (left-- > 0) await run();
  }));
}

/** Jobs a second, and CPU of this process in microseconds a job. */
async function measured(run: () => Promise<void>): Promise<[perSecond: number, cpuUs: number]> {
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  await run();
  const seconds = (performance.now() - startMs) / 1_000;
  const { user, system } = process.cpuUsage(cpuBefore);
  return [ROUND_JOBS / seconds, (user + system) / ROUND_JOBS];
}
