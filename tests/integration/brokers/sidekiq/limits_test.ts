import assert from "node:assert/strict";
import { bytes, takeNow, takeOne } from "../../../conformance/driver_broker.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { openRedis } from "./broker.ts";
import { bury } from "../../../support/verdicts.ts";

const LIMIT = 300;

const job = (argumentBytes: number, more = "") =>
  bytes(`{"class":"Suite","args":["${"x".repeat(argumentBytes)}"]${more}}`);

Deno.test("RedisDriver.push() refuses a job that would be above maxPayloadBytes in Redis", async () => {
  await using server = await RedisServer.start();
  await using driver = openRedis(server, { maxPayloadBytes: LIMIT });
  const payload = job(LIMIT - 100);
  // It fits as it is given, and not with the fields that are added.
  assert.ok(payload.length < LIMIT);
  for (const delayMs of [0, 60_000]) {
    await assert.rejects(driver.push("q", payload, { delayMs }), {
      code: "JOB_MALFORMED",
      message: /"q" has 3\d\d bytes, more than the 300 that max_payload_bytes allows/,
    });
  }
  assert.deepEqual(await driver.queues(), []);
  await driver.push("q", job(10));
  const { problem } = await takeOne(driver);
  assert.equal(problem, undefined);
});

Deno.test("A job above maxPayloadBytes of another producer is a problem; buried it keeps its bytes and can be retried", async () => {
  await using server = await RedisServer.start();
  await using driver = openRedis(server, { maxPayloadBytes: LIMIT });
  const fits = job(10, `,"pad":"${"x".repeat(LIMIT - job(10).length - 9)}"`);
  assert.equal(fits.length, LIMIT);
  const long = job(LIMIT, ',"jid":"abc","queue":"q","dead":false');
  for (const one of [long, fits]) await server.cli("LPUSH", "queue:q", new TextDecoder().decode(one));
  const [large, small] = await takeNow(driver);
  assert.equal(small!.problem, undefined);
  assert.equal(large!.id, "abc");
  assert.equal(large!.problem?.code, "JOB_MALFORMED");
  assert.match(large!.problem!.message, /3\d\d bytes, more than the 300/);
  await large!.settle(bury(large!.problem!));
  const letter = await driver.dead.get("abc");
  const { args, error_class } = JSON.parse(new TextDecoder().decode(letter!.payload));
  assert.deepEqual([args, error_class], [["x".repeat(LIMIT)], "JOB_MALFORMED"]);
  assert.match(letter!.error.message, /max_payload_bytes/);
  assert.equal(await driver.dead.retry(["abc"]), 1);
  await using patient = openRedis(server);
  assert.equal((await takeOne(patient)).problem, undefined);
});
