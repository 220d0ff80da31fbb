import assert from "node:assert/strict";
import { QueueError } from "../../../src/core/errors.ts";
import { BackgroundWork, RepeatedWork } from "../../../src/brokers/background.ts";
import { EventLog } from "../../support/event_log.ts";
import { FakeClock, settlePromises } from "../../support/fake_clock.ts";

const away = new QueueError("QUEUE_UNAVAILABLE", "Cannot use it");
const fail = () => Promise.reject(away);
const goWell = () => Promise.resolve();

Deno.test("BackgroundWork.run() tells each failure, and once that it goes well again, and never rejects", async () => {
  const log = new EventLog();
  const work = new BackgroundWork(log.observe, "schedule");
  await work.run(goWell);
  for (let i = 0; i < 3; i++) await work.run(fail);
  const failure = { type: "broker_failed", during: "schedule", error: away } as const;
  assert.deepEqual(log.events, [failure, failure, failure]);
  for (let i = 0; i < 3; i++) await work.run(goWell);
  assert.deepEqual(log.events.slice(3), [{ type: "broker_recovered", during: "schedule" }]);
});

Deno.test("BackgroundWork.run() gives a code to what has none", async () => {
  const log = new EventLog();
  await new BackgroundWork(log.observe, "recovery").run(() => Promise.reject(new TypeError("oh")));
  const { error } = await log.next("broker_failed");
  assert.equal(error.code, "WORKER_FAULT");
});

/** Work that ends when the test says so, and comes again after 100 ms, or 10 ms when it has failed. */
function repeated() {
  const clock = new FakeClock();
  const log = new EventLog();
  const runs: PromiseWithResolvers<void>[] = [];
  const work = new RepeatedWork({ clock, observe: log.observe }, {
    during: "schedule",
    work: () => {
      const run = Promise.withResolvers<void>();
      runs.push(run);
      return run.promise;
    },
    waitMs: (failure) => failure === undefined ? 100 : 10,
  });
  return {
    clock,
    log,
    runs,
    work,
    async pass(ms: number) {
      await clock.advance(ms);
      await settlePromises();
      return runs.length;
    },
    async end(error?: unknown) {
      if (error === undefined) runs.at(-1)!.resolve();
      else runs.at(-1)!.reject(error);
      await settlePromises();
    },
  };
}

Deno.test("RepeatedWork comes again after its wait, sooner when it has failed, and not before it is started", async () => {
  const t = repeated();
  void t.work.run();
  await t.end();
  assert.deepEqual([await t.pass(1_000), t.clock.pendingTimers], [1, 0]);
  assert.deepEqual([t.work.start(), t.work.start()], [true, false]);
  void t.work.run();
  await t.end();
  assert.deepEqual([await t.pass(99), await t.pass(1)], [2, 3]);
  await t.end(away);
  assert.equal(t.log.of("broker_failed").length, 1);
  assert.deepEqual([await t.pass(9), await t.pass(1)], [3, 4]);
  await t.end();
  assert.equal(t.log.of("broker_recovered").length, 1);
  await t.work.close();
});

Deno.test("RepeatedWork is never under way twice; who does it is told of its failure, and it is told once", async () => {
  const t = repeated();
  t.work.start();
  const [one, two, told] = [t.work.do(), t.work.do(), t.work.run()];
  assert.equal(t.runs.length, 1);
  t.runs[0]!.reject(away);
  await assert.rejects(one, away);
  await assert.rejects(two, away);
  await told;
  assert.equal(t.log.of("broker_failed").length, 1);
  await t.work.close();
});

Deno.test("RepeatedWork that is closed waits for what is under way, and does not come again", async () => {
  const t = repeated();
  t.work.start();
  void t.work.run();
  let isClosed = false;
  const closing = t.work.close().then(() => isClosed = true);
  await settlePromises();
  assert.equal(isClosed, false);
  await t.end();
  await closing;
  t.work.next(0);
  assert.deepEqual([await t.pass(1_000), t.clock.pendingTimers], [1, 0]);
});
