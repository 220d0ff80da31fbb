/**
 * The worker on Redis in Sidekiq's format:
 *
 * 1. throughput and CPU end to end through php-fpm, beside the bare client loop: rounds of both on the same pool;
 * 2. the queue alone, with an executor that does nothing, beside Ruby Sidekiq running jobs that do nothing, on the same
 *    Redis: rounds of both;
 * 3. a long queue: the rate and the memory from the first to the last of many queued jobs.
 *
 * `deno task bench:redis [--quick] [--write] [throughput] [queue] [length]`; needs redis-server and ruby-sidekiq;
 * `--write` puts the result into benchmarks/results/redis.md.
 */
import process from "node:process";
import { createApp } from "../src/app/app.ts";
import { benchJob, FIRST_JOB_ID } from "../src/bench/load.ts";
import { encodeRequest } from "../src/bench/raw_loop.ts";
import { parseConfig } from "../src/config/load.ts";
import { systemClock } from "../src/core/time/clock.ts";
import type { Observer } from "../src/core/observer.ts";
import { ACK } from "../src/core/outcome.ts";
import { DEFAULT_FASTCGI_EXECUTOR_OPTIONS } from "../src/executors/fastcgi/executor.ts";
import { jobRequests } from "../src/executors/fastcgi/requests.ts";
import { Consumer, DEFAULT_CONSUMER_OPTIONS } from "../src/worker/consumer/consumer.ts";
import { DEFAULT_WORKER_OPTIONS, Worker } from "../src/worker/worker.ts";
import { openRedis } from "../tests/integration/brokers/sidekiq/broker.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { RedisServer } from "../tests/support/redis_server.ts";
import { bareLoop } from "./bare_loop.ts";
import { conditions, Report, spread } from "./report.ts";

const isQuick = Deno.args.includes("--quick");
const CHILDREN = 8;
const ROUNDS = isQuick ? 2 : 7;
const ROUND_JOBS = isQuick ? 5_000 : 30_000;
/** Of Ruby Sidekiq in its default size, and of ours beside it. */
const THREADS = 10;
const QUEUE_JOBS = isQuick ? 10_000 : 50_000;
const LONG_QUEUE_JOBS = isQuick ? 50_000 : 1_000_000;

const QUEUE = "bench";
const SCRIPT = new URL("null_job.php", import.meta.url).pathname;

/** All jobs at once, so that the clock starts with a full queue. */
const FILL_LATER =
  "for i = 1, tonumber(ARGV[1]) do redis.call('LPUSH', KEYS[1], (string.gsub(ARGV[2], '000000000000000000000000', string.format('%024x', i)))) end";

const report = new Report("The worker on Redis");
report.say(await conditions());
const parts = { throughput, queue, length };
const chosen = Deno.args.filter((arg) => arg in parts);
for (const [name, part] of Object.entries(parts)) {
  if (chosen.length === 0 || chosen.includes(name)) await part();
}
if (Deno.args.includes("--write")) await report.write(new URL("results/redis.md", import.meta.url));
Deno.exit(0);

async function throughput(): Promise<void> {
  await using fpm = await PhpFpm.start({ children: CHILDREN });
  await using redis = await RedisServer.start();
  const config = await parseConfig(
    `
[brokers.default]
driver = "redis"
url = "${redis.url}"
[fpm.default]
address = "${fpm.address}"
script = "${SCRIPT}"
[[consumers]]
queues = ["${QUEUE}"]
concurrency = ${CHILDREN}
`,
    "bench.toml",
    { env: () => undefined },
  );
  const runWorker = async (observe: Observer) => {
    await using app = await createApp(config, { clock: systemClock, observe });
    await app.worker.run({ untilEmpty: true });
  };
  const payload = jobBytes(1);
  const job = benchJob(FIRST_JOB_ID, { queue: QUEUE, payload, timeoutMs: 60_000 }, Date.now());
  const bytes = await encodeRequest(
    jobRequests({ ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script: SCRIPT }, systemClock)(job),
  );
  const raw = () => bareLoop(fpm.address, bytes, { jobs: ROUND_JOBS, connections: CHILDREN });
  const rows: { raw: Measure; worker: Measure }[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const rawMeasure = await measured(ROUND_JOBS, raw);
    await fill(redis, ROUND_JOBS);
    let failed = 0;
    const worker = await measured(ROUND_JOBS, () =>
      runWorker((event) => {
        if (event.type === "job_settled" && ["retry", "bury"].includes(event.verdict.kind)) failed++;
      }));
    if (failed > 0) throw new Error(`${failed} jobs failed`);
    if (round > 0) rows.push({ raw: rawMeasure, worker });
  }
  report.say(
    `\n## End to end: ${ROUNDS} rounds of ${ROUND_JOBS} null jobs, ${CHILDREN} children, ${CHILDREN} slots, ` +
      "redis-server on the same cores\n",
  );
  report.say("| | bare loop | worker | worker / bare loop |");
  report.say("|---|---|---|---|");
  const line = (what: string, pick: (measure: Measure) => number, digits: number) =>
    report.say(
      `| ${what} | ${spread(rows.map(({ raw }) => pick(raw)), digits)} | ` +
        `${spread(rows.map(({ worker }) => pick(worker)), digits)} | ` +
        `${spread(rows.map(({ raw, worker }) => pick(worker) / pick(raw)), 2)} |`,
    );
  line("jobs/s", ({ perSecond }) => perSecond, 0);
  line("client CPU, µs/job", ({ cpuUs }) => cpuUs, 1);
}

async function queue(): Promise<void> {
  await using redis = await RedisServer.start();
  const rows: { ours: number; sidekiq: number }[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    await fill(redis, QUEUE_JOBS);
    const ours = await measured(QUEUE_JOBS, () => drain(redis, () => {}));
    const sidekiq = await sidekiqRate(redis);
    if (round > 0) rows.push({ ours: ours.perSecond, sidekiq });
  }
  report.say(
    `\n## The queue alone: ${ROUNDS} rounds of ${QUEUE_JOBS} jobs that do nothing, ${THREADS} slots or threads\n`,
  );
  report.say(`fervo-worker, reliable fetch: ${spread(rows.map(({ ours }) => ours), 0)} jobs/s\n`);
  report.say(`Ruby Sidekiq, basic fetch: ${spread(rows.map(({ sidekiq }) => sidekiq), 0)} jobs/s\n`);
  report.say(`Ratio: ${spread(rows.map(({ ours, sidekiq }) => ours / sidekiq), 2)}`);
}

async function length(): Promise<void> {
  await using redis = await RedisServer.start();
  await fill(redis, LONG_QUEUE_JOBS);
  const tenth = LONG_QUEUE_JOBS / 10;
  const samples: string[] = [];
  let done = 0, sinceMs = performance.now();
  await drain(redis, (event) => {
    if (event.type !== "job_settled" || ++done % tenth !== 0) return;
    const nowMs = performance.now();
    const rate = tenth / (nowMs - sinceMs) * 1_000;
    sinceMs = nowMs;
    samples.push(`| ${done} | ${rate.toFixed(0)} | ${(Deno.memoryUsage().rss / 2 ** 20).toFixed(0)} |`);
  });
  report.say(`\n## A long queue: ${LONG_QUEUE_JOBS} queued jobs that do nothing\n`);
  report.say("| jobs done | jobs/s since the line before | resident MiB |");
  report.say("|---|---|---|");
  for (const sample of samples) report.say(sample);
}

/** The worker with an executor that does nothing, until the queue is empty. */
async function drain(redis: RedisServer, observe: Observer): Promise<void> {
  await using broker = openRedis(redis);
  const executor = {
    execute: () => Promise.resolve(ACK),
    probe: () => Promise.resolve(undefined),
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const deps = { broker, executor, clock: systemClock, observe, random: Math.random };
  const consumer = new Consumer(deps, {
    ...DEFAULT_CONSUMER_OPTIONS,
    name: "bench",
    queues: [{ name: QUEUE, weight: 1 }],
    concurrency: THREADS,
  });
  const worker = new Worker({ consumers: [consumer], clock: systemClock, observe }, DEFAULT_WORKER_OPTIONS);
  await worker.run({ untilEmpty: true });
}

/** Jobs a second of a Ruby Sidekiq process, from its first job to its last. */
async function sidekiqRate(redis: RedisServer): Promise<number> {
  const jobs = new URL("sidekiq_null_job.rb", import.meta.url).pathname;
  const sidekiq = new Deno.Command("ruby", {
    args: ["-W0", "-S", "sidekiq", "-r", jobs, "-c", String(THREADS), "-q", QUEUE],
    cwd: redis.folder,
    env: { REDIS_SOCKET: redis.socket },
    stdout: "null",
    stderr: "null",
  }).spawn();
  // It is there when it has run a job; what it takes to start does not count.
  await fill(redis, 1);
  while (await left(redis) > 0) await pause(10);
  await redis.cli("EVAL", FILL_LATER, "1", `queue:${QUEUE}`, String(QUEUE_JOBS), text(jobBytes(0)));
  const startMs = performance.now();
  while (await left(redis) > 0) await pause(5);
  const seconds = (performance.now() - startMs) / 1_000;
  sidekiq.kill("SIGKILL");
  await sidekiq.status;
  return QUEUE_JOBS / seconds;
}

async function left(redis: RedisServer): Promise<number> {
  return Number(await redis.cli("LLEN", `queue:${QUEUE}`));
}

async function fill(redis: RedisServer, jobs: number): Promise<void> {
  await redis.cli("SADD", "queues", QUEUE);
  await redis.cli("EVAL", FILL_LATER, "1", `queue:${QUEUE}`, String(jobs), text(jobBytes(0)));
}

/** A job as a Ruby client writes it. */
function jobBytes(number: number): Uint8Array {
  const jid = number.toString(16).padStart(24, "0");
  const job =
    `{"retry":true,"queue":"${QUEUE}","class":"NullJob","args":[1],"jid":"${jid}","created_at":1700000000.123,` +
    `"enqueued_at":1700000000.123}`;
  return new TextEncoder().encode(job);
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

interface Measure {
  readonly perSecond: number;
  readonly cpuUs: number;
}

async function measured(jobs: number, run: () => Promise<void>): Promise<Measure> {
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  await run();
  const seconds = (performance.now() - startMs) / 1_000;
  const { user, system } = process.cpuUsage(cpuBefore);
  return { perSecond: jobs / seconds, cpuUs: (user + system) / jobs };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
