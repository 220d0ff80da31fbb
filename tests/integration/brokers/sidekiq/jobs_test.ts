/** Pages of jobs in Redis beyond the conformance suite: what others have written, and what a page costs. */
import assert from "node:assert/strict";
import type { JobState } from "../../../../src/core/admin.ts";
import { bytes, take } from "../../../conformance/fixture.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { openRedis } from "./broker.ts";

const job = (jid: string, queue = "q", more = "") =>
  `{"class":"Suite","args":[],"jid":"${jid}","queue":"${queue}"${more}}`;

Deno.test("jobs() tells retries behind what is scheduled, jobs of one time once, and those of one queue", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const scheduled = Array.from({ length: 1_500 }, (_, i) => job(`s${i}`, "other"));
  await server.cli(
    "ZADD",
    "schedule",
    ...scheduled.flatMap((one, i) => [String(4e9 + Math.trunc(i / 400)), one]),
  );
  await server.cli("ZADD", "schedule", "4000000001", job("a"), "4000000001", job("b"), "+inf", job("c"));
  await server.cli("ZADD", "retry", "-inf", job("d", "q", ',"retry_count":2'), "5", job("e"), "6", "no job");
  const first = await broker.admin.jobs("q", "delayed", { limit: 10 });
  assert.deepEqual(first.jobs.map(({ id }) => id), ["a", "b"]);
  assert.match(first.next!, /^schedule:/);
  for (const limit of [1, 2, 10]) {
    const jobs = await all(broker, "delayed", limit);
    assert.deepEqual(jobs.map(({ id }) => id), ["a", "b", "c", "d", "e"]);
    assert.deepEqual(jobs.map(({ attempts }) => attempts), [0, 0, 0, 3, 0]);
    assert.deepEqual(jobs.map(({ readyAtMs }) => readyAtMs), [
      4_000_000_001_000,
      4_000_000_001_000,
      undefined,
      undefined,
      5_000,
    ]);
  }
});

Deno.test("jobs() tells a message that is no job by its hash, and the jobs that each process has", async () => {
  await using server = await RedisServer.start();
  await using one = openRedis(server, { owner: "b:1:x" });
  await using other = openRedis(server, { owner: "a:2:y" });
  for (const id of ["first", "second", "third"]) await one.push("q", bytes(job(id)));
  await server.cli("LPUSH", "queue:q", "no job");
  await take(one, { max: 2 });
  await take(other, { max: 1 });
  for (const limit of [1, 2, 10]) {
    const reserved = await all(one, "reserved", limit);
    assert.deepEqual(reserved.map(({ id, attempts }) => [id, attempts]), [["third", 1], ["first", 1], [
      "second",
      1,
    ]]);
  }
  const [strange, ...more] = await all(one, "ready", 10);
  assert.deepEqual(more, []);
  assert.match(strange!.id, /^[0-9a-f]{40}$/);
  assert.equal(new TextDecoder().decode(strange!.payload), "no job");
});

async function all(broker: ReturnType<typeof openRedis>, state: JobState, limit: number) {
  const listed = [];
  let after: string | undefined;
  do {
    const { jobs, next } = await broker.admin.jobs!("q", state, { limit, after });
    listed.push(...jobs);
    after = next;
  } while (after !== undefined);
  return listed;
}
