import type { Delivery } from "../../../../src/core/delivery.ts";
import assert from "node:assert/strict";
import {
  bytes,
  FAILED,
  FOREVER_MS,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "../../../conformance/fixture.ts";
import { EventLog } from "../../../support/event_log.ts";
import { eventually } from "../../../support/eventually.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { openRedis } from "./broker.ts";
import { OtherProcess } from "../sqlite/process.ts";
import { ACK, bury, RELEASE, retry } from "../../../support/verdicts.ts";

const SCRIPT = new URL("./commands.ts", import.meta.url).pathname;
/** A short life, so that a death is soon noticed. */
const LEASE_MS = 1_000;

const job = (name: string) => bytes(`{"class":"Suite","args":[${JSON.stringify(name)}],"retry":false}`);
const nameOf = (delivery: Delivery) => JSON.parse(textOf(delivery)).args[0] as string;

function run(server: RedisServer, command: string, ...args: string[]): OtherProcess {
  return new OtherProcess([
    ...[Deno.execPath(), "run", "-A", "--no-lock", "--no-check"],
    ...[SCRIPT, command, server.socket, ...args],
  ]);
}

Deno.test("Jobs of a process that dies by SIGKILL run again elsewhere, in their order, and count it", async () => {
  await using server = await RedisServer.start();
  const log = new EventLog();
  await using broker = openRedis(server, { leaseMs: LEASE_MS, observe: log.observe });
  for (const name of ["1", "2", "3"]) await broker.push("q", job(name));
  await using holder = run(server, "hold", `${LEASE_MS}`, "3");
  assert.equal(await holder.line(), "3");
  assert.deepEqual(await broker.admin.depth("q"), { ready: 0, delayed: 0, reserved: 3, dead: 0 });
  const [identity] = await server.elements("SMEMBERS", "processes");
  await holder.kill();
  const found: string[] = [];
  while (found.length < 3) {
    for (const delivery of await soon("the jobs of the dead", take(broker, { max: 1, waitMs: FOREVER_MS }))) {
      assert.deepEqual([delivery.attempt, delivery.isRepeat, delivery.redeliveries], [2, true, 1]);
      found.push(nameOf(delivery));
      await delivery.settle(ACK);
    }
  }
  assert.deepEqual(found.toSorted(), ["1", "2", "3"]);
  await log.next("jobs_recovered");
  assert.deepEqual(log.of("jobs_recovered"), [
    { type: "jobs_recovered", queue: "q", process: identity, putBack: 3, buried: 0 },
  ]);
  await eventually("the dead process is forgotten", async () => {
    const keys = await server.elements("KEYS", "*");
    return keys.filter((key) => /inflight|fervo:queues/.test(key)).length === 1;
  });
});

Deno.test("A job tells how many of its workers died, and none when it was put back by hand", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { leaseMs: LEASE_MS });
  await broker.push("q", job("survivor"));
  const seen: (number | undefined)[] = [];
  for (let deaths = 0; deaths < 3; deaths++) {
    const [delivery] = await soon("the job", take(broker, { max: 1, waitMs: FOREVER_MS }));
    seen.push(delivery!.redeliveries);
    await delivery!.settle(RELEASE);
    if (deaths === 2) break;
    await using holder = run(server, "hold", `${LEASE_MS}`, "1");
    assert.equal(await holder.line(), "1");
    await holder.kill();
  }
  assert.deepEqual(seen, [0, 1, 2]);
});

Deno.test("A job whose worker died three times goes to the dead letters, with a word on why", async () => {
  await using server = await RedisServer.start();
  const log = new EventLog();
  await using broker = openRedis(server, { leaseMs: LEASE_MS, observe: log.observe });
  const id = await broker.push("q", job("poison"));
  await takeNow(broker, { queues: ["other"] });
  for (let deaths = 0; deaths < 3; deaths++) {
    await using holder = run(server, "hold", `${LEASE_MS}`, "1");
    assert.equal(await holder.line(), "1");
    await holder.kill();
  }
  await eventually("the dead letter", async () => (await broker.admin.depth("q")).dead === 1, 20_000);
  const letter = await broker.admin.dead.get(id);
  assert.equal(letter!.error.code, "JOB_CRASHED");
  assert.match(letter!.error.message, /was running in 3 workers when they died/);
  assert.deepEqual(await takeNow(broker), []);
  assert.deepEqual((await log.next("jobs_recovered", ({ buried }) => buried > 0)).putBack, 0);
});

Deno.test("A process that stood still has lost its jobs: a settle says LEASE_LOST and changes nothing", async () => {
  await using server = await RedisServer.start();
  await using frozen = openRedis(server, { leaseMs: 60_000 });
  await using another = openRedis(server, { leaseMs: LEASE_MS });
  for (const name of ["1", "2", "3", "4"]) await frozen.push("q", job(name));
  const lost = await take(frozen, { max: 4 });
  // As when its heartbeats had ended long ago.
  const [identity] = (await server.elements("SMEMBERS", "processes")).filter((name) => !name.includes(" "));
  await server.cli("DEL", identity!, "fervo:recovery");
  await takeNow(another, { queues: ["other"] });
  await eventually("all are taken back", async () => (await another.admin.depth("q")).ready === 4);
  await rejectsWith("LEASE_LOST", lost[0]!.settle(ACK));
  await rejectsWith("LEASE_LOST", lost[1]!.settle(retry(0, FAILED)));
  await rejectsWith("LEASE_LOST", lost[2]!.settle(bury(FAILED)));
  await rejectsWith("LEASE_LOST", lost[3]!.settle(RELEASE));
  assert.deepEqual(await another.admin.depth("q"), { ready: 4, delayed: 0, reserved: 0, dead: 0 });
  // It takes part again, and first says that it lives.
  const [again] = await take(frozen, { max: 1 });
  assert.equal(await server.cli("EXISTS", identity!), "1");
  assert.equal(again!.attempt, 2);
  await again!.settle(ACK);
});

Deno.test("A living process keeps its jobs, however long they run", async () => {
  await using server = await RedisServer.start();
  await using holder = openRedis(server, { leaseMs: 600 });
  await using another = openRedis(server, { leaseMs: 600 });
  await holder.push("q", job("long"));
  const delivery = await takeOne(holder);
  const until = performance.now() + 2_000;
  const stolen = await take(another, { waitMs: 2_000 });
  assert.ok(performance.now() >= until - 50);
  assert.deepEqual(stolen, []);
  await delivery.settle(ACK);
});

/** A process that holds a job and sends no heartbeat. */
async function addDead(server: RedisServer, identity: string): Promise<void> {
  await server.cli("SADD", "fervo:processes", identity);
  await server.cli("SADD", `fervo:queues:${identity}`, "q");
  await server.cli("LPUSH", `fervo:inflight:${identity}:q`, '{"class":"Suite","args":["left"],"jid":"abc"}');
}

Deno.test("A process counts as dead when no heartbeat came in a third of a lease since that was noticed", async () => {
  await using server = await RedisServer.start();
  await addDead(server, "gone:1:a");
  const leaseMs = 3_000;
  await using broker = openRedis(server, { leaseMs });
  const waiting = take(broker, { waitMs: FOREVER_MS });
  const noticed = async () => Number(await server.cli("HGET", "fervo:suspects", "gone:1:a"));
  await eventually("it is noticed", async () => await noticed() > 0);
  const sinceMs = await noticed();
  const [delivery] = await soon("its job", waiting);
  const waitedMs = Date.now() - sinceMs;
  assert.equal(delivery!.id, "abc");
  assert.ok(waitedMs >= leaseMs / 3, `taken after ${waitedMs} ms`);
  await delivery!.settle(ACK);
});

Deno.test("What was noticed before nobody looked for a while counts no more: Redis may have been away", async () => {
  await using server = await RedisServer.start();
  await addDead(server, "gone:1:a");
  const broker = openRedis(server, { leaseMs: 3_000 });
  await takeNow(broker, { queues: ["other"] });
  await eventually("it is noticed", async () => await server.cli("EXISTS", "fervo:suspects") === "1");
  await broker.close();
  await eventually("it is forgotten", async () => await server.cli("EXISTS", "fervo:suspects") === "0");
  assert.equal(await server.cli("LLEN", "fervo:inflight:gone:1:a:q"), "1");
});

Deno.test("A heartbeat that failed is sent again within a second", async () => {
  await using server = await RedisServer.start();
  const clock = new MovableClock();
  const leaseMs = 120_000;
  const log = new EventLog();
  await using broker = openRedis(server, { leaseMs, clock, observe: log.observe });
  await takeNow(broker);
  const identity = (await server.elements("SMEMBERS", "processes"))[0]!;
  const beats = async () => (await server.cli("HGET", identity, "info")) !== "";
  // Of a wrong type: it refuses the sign.
  await server.cli("SET", identity, "a text");
  clock.moveAhead(leaseMs / 6);
  const { error } = await log.next("broker_failed", ({ during }) => during === "heartbeat");
  assert.match(error.message, /the key ".*" holds data that is not Sidekiq's/);
  await server.cli("DEL", identity);
  clock.moveAhead(1_000);
  await eventually("a sign", beats, 5_000);
});

Deno.test("Workers killed at random moments under load lose no job; doubles were in flight", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { leaseMs: LEASE_MS });
  const names = Array.from({ length: 3_000 }, (_, i) => `job ${i}`);
  const runs = new Map<string, number>();
  const count = (name: string) => runs.set(name, (runs.get(name) ?? 0) + 1);
  const pushing = (async () => {
    for (const name of names) {
      await broker.push("q", job(name));
    }
  })();
  let kills = 0;
  for (; kills < 3; kills++) {
    await using worker = run(server, "work", `${LEASE_MS}`);
    await worker.line();
    const lines = 50 + Math.floor(Math.random() * 200);
    for (let i = 0; i < lines; i++) count(await worker.line());
    await worker.kill();
    for (const line of await worker.rest()) count(line);
  }
  await pushing;
  await eventually("all jobs ran", async () => {
    const deliveries = await take(broker, { max: 50, waitMs: 100 });
    for (const delivery of deliveries) count(nameOf(delivery));
    await Promise.all(deliveries.map((delivery) => delivery.settle(ACK)));
    return names.every((name) => runs.has(name));
  }, 30_000);
  const doubles = names.filter((name) => runs.get(name)! > 1).length;
  assert.ok(doubles <= kills * 10, `${doubles} ran twice`);
  await eventually("nothing is left", async () => {
    const { ready, delayed, reserved, dead } = await broker.admin.depth("q");
    for (const delivery of await takeNow(broker)) await delivery.settle(ACK);
    return ready! + delayed! + reserved! + dead! === 0;
  });
});
