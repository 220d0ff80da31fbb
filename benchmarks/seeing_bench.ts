/**
 * What it costs a worker to be seen: null jobs on the embedded queue, as fast as they go, by the binary,
 *
 * - unseen;
 * - while `/metrics` is scraped once, and ten times, a second;
 * - with a span of each job, and of each hundredth, sent to a collector in another process;
 * - unseen and scraped again with the jobs in batches, for more of them a second.
 *
 * Rounds of all in turn on the same php-fpm; ratios to the unseen one are taken round by round.
 *
 * `deno task bench:seeing [--quick] [--write]`; needs `scripts/compile`; `--write` puts the result into
 * benchmarks/results/seeing.md.
 */
import { RunningCommand } from "../tests/support/fervo_worker.ts";
import { ask } from "../tests/support/http.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { freePort } from "../tests/support/redis_server.ts";
import { fillQueue } from "./fill_queue.ts";
import { conditions, Report, spread } from "./report.ts";

const isQuick = Deno.args.includes("--quick");
const CHILDREN = 8;
const ROUNDS = isQuick ? 2 : 5;
const JOBS = isQuick ? 20_000 : 80_000;
const BATCHED_JOBS = 3 * JOBS;
const PAYLOAD = new TextEncoder().encode(`{"n":1}`);
/** Takes what it is sent, and keeps nothing. */
const COLLECTOR = `Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.args[0]), onListen: () => {} },
  async (request) => { await request.bytes(); return Response.json({ partialSuccess: {} }); });`;

interface Way {
  readonly what: string;
  /** Jobs in a request; 1 when absent. */
  readonly batch?: number;
  /** Milliseconds. */
  readonly scrapeEveryMs?: number;
  /** Of the jobs. */
  readonly traced?: number;
}
const BATCH = 20;
const WAYS: readonly Way[] = [
  { what: "unseen" },
  { what: "/metrics once a second", scrapeEveryMs: 1_000 },
  { what: "/metrics ten times a second", scrapeEveryMs: 100 },
  { what: "each job traced", traced: 1 },
  { what: "each hundredth job traced", traced: 0.01 },
  { what: `unseen, batches of ${BATCH}`, batch: BATCH },
  { what: `/metrics once a second, batches of ${BATCH}`, batch: BATCH, scrapeEveryMs: 1_000 },
  { what: `/metrics ten times a second, batches of ${BATCH}`, batch: BATCH, scrapeEveryMs: 100 },
];

const report = new Report("What it costs to be seen");
report.say(await conditions());
await using fpm = await PhpFpm.start({ children: CHILDREN });
const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-bench-" });
const collectorPort = freePort();
const collector = new Deno.Command(Deno.execPath(), {
  args: [
    "run",
    "--allow-net",
    `data:application/typescript,${encodeURIComponent(COLLECTOR)}`,
    `${collectorPort}`,
  ],
  stdout: "null",
  stderr: "inherit",
}).spawn();

const scrapes = { ms: [] as number[], bytes: 0 };
const rates: number[][] = [];
// The first round is for the caches.
for (let round = 0; round <= ROUNDS; round++) {
  const measured: number[] = [];
  for (const way of WAYS) measured.push(await jobsPerSecond(way));
  if (round > 0) rates.push(measured);
}
collector.kill("SIGTERM");
await collector.status;
await Deno.remove(folder, { recursive: true });

report.say(
  `\n${ROUNDS} rounds of ${JOBS} null jobs, or ${BATCHED_JOBS} in batches; ${CHILDREN} children, ${CHILDREN} slots\n`,
);
report.say("| | jobs/s | of the unseen |");
report.say("|---|---|---|");
for (const [i, { what, batch }] of WAYS.entries()) {
  const unseen = WAYS.findIndex((way) => way.batch === batch);
  const own = rates.map((round) => round[i]!);
  const ratios = rates.map((round) => round[i]! / round[unseen]!);
  report.say(`| ${what} | ${spread(own, 0)} | ${spread(ratios, 2)} |`);
}
report.say(
  `\nA scrape takes ${
    spread(scrapes.ms, 1)
  } ms while the worker is as busy as that, its answer ${scrapes.bytes} bytes.`,
);
if (Deno.args.includes("--write")) await report.write(new URL("results/seeing.md", import.meta.url));

async function jobsPerSecond({ batch = 1, scrapeEveryMs, traced }: Way): Promise<number> {
  const http = `${folder}/http.sock`;
  const path = `${folder}/queue.sqlite`;
  const config = `${folder}/fervo-worker.toml`;
  await Deno.writeTextFile(
    config,
    `[http]
listen = "${scrapeEveryMs === undefined ? "" : http}"
[tracing]
endpoint = "${traced === undefined ? "" : `http://127.0.0.1:${collectorPort}/v1/traces`}"
sample_ratio = ${traced ?? 1}
[log]
level = "warn"
[brokers.default]
driver = "sqlite"
path = "${path}"
[fpm.default]
address = "${fpm.address}"
script = "${new URL(batch === 1 ? "null_job.php" : "null_batch.php", import.meta.url).pathname}"
[[consumers]]
queues = ["bench"]
concurrency = ${CHILDREN}
batch_size = ${batch}
`,
  );
  const jobs = batch === 1 ? JOBS : BATCHED_JOBS;
  await fillQueue(path, jobs, PAYLOAD);
  await using worker = RunningCommand.start(["run", "--until-empty", "--json", "--config", config]);
  const scraper = scrapeEveryMs === undefined
    ? undefined
    : setInterval(() => void scrape(http), scrapeEveryMs);
  const { code, stdout, stderr } = await worker.ended;
  clearInterval(scraper);
  const summary = code === 0 ? JSON.parse(stdout) : undefined;
  if (summary?.done !== jobs) throw new Error(`Not all jobs were done:\n${stdout}${stderr}`);
  return summary.jobs_per_s;
}

async function scrape(socket: string): Promise<void> {
  const startedMs = performance.now();
  try {
    const { status, body } = await ask(socket, "/metrics");
    // It ended before it had answered.
    if (Number.isNaN(status)) return;
    if (status !== 200) throw new Error(`/metrics answered ${status}`);
    scrapes.ms.push(performance.now() - startedMs);
    scrapes.bytes = body.length;
  } catch (error) {
    // Before the worker listens, and when it has just ended.
    const isAway = error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused ||
      error instanceof Deno.errors.ConnectionReset;
    if (!isAway) throw error;
  }
}
