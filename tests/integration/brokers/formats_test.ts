/** A broker writes jobs in its own format, and hands them out read. */
import assert from "node:assert/strict";
import { envelope } from "../../../src/formats/envelope.ts";
import { systemClock } from "../../../src/core/time/clock.ts";
import { BeanstalkdBroker, DEFAULT_BEANSTALKD_OPTIONS } from "../../../src/brokers/beanstalkd/broker.ts";
import { bytes, headOf, problemOf, takeOne, textOf } from "../../conformance/fixture.ts";
import { Beanstalkd } from "../../support/beanstalkd.ts";
import { makeFolder, openSqlite } from "./sqlite/broker.ts";

Deno.test("The embedded queue and beanstalkd write envelopes that hold payload and limit of attempts, and read them once", async () => {
  await using folder = await makeFolder();
  await using server = await Beanstalkd.start();
  await using sqlite = openSqlite(`${folder.path}/queue.sqlite`, { format: envelope });
  await using beanstalkd = new BeanstalkdBroker({ clock: systemClock, format: envelope }, {
    ...DEFAULT_BEANSTALKD_OPTIONS,
    address: server.address,
  });
  for (const broker of [sqlite, beanstalkd]) {
    const sinceMs = Date.now();
    await broker.push("q", bytes("hello"), { maxAttempts: 3 });
    const delivery = await takeOne(broker);
    const { enqueued_at, ...fields } = JSON.parse(textOf(delivery));
    assert.deepEqual(fields, { fervo: 1, attempts: 3, payload: "hello" });
    assert.ok(enqueued_at >= sinceMs && enqueued_at <= Date.now());
    const { payload, maxAttempts, enqueuedAtMs } = headOf(delivery);
    assert.deepEqual([payload, maxAttempts, enqueuedAtMs], [bytes("hello"), 3, enqueued_at]);
  }
});

Deno.test("The embedded queue pushes the jobs of a schedule in its format", async () => {
  await using folder = await makeFolder();
  await using broker = openSqlite(`${folder.path}/queue.sqlite`, { format: envelope });
  const dueMs = Date.now();
  const slot = { schedule: "nightly", rule: "0 0 * * *", dueMs, firstMs: dueMs, nowMs: dueMs };
  await broker.admin.schedule.begin({ ...slot, nowMs: dueMs - 1_000 });
  await broker.admin.schedule.push(slot, "q", bytes("tick"), { maxAttempts: 2 });
  const { payload, maxAttempts } = headOf(await takeOne(broker));
  assert.deepEqual([payload, maxAttempts], [bytes("tick"), 2]);
});

Deno.test("A message that is none of the format's is handed out with the reason, and nothing but that message is concerned", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using raw = openSqlite(path);
  await using broker = openSqlite(path, { format: envelope });
  await raw.push("q", bytes("no envelope"));
  const delivery = await takeOne(broker);
  assert.equal(problemOf(delivery)?.code, "JOB_MALFORMED");
  assert.deepEqual([textOf(delivery), "concerns" in delivery.job && delivery.job.concerns], [
    "no envelope",
    "message",
  ]);
});
