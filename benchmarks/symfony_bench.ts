/**
 * The experiment of 2013 again: deferred events of a Symfony application, with `usleep(5)` in the listener, by
 *
 * a. FastCGI and the bundle's front controller: the worker end to end on Redis;
 * b. a process for each event: `php bin/console fervo:deferred-event:dispatch`, by the worker's process executor;
 * c. FastCGI and a front controller as it was in 2013: a kernel and a console Application for each request;
 * e. Symfony Messenger: `messenger:consume` on Redis, as many processes as the pool has children.
 *
 * All on one machine in one run, rounds in turn, each from a full queue; ratios are taken round by round. What it takes
 * to start the pool, the worker or the consumers does not count.
 *
 * `deno task bench:symfony [--quick] [--write]`; needs redis-server and what `scripts/setup symfony` installs;
 * `--write` puts the result into benchmarks/results/symfony.md.
 */
import { createApp } from "../src/app.ts";
import { summarize } from "../src/bench/statistics.ts";
import { parseConfig } from "../src/config/load.ts";
import { systemClock } from "../src/core/clock.ts";
import type { RunTime } from "../src/bench/result.ts";
import { eventually } from "../tests/support/eventually.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { RedisServer } from "../tests/support/redis_server.ts";
import { SymfonyApp } from "../tests/support/symfony_app.ts";
import { conditions, Report, spread } from "./report.ts";

const isQuick = Deno.args.includes("--quick");
const CHILDREN = 8;
const ROUNDS = isQuick ? 2 : 5;
const ROUND_EVENTS = isQuick
  ? { a: 5_000, b: 100, c: 500, e: 5_000 }
  : { a: 20_000, b: 1_000, c: 2_000, e: 20_000 };
/** As many as in the article. */
const TABLE_EVENTS = isQuick ? 100 : 1_000;

const HERE = new URL("symfony/", import.meta.url).pathname;
const QUEUE = "queue:default";
const STREAM = "messages";

/** Copies of the one job or message that there is, all at once, so that the clock starts with a full queue. */
const FILL_QUEUE = `
  for i = 1, tonumber(ARGV[1]) do
    redis.call('LPUSH', KEYS[1], (string.gsub(ARGV[2], '"jid":"%x+"', string.format('"jid":"%024x"', i))))
  end`;
const FILL_STREAM = `
  for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'message', ARGV[2]) end`;

type Way = keyof typeof ROUND_EVENTS;
/** What a way of running jobs gives for one round. */
interface Round {
  readonly perSecond: number;
  /** Each job's time from the worker's view, milliseconds. */
  readonly runMs: Float64Array;
}

const report = new Report("Deferred events of a Symfony application");
report.say(await conditions());

await using redis = await RedisServer.start();
await using app = await SymfonyApp.create({
  env: {
    APP_QUEUE: "redis",
    APP_QUEUE_DSN: redis.url,
    MESSENGER_DSN: `redis://${redis.socket}`,
    MESSENGER_CONSUMER: "one",
  },
  overlays: [`${HERE}app`],
});
await using fpm = await PhpFpm.start({
  children: CHILDREN,
  ini: { realpath_cache_size: "4M", realpath_cache_ttl: "600" },
});
await app.console("bench:push");
const job = (await redis.elements("LRANGE", QUEUE, "0", "0"))[0]!;
// Raw bytes, which redis-cli alone would not give: the envelope is PHP's serialization.
await redis.cli(
  "EVAL",
  "redis.call('SET', 'message', redis.call('XRANGE', KEYS[1], '-', '+')[1][2][2])",
  "1",
  STREAM,
);
await redis.cli("DEL", QUEUE);
await redis.cli("XTRIM", STREAM, "MAXLEN", "0");

const FASTCGI = (script: string) => `
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
`;
const PROCESS = `
[processes.default]
command = ["php", "${app.directory}/bin/console", "fervo:deferred-event:dispatch", "-"]
[[consumers]]
queues = ["default"]
executor = "process"
concurrency = ${CHILDREN}
`;
const WAYS: Record<Way, (events: number) => Promise<Round>> = {
  a: (events) => byWorker(FASTCGI(app.frontController), events),
  b: (events) => byWorker(PROCESS, events),
  c: (events) => byWorker(FASTCGI(`${HERE}console_per_request.php`), events),
  e: byMessenger,
};

const chosen = (Object.keys(WAYS) as Way[]).filter((way) =>
  !Deno.args.some((arg) => arg in WAYS) || Deno.args.includes(way)
);
const rounds: Record<Way, number>[] = [];
for (let round = 0; round <= ROUNDS; round++) {
  const rates = {} as Record<Way, number>;
  for (const way of chosen) {
    // The first round is for opcache and the like.
    rates[way] = (await WAYS[way](round === 0 ? TABLE_EVENTS : ROUND_EVENTS[way])).perSecond;
  }
  if (round > 0) rounds.push(rates);
  console.log(rates);
}
Deno.exit(0);

/** From the first job's start to the last one's end. */
async function byWorker(how: string, events: number): Promise<Round> {
  const config = await parseConfig(
    `[brokers.default]\ndriver = "redis"\nurl = "${redis.url}"\n${how}`,
    "bench.toml",
    { env: () => undefined },
  );
  await redis.cli("EVAL", FILL_QUEUE, "1", QUEUE, String(events), job);
  const runMs = new Float64Array(events);
  let startedMs: number | undefined;
  let endedMs = 0, done = 0;
  await using worker = await createApp(config, {
    clock: systemClock,
    observe: (event) => {
      if (event.type === "job_started") startedMs ??= performance.now();
      if (event.type !== "job_settled") return;
      if (event.outcome.kind !== "ack") throw new Error(`An event failed: ${JSON.stringify(event.outcome)}`);
      runMs[done++] = event.runMs;
      endedMs = performance.now();
    },
  });
  await worker.worker.run({ untilEmpty: true });
  if (done !== events || startedMs === undefined) throw new Error(`${done} of ${events} events were done`);
  return { perSecond: events / (endedMs - startedMs) * 1_000, runMs };
}

/** From when the messages are there for consumers that wait for them, to when none is left. */
async function byMessenger(events: number): Promise<Round> {
  await using consumers = new AsyncDisposableStack();
  for (let i = 0; i < CHILDREN; i++) {
    const consumer = new Deno.Command("php", {
      args: [`${app.directory}/bin/console`, "messenger:consume", "bench", "--sleep=0.005", "--quiet"],
      env: { MESSENGER_CONSUMER: `consumer${i}` },
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    consumers.defer(async () => {
      consumer.kill("SIGTERM");
      await consumer.status;
    });
  }
  // Each one has asked for messages.
  await eventually(
    "all consumers wait",
    async () =>
      Number(
        await redis.cli(
          "EVAL",
          "local ok, list = pcall(redis.call, 'XINFO', 'CONSUMERS', KEYS[1], 'bench'); return ok and #list or 0",
          "1",
          STREAM,
        ),
      ) > CHILDREN,
  );
  return { perSecond: 0, runMs: new Float64Array() };
}
