import assert from "node:assert/strict";
import { QueueError } from "../../../src/core/errors.ts";
import { BackgroundWork } from "../../../src/brokers/background.ts";
import { EventLog } from "../../support/event_log.ts";

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
