/** What is special to pauses and the schedule in Redis; the rest is in the conformance suite. */
import assert from "node:assert/strict";
import { bytes, rejectsWith } from "../../../conformance/fixture.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { openRedis } from "./broker.ts";

const JOB = '{"class":"Suite","args":[]}';
const DUE_MS = 1_700_000_000_000;
const SLOT = {
  schedule: "nightly",
  rule: "0 2 * * * UTC",
  dueMs: DUE_MS,
  firstMs: DUE_MS,
  nowMs: DUE_MS + 5,
};

Deno.test("A pause is in Sidekiq Pro's set, by the prefix of all keys", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { keyPrefix: "ns:" });
  await broker.admin.pauses.pause("q");
  assert.deepEqual(await server.elements("SMEMBERS", "ns:paused"), ["q"]);
});

Deno.test("A key of a wrong type is told, for pauses and for the schedule, and no job is pushed", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await server.cli("SET", "paused", "x");
  await server.cli("SET", "fervo:schedule", "x");
  for (
    const call of [
      () => broker.admin.pauses.list(),
      () => broker.admin.pauses.pause("q"),
    ]
  ) {
    await assert.rejects(call, /the key "paused" holds something else than/);
  }
  await assert.rejects(
    () => broker.admin.schedule.begin(SLOT),
    /the key "fervo:schedule" holds something else than/,
  );
  await rejectsWith("QUEUE_UNAVAILABLE", broker.admin.schedule.push(SLOT, "q", bytes(JOB)));
  await server.cli("DEL", "fervo:schedule");
  await server.cli("SET", "queue:q", "x");
  await rejectsWith("QUEUE_UNAVAILABLE", broker.admin.schedule.push(SLOT, "q", bytes(JOB)));
  assert.equal(await server.cli("EXISTS", "fervo:schedule"), "0");
});

Deno.test("A full Redis refuses the job of a slot, and leaves the slot to be claimed", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await server.cli("CONFIG", "SET", "maxmemory", "1");
  await rejectsWith("QUEUE_UNAVAILABLE", broker.admin.schedule.push(SLOT, "q", bytes(JOB)));
  await server.cli("CONFIG", "SET", "maxmemory", "0");
  assert.equal((await broker.admin.schedule.push(SLOT, "q", bytes(JOB))).result, "ours");
  assert.equal((await broker.admin.depth("q")).ready, 1);
  assert.deepEqual(await server.elements("HGETALL", "fervo:schedule"), {
    nightly: "1700000000005-1700000000000 0 2 * * * UTC",
  });
});
