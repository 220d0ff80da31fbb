import assert from "node:assert/strict";
import { QueueError } from "../../../src/core/errors.ts";
import { BackgroundWork } from "../../../src/drivers/background.ts";
import { EventLog } from "../../support/event_log.ts";

const away = new QueueError("QUEUE_UNAVAILABLE", "Cannot use it");
const fail = () => Promise.reject(away);
const goWell = () => Promise.resolve();

Deno.test("BackgroundWork.run() tells the first of several failures in a row, and never rejects", async () => {
  const log = new EventLog();
  const work = new BackgroundWork(log.observe, "schedule");
  for (let i = 0; i < 3; i++) await work.run(fail);
  assert.deepEqual(log.events, [{ type: "broker_failed", during: "schedule", error: away }]);
  await work.run(goWell);
  assert.equal(log.events.length, 1);
  for (let i = 0; i < 3; i++) await work.run(fail);
  assert.equal(log.events.length, 2);
});

Deno.test("BackgroundWork.run() gives a code to what has none", async () => {
  const log = new EventLog();
  await new BackgroundWork(log.observe, "recovery").run(() => Promise.reject(new TypeError("oh")));
  const { error } = await log.next("broker_failed");
  assert.equal(error.code, "WORKER_FAULT");
});
