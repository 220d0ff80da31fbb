import { takeNow } from "../../conformance/fixture.ts";
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { DEFAULT_RETRY_POLICY } from "../../../src/core/retry.ts";
import { eventually } from "../../support/eventually.ts";
import {
  assertRanOnce,
  EMPTY,
  HOLD,
  KILL_ITSELF,
  QUEUE,
  REMEMBER,
  SAY_ACK,
  startWorkerSite,
} from "../../support/worker_site.ts";

Deno.test("Worker runs 500 jobs in 8 slots, each once", async () => {
  await using t = await startWorkerSite(`${REMEMBER} ${SAY_ACK}`, { consumer: { concurrency: 8 } });
  const ids = await t.push(500);
  assert.deepEqual(await t.run({ untilEmpty: true }), { orphaned: 0, faults: [], uncounted: [] });
  assertRanOnce(await t.runs(), ids);
  assert.deepEqual(await t.broker.admin.depth(QUEUE), EMPTY);
  assert.equal(t.log.of("job_settled").filter(({ verdict: outcome }) => outcome.kind === "ack").length, 500);
  assert.deepEqual([t.log.of("lease_lost"), t.log.of("broker_failed")], [[], []]);
});

Deno.test("Worker runs jobs that are pushed while it waits", async () => {
  await using t = await startWorkerSite(`${REMEMBER} ${SAY_ACK}`);
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

Deno.test("Worker brings a job that always crashes PHP to the dead letters after the policy's attempts", async () => {
  await using t = await startWorkerSite(
    `${REMEMBER} if (file_get_contents('php://input') === 'crash') { usleep(1100000); ${KILL_ITSELF} } ${SAY_ACK}`,
    { consumer: { retry: { attempts: 3, delayMs: 1, factor: 1, maxDelayMs: 1, jitter: 0 } } },
  );
  const good = await t.push(30);
  const [bad] = await t.push(1, "crash");
  good.push(...await t.push(30));
  assert.deepEqual(await t.run({ untilEmpty: true }), { orphaned: 0, faults: [], uncounted: [] });
  assert.deepEqual(await t.broker.admin.depth(QUEUE), { ...EMPTY, dead: 1 });
  const [dead] = await t.broker.admin.dead.list({ limit: 10 });
  assert.deepEqual([dead!.id, dead!.attempts, dead!.error.code], [bad, 3, "JOB_CRASHED"]);
  assert.equal(new TextDecoder().decode(dead!.payload), "crash");
  const runs = await t.runs();
  assert.deepEqual(runs.filter((run) => run.startsWith(`${bad} `)), [`${bad} 1`, `${bad} 2`, `${bad} 3`]);
  assertRanOnce(runs.filter((run) => !run.startsWith(`${bad} `)), good);
});

Deno.test("Worker keeps the reason and STDERR of a job that failed for good", async () => {
  await using t = await startWorkerSite(
    `error_log('what went wrong'); header('X-Fervo-Error: no such order'); header('X-Fervo-Outcome: bury');`,
  );
  await t.push(1);
  await t.run({ untilEmpty: true });
  const [dead] = await t.broker.admin.dead.list({ limit: 10 });
  assert.deepEqual([dead!.attempts, dead!.error.code, dead!.error.message], [
    1,
    "JOB_FAILED",
    "The job failed: no such order",
  ]);
  assert.match(dead!.error.stderr!, /what went wrong/);
});

Deno.test("Worker runs a job again after the delay that its script names, and waits for it when until empty", async () => {
  await using t = await startWorkerSite(`${REMEMBER}
    if ($_SERVER['FERVO_ATTEMPT'] === '1') {
      header('X-Fervo-Outcome: retry');
      header('X-Fervo-Delay-Ms: 300');
    } else ${SAY_ACK}`);
  const [id] = await t.push(1);
  const result = await t.run({ untilEmpty: true });
  assert.deepEqual([result, await t.runs()], [{ orphaned: 0, faults: [], uncounted: [] }, [
    `${id} 1`,
    `${id} 2`,
  ]]);
  const { verdict: outcome } = t.log.of("job_settled")[0]!;
  assert.equal(outcome.kind === "retry" && outcome.delayMs, 300);
});

Deno.test("Worker ends a job whose time is up, counts the attempt, and goes on with the next", async () => {
  await using t = await startWorkerSite(
    `if (file_get_contents('php://input') === 'hang') { ${HOLD} } ${REMEMBER} ${SAY_ACK}`,
    {
      fpm: { children: 2 },
      consumer: { concurrency: 1, timeoutMs: 1_000, retry: { ...DEFAULT_RETRY_POLICY, attempts: 1 } },
    },
  );
  const [bad] = await t.push(1, "hang");
  const [good] = await t.push(1);
  await t.run({ untilEmpty: true });
  const [dead] = await t.broker.admin.dead.list({ limit: 10 });
  assert.deepEqual([dead!.id, dead!.attempts, dead!.error.code], [bad, 1, "JOB_TIMEOUT"]);
  assert.deepEqual(await t.runs(), [`${good} 1`]);
});

Deno.test("Worker until empty ends by itself when php-fpm does not find the script, and leaves the jobs untouched", async () => {
  await using t = await startWorkerSite("", { script: "missing.php" });
  const ids = await t.push(3);
  const { orphaned, faults } = await t.run({ untilEmpty: true });
  assert.deepEqual([orphaned, faults.map(({ code }) => code)], [0, ["FPM_MISCONFIGURED"]]);
  assert.deepEqual(await t.broker.admin.depth(QUEUE), { ...EMPTY, ready: 3 });
  const again = await takeNow(t.broker, { queues: [QUEUE], max: 3 });
  assert.deepEqual(again.map(({ id, attempt }) => [id, attempt]), ids.map((id) => [id, 1]));
});

Deno.test("Worker waits for a script that php-fpm does not find, calls it by the check alone, and goes on when it is there", async () => {
  await using t = await startWorkerSite("", { script: "late.php" });
  const ids = await t.push(3);
  const running = t.run({ untilEmpty: false });
  await t.log.count("consumer_paused", 4);
  await t.fpm.writeScript(
    "late.php",
    `<?php if (isset($_SERVER['FERVO_CHECK'])) file_put_contents('${t.file("checks")}', 'c', FILE_APPEND);
    else { ${REMEMBER} } ${SAY_ACK}`,
  );
  await t.log.next("consumer_resumed");
  await eventually("all jobs have run", async () => (await t.runs()).length === 3);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assertRanOnce(await t.runs(), ids);
  assert.equal(await Deno.readTextFile(t.file("checks")), "c");
});

Deno.test("Worker.stop() lets jobs under way finish and takes no more", async () => {
  await using t = await startWorkerSite(`${HOLD} ${REMEMBER} ${SAY_ACK}`, { consumer: { concurrency: 2 } });
  const ids = await t.push(3);
  const running = t.run({ untilEmpty: false });
  await t.log.count("job_started", 2);
  t.worker.stop();
  await Deno.writeTextFile(t.file("go"), "");
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assertRanOnce(await t.runs(), ids.slice(0, 2));
  assert.deepEqual(await t.broker.admin.depth(QUEUE), { ...EMPTY, ready: 1 });
});

Deno.test("Worker puts back what runs at the shutdown timeout or a second stop; the attempt does not count", async () => {
  for (const stops of [1, 2]) {
    await using t = await startWorkerSite(`${HOLD} ${SAY_ACK}`, {
      consumer: { concurrency: 2 },
      shutdownTimeoutMs: stops === 1 ? 100 : 600_000,
    });
    const ids = await t.push(2);
    const running = t.run({ untilEmpty: false });
    await t.log.count("job_started", 2);
    for (let i = 0; i < stops; i++) t.worker.stop();
    assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
    assert.deepEqual(await t.broker.admin.depth(QUEUE), { ...EMPTY, ready: 2 });
    const again = await takeNow(t.broker, { queues: [QUEUE], max: 2 });
    assert.deepEqual(again.map(({ id, attempt }) => [id, attempt]), ids.map((id) => [id, 1]));
    await Deno.writeTextFile(t.file("go"), "");
  }
});

Deno.test("Worker takes no notice of the late result of a worker that has lost the job", async () => {
  await using t = await startWorkerSite(`${HOLD} ${REMEMBER} ${SAY_ACK}`, { consumer: { concurrency: 1 } });
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
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assertRanOnce(await t.runs(), [id!, other!]);
  assert.deepEqual(await t.broker.admin.depth(QUEUE), { ...EMPTY, reserved: 1 });
});
