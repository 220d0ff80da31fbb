/** What others have written into Redis, and what nobody should have: each item is read by itself. */
import assert from "node:assert/strict";
import { bytes, problemOf, take, takeNow, takeOne } from "../../../conformance/fixture.ts";
import { sidekiq6 } from "../../../../src/formats/sidekiq.ts";
import { EventLog } from "../../../support/event_log.ts";
import { eventually } from "../../../support/eventually.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { openRedis } from "./broker.ts";
import { SidekiqApi } from "./ruby_sidekiq.ts";
import { bury } from "../../../support/verdicts.ts";

const LEASE_MS = 1_000;

const text = (jid: string, fields = "") => `{"class":"X","args":[],"jid":"${jid}","queue":"q"${fields}}`;
const idsOf = (all: readonly { readonly id: string }[]) => all.map(({ id }) => id);

Deno.test("Dead letters are listed with any score and any time in them, as far as each can be told", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const scores = ["inf", "1e300", "8640000000001", "1790000000.5", "0", "-5", "-1e300", "-inf"];
  for (const [i, score] of scores.entries()) await server.cli("ZADD", "dead", score, text(`${i}`));
  await server.cli("ZADD", "dead", "1700000000", text("time", ',"created_at":1e300,"failed_at":-1e300'));
  await server.cli("ZADD", "dead", "inf", "no job");
  const letters = await broker.admin.dead.list({ limit: 100 });
  assert.equal(letters.length, scores.length + 2);
  for (const [i, { place }] of letters.entries()) {
    assert.deepEqual(
      idsOf(await broker.admin.dead.list({ limit: 100, after: place })),
      idsOf(letters.slice(i + 1)),
    );
  }
  const died = (id: string) => letters.find((letter) => letter.id === id)!.diedAtMs;
  const times = [undefined, undefined, undefined, 1_790_000_000_500, 0, -5_000, undefined, undefined];
  assert.deepEqual(scores.map((_, i) => died(`${i}`)), times);
  assert.equal(letters.find(({ id }) => id === "time")!.enqueuedAtMs, 1_700_000_000_000);
  assert.equal((await broker.admin.dead.get("0"))!.enqueuedAtMs, undefined);
  assert.equal((await broker.admin.depth("q")).dead, scores.length + 1);
  assert.equal(await broker.admin.dead.remove("all"), scores.length + 2);
});

Deno.test("Dead letters are all read, however many died in one instant and whoever removes some meanwhile", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const add = (i: number) => ["1790000000", text(`${i}`.padStart(4, "0"))];
  await server.cli("ZADD", "dead", ...Array.from({ length: 500 }, (_, i) => add(i)).flat());
  // Between the first part of the set that is read and the second: of the first, those that were read last.
  const seen: string[] = [];
  const matches = ({ id, payload }: { id: string; payload: Uint8Array }) => {
    seen.push(id);
    if (seen.length === 50 || seen.length === 200) {
      server.cliSync("ZREM", "dead", new TextDecoder().decode(payload));
    }
    return true;
  };
  const letters = await broker.admin.dead.list({ limit: 1_000, matches });
  assert.deepEqual(idsOf(letters), Array.from({ length: 500 }, (_, i) => `${499 - i}`.padStart(4, "0")));
  // Of one instant, it is not known where the one is that is gone: rather twice than not at all.
  assert.equal((await broker.admin.dead.list({ limit: 1_000, after: letters[199]!.place })).length, 498);
  assert.equal((await broker.admin.dead.list({ limit: 1_000, after: letters[200]!.place })).length, 299);
});

Deno.test("A job that is due never is not asked for again and again, nor does it keep others", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await server.cli("ZADD", "schedule", "inf", text("never"));
  await server.cli("ZADD", "retry", "1e300", text("never"));
  await takeNow(broker);
  await server.cli("CONFIG", "RESETSTAT");
  const later = broker.push("q", bytes(text("later")), { delayMs: 1_100 });
  assert.equal((await takeOne(broker)).id, await later);
  const [, calls] = /cmdstat_evalsha:calls=(\d+)/.exec(await server.cli("INFO", "commandstats"))!;
  assert.ok(Number(calls) < 40, `${calls} calls`);
  await server.cli("ZADD", "schedule", "-inf", text("long ago"));
  assert.equal((await takeOne(broker)).id, "long ago");
});

Deno.test("Jobs whose queue's key is another program's stay, are told, and keep no others from their queues", async () => {
  await using server = await RedisServer.start();
  const log = new EventLog();
  await using broker = openRedis(server, { observe: log.observe });
  await server.cli("SET", "queue:foreign", "a text");
  const stuck = (i: number) => `{"class":"X","args":[],"jid":"stuck${i}","queue":"foreign"}`;
  // More than are read at once, and all in front.
  const members = Array.from({ length: 250 }, (_, i) => ["1", stuck(i)]).flat();
  await server.cli("ZADD", "schedule", ...members, "2", text("a"), "3", text("b"));
  await server.cli("ZADD", "retry", ...members.slice(0, 10), "5", text("c"));
  await server.cli("ZADD", "dead", "7", stuck(1_000), "8", text("d"));
  const found: string[] = [];
  await eventually("the others are taken", async () => {
    found.push(...idsOf(await take(broker, { max: 10, waitMs: 100 })));
    return found.length === 3;
  });
  assert.deepEqual(found.toSorted(), ["a", "b", "c"]);
  assert.equal(await server.cli("ZCARD", "schedule"), "250");
  const { during, error } = await log.next("broker_failed");
  assert.equal(during, "schedule");
  assert.match(error.message, /the key "queue:foreign" holds data that is not Sidekiq's/);

  await assert.rejects(broker.admin.dead.retry("all"), /the key "queue:foreign"/);
  assert.deepEqual(idsOf(await take(broker, { max: 10 })), ["d"], "the other letter was retried");
  assert.deepEqual(idsOf(await broker.admin.dead.list({ limit: 10 })), ["stuck1000"]);
  // Of two queues of a consumer the one is served, and the other told when there is nothing else to do.
  await broker.push("q", bytes(text("e")));
  assert.deepEqual(idsOf(await take(broker, { queues: ["foreign", "q"], max: 10 })), ["e"]);
  await assert.rejects(takeNow(broker, { queues: ["foreign", "q"] }), /the key "queue:foreign"/);
  await server.cli("SADD", "queues", "foreign");
  assert.deepEqual(await broker.admin.queues(), ["foreign", "q"], "it has jobs that are scheduled");
  await server.cli("DEL", "schedule", "retry", "dead");
  assert.deepEqual(await broker.admin.queues(), ["q"]);
});

Deno.test("The dead are found whatever else is in the lists of processes, and one queue does not keep the others", async () => {
  await using server = await RedisServer.start();
  const log = new EventLog();
  await using broker = openRedis(server, { leaseMs: LEASE_MS, observe: log.observe });
  const [dead, other] = ["gone:1:abc", "gone:2:abc"];
  await server.cli("SADD", "fervo:processes", dead, other, "odd \n name", "");
  await server.cli("SADD", `fervo:queues:${dead}`, "foreign", "q");
  await server.cli("SADD", `fervo:queues:${other}`, "q");
  await server.cli("HSET", "fervo:suspects", dead, "no number", other, "99999999999999", "stranger", "-");
  await server.cli("SET", "queue:foreign", "a text");
  for (const process of [dead, other]) {
    await server.cli("LPUSH", `fervo:inflight:${process}:q`, text(process));
  }
  await server.cli("LPUSH", `fervo:inflight:${dead}:foreign`, text("foreign"));
  await takeNow(broker, { queues: ["elsewhere"] });
  const found: string[] = [];
  await eventually("both jobs", async () => {
    found.push(...idsOf(await take(broker, { max: 10, waitMs: 100 })));
    return found.length === 2;
  });
  assert.deepEqual(found.toSorted(), [dead, other]);
  assert.match((await log.next("broker_failed")).error.message, /the key "queue:foreign"/);
  await eventually(
    "the one without a further job is forgotten",
    async () => !(await server.elements("SMEMBERS", "fervo:processes")).includes(other),
  );
  assert.equal(await server.cli("LLEN", `fervo:inflight:${dead}:foreign`), "1");
});

Deno.test("Sidekiq's page of running jobs is there while we hold what is no job", async () => {
  await using server = await RedisServer.start();
  await using sidekiq = await SidekiqApi.start(server);
  // In the form of all versions.
  await using broker = openRedis(server, { leaseMs: LEASE_MS, format: sidekiq6 });
  const odd = ["null", "5", "[1]", "{not json", '{"class":"X"}'];
  for (const message of odd) await server.cli("LPUSH", "queue:q", message);
  const held = await take(broker, { max: 10 });
  await eventually("it shows them", async () => (await sidekiq.ask("workers")).length === odd.length);
  assert.equal(await sidekiq.ask("page", "/busy"), 200);
  await Promise.all(held.map((delivery) => delivery.settle(bury(problemOf(delivery)!))));
});
