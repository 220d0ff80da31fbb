/**
 * Messages of Symfony Messenger in a database, with a handler that does nothing:
 *
 * a. `messenger:consume`, as many processes as the pool has children;
 * b. fervo-worker, one request for each message: a clean state each time;
 * c. fervo-worker with `batch_size = 20`: one request, and one boot of the kernel, for up to 20 messages;
 * d. the rate while a long queue is emptied, by an executor that does nothing.
 *
 * All on one machine in one run, rounds in turn, each from a full queue; ratios are taken round by round. What it takes to start
 * the pool, the worker or the consumers does not count.
 *
 * `deno task bench:messenger [--quick] [--write] [postgres] [mysql]`; needs PostgreSQL, MariaDB and what `scripts/setup slow` installs;
 * `--write` puts the result into benchmarks/results/messenger.md.
 */
import { createApp } from "../src/app/app.ts";
import { parseConfig } from "../src/config/load.ts";
import { ACK } from "../src/core/outcome.ts";
import { systemClock } from "../src/core/time/clock.ts";
import type { Observer } from "../src/core/observer.ts";
import { Consumer } from "../src/worker/consumer/consumer.ts";
import type { Batch } from "../src/executors/executor.ts";
import { DEFAULT_CONSUMER_OPTIONS } from "../src/worker/consumer/options.ts";
import { DEFAULT_WORKER_OPTIONS, Worker } from "../src/worker/worker.ts";
import { brokerOf } from "../src/config/broker_of.ts";
import { eventually } from "../tests/support/eventually.ts";
import { type AppDatabase, startDatabases } from "../tests/support/messenger/databases.ts";
import { MessengerApp } from "../tests/support/messenger/messenger_app.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { userName } from "../tests/support/run_program.ts";
import { conditions, Report, spread } from "./report.ts";

const isQuick = Deno.args.includes("--quick");
const CHILDREN = 8;
const BATCH_SIZE = 20;
const ROUNDS = isQuick ? 2 : 5;
const ROUND_MESSAGES = isQuick ? 2_000 : 10_000;
const WARM_UP_MESSAGES = 200;
const LONG_QUEUE = isQuick ? 50_000 : 1_000_000;
const TRANSPORT = "php";
const NAMES = { postgres: "PostgreSQL", mysql: "MariaDB" } as const;
/** What the worker's ways are to be beside a: at least this many times as fast. */
const TARGETS = [["b", 1], ["c", 3]] as const;

type Kind = keyof typeof NAMES;
type Way = "a" | "b" | "c";

/** One database, with the application twice: as it was, and with the bundle. */
interface Subject {
  readonly kind: Kind;
  readonly database: AppDatabase;
  readonly consumer: MessengerApp;
  readonly fervo: MessengerApp;
  readonly fpm: PhpFpm;
}

const report = new Report("Messages of Symfony Messenger in a database");
report.say(await conditions());
const chosen = (Object.keys(NAMES) as Kind[]).filter((kind) => Deno.args.includes(kind));
for (const kind of chosen.length > 0 ? chosen : Object.keys(NAMES) as Kind[]) await measure(kind);
if (Deno.args.includes("--write")) await report.write(new URL("results/messenger.md", import.meta.url));

async function measure(kind: Kind): Promise<void> {
  await using databases = await startDatabases(kind);
  using database = await databases.create();
  const options = {
    symfony: "7.4",
    env: { APP_DATABASE: database.doctrineUrl, APP_LEDGER: "/nonexistent" },
    overlays: [new URL("messenger/", import.meta.url).pathname],
  } as const;
  await using consumer = await MessengerApp.create({ ...options, hasBundle: false });
  await using fervo = await MessengerApp.create({ ...options, hasBundle: true });
  await using fpm = await PhpFpm.start({
    children: CHILDREN,
    // As Symfony's documentation has it.
    masterIni: {
      "opcache.validate_timestamps": "0",
      "opcache.enable_file_override": "1",
      "opcache.preload": `${fervo.directory}/config/preload.php`,
      "opcache.preload_user": await userName(),
      "realpath_cache_size": "4M",
    },
  });
  await consumer.console("messenger:setup-transports");
  const subject = { kind, database, consumer, fervo, fpm };
  const message = { name: "nothing", class: "Nothing", transport: TRANSPORT, action: "ok" };
  await consumer.consoleWith(JSON.stringify([message]), "app:dispatch");
  await database.run("CREATE TABLE one_message AS SELECT body, headers, queue_name FROM messenger_messages");
  await database.run("DELETE FROM messenger_messages");
  report.say(`\n## ${NAMES[kind]}, Symfony ${options.symfony}`);
  await throughput(subject);
  await length(subject);
}

async function throughput(subject: Subject): Promise<void> {
  const ways: Record<Way, { what: string; run: (messages: number) => Promise<number> }> = {
    a: { what: "messenger:consume", run: (messages) => byMessenger(subject, messages) },
    b: { what: "fervo-worker, one request each", run: (messages) => byWorker(subject, messages, "") },
    c: {
      what: `fervo-worker, batches of ${BATCH_SIZE}`,
      run: (messages) => byWorker(subject, messages, `batch_size = ${BATCH_SIZE}`),
    },
  };
  const rounds: Record<Way, number>[] = [];
  // The first round is for opcache, the disk's cache and the like.
  for (let round = 0; round <= ROUNDS; round++) {
    const rates = {} as Record<Way, number>;
    for (const [way, { run }] of Object.entries(ways) as [Way, (typeof ways)[Way]][]) {
      rates[way] = await run(round === 0 ? WARM_UP_MESSAGES : ROUND_MESSAGES);
    }
    if (round > 0) rounds.push(rates);
  }
  report.say(
    `\n### ${ROUNDS} rounds of ${ROUND_MESSAGES} messages, ${CHILDREN} consumers, or children and slots; the server on the same cores\n`,
  );
  report.say("| | | messages/s | by round, through a |");
  report.say("|---|---|---|---|");
  for (const [way, { what }] of Object.entries(ways) as [Way, (typeof ways)[Way]][]) {
    const ratios = spread(rounds.map((rates) => rates[way] / rates.a), 2);
    report.say(`| ${way} | ${what} | ${spread(rounds.map((rates) => rates[way]), 0)} | ${ratios} |`);
  }
  const wanted = TARGETS.map(([way, target]) => `${way} ${target}`).join(", ");
  report.say(`\nWanted, through a: ${wanted}.`);
}

/**
 * Copies of the one message, as if producers had sent 1,000 a second until now: Messenger's table has whole seconds.
 */
async function fill({ kind, database }: Subject, messages: number): Promise<void> {
  const [numbers, at] = kind === "postgres"
    ? [
      `generate_series(1, ${messages}) AS numbers(n)`,
      `date_trunc('second', now() AT TIME ZONE 'UTC') - (${messages} - n) / 1000 * interval '1 second'`,
    ]
    : [
      `(SELECT seq AS n FROM seq_1_to_${messages}) AS numbers`,
      `UTC_TIMESTAMP() - INTERVAL (${messages} - n) DIV 1000 SECOND`,
    ];
  await database.run(
    `INSERT INTO messenger_messages (body, headers, queue_name, created_at, available_at)
     SELECT body, headers, queue_name, ${at}, ${at} FROM one_message CROSS JOIN ${numbers} ORDER BY n`,
  );
  await database.run(kind === "postgres" ? "ANALYZE messenger_messages" : "ANALYZE TABLE messenger_messages");
}

async function configOf({ database, fervo, fpm }: Subject, consumer: string) {
  const broker = Object.entries(database.broker).map(([key, value]) => `${key} = "${value}"`).join("\n");
  return await parseConfig(
    `
[brokers.default]
${broker}
format = "messenger"
queue_names = { ${TRANSPORT} = "default" }
[fpm.default]
address = "${fpm.address}"
script = "${fervo.frontController}"
status_path = "${fpm.statusPath}"
kill_on_timeout = true
[fpm.default.params]
APP_ENV = "prod"
APP_DEBUG = "0"
APP_PROJECT_DIR = "${fervo.directory}"
${Object.entries(fervo.env).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join("\n")}
[[consumers]]
queues = ["${TRANSPORT}"]
concurrency = ${CHILDREN}
${consumer}
`,
    "bench.toml",
    { env: () => undefined },
  );
}

/** From the first message's start to the last one's end. */
async function byWorker(subject: Subject, messages: number, consumer: string): Promise<number> {
  const config = await configOf(subject, consumer);
  await fill(subject, messages);
  let startedMs: number | undefined;
  let endedMs = 0, done = 0;
  const failures: unknown[] = [];
  {
    await using app = await createApp(config, {
      clock: systemClock,
      observe: (event) => {
        if (event.type === "job_started") startedMs ??= performance.now();
        if (event.type !== "job_settled" || event.verdict.kind === "release") return;
        if (event.verdict.kind !== "ack") failures.push(event.verdict);
        done++;
        endedMs = performance.now();
      },
    });
    await app.worker.run({ untilEmpty: true });
  }
  if (failures.length > 0) throw new Error(`Messages failed: ${Deno.inspect(failures[0])}`);
  if (done !== messages || startedMs === undefined) {
    throw new Error(`${done} of ${messages} messages were done`);
  }
  return messages / (endedMs - startedMs) * 1_000;
}

/** From when the messages are there, for consumers that wait for them, to when none is left. */
async function byMessenger(subject: Subject, messages: number): Promise<number> {
  const { consumer, database } = subject;
  await using processes = new AsyncDisposableStack();
  await eventually("nobody else is connected", async () => await connections(subject) === 1);
  for (let i = 0; i < CHILDREN; i++) {
    const process = consumer.start("messenger:consume", TRANSPORT, "--sleep=0.005", "--quiet").spawn();
    const output = process.output();
    processes.defer(async () => {
      process.kill("SIGTERM");
      await output;
    });
  }
  await eventually("all consumers are connected", async () => await connections(subject) === 1 + CHILDREN);
  await fill(subject, messages);
  const startedMs = performance.now();
  while (
    await database.count(
      "SELECT count(*) FROM (SELECT 1 AS one FROM messenger_messages LIMIT 1) AS left_over",
    ) > 0
  ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return messages / (performance.now() - startedMs) * 1_000;
}

async function connections({ kind, database }: Subject): Promise<number> {
  return await database.count(
    kind === "postgres"
      ? "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
      : "SELECT count(*) FROM information_schema.processlist WHERE db = database()",
  );
}

async function length(subject: Subject): Promise<void> {
  await fill(subject, LONG_QUEUE);
  const tenth = LONG_QUEUE / 10;
  const samples: string[] = [];
  let done = 0, sinceMs = performance.now();
  await drain(subject, (event) => {
    if (event.type !== "job_settled" || ++done % tenth !== 0) return;
    const nowMs = performance.now();
    samples.push(`| ${done} | ${(tenth / (nowMs - sinceMs) * 1_000).toFixed(0)} |`);
    sinceMs = nowMs;
  });
  report.say(`\n### A long queue: ${LONG_QUEUE} queued messages, by an executor that does nothing\n`);
  report.say("| messages done | messages/s since the line before |");
  report.say("|---|---|");
  for (const sample of samples) report.say(sample);
}

/** The worker with an executor that does nothing, until nothing is ready. */
async function drain(subject: Subject, observe: Observer): Promise<void> {
  const { type, settings, format } = brokerOf(await configOf(subject, ""), "default");
  await using broker = type.open({ clock: systemClock, owner: "bench", observe }, settings, format);
  const executor = {
    execute: () => Promise.reject(new TypeError("a framework's messages come in batches")),
    executeBatch: ({ jobs, onBegun, onOutcome }: Batch) => {
      for (const job of jobs) {
        onBegun?.(job);
        onOutcome(ACK, job);
      }
      return Promise.resolve(undefined);
    },
    tellFailure: () => Promise.resolve(undefined),
    probe: () => Promise.resolve(undefined),
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const deps = { broker, executor, clock: systemClock, observe, random: Math.random };
  const consumer = new Consumer(deps, {
    ...DEFAULT_CONSUMER_OPTIONS,
    name: "bench",
    queues: [{ name: TRANSPORT, weight: 1 }],
    concurrency: CHILDREN,
  });
  const worker = new Worker({ consumers: [consumer], clock: systemClock, observe }, DEFAULT_WORKER_OPTIONS);
  await worker.run({ untilEmpty: true });
}
