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
    assert.deepEqual(await broker.admin.pauses.list(), ["reports"]);
  }
  await using later = server.open();
  assert.deepEqual(await later.admin.pauses.list(), ["reports"]);
  assert.deepEqual(await takeNow(later, { queues: ["reports"] }), []);
});

Deno.test("pauses.pause() refuses a queue that cannot be a tube", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await rejectsWith("CONFIG_INVALID", broker.admin.pauses.pause("a:b"));
  await rejectsWith("CONFIG_INVALID", broker.admin.pauses.resume("a b\r\nquit"));
});
