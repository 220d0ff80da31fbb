import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { type Effect, fervoWorkerOk, Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { runProgram } from "../support/run_program.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const COUNTS = "SELECT state, count(*) AS jobs, max(attempts) AS attempts FROM fervo_jobs GROUP BY state";

/** Fails unless each of `ids` ran once, as its first attempt, and nothing else did. */
function assertEachOnce(effects: readonly Effect[], ids: readonly string[]): void {
  const byId = (a: string, b: string) => Number(a) - Number(b);
  assert.deepEqual(effects.map(({ job }) => job).sort(byId), ids.toSorted(byId));
  assert.deepEqual(effects.filter(({ attempt }) => attempt !== 1), []);
}

/** Runs examples/plain-php/produce.php, a producer that knows nothing but PDO. */
async function produce(...args: string[]): Promise<{ code: number; said: string }> {
  const { code, said } = await runProgram("php", `${ROOT}examples/plain-php/produce.php`, ...args);
  return { code, said };
}

Deno.test("run --until-empty runs each pushed job once, sums up and leaves nothing", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  const ids = await site.push("{}", 200);
  const { code, stdout, stderr } = await site.run(["run", "--until-empty"]);
  assert.equal(code, 0);
  assert.match(
    stdout,
    /^Done: +200 jobs in \d+\.\d s \(\d+ jobs\/s\)\nRetried: +0 attempts failed .*\nDead: +0 jobs\nRun time: p50 /,
  );
  assert.match(stderr, /"msg":"Consumer started"[^]*"msg":"Stopped"/);
  assertEachOnce(site.effects(), ids);
  assert.deepEqual(site.queueRows("SELECT * FROM fervo_jobs"), []);
});

Deno.test("run --until-empty --json prints its summary as one JSON object, retries and dead jobs counted", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 }, retry: { attempts: 2 } });
  await site.push("{}", 3);
  await site.push('{"fail_until":1}');
  await site.push('{"fail_until":2}');
  const summary = JSON.parse(await site.runOk(["run", "--until-empty", "--json"], { exitCode: 5 }));
  const { done, retried, dead, released, leases_lost, recovered } = summary;
  assert.deepEqual({ done, retried, dead, released, leases_lost, recovered }, {
    done: 4,
    retried: 2,
    dead: 1,
    released: 0,
    leases_lost: 0,
    recovered: 0,
  });
  assert.ok(summary.seconds > 0 && summary.jobs_per_s > 0 && summary.run_ms.max >= summary.run_ms.p50);
});

/** Payloads for `sh`. */
const WAYS_TO_DIE: Readonly<Record<string, string>> = {
  "its last try failed": "exit 1",
  "it ran into its time limit": "sleep 60",
  "it says itself that it is hopeless": "exit 65",
  "a signal ended it": "kill -KILL $$",
};

Deno.test("run --until-empty ends with 5 when a job went to the dead letters, whatever the way", async () => {
  await using site = await Site.create(undefined, {
    process: { command: ["sh"] },
    exitCodes: { 65: "bury" },
    consumer: { timeout_ms: 1_000 },
    retry: { attempts: 2 },
  });
  const run = async (way: string) => {
    await site.push("true");
    const { code, stdout } = await site.run(["run", "--until-empty", "--json"]);
    const { done, dead } = JSON.parse(stdout);
    assert.deepEqual({ code, done, dead }, { code: 5, done: 1, dead: 1 }, way);
  };
  for (const [way, payload] of Object.entries(WAYS_TO_DIE)) {
    await site.push(payload);
    await run(way);
  }
  site.queueRows("INSERT INTO fervo_jobs (queue, payload, headers) VALUES ('jobs', '', 'no JSON')");
  await run("it cannot be a job");

  // Those that were there before are not of this run.
  await site.push("true");
  await site.runOk(["run", "--until-empty"]);
  await site.runOk(["dead", "retry", "--queue", "jobs", "--match", "exit", "--yes"]);
  assert.match(await site.runOk(["run", "--until-empty"], { exitCode: 5 }), /^Dead: +2 jobs; see/m);
});

Deno.test("run without --until-empty ends with 0 though a job went to the dead letters: a service has done its part", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 }, retry: { attempts: 1 } });
  await site.push('{"fail_until":1}');
  await using worker = site.start(["run"]);
  await worker.says('"msg":"Job is dead"');
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("run --until-empty waits for delayed jobs too", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 } });
  await site.runOk(["push", "jobs", "{}", "--delay", "300ms"]);
  await site.runOk(["run", "--until-empty"]);
  assert.equal(site.effectCount(), 1);
});

Deno.test("run tells each failed job in the log, with its wait in whole and its run in tenths of milliseconds", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 } });
  const [id] = await site.push('{"fail_until":1,"stderr":"what PHP logs"}');
  const { stderr } = await site.run(["run", "--until-empty"]);
  const lines = stderr.trimEnd().split("\n").map((line) => JSON.parse(line));
  const failed = lines.find((line) => line.msg === "Job failed");
  const { level, queue, job, attempt, code, error } = failed;
  assert.deepEqual({ level, queue, job, attempt, code, error }, {
    level: "warn",
    queue: "jobs",
    job: id,
    attempt: 1,
    code: "JOB_FAILED",
    error: "The job failed: RuntimeException: As the payload says",
  });
  assert.match(failed.stderr, /what PHP logs/);
  assert.ok(failed.pid > 0 && failed.pid !== fpm.pid, `${failed.pid}`);
  assert.match(stderr, /"wait_ms":\d+,"run_ms":\d+(\.\d)?,/);
});

Deno.test("run takes jobs that PHP pushed with plain PDO, as text or bytes, now or later", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 1 } });
  await site.run(["check"]);
  assert.deepEqual(await produce(site.queueFile, "jobs", '"low"', "0", "1"), {
    code: 0,
    said: 'Pushed job 1 to "jobs"\n',
  });
  await produce(site.queueFile, "jobs", '"high, ünïcödé"', "0", "2");
  await produce(site.queueFile, "jobs", '"later"', "0.3");
  site.queueRows("INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', '\"text\"') RETURNING id");
  await site.runOk(["run", "--until-empty"]);
  const payloads = site.payloads();
  assert.deepEqual(payloads.toSorted(), ['"high, ünïcödé"', '"later"', '"low"', '"text"']);
  assert.ok(payloads.indexOf('"high, ünïcödé"') < payloads.indexOf('"low"'));
  assert.ok(payloads.indexOf('"low"') < payloads.indexOf('"text"'));
});

Deno.test("produce.php says what to do when the queue is not there", async () => {
  const { code, said } = await produce("/nowhere/queue.sqlite", "jobs", "{}");
  assert.deepEqual({ code, said }, {
    code: 1,
    said: 'There is no queue at "/nowhere/queue.sqlite"; `fervo-worker check` creates it\n',
  });
});

for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) {
  Deno.test(`run drains on ${signal}: it waits for its jobs, takes no more and exits with 0`, async () => {
    await using fpm = await PhpFpm.start({ children: 4 });
    await using site = await Site.create(fpm);
    const gate = `${site.directory}/gate`;
    await site.push(JSON.stringify({ wait_for: gate }), 10);
    await using worker = site.start(["run"]);
    await eventually("4 jobs run", () => site.effectCount() === 4);
    worker.kill(signal);
    await worker.says('"in_flight":4,"msg":"Stopping');
    await Deno.writeTextFile(gate, "");
    const { code, stderr } = await worker.ended;
    assert.equal(code, 0);
    assert.match(stderr, /"msg":"Stopped"/);
    assert.deepEqual(site.queueRows(COUNTS).map((row) => ({ ...row })), [
      { state: "ready", jobs: 6, attempts: 0 },
    ]);
    assert.equal(site.effectCount(), 4);
  });
}

Deno.test("run loses and doubles nothing when SIGTERM ends it under load", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  const ids = await site.push('{"sleep_ms":1}', 1_000);
  for (const stopAt of [50, 300, 700]) {
    await using worker = site.start(["run"]);
    await eventually(`${stopAt} jobs have run`, () => site.effectCount() >= stopAt);
    worker.kill("SIGTERM");
    const { code } = await worker.ended;
    assert.equal(code, 0);
    const left = site.queueRows("SELECT id, state, attempts FROM fervo_jobs");
    assert.deepEqual(left.filter(({ state, attempts }) => state !== "ready" || attempts !== 0), []);
    const ran = site.effects().map(({ job }) => job);
    assert.deepEqual([...ran, ...left.map(({ id }) => String(id))].sort(), ids.toSorted());
  }
  await site.runOk(["run", "--until-empty"]);
  assertEachOnce(site.effects(), ids);
});

Deno.test("run ends at once on a second signal, and puts its jobs back with no attempt counted", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { top: { shutdown_timeout_ms: 86_400_000 } });
  // Nothing ever opens this gate: the worker ends though its jobs do not.
  await site.push(JSON.stringify({ wait_for: `${site.directory}/gate` }), 10);
  await using worker = site.start(["run"]);
  await eventually("4 jobs run", () => site.effectCount() === 4);
  worker.kill("SIGTERM");
  await worker.says('"msg":"Stopping');
  worker.kill("SIGTERM");
  await eventually("the worker has ended", () => worker.hasEnded);
  const { code, stderr } = await worker.ended;
  assert.equal(code, 0);
  assert.equal(stderr.match(/"msg":"Job put back; its process may still run/g)?.length, 4);
  assert.deepEqual(site.queueRows(COUNTS).map((row) => ({ ...row })), [
    { state: "ready", jobs: 10, attempts: 0 },
  ]);
});

Deno.test("run puts back what still runs after shutdown_timeout_ms, with no attempt counted", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { top: { shutdown_timeout_ms: 50 } });
  await site.push(JSON.stringify({ wait_for: `${site.directory}/gate` }), 4);
  await using worker = site.start(["run"]);
  await eventually("4 jobs run", () => site.effectCount() === 4);
  worker.kill("SIGTERM");
  await eventually("the worker has ended", () => worker.hasEnded);
  assert.equal((await worker.ended).code, 0);
  assert.deepEqual(site.queueRows(COUNTS).map((row) => ({ ...row })), [
    { state: "ready", jobs: 4, attempts: 0 },
  ]);
});

Deno.test("Two workers on one queue share 2,000 jobs, each run exactly once", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm, { log: { level: "debug" } });
  await using first = site.start(["run"]);
  await using second = site.start(["run"]);
  const workers = [first, second];
  for (const worker of workers) await worker.says("Consumer started");
  const ids = await site.push("{}", 2_000);
  await eventually("no job is left", () => site.queueRows("SELECT 1 FROM fervo_jobs LIMIT 1").length === 0);
  let done = 0;
  for (const worker of workers) {
    worker.kill("SIGTERM");
    const { code, stderr } = await worker.ended;
    assert.equal(code, 0);
    const share = stderr.match(/"msg":"Job done"/g)?.length ?? 0;
    assert.ok(share > 0, "one worker did nothing");
    done += share;
  }
  assert.equal(done, 2_000);
  assertEachOnce(site.effects(), ids);
});

/** The inodes on which a process holds POSIX locks. */
async function lockedInodes(pid: number): Promise<number[]> {
  const locks = await Deno.readTextFile("/proc/locks");
  return [...locks.matchAll(/POSIX +ADVISORY +\w+ +(\d+) +\S+:(\d+) /g)]
    .filter((lock) => Number(lock[1]) === pid).map((lock) => Number(lock[2]));
}

Deno.test("run keeps its locks on the queue's files while others open and close the queue", async () => {
  // A process that opens and closes a file beside SQLite loses SQLite's locks on it, and with them commits
  // (https://sqlite.org/howtocorrupt.html, 2.2). Whatever watches the files must not do that.
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 } });
  await using worker = site.start(["run"]);
  await worker.says("Consumer started");
  const { ino } = await Deno.stat(site.queueFile);
  assert.ok((await lockedInodes(worker.pid)).includes(ino!), "an open queue is locked");
  for (let visits = 0; visits < 100; visits++) {
    site.queueRows("SELECT * FROM fervo_jobs");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok((await lockedInodes(worker.pid)).includes(ino!), "the lock is gone");
  await site.push("{}", 10);
  await eventually("the jobs have run", () => site.effectCount() === 10);
});

Deno.test("run goes on when its log can not be written", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 }, log: { level: "debug" } });
  const ids = await site.push("{}", 20);
  assert.equal((await site.run(["run", "--until-empty"], { shell: '"$@" 2>/dev/full' })).code, 0);
  assertEachOnce(site.effects(), ids);
});

Deno.test("run --progress shows a bar on standard error where that is no terminal", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 }, log: { level: "error" } });
  await site.push("{}", 20);
  const { code, stdout, stderr } = await site.run(["run", "--until-empty", "--progress"]);
  assert.equal(code, 0);
  assert.match(stderr, /100% \| 20\/20 jobs/);
  assert.match(stdout, /^Done: +20 jobs/);
});

Deno.test("run reads the configuration that FERVO_CONFIG names, and ./fervo-worker.toml without it", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 } });
  await fervoWorkerOk(["push", "jobs", "{}"], { env: { FERVO_CONFIG: site.configFile } });
  await fervoWorkerOk(["push", "jobs", "{}"], { cwd: site.directory });
  await fervoWorkerOk(["run", "--until-empty"], { cwd: site.directory });
  assert.equal(site.effectCount(), 2);
});
