/** A whole worker with batches, on a real php-fpm with the example's front controller. */
import { takeNow } from "../../conformance/fixture.ts";
import assert from "node:assert/strict";
import { DEFAULT_RETRY_POLICY } from "../../../src/core/retry.ts";
import { eventually } from "../../support/eventually.ts";
import {
  assertRanOnce,
  EMPTY,
  KILL_ITSELF,
  QUEUE,
  startWorkerSite,
  type WorkerSiteSettings,
} from "../../support/worker_site.ts";

const FRONT_CONTROLLER = new URL("../../../examples/plain-php/fervo.php", import.meta.url).pathname;
/** As in worker_site.ts, of a job in a batch: its id and attempt, and the name of the request. */
const REMEMBER = `file_put_contents(__DIR__ . '/runs', "$job->id $job->attempt {$_SERVER['REQUEST_URI']}\\n",
  FILE_APPEND | LOCK_EX);`;
/** Holds a job until the test makes the file `go`. */
const HOLD = `touch(__DIR__ . "/began-$job->id"); while (!file_exists(__DIR__ . '/go')) usleep(1000);`;
const ONE_RETRY = { ...DEFAULT_RETRY_POLICY, delayMs: 1, maxDelayMs: 1, attempts: 2 };

/** A worker with one slot of up to ten jobs, and this handler for its queue. */
async function start(handler: string, settings: WorkerSiteSettings = {}) {
  const site = await startWorkerSite(
    `$_SERVER['APP_HANDLERS'] = __DIR__ . '/handlers.php'; require '${FRONT_CONTROLLER}';`,
    { ...settings, consumer: { concurrency: 1, batchSize: 10, ...settings.consumer } },
  );
  await site.fpm.writeScript(
    "handlers.php",
    `<?php return ['${QUEUE}' => function ($job) { ${handler} }];`,
  );
  return site;
}

const name = (id: string | undefined, further: number) => `/${QUEUE}/${id}+${further}`;

/** What became of each try, in order: `id attempt outcome code`. */
function settles(site: Awaited<ReturnType<typeof start>>): string[] {
  return site.log.of("job_settled").map(({ id, attempt, verdict: outcome }) =>
    `${id} ${attempt} ${outcome.kind}${outcome.kind === "ack" ? "" : ` ${outcome.error.code}`}`
  );
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

Deno.test("Worker runs 500 jobs in batches in 3 slots, each once", async () => {
  await using t = await start(REMEMBER, { consumer: { concurrency: 3, batchSize: 7 } });
  const ids = await t.push(500);
  assert.deepEqual(await t.run({ untilEmpty: true }), { orphaned: 0, faults: [], uncounted: [] });
  const runs = (await t.runs()).map((run) => run.split(" "));
  assertRanOnce(runs.map(([id, attempt]) => `${id} ${attempt}`), ids);
  assert.deepEqual(await t.broker.admin.depth(QUEUE), EMPTY);
  assert.equal(t.log.of("job_settled").filter(({ verdict: outcome }) => outcome.kind === "ack").length, 500);
  assert.deepEqual([t.log.of("lease_lost"), t.log.of("broker_failed")], [[], []]);
  assert.equal(runs.filter(([, , uri]) => uri === name(ids[0], 6)).length, 7, "seven jobs shared a request");
});

Deno.test("Worker acknowledges a job of a batch while the next one runs", async () => {
  await using t = await start(`if ($job->payload === 'hold') { ${HOLD} } ${REMEMBER}`);
  const [first] = await t.push(1);
  const [second, third] = [(await t.push(1, "hold"))[0], (await t.push(1))[0]];
  const running = t.run({ untilEmpty: false });
  await t.log.count("job_settled", 1);
  await t.log.next("job_started", ({ id }) => id === second);
  assert.deepEqual(settles(t), [`${first} 1 ack`]);
  assert.deepEqual(await t.broker.admin.depth(QUEUE), { ...EMPTY, reserved: 2 });
  assert.deepEqual(t.log.of("job_started").map(({ id }) => id), [first, second]);
  await Deno.writeTextFile(t.file("go"), "");
  await t.done(3);
  t.worker.stop();
  await running;
  assert.deepEqual(await t.runs(), [first, second, third].map((id) => `${id} 1 ${name(first, 2)}`));
});

Deno.test("Worker counts only the job that ran when the PHP process of a batch is killed, and runs the others", async () => {
  // Not in the first second after php-fpm's start, in which it would have been php-fpm's doing. The second child shows that this
  // is the php-fpm of before.
  await using t = await start(
    `if ($job->payload === 'crash') { usleep(1100000); ${KILL_ITSELF} } ${REMEMBER}`,
    { fpm: { children: 2 }, consumer: { retry: ONE_RETRY } },
  );
  const before = await t.push(2);
  const [bad] = await t.push(1, "crash");
  const behind = await t.push(2);
  assert.deepEqual(await t.run({ untilEmpty: true }), { orphaned: 0, faults: [], uncounted: [] });
  const all = settles(t);
  assert.deepEqual(all.slice(0, 2), before.map((id) => `${id} 1 ack`));
  assert.deepEqual(all.filter((line) => line.startsWith(`${bad} `)), [
    `${bad} 1 retry JOB_CRASHED`,
    `${bad} 2 bury JOB_CRASHED`,
  ]);
  for (const id of behind) {
    assert.deepEqual(
      all.filter((line) => line.startsWith(`${id} `)).toSorted().at(-1),
      `${id} 1 release SHUTDOWN`,
    );
    assert.ok(all.includes(`${id} 1 ack`), "at its first attempt");
  }
  assertRanOnce((await t.runs()).map((run) => run.replace(/ \/.*/, "")), [...before, ...behind]);
  assert.deepEqual(await t.broker.admin.depth(QUEUE), { ...EMPTY, dead: 1 });
});

Deno.test("Worker counts only the job of a batch that calls exit() or runs out of memory", async () => {
  for (const end of ["exit;", "exit(3);", "ini_set('memory_limit', '4M'); str_repeat('x', 99999999);"]) {
    await using t = await start(`if ($job->payload === 'end') { ${end} } ${REMEMBER}`, {
      consumer: { retry: { ...ONE_RETRY, attempts: 1 } },
    });
    const [first] = await t.push(1);
    const [bad] = await t.push(1, "end");
    const [last] = await t.push(1);
    await t.run({ untilEmpty: true });
    assert.deepEqual(settles(t), [
      `${first} 1 ack`,
      `${bad} 1 bury JOB_NO_OUTCOME`,
      `${last} 1 release SHUTDOWN`,
      `${last} 1 ack`,
    ], end);
  }
});

Deno.test("Worker keeps the reason and the log lines of each job of a batch that fails", async () => {
  await using t = await start(
    `echo 'output'; if ($job->payload !== '') { error_log("log of $job->payload"); throw new Exception("no $job->payload"); }`,
    { consumer: { retry: { ...ONE_RETRY, attempts: 1 } } },
  );
  await t.push(1, "first");
  await t.push(1);
  await t.push(1, "second");
  await t.run({ untilEmpty: true });
  const dead = (await t.broker.admin.dead.list({ limit: 10 })).toReversed();
  assert.deepEqual(dead.map(({ error: { code, message } }) => [code, message]), [
    ["JOB_FAILED", "The job failed: Exception: no first"],
    ["JOB_FAILED", "The job failed: Exception: no second"],
  ]);
  assert.match(dead[0]!.error.stderr!, /log of first/);
  assert.doesNotMatch(dead[0]!.error.stderr!, /second/);
  assert.match(dead[1]!.error.stderr!, /log of second/);
  assert.doesNotMatch(dead[1]!.error.stderr!, /first/);
});

Deno.test("Worker ends a batch at the job whose time is up; the jobs behind it run elsewhere, and once", async () => {
  await using t = await start(`if ($job->payload === 'hang') { ${HOLD} } ${REMEMBER}`, {
    fpm: { children: 2 },
    consumer: { timeoutMs: 1_000, retry: { ...ONE_RETRY, attempts: 1 } },
  });
  const [first] = await t.push(1);
  const [bad] = await t.push(1, "hang");
  const [last] = await t.push(1);
  await t.run({ untilEmpty: true });
  assert.deepEqual(settles(t), [
    `${first} 1 ack`,
    `${bad} 1 bury JOB_TIMEOUT`,
    `${last} 1 release SHUTDOWN`,
    `${last} 1 ack`,
  ]);
  // The script that hung finds out that nobody waits for it, and leaves the last job alone.
  await Deno.writeTextFile(t.file("go"), "");
  await eventually("the first script has ended", async () => {
    return (await t.fpm.control().status())!.processes.filter(({ isBusy }) => isBusy).length === 1;
  });
  assert.deepEqual(await t.runs(), [
    `${first} 1 ${name(first, 2)}`,
    `${last} 1 ${name(last, 0)}`,
    `${bad} 1 ${name(first, 2)}`,
  ]);
});

Deno.test("Worker puts the jobs of a batch that have no record back at the shutdown timeout, uncounted", async () => {
  await using t = await start(`if ($job->payload === 'hold') { ${HOLD} } ${REMEMBER}`, {
    shutdownTimeoutMs: 100,
  });
  const [first] = await t.push(1);
  const [held] = await t.push(1, "hold");
  const [last] = await t.push(1);
  const running = t.run({ untilEmpty: false });
  await eventually("the second job runs", () => exists(t.file(`began-${held}`)));
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.deepEqual(settles(t).toSorted(), [
    `${first} 1 ack`,
    `${held} 1 release SHUTDOWN`,
    `${last} 1 release SHUTDOWN`,
  ]);
  const again = await takeNow(t.broker, { queues: [QUEUE], max: 9 });
  assert.deepEqual(again.map(({ id, attempt }) => [id, attempt]), [[held, 1], [last, 1]]);
  await Deno.writeTextFile(t.file("go"), "");
});

Deno.test("Worker burns no attempt of a batch when php-fpm is reloaded under it", async () => {
  await using t = await start(`if ($job->payload === 'hold') { ${HOLD} } ${REMEMBER}`, {
    fpm: { globalLines: ["process_control_timeout = 0"] },
    consumer: { pauseMaxMs: 100 },
  });
  const [first] = await t.push(1);
  const [held] = await t.push(1, "hold");
  const [last] = await t.push(1);
  const running = t.run({ untilEmpty: true });
  await eventually("the second job runs", () => exists(t.file(`began-${held}`)));
  await t.fpm.reload();
  await Deno.writeTextFile(t.file("go"), "");
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  const acks = settles(t).filter((line) => line.endsWith("ack")).toSorted();
  assert.deepEqual(acks, [first, held, last].map((id) => `${id} 1 ack`).toSorted());
  assert.deepEqual(settles(t).filter((line) => !/ (?:ack|release \w+)$/.test(line)), []);
});

Deno.test("Worker until empty ends when its script does not know batches, and leaves the jobs untouched", async () => {
  await using t = await startWorkerSite("header('X-Fervo-Outcome: ack');", { consumer: { batchSize: 5 } });
  await t.push(3);
  const { orphaned, faults } = await t.run({ untilEmpty: true });
  assert.deepEqual([orphaned, faults.map(({ code }) => code)], [0, ["FPM_MISCONFIGURED"]]);
  assert.match(faults[0]!.message, /does not support batches/);
  assert.deepEqual(await t.broker.admin.depth(QUEUE), { ...EMPTY, ready: 3 });
});

Deno.test("Worker puts a message of the application's in its job's place, and forgets a job that the application keeps", async () => {
  await using t = await start(`
    file_put_contents(__DIR__ . '/seen', bin2hex($job->payload) . " $job->attempt\\n", FILE_APPEND | LOCK_EX);
    return match ($job->payload) {
      'first' => \\Fervo\\Runner\\Outcome::replace("\\x1e\\n\\0", ['X-Stamp' => "\\u{e9}"], 50, 'busy'),
      'kept' => \\Fervo\\Runner\\Outcome::handled('kept by the application'),
      default => null,
    };`);
  const [first] = await t.push(1, "first");
  const [kept] = await t.push(1, "kept");
  const [other] = await t.push(1, "other");
  await t.run({ untilEmpty: true });
  const hexOf = (text: string) => new TextEncoder().encode(text).toHex();
  const seen = (await Deno.readTextFile(t.file("seen"))).split("\n").slice(0, -1);
  assert.deepEqual(seen, [...["first", "kept", "other"].map((text) => `${hexOf(text)} 1`), "1e0a00 1"]);
  assert.deepEqual(settles(t), [
    `${first} 1 replace JOB_FAILED`,
    `${kept} 1 handled JOB_FAILED`,
    `${other} 1 ack`,
    `${first} 1 ack`,
  ]);
  const [replaced] = t.log.of("job_settled");
  assert.ok(replaced?.verdict.kind === "replace" && replaced.verdict.delayMs === 50);
  assert.deepEqual(replaced.verdict.message.headers, { "X-Stamp": "é" });
  assert.equal(replaced.verdict.error.message, "The job failed: busy");
  assert.deepEqual(await t.broker.admin.depth(QUEUE), EMPTY);
});
