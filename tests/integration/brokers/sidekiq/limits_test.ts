import assert from "node:assert/strict";
import { bytes, problemOf, takeNow, takeOne } from "../../../conformance/fixture.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { openRedis } from "./broker.ts";
import { bury } from "../../../support/verdicts.ts";

const LIMIT = 300;

const job = (argumentBytes: number, more = "") =>
  bytes(`{"class":"Suite","args":["${"x".repeat(argumentBytes)}"]${more}}`);

Deno.test("SidekiqBroker.push() refuses a job that would be above maxPayloadBytes in Redis", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { maxPayloadBytes: LIMIT });
  const payload = job(LIMIT - 100);
  // It fits as it is given, and not with the fields that are added.
  assert.ok(payload.length < LIMIT);
  for (const delayMs of [0, 60_000]) {
    await assert.rejects(broker.push("q", payload, { delayMs }), {
      code: "JOB_MALFORMED",
      message: /"q" has 3\d\d bytes, more than the 300 that max_payload_bytes allows/,
    });
  }
  assert.deepEqual(await broker.admin.queues(), []);
  await broker.push("q", job(10));
  assert.equal(problemOf(await takeOne(broker)), undefined);
});

Deno.test("A job above maxPayloadBytes of another producer is a problem; buried it keeps its bytes and can be retried", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { maxPayloadBytes: LIMIT });
  const fits = job(10, `,"pad":"${"x".repeat(LIMIT - job(10).length - 9)}"`);
  assert.equal(fits.length, LIMIT);
  const long = job(LIMIT, ',"jid":"abc","queue":"q","dead":false');
  for (const one of [long, fits]) await server.cli("LPUSH", "queue:q", new TextDecoder().decode(one));
  const [large, small] = await takeNow(broker);
  assert.equal(problemOf(small!), undefined);
  assert.equal(large!.id, "abc");
  assert.equal(problemOf(large!)?.code, "JOB_MALFORMED");
  assert.match(problemOf(large!)!.message, /3\d\d bytes, more than the 300/);
  await large!.settle(bury(problemOf(large!)!));
  const letter = await broker.admin.dead.get("abc");
  const { args, error_class } = JSON.parse(new TextDecoder().decode(letter!.payload));
  assert.deepEqual([args, error_class], [["x".repeat(LIMIT)], "JOB_MALFORMED"]);
  assert.match(letter!.error.message, /max_payload_bytes/);
  assert.equal(await broker.admin.dead.retry(["abc"]), 1);
  await using patient = openRedis(server);
  assert.equal(problemOf(await takeOne(patient)), undefined);
});
