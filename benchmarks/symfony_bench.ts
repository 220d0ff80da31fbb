/**
 * The experiment of 2013 again: deferred events of a Symfony application, with `usleep(5)` in the listener, by
 *
 * a. FastCGI and the bundle's front controller: the worker end to end on Redis;
 * b. a process for each event: `php bin/console fervo:deferred-event:dispatch`, by the worker's process executor;
 * c. FastCGI and a front controller as it was in 2013: a kernel and a console Application for each request;
 * d. as a, with `batch_size = 20`: one request, and one boot of the kernel, for up to 20 events;
 * e. Symfony Messenger: `messenger:consume` on Redis, as many processes as the pool has children.
 *
 * All on one machine in one run, rounds in turn, each from a full queue; ratios are taken round by round. What it takes
 * to start the pool, the worker or the consumers does not count.
 *
 * `deno task bench:symfony [--quick] [--write]`; needs redis-server and what `scripts/setup symfony` installs;
 * `--write` puts the result into benchmarks/results/symfony.md.
 */
import { createApp } from "../src/app/app.ts";
import { summarize } from "../src/bench/statistics.ts";
import { parseConfig } from "../src/config/load.ts";
import { systemClock } from "../src/core/time/clock.ts";
import { ownCpuUs } from "../src/bench/usage.ts";
import { readProc } from "../src/system/proc.ts";
import type { RunTime } from "../src/bench/result.ts";
import { eventually } from "../tests/support/eventually.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { RedisServer } from "../tests/support/redis_server.ts";
import { userName } from "../tests/support/run_program.ts";
import { SymfonyApp } from "../tests/support/symfony_app.ts";
import { conditions, Report, spread } from "./report.ts";

const isQuick = Deno.args.includes("--quick");
const CHILDREN = 8;
const ROUNDS = isQuick ? 2 : 5;
const ROUND_EVENTS = isQuick
  ? { a: 5_000, b: 100, c: 500, d: 10_000, e: 5_000 }
  : { a: 20_000, b: 300, c: 500, d: 60_000, e: 20_000 };
const BATCH_SIZE = 20;
/** What a is to be, beside the others: at least so many times as fast. */
const TARGETS = [["a", "b", 100], ["a", "c", 20], ["d", "a", 3], ["a", "e", 1]] as const;
/** As many as in the article. */
const TABLE_EVENTS = isQuick ? 100 : 1_000;
const TABLE_ROWS = { average: "mean", median: "median", min: "min", max: "max", stdev: "stdev" } as const;
const WARM_UP_EVENTS = 200;

const HERE = new URL("symfony/", import.meta.url).pathname;
const QUEUE = "queue:default";
const STREAM = "messages";
const GROUP = "bench";

/** Copies of the one job or message that there is, all at once, so that the clock starts with a full queue. */
const FILL_QUEUE = `
  for i = 1, tonumber(ARGV[1]) do
    redis.call('LPUSH', KEYS[1], (string.gsub(ARGV[2], '"jid":"%x+"', string.format('"jid":"%024x"', i))))
  end`;
const KEEP_MESSAGE = "redis.call('SET', KEYS[2], redis.call('XRANGE', KEYS[1], '-', '+')[1][2][2])";
const FILL_STREAM = `
  local message = redis.call('GET', KEYS[2])
  for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'message', message) end`;
const COUNT_CONSUMERS = `
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
  return #redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])`;

type Way = keyof typeof ROUND_EVENTS;
/** One round of one way. */
interface Round {
  readonly perSecond: number;
  /** Each event's time from the worker's view, milliseconds; empty where no worker of ours was there. */
  readonly runMs: Float64Array;
  /** CPU time an event, microseconds; of PHP only where its processes stay. */
  readonly cpuUs: Cpu;
}

const report = new Report("Deferred events of a Symfony application");
report.say(await conditions());

await using redis = await RedisServer.start();
const env = {
  APP_ENV: "prod",
  APP_SECRET: "benchmark",
  APP_QUEUE: "redis",
  APP_QUEUE_DSN: redis.url,
  MESSENGER_DSN: `redis://${redis.socket}`,
};
await using app = await SymfonyApp.create({
  env: { ...env, MESSENGER_CONSUMER: "none" },
  overlays: [`${HERE}app`],
});
// As "composer dump-env prod" does it.
const dumped = Object.entries(env).map(([name, value]) => `'${name}' => '${value}',`).join("\n");
await app.write(".env.local.php", `<?php return [${dumped}];`);
await using fpm = await PhpFpm.start({
  children: CHILDREN,
  masterIni: {
    "opcache.validate_timestamps": "0",
    "opcache.enable_file_override": "1",
    "max_execution_time": "0",
    "max_input_time": "-1",
    "opcache.preload": `${app.directory}/config/preload.php`,
    "opcache.preload_user": await userName(),
    "realpath_cache_size": "4M",
  },
});

const fpmPids = (await fpm.control().status())!.processes.map(({ pid }) => pid);
const redisPid = Number(/process_id:(\d+)/.exec(await redis.cli("INFO", "server"))![1]);

await new Deno.Command("php", {
  args: [`${app.directory}/bin/console`, "bench:push"],
  env: { MESSENGER_CONSUMER: "none" },
}).output();
const job = (await redis.elements("LRANGE", QUEUE, "0", "0"))[0]!;
await redis.cli("DEL", QUEUE);
// Within Redis, for the message is bytes that redis-cli would not pass on unchanged.
await redis.cli("EVAL", KEEP_MESSAGE, "2", STREAM, "message");

const fastCgi = (script: string, consumer = "") => `
[fpm.default]
address = "${fpm.address}"
script = "${script}"
[fpm.default.params]
APP_ENV = "prod"
APP_DEBUG = "0"
BENCH_PROJECT_DIR = "${app.directory}"
[[consumers]]
queues = ["default"]
concurrency = ${CHILDREN}
${consumer}
`;
const processes = `
[processes.default]
command = ["php", "${app.directory}/bin/console", "fervo:deferred-event:dispatch", "-"]
[[consumers]]
queues = ["default"]
executor = "process"
concurrency = ${CHILDREN}
`;
const WAYS: Record<Way, { what: string; run: (events: number) => Promise<Round> }> = {
  a: { what: "FastCGI", run: (events) => byWorker(fastCgi(app.frontController), events) },
  b: { what: "a process each", run: (events) => byWorker(processes, events) },
  c: {
    what: "FastCGI, console per request",
    run: (events) => byWorker(fastCgi(`${HERE}console_per_request.php`), events),
  },
  d: {
    what: `FastCGI, batches of ${BATCH_SIZE}`,
    run: (events) => byWorker(fastCgi(app.frontController, `batch_size = ${BATCH_SIZE}`), events),
  },
  e: { what: "Messenger", run: byMessenger },
};
const ways = Object.keys(WAYS) as Way[];
const rounds: Record<Way, Round>[] = [];
// The first round is for opcache, the disk's cache and the like.
for (let round = 0; round <= ROUNDS; round++) {
  const measured = {} as Record<Way, Round>;
  for (const way of ways) {
    measured[way] = await WAYS[way].run(round === 0 ? WARM_UP_EVENTS : ROUND_EVENTS[way]);
  }
  if (round > 0) rounds.push(measured);
}
sayRates();
sayRatios();
sayCpu();
await sayTable();
if (Deno.args.includes("--write")) await report.write(new URL("results/symfony.md", import.meta.url));

function sayRates(): void {
  report.say(
    `\n## Events a second: ${ROUNDS} rounds of all in turn, ${CHILDREN} children, slots, processes or consumers\n`,
  );
  report.say(
    "PHP-FPM's php.ini as examples/symfony/README.md has it: opcache with Symfony's preload file; `APP_ENV=prod`, the",
  );
  report.say("container and .env dumped; PHP's command line without opcache, as it is by default.\n");
  report.say("| | | events a round | events/s |");
  report.say("|---|---|---|---|");
  for (const way of ways) {
    const rates = rounds.map((round) => round[way].perSecond);
    report.say(`| ${way} | ${WAYS[way].what} | ${ROUND_EVENTS[way]} | ${spread(rates, 0)} |`);
  }
}

function sayRatios(): void {
  report.say("\n## Ratios, round by round\n");
  report.say("| | wanted | measured |");
  report.say("|---|---|---|");
  for (const [way, other, target] of TARGETS) {
    const ratios = rounds.map((round) => round[way].perSecond / round[other].perSecond);
    report.say(`| ${way} / ${other} | ${target} | ${spread(ratios, 1)} |`);
  }
}

/** What limits each: all share the same cores. */
function sayCpu(): void {
  report.say("\n## CPU time of an event, µs\n");
  report.say("| | PHP | worker | Redis |");
  report.say("|---|---|---|---|");
  for (const way of ways.filter((way) => way !== "b")) {
    const of = (part: keyof Round["cpuUs"]) => spread(rounds.map((round) => round[way].cpuUs[part]), 0);
    report.say(`| ${way} | ${of("php")} | ${way === "e" ? "none" : of("worker")} | ${of("redis")} |`);
  }
}

/** The article's own table. */
async function sayTable(): Promise<void> {
  const [fast, slow] = [await WAYS.a.run(TABLE_EVENTS), await WAYS.b.run(TABLE_EVENTS)]
    .map(({ runMs }) => summarize(runMs)!) as [RunTime, RunTime];
  report.say(`\n## The time of an event, from the worker's view: ${TABLE_EVENTS} events, in seconds\n`);
  report.say("| | FastCGI | a process each |");
  report.say("|---|---|---|");
  for (const [name, key] of Object.entries(TABLE_ROWS) as [string, keyof RunTime][]) {
    report.say(`| ${name} | ${(fast[key] / 1_000).toFixed(4)} | ${(slow[key] / 1_000).toFixed(4)} |`);
  }
}

/** From the first event's start to the last one's end. */
async function byWorker(how: string, events: number): Promise<Round> {
  const config = await parseConfig(
    `[brokers.default]\ndriver = "redis"\nurl = "${redis.url}"\n${how}`,
    "bench.toml",
    { env: () => undefined },
  );
  await redis.cli("EVAL", FILL_QUEUE, "1", QUEUE, String(events), job);
  const runMs = new Float64Array(events);
  const cpuBefore = await cpu(fpmPids);
  let startedMs: number | undefined;
  let endedMs = 0, done = 0;
  let failure: unknown;
  {
    await using worker = await createApp(config, {
      clock: systemClock,
      observe: (event) => {
        if (event.type === "job_started") startedMs ??= performance.now();
        // What the look-ahead puts back comes again.
        if (event.type !== "job_settled" || event.verdict.kind === "release") return;
        if (event.verdict.kind !== "ack") failure = event.verdict;
        runMs[done++] = event.runMs;
        endedMs = performance.now();
      },
    });
    await worker.worker.run({ untilEmpty: true });
  }
  if (failure !== undefined) throw new Error(`An event failed: ${Deno.inspect(failure)}`);
  if (done !== events || startedMs === undefined) throw new Error(`${done} of ${events} events were done`);
  const cpuUs = cpuOf(cpuBefore, await cpu(fpmPids), events);
  return { perSecond: events / (endedMs - startedMs) * 1_000, runMs, cpuUs };
}

/** From when the messages are there, for consumers that wait for them, to when none is left. */
async function byMessenger(events: number): Promise<Round> {
  await redis.cli("DEL", STREAM);
  await using consumers = new AsyncDisposableStack();
  const pids: number[] = [];
  for (let i = 0; i < CHILDREN; i++) {
    const consumer = new Deno.Command("php", {
      args: [`${app.directory}/bin/console`, "messenger:consume", "bench", "--sleep=0.005", "--quiet"],
      env: { MESSENGER_CONSUMER: `consumer${i}` },
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    pids.push(consumer.pid);
    consumers.defer(async () => {
      consumer.kill("SIGTERM");
      await consumer.status;
    });
  }
  await eventually("all consumers have asked for messages", async () => {
    return Number(await redis.cli("EVAL", COUNT_CONSUMERS, "1", STREAM, GROUP)) === CHILDREN;
  });
  const cpuBefore = await cpu(pids);
  await redis.cli("EVAL", FILL_STREAM, "2", STREAM, "message", String(events));
  const startedMs = performance.now();
  // Not by redis-cli, which would take its share of the CPU.
  using connection = await Deno.connect({ transport: "unix", path: redis.socket });
  const question = new TextEncoder().encode(`XLEN ${STREAM}\r\n`);
  const answer = new Uint8Array(64);
  for (;;) {
    await connection.write(question);
    const length = await connection.read(answer);
    if (new TextDecoder().decode(answer.subarray(0, length ?? 0)) === ":0\r\n") break;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  const cpuUs = cpuOf(cpuBefore, await cpu(pids), events);
  return { perSecond: events / seconds, runMs: new Float64Array(), cpuUs };
}

interface Cpu {
  readonly php: number;
  readonly worker: number;
  readonly redis: number;
}

/** What PHP's processes, this one and Redis have used since they began, microseconds. */
async function cpu(phpPids: readonly number[]): Promise<Cpu> {
  const of = async (pids: readonly number[]) => {
    const texts = await readProc(pids.map((pid) => `/proc/${pid}/schedstat`));
    return [...texts.values()].reduce((sum, text) => sum + Number(text.split(" ")[0]) / 1_000, 0);
  };
  return { php: await of(phpPids), worker: ownCpuUs(), redis: await of([redisPid]) };
}

function cpuOf(before: Cpu, after: Cpu, events: number): Cpu {
  const part = (name: keyof Cpu) => (after[name] - before[name]) / events;
  return { php: part("php"), worker: part("worker"), redis: part("redis") };
}
