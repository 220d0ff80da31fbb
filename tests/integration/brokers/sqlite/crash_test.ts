import assert from "node:assert/strict";
import { bytes, FOREVER_MS, soon, take, takeNow, takeOne } from "../../../conformance/fixture.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { OtherProcess } from "./process.ts";
import { ACK } from "../../../support/verdicts.ts";

Deno.test("Jobs of a process that dies by SIGKILL run again when their lease ends", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  const ids = [];
  for (let i = 0; i < 3; i++) ids.push(await broker.push("q", bytes(`job ${i}`)));
  await using holder = OtherProcess.command("hold", [path, "500", "3"]);
  assert.equal(await holder.line(), "3");
  await holder.kill();
  const found: string[] = [];
  while (found.length < 3) {
    for (const delivery of await soon("the jobs of the dead", take(broker, { max: 3, waitMs: FOREVER_MS }))) {
      assert.equal(delivery.attempt, 2);
      found.push(delivery.id);
      await delivery.settle(ACK);
    }
  }
  assert.deepEqual(found, ids);
});

Deno.test("SIGKILL in the middle of pushing loses no job whose push() had resolved", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  for (let round = 0; round < 3; round++) {
    await using producer = OtherProcess.command("pushForever", [path]);
    const ids = [];
    while (ids.length < 100) ids.push(await producer.line());
    await producer.kill();
    ids.push(...await producer.rest());
    const found = new Set<string>();
    for (let batch = await takeNow(broker); batch.length > 0; batch = await takeNow(broker)) {
      for (const delivery of batch) {
        found.add(delivery.id);
        assert.equal(delivery.message.body.length, 1_000);
      }
      await Promise.all(batch.map((delivery) => delivery.settle(ACK)));
    }
    assert.deepEqual(ids.filter((id) => !found.has(id)), []);
  }
  await broker.push("q", bytes("after"));
  await takeOne(broker);
});
