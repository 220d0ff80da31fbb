/** What is special to pauses and the schedule in Redis; the rest is in the conformance suite. */
import assert from "node:assert/strict";
import { bytes, rejectsWith } from "../../../conformance/fixture.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
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

Deno.test("A pause's reason and time are beside Sidekiq Pro's set, and gone when it is resumed otherwise", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const { pauses } = broker.admin;
  const untilMs = Date.now() + 3_600_000;
  await pauses.pause("q", { untilMs, reason: "moved" });
  await pauses.pause("plain");
  assert.deepEqual(await server.elements("HGETALL", "fervo:paused"), {
    q: `{"until":${untilMs},"reason":"moved"}`,
  });
  // As the Web UI does it.
  await server.cli("SREM", "paused", "q");
  assert.deepEqual(await pauses.list(), [{ queue: "plain" }]);
  await server.cli("SADD", "paused", "q");
  assert.deepEqual(await pauses.list(), [{ queue: "plain" }, { queue: "q" }]);
});

Deno.test("A pause is over for all, Sidekiq too, when the first clock has reached its time", async () => {
  await using server = await RedisServer.start();
  const clock = new MovableClock();
  await using ahead = openRedis(server, { clock });
  await using behind = openRedis(server);
  await behind.admin.pauses.pause("q", { untilMs: Date.now() + 3_600_000 });
  await behind.admin.pauses.pause("later", { untilMs: Date.now() + 7_200_000 });
  clock.moveAhead(3_601_000);
  const names = async ({ admin }: typeof ahead) => (await admin.pauses.list()).map(({ queue }) => queue);
  assert.deepEqual(await names(ahead), ["later"]);
  assert.deepEqual(await names(behind), ["later"]);
  assert.deepEqual(await server.elements("SMEMBERS", "paused"), ["later"]);
  assert.equal(await server.cli("HLEN", "fervo:paused"), "1");
});

Deno.test("Notes that others have written say nothing of a pause, and end none", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const notes = ["null", "5", "{", '{"until":"1","reason":7}', '{"until":null}', "[]"];
  for (const [i, note] of notes.entries()) {
    await server.cli("SADD", "paused", `q${i}`);
    await server.cli("HSET", "fervo:paused", `q${i}`, note);
  }
  assert.deepEqual(await broker.admin.pauses.list(), notes.map((_, i) => ({ queue: `q${i}` })));
});

Deno.test("A queue can be paused on a Redis that is full", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await server.cli("CONFIG", "SET", "maxmemory", "1");
  await broker.admin.pauses.pause("q", { reason: "too many jobs" });
  assert.deepEqual(await broker.admin.pauses.list(), [{ queue: "q", reason: "too many jobs" }]);
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
    await assert.rejects(call, /the key "paused" holds data that is not Sidekiq's/);
  }
  await server.cli("DEL", "paused");
  await server.cli("SET", "fervo:paused", "x");
  for (const call of [() => broker.admin.pauses.list(), () => broker.admin.pauses.pause("q")]) {
    await assert.rejects(call, /the key "fervo:paused" holds data that is not Sidekiq's/);
  }
  assert.equal(await server.cli("EXISTS", "paused"), "0");
  await assert.rejects(
    () => broker.admin.schedule.begin(SLOT),
    /the key "fervo:schedule" holds data that is not Sidekiq's/,
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
