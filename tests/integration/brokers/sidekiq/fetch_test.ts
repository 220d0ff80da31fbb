import type { Delivery } from "../../../../src/core/delivery.ts";
import assert from "node:assert/strict";
import { bytes, FOREVER_MS, take, takeNow, textOf } from "../../../conformance/fixture.ts";
import { eventually } from "../../../support/eventually.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { soon } from "../../../support/soon.ts";
import { openRedis } from "./broker.ts";
import { ACK } from "../../../support/verdicts.ts";

const job = (name: string) => bytes(`{"class":"Suite","args":[${JSON.stringify(name)}]}`);
const nameOf = (delivery: Delivery) => JSON.parse(textOf(delivery)).args[0] as string;

/** Waits until so many connections wait for jobs. */
const waits = (server: RedisServer, count: number) =>
  eventually(
    `${count} waits`,
    async () => (await server.cli("CLIENT", "LIST")).split("cmd=blmove").length - 1 === count,
  );

Deno.test("Of jobs that come to several queues at once no more are taken than were asked for, none is lost", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const queues = ["a", "b", "c"];
  const received: string[] = [];
  for (let round = 0; round < 30; round++) {
    const waiting = take(broker, { queues, max: 2, waitMs: FOREVER_MS });
    await waits(server, 3);
    // All three lists get a job before any wait is answered.
    await server.cli(
      "EVAL",
      "for _, q in ipairs({'a','b','c'}) do redis.call('LPUSH', 'queue:' .. q, ARGV[1]) end",
      "0",
      new TextDecoder().decode(job(`${round}`)),
    );
    const first = await soon("the jobs", waiting);
    assert.ok(first.length >= 1 && first.length <= 2, `${first.length} for 2`);
    const { ready, reserved } = await sumOf(broker, queues);
    assert.deepEqual([ready, reserved], [3 - first.length, first.length]);
    const rest = await takeNow(broker, { queues });
    assert.equal(first.length + rest.length, 3);
    for (const delivery of [...first, ...rest]) {
      received.push(nameOf(delivery));
      await delivery.settle(ACK);
    }
  }
  assert.equal(received.length, 90);
});

async function sumOf(broker: ReturnType<typeof openRedis>, queues: readonly string[]) {
  const depths = await Promise.all(queues.map((queue) => broker.admin.depth(queue)));
  return {
    ready: depths.reduce((sum, { ready }) => sum + ready!, 0),
    reserved: depths.reduce((sum, { reserved }) => sum + reserved!, 0),
  };
}

Deno.test("Two receives that wait on one queue get a job each", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const waiting = [1, 2].map(() => take(broker, { waitMs: FOREVER_MS }));
  await waits(server, 1);
  await broker.push("q", job("1"));
  await broker.push("q", job("2"));
  const deliveries = (await soon("the jobs", Promise.all(waiting))).flat();
  assert.deepEqual(deliveries.map(nameOf).toSorted(), ["1", "2"]);
  for (const delivery of deliveries) await delivery.settle(ACK);
});

Deno.test("A job is found in any of many queues, and the waits are bounded", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const queues = Array.from({ length: 40 }, (_, i) => `q${i}`);
  const waiting = take(broker, { queues, waitMs: FOREVER_MS });
  await waits(server, 16);
  await broker.push("q39", job("last"));
  const [delivery] = await soon("the job", waiting);
  assert.equal(delivery!.queue, "q39");
  await delivery!.settle(ACK);
});

Deno.test("An idle driver asks Redis for next to nothing", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const abort = new AbortController();
  const waiting = take(broker, { queues: ["a", "b"], waitMs: FOREVER_MS, signal: abort.signal });
  await waits(server, 2);
  const commands = async () =>
    Number(/total_commands_processed:(\d+)/.exec(await server.cli("INFO", "stats"))![1]);
  const before = await commands();
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const asked = await commands() - before;
  assert.ok(asked <= 20, `${asked} commands in 3 s`);
  abort.abort();
  assert.deepEqual(await soon("the end", waiting), []);
});

Deno.test("Jobs that others schedule are run when they are due, by whoever is first, once", async () => {
  await using server = await RedisServer.start();
  await using one = openRedis(server);
  await using two = openRedis(server);
  const count = 250;
  const due = Date.now() / 1_000 + 0.5;
  const waiting = [one, two].map((broker) => take(broker, { max: 1, waitMs: FOREVER_MS }));
  for (let i = 0; i < count; i++) {
    await server.cli(
      "ZADD",
      i % 2 === 0 ? "schedule" : "retry",
      String(due),
      `{"class":"X","args":["${i}"],"queue":"q","jid":"${i}","big":12345678901234567890,"f":1.0}`,
    );
  }
  const seen = (await soon("the first", Promise.all(waiting))).flat();
  await eventually("all of them", async () => {
    for (const broker of [one, two]) seen.push(...await takeNow(broker));
    return seen.length >= count;
  });
  assert.equal(new Set(seen.map((delivery) => delivery.id)).size, count);
  assert.equal(seen.length, count);
  const text = new TextDecoder().decode(seen[0]!.message.body);
  assert.match(text, /,"big":12345678901234567890,"f":1\.0,"enqueued_at":\d+\.\d{3}\}$/);
  assert.deepEqual(await server.elements("SMEMBERS", "queues"), ["q"]);
  for (const delivery of seen) await delivery.settle(ACK);
});

Deno.test("Producers that know nothing of the set of queues are seen by the Web UI, as soon as a worker takes jobs", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await takeNow(broker, { queues: ["default", "mail"] });
  assert.deepEqual((await server.elements("SMEMBERS", "queues")).toSorted(), ["default", "mail"]);
});
