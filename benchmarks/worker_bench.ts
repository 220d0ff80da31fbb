/**
 * The worker on the embedded queue, end to end, beside the raw client loop as its ceiling. One run on one machine:
 *
 * 1. throughput and CPU: rounds of both, one after the other, on the same php-fpm; the ratio is taken round by round;
 * 2. memory over many jobs;
 * 3. CPU of an idle worker;
 * 4. pick-up latency of single jobs that another process pushes.
 *
 * `deno task bench [--quick] [--write]`; `--write` puts the result into benchmarks/results/worker.md.
 */
import process from "node:process";
import { createApp } from "../src/app/app.ts";
import { benchJob, FIRST_JOB_ID } from "../src/bench/load.ts";
import { encodeRequest } from "../src/bench/raw_loop.ts";
import { parseConfig } from "../src/config/load.ts";
import { systemClock } from "../src/core/time/clock.ts";
import type { Observer } from "../src/core/observer.ts";
import { DEFAULT_FASTCGI_EXECUTOR_OPTIONS } from "../src/executors/fastcgi/executor.ts";
import { jobRequests } from "../src/executors/fastcgi/requests.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { bareLoop } from "./bare_loop.ts";
import { fillQueue } from "./fill_queue.ts";
import { conditions, Report } from "./report.ts";

const isQuick = Deno.args.includes("--quick");
const CHILDREN = 8;
const ROUNDS = isQuick ? 2 : 7;
const ROUND_JOBS = isQuick ? 5_000 : 30_000;
const MEMORY_JOBS = isQuick ? 20_000 : 200_000;
const IDLE_MS = isQuick ? 5_000 : 60_000;
const PICKUPS = isQuick ? 10 : 200;

const SCRIPT = new URL("null_job.php", import.meta.url).pathname;
const PAYLOAD = new TextEncoder().encode(`{"n":1}`);

await using fpm = await PhpFpm.start({ children: CHILDREN });
const directory = await Deno.makeTempDir({ prefix: "fervo-bench-" });
const database = `${directory}/queue.sqlite`;
const configText = `
[brokers.default]
driver = "sqlite"
path = "${database}"
[fpm.default]
address = "${fpm.address}"
script = "${SCRIPT}"
[[consumers]]
queues = ["bench"]
concurrency = ${CHILDREN}
`;
const config = await parseConfig(configText, "bench.toml", { env: () => undefined });

const job = benchJob(FIRST_JOB_ID, { queue: "bench", payload: PAYLOAD, timeoutMs: 60_000 }, Date.now());
const request = await encodeRequest(
  jobRequests({ ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script: SCRIPT }, systemClock)(job),
);
const report = new Report("The worker on the embedded queue");
report.say(await conditions());
await throughput();
await memory();
await idle();
await pickUp();
await Deno.remove(directory, { recursive: true });
if (Deno.args.includes("--write")) {
  await report.write(new URL("results/worker.md", import.meta.url));
}
// Ends php-fpm before the process: an `await using` at the top level is not reached by Deno.exit.
await fpm[Symbol.asyncDispose]();
Deno.exit(0);

async function throughput(): Promise<void> {
  report.say(
    `\n## Throughput: ${ROUNDS} rounds of ${ROUND_JOBS} null jobs, ${CHILDREN} children, ${CHILDREN} slots\n`,
  );
  report.say(
    "| round | raw loop, jobs/s | raw loop, CPU µs/job | worker, jobs/s | worker, CPU µs/job | worker / raw |",
  );
  report.say("|---|---|---|---|---|---|");
  const rows: number[][] = [];
  await measureRaw(ROUND_JOBS / 2);
  await measureWorker(ROUND_JOBS / 2);
  for (let round = 1; round <= ROUNDS; round++) {
    const raw = await measureRaw(ROUND_JOBS);
    const worker = await measureWorker(ROUND_JOBS);
    const row = [raw.perSecond, raw.cpuUs, worker.perSecond, worker.cpuUs, worker.perSecond / raw.perSecond];
    rows.push(row);
    report.say(`| ${round} | ${cells(row)} |`);
  }
  const columns = rows[0]!.map((_, i) => rows.map((row) => row[i]!).sort((a, b) => a - b));
  report.say(`| median | ${cells(columns.map((column) => column[column.length >> 1]!))} |`);
  report.say(`| lowest | ${cells(columns.map((column) => column[0]!))} |`);
  report.say(`| highest | ${cells(columns.map((column) => column.at(-1)!))} |`);
}

function cells([raw, rawCpu, worker, workerCpu, ratio]: number[]): string {
  return [raw!.toFixed(0), rawCpu!.toFixed(1), worker!.toFixed(0), workerCpu!.toFixed(1), ratio!.toFixed(2)]
    .join(" | ");
}

async function memory(): Promise<void> {
  const samples: string[] = [];
  let done = 0;
  await fillQueue(database, MEMORY_JOBS, PAYLOAD);
  await runWorker((event) => {
    if (event.type !== "job_settled" || ++done % (MEMORY_JOBS / 10) !== 0) return;
    samples.push(`${done}: ${(Deno.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB`);
  });
  report.say(`\n## Memory: resident, after so many of ${MEMORY_JOBS} jobs\n`);
  report.say(samples.join(", "));
}

/** In a process of its own, as a user runs it: this one is still busy with the garbage of the rounds before. */
async function idle(): Promise<void> {
  const configFile = `${directory}/fervo-worker.toml`;
  await Deno.writeTextFile(configFile, configText);
  const main = new URL("../main.ts", import.meta.url).pathname;
  const worker = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", main, "run", "--config", configFile],
    stderr: "null",
  }).spawn();
  // Past its start and the time for which it stays alert.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const before = await cpuNs(worker.pid);
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  const usedNs = await cpuNs(worker.pid) - before;
  worker.kill("SIGTERM");
  await worker.status;
  report.say(`\n## Idle: ${(usedNs / 1e4 / IDLE_MS).toFixed(3)} % of a core over ${IDLE_MS / 1_000} s\n`);
}

/** What all threads of a process have run so far, nanoseconds. */
async function cpuNs(pid: number): Promise<number> {
  let sum = 0;
  for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
    sum += Number((await Deno.readTextFile(`/proc/${pid}/task/${name}/schedstat`)).split(" ")[0]);
  }
  return sum;
}

async function pickUp(): Promise<void> {
  const latencies: number[] = [];
  await using app = await createApp(config, { clock: systemClock, observe: () => {} });
  const { broker } = app.sources[0]!;
  const subscribe = broker.subscribe.bind(broker);
  broker.subscribe = (options) => {
    const subscription = subscribe(options);
    const receive = subscription.receive.bind(subscription);
    subscription.receive = async (request, signal) => {
      const deliveries = await receive(request, signal);
      const nowMs = performance.timeOrigin + performance.now();
      for (const { message } of deliveries) {
        latencies.push(nowMs - Number(new TextDecoder().decode(message.body)));
      }
      return deliveries;
    };
    return subscription;
  };
  const running = app.worker.run({ untilEmpty: false });
  const pusher = new URL("pusher.ts", import.meta.url).pathname;
  await new Deno.Command(Deno.execPath(), { args: ["run", "-A", pusher, database, String(PICKUPS)] })
    .output();
  while (latencies.length < PICKUPS) await new Promise((resolve) => setTimeout(resolve, 10));
  app.worker.stop();
  await running;
  latencies.sort((a, b) => a - b);
  const at = (share: number) =>
    latencies[Math.min(Math.floor(latencies.length * share), latencies.length - 1)]!;
  report.say(
    `\n## Pick-up of ${PICKUPS} single jobs by an idle worker, from before the push in another process (its fsync ` +
      `included) to the delivery\n`,
  );
  report.say(
    `p50 ${at(0.5).toFixed(1)} ms, p95 ${at(0.95).toFixed(1)} ms, p99 ${at(0.99).toFixed(1)} ms, max ${
      at(1).toFixed(1)
    } ms`,
  );
}

async function measureRaw(jobs: number) {
  return await measured(jobs, () => bareLoop(fpm.address, request, { jobs, connections: CHILDREN }));
}

async function measureWorker(jobs: number) {
  await fillQueue(database, jobs, PAYLOAD);
  return await measured(jobs, () => runWorker(() => {}));
}

async function measured(
  jobs: number,
  run: () => Promise<void>,
): Promise<{ perSecond: number; cpuUs: number }> {
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  await run();
  const seconds = (performance.now() - startMs) / 1_000;
  const { user, system } = process.cpuUsage(cpuBefore);
  return { perSecond: jobs / seconds, cpuUs: (user + system) / jobs };
}

/** The whole worker as `fervo-worker run --until-empty` puts it together. */
async function runWorker(observe: Observer): Promise<void> {
  await using app = await createApp(config, { clock: systemClock, observe });
  await app.worker.run({ untilEmpty: true });
}
