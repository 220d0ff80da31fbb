/** What is special to pauses and the schedule in Redis; the rest is in the conformance suite. */
import assert from "node:assert/strict";
import { bytes, FOREVER_MS, rejectsWith, take, takeNow, takeOne } from "../../../conformance/fixture.ts";
import { eventually } from "../../../support/eventually.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { soon } from "../../../support/soon.ts";
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

/** Waits until so many connections wait for jobs. */
const waits = (server: RedisServer, count: number) =>
  eventually(
    `${count} waits`,
    async () => (await server.cli("INFO", "clients")).includes(`blocked_clients:${count}\r`),
  );

Deno.test("Sidekiq Pro's pause of a queue ends the wait for its jobs, and its end begins it again", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const waiting = take(broker, { queues: ["a", "b"], waitMs: FOREVER_MS });
  await waits(server, 2);
  await server.cli("SADD", "paused", "a");
  await waits(server, 1);
  await server.cli("LPUSH", "queue:a", JOB);
  await server.cli("SREM", "paused", "a");
  const [delivery] = await soon("the job", waiting);
  assert.equal(delivery!.queue, "a");
});

Deno.test("A pause is in Sidekiq Pro's set, and a worker that starts obeys it from its first job on", async () => {
  await using server = await RedisServer.start();
  {
    await using broker = openRedis(server, { keyPrefix: "ns:" });
    await broker.pauses.pause("q");
  }
  assert.deepEqual(await server.elements("SMEMBERS", "ns:paused"), ["q"]);
  await server.cli("LPUSH", "ns:queue:q", JOB);
  await using later = openRedis(server, { keyPrefix: "ns:" });
  assert.deepEqual(await takeNow(later), []);
});

Deno.test("A key of a wrong type is told, for pauses and for the schedule, and no job is pushed", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await server.cli("SET", "paused", "x");
  await server.cli("SET", "fervo:schedule", "x");
  for (const call of [() => broker.pauses.list(), () => broker.pauses.pause("q"), () => takeOne(broker)]) {
    await assert.rejects(call, /the key "paused" holds something else than/);
  }
  await assert.rejects(
    () => broker.schedule.begin(SLOT),
    /the key "fervo:schedule" holds something else than/,
  );
  await rejectsWith("QUEUE_UNAVAILABLE", broker.schedule.push(SLOT, "q", bytes(JOB)));
  await server.cli("DEL", "fervo:schedule");
  await server.cli("SET", "queue:q", "x");
  await rejectsWith("QUEUE_UNAVAILABLE", broker.schedule.push(SLOT, "q", bytes(JOB)));
  assert.equal(await server.cli("EXISTS", "fervo:schedule"), "0");
});

Deno.test("A full Redis refuses the job of a slot, and leaves the slot to be claimed", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await server.cli("CONFIG", "SET", "maxmemory", "1");
  await rejectsWith("QUEUE_UNAVAILABLE", broker.schedule.push(SLOT, "q", bytes(JOB)));
  await server.cli("CONFIG", "SET", "maxmemory", "0");
  assert.equal((await broker.schedule.push(SLOT, "q", bytes(JOB))).result, "ours");
  assert.equal((await broker.depth("q")).ready, 1);
  assert.deepEqual(await server.elements("HGETALL", "fervo:schedule"), {
    nightly: "1700000000005-1700000000000 0 2 * * * UTC",
  });
});
