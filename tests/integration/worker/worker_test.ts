import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { systemClock } from "../../../src/core/clock.ts";
import { DEFAULT_RETRY_POLICY } from "../../../src/core/retry.ts";
import { raw } from "../../../src/dialects/raw.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteDriver } from "../../../src/drivers/sqlite.ts";
import { DEFAULT_FASTCGI_EXECUTOR_OPTIONS, FastCgiExecutor } from "../../../src/executors/fastcgi.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../../src/fastcgi/pool.ts";
import { Consumer, type ConsumerOptions, DEFAULT_CONSUMER_OPTIONS } from "../../../src/worker/consumer.ts";
import { type RunResult, Worker } from "../../../src/worker/worker.ts";
import { EventLog } from "../../support/event_log.ts";
import { eventually } from "../../support/eventually.ts";
import { PhpFpm, type PhpFpmOptions } from "../../support/php_fpm.ts";

/** A line a run in the file `runs`: the job's id and which attempt it was. */
const REMEMBER =
  `file_put_contents(__DIR__ . '/runs', "{$_SERVER['FERVO_JOB_ID']} {$_SERVER['FERVO_ATTEMPT']}\\n",
  FILE_APPEND | LOCK_EX);`;
const SAY_ACK = "header('X-Fervo-Outcome: ack');";
const KILL_ITSELF = "shell_exec('kill -9 ' . getmypid());";
/** Holds a job until the test makes the file `go`. */
const HOLD = `touch(__DIR__ . "/began-{$_SERVER['FERVO_JOB_ID']}-{$_SERVER['FERVO_ATTEMPT']}");
  while (!file_exists(__DIR__ . '/go')) usleep(1000);`;
const QUEUE = "default";

interface Settings {
  readonly fpm?: PhpFpmOptions;
  readonly consumer?: Partial<ConsumerOptions>;
  readonly shutdownTimeoutMs?: number;
  /** The front controller's file name; what it is not, php-fpm does not find. */
  readonly script?: string;
}

/** The whole of a worker in this process: the embedded queue, a consumer, and a php-fpm with this script. */
async function setUp(code: string, settings: Settings = {}) {
  await using opened = new AsyncDisposableStack();
  const concurrency = settings.consumer?.concurrency ?? 4;
  const fpm = opened.use(await PhpFpm.start({ children: concurrency, ...settings.fpm }));
  const file = (name: string) => `${fpm.directory}/${name}`;
  await fpm.writeScript("job.php", `<?php ${code}`);
  await Deno.writeTextFile(file("runs"), "");
  const driver = opened.use(
    SqliteDriver.open({ clock: systemClock, owner: "test" }, {
      ...DEFAULT_SQLITE_OPTIONS,
      path: file("queue.sqlite"),
    }),
  );
  const pool = new Pool({ address: parseAddress(fpm.address), clock: systemClock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: concurrency,
  });
  const script = file(settings.script ?? "job.php");
  const executor = opened.use(
    new FastCgiExecutor({ pool }, { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script }),
  );
  const log = new EventLog();
  const deps = {
    driver,
    dialect: raw,
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
    driver,
    pool,
    log,
    worker,
    file,
    run: (options: { untilEmpty: boolean }) => running = worker.run(options),
    /** Pushes so many jobs and returns their ids. */
    async push(count: number, payload = ""): Promise<string[]> {
      const bytes = new TextEncoder().encode(payload);
      return await Promise.all(Array.from({ length: count }, () => driver.push(QUEUE, bytes)));
    },
    /** What the script has remembered: `id attempt` of each run. */
    async runs(): Promise<string[]> {
      return (await Deno.readTextFile(file("runs"))).split("\n").slice(0, -1);
    },
    /** Resolves when so many jobs are done. */
    done: (count: number) => log.count("job_settled", count, ({ outcome }) => outcome.kind === "ack"),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Each of the jobs ran once, at its first attempt. */
function assertRanOnce(runs: readonly string[], ids: readonly string[]): void {
  assert.deepEqual([...runs].sort(), ids.map((id) => `${id} 1`).sort());
}

const EMPTY = { ready: 0, delayed: 0, reserved: 0, dead: 0 };

Deno.test("Worker runs 500 jobs in 8 slots, each once", async () => {
  await using t = await setUp(`${REMEMBER} ${SAY_ACK}`, { consumer: { concurrency: 8 } });
  const ids = await t.push(500);
  assert.deepEqual(await t.run({ untilEmpty: true }), { orphaned: 0, faults: [] });
  assertRanOnce(await t.runs(), ids);
  assert.deepEqual(await t.driver.depth(QUEUE), EMPTY);
  assert.equal(t.log.of("job_settled").filter(({ outcome }) => outcome.kind === "ack").length, 500);
  assert.deepEqual([t.log.of("lease_lost"), t.log.of("broker_failed")], [[], []]);
});

Deno.test("Worker runs jobs that are pushed while it waits", async () => {
  await using t = await setUp(`${REMEMBER} ${SAY_ACK}`);
  const running = t.run({ untilEmpty: false });
  const ids: string[] = [];
  for (let i = 1; i <= 5; i++) {
    ids.push(...await t.push(1));
    await t.done(i);
  }
  t.worker.stop();
  await running;
  assertRanOnce(await t.runs(), ids);
});

Deno.test("Worker pauses while php-fpm is away, burns no attempt, and goes on by itself", async () => {
  await using t = await setUp(`${REMEMBER} ${SAY_ACK}`, { consumer: { pauseMaxMs: 200 } });
  const ids = await t.push(100);
  const running = t.run({ untilEmpty: false });
  await t.done(100);
  await t.fpm.stop();
  ids.push(...await t.push(100));
  // Found out, tried again and found out again.
  await t.log.count("consumer_paused", 3);
  assert.equal((await t.runs()).length, 100);
  assert.equal(t.log.of("consumer_resumed").length, 0);
  await t.fpm.restart();
  await t.done(200);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [] });
  assertRanOnce(await t.runs(), ids);
  assert.equal(t.log.of("consumer_resumed").length, 1);
  assert.deepEqual(t.log.of("job_settled").filter(({ outcome }) => outcome.kind === "retry"), []);
  for (const { error } of t.log.of("consumer_paused")) assert.equal(error.code, "FASTCGI_CONNECT_FAILED");
});

Deno.test("Worker starts while php-fpm is away, and begins when it comes", async () => {
  await using t = await setUp(`${REMEMBER} ${SAY_ACK}`, { consumer: { pauseMaxMs: 200 } });
  await t.fpm.stop();
  const ids = await t.push(20);
  const running = t.run({ untilEmpty: true });
  await t.log.next("consumer_paused");
  await t.fpm.restart();
  assert.deepEqual(await running, { orphaned: 0, faults: [] });
  assertRanOnce(await t.runs(), ids);
});

Deno.test("Worker runs jobs again that were under way when php-fpm was stopped; that attempt counts", async () => {
  await using t = await setUp(`${REMEMBER} ${HOLD} ${SAY_ACK}`, {
    consumer: {
      concurrency: 2,
      pauseMaxMs: 200,
      retry: { ...DEFAULT_RETRY_POLICY, attempts: 20, delayMs: 1 },
    },
  });
  const ids = await t.push(2);
  const running = t.run({ untilEmpty: true });
  await eventually("both jobs run", async () => (await t.runs()).length === 2);
  await t.fpm.stop();
  await t.log.count("job_settled", 2, ({ attempt }) => attempt === 1);
  for (const { outcome } of t.log.of("job_settled").filter(({ attempt }) => attempt === 1)) {
    assert.equal(outcome.kind === "retry" && outcome.error.code, "JOB_CRASHED");
  }
  await Deno.writeTextFile(t.file("go"), "");
  await t.fpm.restart();
  assert.deepEqual(await running, { orphaned: 0, faults: [] });
  // A php-fpm that dies still takes connections for a moment: an attempt may count that no PHP has seen.
  const runs = (await t.runs()).map((run) => run.replace(/ [2-9]\d*$/, " again"));
  assert.deepEqual(runs.sort(), ids.flatMap((id) => [`${id} 1`, `${id} again`]).sort());
  assert.deepEqual(await t.driver.depth(QUEUE), EMPTY);
});

Deno.test("Worker loses no job and runs none twice when php-fpm is reloaded under load", async () => {
  await using t = await setUp(`${REMEMBER} usleep(random_int(0, 4000)); ${SAY_ACK}`, {
    consumer: { retry: { ...DEFAULT_RETRY_POLICY, delayMs: 1 } },
  });
  const ids = await t.push(600);
  const running = t.run({ untilEmpty: true });
  for (const done of [100, 200, 300]) {
    await t.done(done);
    await t.fpm.reload();
  }
  assert.deepEqual(await running, { orphaned: 0, faults: [] });
  assert.deepEqual(await t.driver.depth(QUEUE), EMPTY);
  assertRanOnce(await t.runs(), ids);
});

Deno.test("Worker brings a job that always crashes PHP to the dead letters after the policy's attempts", async () => {
  await using t = await setUp(
    `${REMEMBER} if (file_get_contents('php://input') === 'crash') { usleep(1100000); ${KILL_ITSELF} } ${SAY_ACK}`,
    { consumer: { retry: { attempts: 3, delayMs: 1, factor: 1, maxDelayMs: 1, jitter: 0 } } },
  );
  const good = await t.push(30);
  const [bad] = await t.push(1, "crash");
  good.push(...await t.push(30));
  assert.deepEqual(await t.run({ untilEmpty: true }), { orphaned: 0, faults: [] });
  assert.deepEqual(await t.driver.depth(QUEUE), { ...EMPTY, dead: 1 });
  const [dead] = await t.driver.dead.list({ limit: 10 });
  assert.deepEqual([dead!.id, dead!.attempts, dead!.error.code], [bad, 3, "JOB_CRASHED"]);
  assert.equal(new TextDecoder().decode(dead!.payload), "crash");
  const runs = await t.runs();
  assert.deepEqual(runs.filter((run) => run.startsWith(`${bad} `)), [`${bad} 1`, `${bad} 2`, `${bad} 3`]);
  assertRanOnce(runs.filter((run) => !run.startsWith(`${bad} `)), good);
});

Deno.test("Worker keeps the reason and STDERR of a job that failed for good", async () => {
  await using t = await setUp(
    `error_log('what went wrong'); header('X-Fervo-Error: no such order'); header('X-Fervo-Outcome: bury');`,
  );
  await t.push(1);
  await t.run({ untilEmpty: true });
  const [dead] = await t.driver.dead.list({ limit: 10 });
  assert.deepEqual([dead!.attempts, dead!.error.code, dead!.error.message], [
    1,
    "JOB_FAILED",
    "The job failed: no such order",
  ]);
  assert.match(dead!.error.stderr!, /what went wrong/);
});

Deno.test("Worker runs a job again after the delay that its script names, and waits for it when until empty", async () => {
  await using t = await setUp(`${REMEMBER}
    if ($_SERVER['FERVO_ATTEMPT'] === '1') {
      header('X-Fervo-Outcome: retry');
      header('X-Fervo-Delay-Ms: 300');
    } else ${SAY_ACK}`);
  const [id] = await t.push(1);
  const result = await t.run({ untilEmpty: true });
  assert.deepEqual([result, await t.runs()], [{ orphaned: 0, faults: [] }, [`${id} 1`, `${id} 2`]]);
  const { outcome } = t.log.of("job_settled")[0]!;
  assert.equal(outcome.kind === "retry" && outcome.delayMs, 300);
});

Deno.test("Worker ends a job whose time is up, counts the attempt, and goes on with the next", async () => {
  await using t = await setUp(
    `if (file_get_contents('php://input') === 'hang') { ${HOLD} } ${REMEMBER} ${SAY_ACK}`,
    {
      fpm: { children: 2 },
      consumer: { concurrency: 1, timeoutMs: 1_000, retry: { ...DEFAULT_RETRY_POLICY, attempts: 1 } },
    },
  );
  const [bad] = await t.push(1, "hang");
  const [good] = await t.push(1);
  await t.run({ untilEmpty: true });
  const [dead] = await t.driver.dead.list({ limit: 10 });
  assert.deepEqual([dead!.id, dead!.attempts, dead!.error.code], [bad, 1, "JOB_TIMEOUT"]);
  assert.deepEqual(await t.runs(), [`${good} 1`]);
});

Deno.test("Worker ends by itself when php-fpm does not find the script, and leaves the jobs untouched", async () => {
  await using t = await setUp("", { script: "missing.php" });
  const ids = await t.push(3);
  const { orphaned, faults } = await t.run({ untilEmpty: false });
  assert.deepEqual([orphaned, faults.map(({ code }) => code)], [0, ["FPM_MISCONFIGURED"]]);
  assert.deepEqual(await t.driver.depth(QUEUE), { ...EMPTY, ready: 3 });
  const signal = new AbortController().signal;
  const again = await t.driver.receive({ queues: [QUEUE], max: 3, waitMs: 0, signal });
  assert.deepEqual(again.map(({ id, attempt }) => [id, attempt]), ids.map((id) => [id, 1]));
});

Deno.test("Worker.stop() lets jobs under way finish and takes no more", async () => {
  await using t = await setUp(`${HOLD} ${REMEMBER} ${SAY_ACK}`, { consumer: { concurrency: 2 } });
  const ids = await t.push(3);
  const running = t.run({ untilEmpty: false });
  await t.log.count("job_started", 2);
  t.worker.stop();
  await Deno.writeTextFile(t.file("go"), "");
  assert.deepEqual(await running, { orphaned: 0, faults: [] });
  assertRanOnce(await t.runs(), ids.slice(0, 2));
  assert.deepEqual(await t.driver.depth(QUEUE), { ...EMPTY, ready: 1 });
});

Deno.test("Worker puts back what runs at the shutdown timeout or a second stop; the attempt does not count", async () => {
  for (const stops of [1, 2]) {
    await using t = await setUp(`${HOLD} ${SAY_ACK}`, {
      consumer: { concurrency: 2 },
      shutdownTimeoutMs: stops === 1 ? 100 : 600_000,
    });
    const ids = await t.push(2);
    const running = t.run({ untilEmpty: false });
    await t.log.count("job_started", 2);
    for (let i = 0; i < stops; i++) t.worker.stop();
    assert.deepEqual(await running, { orphaned: 0, faults: [] });
    assert.deepEqual(await t.driver.depth(QUEUE), { ...EMPTY, ready: 2 });
    const signal = new AbortController().signal;
    const again = await t.driver.receive({ queues: [QUEUE], max: 2, waitMs: 0, signal });
    assert.deepEqual(again.map(({ id, attempt }) => [id, attempt]), ids.map((id) => [id, 1]));
    await Deno.writeTextFile(t.file("go"), "");
  }
});

Deno.test("Worker takes no notice of the late result of a worker that has lost the job", async () => {
  await using t = await setUp(`${HOLD} ${REMEMBER} ${SAY_ACK}`, { consumer: { concurrency: 1 } });
  const [id] = await t.push(1);
  const running = t.run({ untilEmpty: false });
  await t.log.next("job_started");
  // As when this worker stood still for longer than its lease.
  const thief = new DatabaseSync(t.file("queue.sqlite"));
  thief.prepare("UPDATE fervo_jobs SET lease = 'somebody else' WHERE id = ?").run(id!);
  thief.close();
  await Deno.writeTextFile(t.file("go"), "");
  const lost = await t.log.next("lease_lost");
  assert.deepEqual([lost.id, lost.attempt], [id, 1]);
  const [other] = await t.push(1);
  await t.done(1);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [] });
  assertRanOnce(await t.runs(), [id!, other!]);
  assert.deepEqual(await t.driver.depth(QUEUE), { ...EMPTY, reserved: 1 });
});
