import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import type { EventLog } from "../../support/event_log.ts";
import {
  assertRanOnce,
  EMPTY,
  HOLD,
  QUEUE,
  REMEMBER,
  SAY_ACK,
  startWorkerSite,
} from "../../support/worker_site.ts";
import { DEFAULT_RETRY_POLICY } from "../../../src/core/retry.ts";

/*
 * A php-fpm that is away, full, reloaded or restarted, under load: no job is lost, no attempt counts, and work goes on by
 * itself.
 */

/** Runs 600 jobs, and does something to php-fpm three times meanwhile. Returns their ids. */
async function runThrough(
  t: Awaited<ReturnType<typeof startWorkerSite>>,
  disturb: () => Promise<void>,
): Promise<string[]> {
  const ids = await t.push(600);
  const running = t.run({ untilEmpty: true });
  for (const done of [100, 200, 300]) {
    await t.done(done);
    await disturb();
  }
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  return ids;
}

/** Each job was done once, at its first attempt, however often it was put back before. */
function assertNoAttemptBurnt(log: EventLog, ids: readonly string[]): void {
  const settled = log.of("job_settled");
  assert.deepEqual(
    settled.filter(({ verdict: outcome }) => outcome.kind === "retry" || outcome.kind === "bury"),
    [],
  );
  const done = settled.filter(({ verdict: outcome }) => outcome.kind === "ack").map(({ id, attempt }) =>
    `${id} ${attempt}`
  );
  assertRanOnce(done, ids);
}

Deno.test("Worker pauses while php-fpm is away, burns no attempt, and goes on by itself", async () => {
  await using t = await startWorkerSite(`${REMEMBER} ${SAY_ACK}`, { consumer: { pauseMaxMs: 200 } });
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
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assertRanOnce(await t.runs(), ids);
  assert.equal(t.log.of("consumer_resumed").length, 1);
  assert.deepEqual(t.log.of("job_settled").filter(({ verdict: outcome }) => outcome.kind === "retry"), []);
  for (const { error } of t.log.of("consumer_paused")) assert.equal(error.code, "FASTCGI_CONNECT_FAILED");
});

Deno.test("Worker starts while php-fpm is away, and begins when it comes", async () => {
  await using t = await startWorkerSite(`${REMEMBER} ${SAY_ACK}`, { consumer: { pauseMaxMs: 200 } });
  await t.fpm.stop();
  const ids = await t.push(20);
  const running = t.run({ untilEmpty: true });
  await t.log.next("consumer_paused");
  await t.fpm.restart();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assertRanOnce(await t.runs(), ids);
});

for (const hasStatusPage of [true, false]) {
  const title = hasStatusPage ? "" : ", without a status page";
  Deno.test(`Worker runs jobs again that were under way when php-fpm was stopped; no attempt counts${title}`, async () => {
    await using t = await startWorkerSite(`${REMEMBER} ${HOLD} ${SAY_ACK}`, {
      hasStatusPage,
      consumer: { concurrency: 2, pauseMaxMs: 200 },
    });
    const ids = await t.push(2);
    const running = t.run({ untilEmpty: true });
    await eventually("both jobs run", async () => (await t.runs()).length === 2);
    await t.fpm.stop();
    await t.log.count("job_settled", 2);
    for (const { verdict: outcome } of t.log.of("job_settled").slice(0, 2)) {
      assert.equal(outcome.kind === "release" && outcome.error.code, "FASTCGI_CONNECTION_LOST");
    }
    await Deno.writeTextFile(t.file("go"), "");
    await t.fpm.restart();
    assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
    assert.deepEqual((await t.runs()).sort(), ids.flatMap((id) => [`${id} 1`, `${id} 1`]).sort());
    assertNoAttemptBurnt(t.log, ids);
  });
}

Deno.test("Worker loses no job and runs none twice when php-fpm is reloaded under load and may finish its requests", async () => {
  await using t = await startWorkerSite(`${REMEMBER} usleep(random_int(0, 4000)); ${SAY_ACK}`, {
    consumer: { retry: { ...DEFAULT_RETRY_POLICY, delayMs: 1 } },
  });
  const ids = await runThrough(t, () => t.fpm.reload());
  assert.deepEqual(await t.broker.admin.depth(QUEUE), EMPTY);
  assertRanOnce(await t.runs(), ids);
});

const MIXED_LOAD = `${REMEMBER} usleep(random_int(0, 4000)); ${SAY_ACK}`;

Deno.test("Worker burns no attempt when a reload under load kills the running jobs (process_control_timeout = 0)", async () => {
  await using t = await startWorkerSite(MIXED_LOAD, {
    fpm: { globalLines: ["process_control_timeout = 0"] },
    consumer: { pauseMaxMs: 200 },
  });
  const ids = await runThrough(t, () => t.fpm.reload());
  assertNoAttemptBurnt(t.log, ids);
});

for (const transport of ["unix", "tcp"] as const) {
  for (const hasStatusPage of [true, false]) {
    const title = `${transport}${hasStatusPage ? "" : ", without a status page"}`;
    Deno.test(`Worker burns no attempt when php-fpm is restarted under load (${title})`, async () => {
      await using t = await startWorkerSite(MIXED_LOAD, {
        hasStatusPage,
        fpm: { transport },
        consumer: { pauseMaxMs: 200 },
      });
      const ids = await runThrough(t, () => t.fpm.restart());
      assertNoAttemptBurnt(t.log, ids);
    });
  }
}

Deno.test("Worker pauses while php-fpm's listen queue is full, burns no attempt, and goes on by itself", async () => {
  await using t = await startWorkerSite(MIXED_LOAD, {
    fpm: { children: 1, poolLines: ["listen.backlog = 1"] },
    consumer: { concurrency: 8, pauseMaxMs: 200 },
  });
  const ids = await t.push(200);
  assert.deepEqual(await t.run({ untilEmpty: true }), { orphaned: 0, faults: [], uncounted: [] });
  assertNoAttemptBurnt(t.log, ids);
  assertRanOnce(await t.runs(), ids);
  assert.ok(t.log.of("consumer_paused").length > 0);
  for (const { error } of t.log.of("consumer_paused")) assert.equal(error.code, "FASTCGI_OVERLOADED");
});

Deno.test("Worker ends the PHP process of a job whose time is up, tells which, and the child is free again", async () => {
  await using t = await startWorkerSite(
    `${REMEMBER} file_put_contents(__DIR__ . '/pid', getmypid());
    if (file_get_contents('php://input') === 'hang') { while (true) usleep(1000); } ${SAY_ACK}`,
    {
      fpm: { children: 1, statusListen: true },
      consumer: { concurrency: 1, timeoutMs: 300, retry: { ...DEFAULT_RETRY_POLICY, attempts: 1 } },
      executor: { killOnTimeout: true },
    },
  );
  const [bad] = await t.push(1, "hang");
  const running = t.run({ untilEmpty: false });
  const ended = await t.log.next("child_ended");
  const pid = Number(await Deno.readTextFile(t.file("pid")));
  assert.deepEqual(ended, { type: "child_ended", after: "timeout", queue: QUEUE, id: bad, attempt: 1, pid });
  const [dead] = await t.broker.admin.dead.list({ limit: 10 });
  assert.deepEqual([dead!.id, dead!.error.code], [bad, "JOB_TIMEOUT"]);
  const [good] = await t.push(1);
  await t.done(1);
  t.worker.stop();
  await running;
  assert.deepEqual(await t.runs(), [`${bad} 1`, `${good} 1`]);
});
