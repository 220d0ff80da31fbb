/** What is special to pauses in beanstalkd; the rest is in the conformance suite. */
import assert from "node:assert/strict";
import { bytes, rejectsWith, takeNow } from "../../../conformance/fixture.ts";
import { Beanstalkd } from "../../../support/beanstalkd.ts";

Deno.test("A pause of a tube that is empty and unused ends with its connection, as beanstalkd has it", async () => {
  await using server = await Beanstalkd.start();
  {
    await using broker = server.open();
    await broker.admin.pauses.pause("mail");
    await broker.admin.pauses.pause("reports");
    await broker.push("reports", bytes("a job"));
    assert.deepEqual(await broker.admin.pauses.list(), [{ queue: "reports" }]);
  }
  await using later = server.open();
  assert.deepEqual(await later.admin.pauses.list(), [{ queue: "reports" }]);
  assert.deepEqual(await takeNow(later, { queues: ["reports"] }), []);
});

Deno.test("A tube that another client has paused tells until when, in whole seconds, to its last", async () => {
  await using server = await Beanstalkd.start({ hasMovableClock: true });
  await using broker = server.open();
  using client = await server.client();
  await broker.push("mail", bytes("a job"));
  assert.match(await client.ask("pause-tube mail 60\r\n"), /^PAUSED/);
  const nowMs = Date.now();
  const [paused] = await broker.admin.pauses.list();
  assert.ok(paused!.untilMs! >= nowMs + 30_000 && paused!.untilMs! <= Date.now() + 60_000);
  await server.passTime(59_500);
  assert.equal((await broker.admin.pauses.list()).length, 1);
  await server.passTime(1_000);
  assert.deepEqual(await broker.admin.pauses.list(), []);
});

Deno.test("pauses.pause() refuses a queue that cannot be a tube", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await rejectsWith("CONFIG_INVALID", broker.admin.pauses.pause("a:b"));
  await rejectsWith("CONFIG_INVALID", broker.admin.pauses.resume("a b\r\nquit"));
});
