/**
 * The worker on PostgreSQL and on MariaDB:
 *
 * 1. throughput and CPU end to end through php-fpm, beside the bare client loop: rounds of both on the same pool;
 * 2. the queue alone, with an executor that does nothing;
 * 3. a long queue: the rate and the memory from the first to the last of many queued jobs;
 * 4. the same rate while many delayed jobs wait.
 *
 * `deno task bench:sql [--quick] [--write] [postgres] [mariadb] [throughput] [queue] [length] [delayed]`; needs PostgreSQL and
 * MariaDB; `--write` puts the result into benchmarks/results/sql.md.
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
import type { SqlDriver } from "../src/sql/driver.ts";
import { MYSQL } from "../src/sql/mysql.ts";
import { POSTGRES } from "../src/sql/postgres.ts";
import { Consumer, DEFAULT_CONSUMER_OPTIONS } from "../src/worker/consumer/consumer.ts";
import { DEFAULT_WORKER_OPTIONS, Worker } from "../src/worker/worker.ts";
import { openRows } from "../tests/integration/brokers/rows/broker.ts";
import { MariadbServer } from "../tests/support/mariadb_server.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { PostgresServer } from "../tests/support/postgres_server.ts";
import { bareLoop } from "./bare_loop.ts";
import { conditions, Report, spread } from "./report.ts";

const isQuick = Deno.args.includes("--quick");
const CHILDREN = 8;
const ROUNDS = isQuick ? 2 : 7;
const ROUND_JOBS = isQuick ? 5_000 : 30_000;
const QUEUE_JOBS = isQuick ? 10_000 : 50_000;
const LONG_QUEUE_JOBS = isQuick ? 50_000 : 1_000_000;
const DELAYED_JOBS = isQuick ? 10_000 : 100_000;

const QUEUE = "bench";
const SCRIPT = new URL("null_job.php", import.meta.url).pathname;
/** Syncs to the disk, as in production. */
const SYNCS = { syncs: true };

/** A server under measurement. */
interface Subject {
  readonly name: string;
  readonly driver: SqlDriver;
  readonly user: string;
  readonly url: string;
  readonly database: { readonly name: string; sql(text: string): Promise<string> };
  readonly socket: string;
  /** SELECT of this many rows. */
  numbers(count: number): string;
}

const subjects = { postgres, mariadb };
const parts = { throughput, queue, length, delayed };
const report = new Report("The worker on PostgreSQL and MariaDB");
report.say(await conditions());
for (const [name, subject] of Object.entries(subjects)) {
  if (isChosen(name, subjects)) await subject();
}
if (Deno.args.includes("--write")) await report.write(new URL("results/sql.md", import.meta.url));
Deno.exit(0);

async function postgres(): Promise<void> {
  await using server = await PostgresServer.start(SYNCS);
  await using database = await server.database();
  await measure({
    name: "PostgreSQL",
    driver: POSTGRES,
    user: "postgres",
    url: `postgres://postgres@/${database.name}?host=${server.folder}`,
    database,
    socket: server.socket,
    numbers: (count) => `SELECT n FROM generate_series(1, ${count}) AS n`,
  });
}

async function mariadb(): Promise<void> {
  await using server = await MariadbServer.start(SYNCS);
  await using database = await server.database();
  await measure({
    name: "MariaDB",
    driver: MYSQL,
    user: "root",
    url: `mysql://root@/${database.name}?socket=${server.socket}`,
    database,
    socket: server.socket,
    numbers: (count) => `SELECT seq FROM seq_1_to_${count}`,
  });
}

async function measure(subject: Subject): Promise<void> {
  report.say(`\n## ${subject.name}`);
  // Creates the tables.
  await using broker = open(subject);
  await broker.admin.queues!();
  for (const [name, part] of Object.entries(parts)) if (isChosen(name, parts)) await part(subject);
}

function isChosen(name: string, all: Readonly<Record<string, unknown>>): boolean {
  const chosen = Deno.args.filter((arg) => arg in all);
  return chosen.length === 0 || chosen.includes(name);
}

async function throughput(subject: Subject): Promise<void> {
  await using fpm = await PhpFpm.start({ children: CHILDREN });
  const config = await parseConfig(
    `
[brokers.default]
driver = "${subject.driver.dialect.name}"
url = "${subject.url}"
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
  const job = benchJob(
    FIRST_JOB_ID,
    { queue: QUEUE, payload: new TextEncoder().encode("null"), timeoutMs: 60_000 },
    Date.now(),
  );
  const bytes = await encodeRequest(
    jobRequests({ ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script: SCRIPT }, systemClock)(job),
  );
  const rows: { raw: Measure; worker: Measure }[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const raw = await measured(
      ROUND_JOBS,
      () => bareLoop(fpm.address, bytes, { jobs: ROUND_JOBS, connections: CHILDREN }),
    );
    await fill(subject, ROUND_JOBS);
    let failed = 0;
    const worker = await measured(ROUND_JOBS, () =>
      runWorker((event) => {
        if (event.type === "job_settled" && ["retry", "bury"].includes(event.verdict.kind)) failed++;
      }));
    if (failed > 0) throw new Error(`${failed} jobs failed`);
    if (round > 0) rows.push({ raw, worker });
  }
  report.say(
    `\n### End to end: ${ROUNDS} rounds of ${ROUND_JOBS} null jobs, ${CHILDREN} children, ${CHILDREN} slots, ` +
      "the server on the same cores\n",
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

async function queue(subject: Subject): Promise<void> {
  const rates: number[] = [];
  const cpus: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    await fill(subject, QUEUE_JOBS);
    const { perSecond, cpuUs } = await measured(QUEUE_JOBS, () => drain(subject, () => {}));
    if (round > 0) rates.push(perSecond), cpus.push(cpuUs);
  }
  report.say(
    `\n### The queue alone: ${ROUNDS} rounds of ${QUEUE_JOBS} jobs that do nothing, ${CHILDREN} slots\n`,
  );
  report.say(`${spread(rates, 0)} jobs/s, ${spread(cpus, 1)} µs of the worker's CPU a job`);
}

async function length(subject: Subject): Promise<void> {
  await fill(subject, LONG_QUEUE_JOBS);
  const tenth = LONG_QUEUE_JOBS / 10;
  const samples: string[] = [];
  let done = 0, sinceMs = performance.now();
  await drain(subject, (event) => {
    if (event.type !== "job_settled" || ++done % tenth !== 0) return;
    const nowMs = performance.now();
    const rate = tenth / (nowMs - sinceMs) * 1_000;
    sinceMs = nowMs;
    samples.push(`| ${done} | ${rate.toFixed(0)} | ${(Deno.memoryUsage().rss / 2 ** 20).toFixed(0)} |`);
  });
  report.say(`\n### A long queue: ${LONG_QUEUE_JOBS} queued jobs that do nothing\n`);
  report.say("| jobs done | jobs/s since the line before | resident MiB |");
  report.say("|---|---|---|");
  for (const sample of samples) report.say(sample);
}

async function delayed(subject: Subject): Promise<void> {
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await fill(subject, QUEUE_JOBS);
    const without = await measured(QUEUE_JOBS, () => drain(subject, () => {}));
    await fill(subject, DELAYED_JOBS, "delayed");
    await fill(subject, QUEUE_JOBS);
    const beside = await measured(QUEUE_JOBS, () => drain(subject, () => {}));
    await subject.database.sql("DELETE FROM fervo_jobs");
    ratios.push(beside.perSecond / without.perSecond);
  }
  report.say(
    `\n### ${DELAYED_JOBS} delayed jobs: the rate beside them through the rate without them, ${ROUNDS} rounds\n`,
  );
  report.say(spread(ratios, 2));
}

function open({ driver, user, socket, database }: Subject) {
  return openRows(
    driver,
    { address: { transport: "unix", path: socket }, user, database: database.name },
    { leaseMs: 30_000, statementTimeoutMs: 60_000 },
  );
}

/** The worker with an executor that does nothing, until nothing is ready. */
async function drain(subject: Subject, observe: Observer): Promise<void> {
  await using broker = open(subject);
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
    concurrency: CHILDREN,
  });
  const worker = new Worker({ consumers: [consumer], clock: systemClock, observe }, DEFAULT_WORKER_OPTIONS);
  await worker.run({ untilEmpty: true });
}

/** Delayed ones are in another queue, so that the worker does not wait for them. */
async function fill({ database, numbers }: Subject, jobs: number, state = "ready"): Promise<void> {
  const queue = state === "ready" ? QUEUE : `${QUEUE}-later`;
  await database.sql(
    `INSERT INTO fervo_jobs (queue, payload, state, due_at)
     SELECT '${queue}', 'null', '${state}', ${state === "ready" ? 0 : "4000000000000"} FROM (${
      numbers(jobs)
    }) AS numbers`,
  );
}

interface Measure {
  readonly perSecond: number;
  readonly cpuUs: number;
}

async function measured(jobs: number, run: () => Promise<unknown>): Promise<Measure> {
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  await run();
  const seconds = (performance.now() - startMs) / 1_000;
  const { user, system } = process.cpuUsage(cpuBefore);
  return { perSecond: jobs / seconds, cpuUs: (user + system) / jobs };
}
