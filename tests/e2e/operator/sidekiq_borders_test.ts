/** Sidekiq's jobs at their borders, as operators meet them: the binary, a real Redis, Sidekiq's own API and Web UI. */
import assert from "node:assert/strict";
import { SidekiqApi } from "../../integration/brokers/sidekiq/ruby_sidekiq.ts";
import { eventually } from "../../support/eventually.ts";
import { Site } from "../../support/fervo_worker.ts";
import { RedisServer } from "../../support/redis_server.ts";

/** A site whose jobs run as processes that fail, each leaving a line of its id and attempt in the file `ran`. */
async function failingSite(redis: RedisServer): Promise<Site> {
  const note = 'echo "$FERVO_JOB_ID try $FERVO_ATTEMPT of $FERVO_MAX_ATTEMPTS" >> "$0"; exit 1';
  return await Site.create(undefined, {
    broker: { driver: "redis", url: redis.url, format: "sidekiq7" },
    process: { command: ["sh", "-c", note, `${redis.folder}/ran`] },
    retry: { attempts: 2 },
  });
}

/** The lines of `ran` since the last time, sorted. */
async function ranSince(redis: RedisServer): Promise<string[]> {
  const path = `${redis.folder}/ran`;
  const text = await Deno.readTextFile(path).catch(() => "");
  await Deno.writeTextFile(path, "");
  return text.split("\n").filter((line) => line !== "").sort();
}

/** Runs a worker until this many jobs lie in the retry set and the dead set. */
async function runUntilFiled(site: Site, redis: RedisServer, jobs: number): Promise<void> {
  await using worker = site.start(["run"]);
  await eventually("all have failed", async () => {
    const sizes = [await redis.cli("ZCARD", "dead"), await redis.cli("ZCARD", "retry")];
    return sizes.reduce((sum, size) => sum + Number(size), 0) === jobs;
  }, 60_000);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
}

Deno.test("Retry in Sidekiq's Web UI runs a job once more, whatever it says of its retries", async () => {
  await using redis = await RedisServer.start();
  await using sidekiq = await SidekiqApi.start(redis);
  await using site = await failingSite(redis);
  // By their ids: what they say, and their attempts as seen first and after Retry.
  const jobs: [id: string, fields: string, first: string, again: string][] = [
    ["false", '"retry":false', "1 of 1", "1 of 1"],
    ["zero", '"retry":0', "1 of 1", "1 of 1"],
    ["less", '"retry":-2', "1 of 1", "1 of 1"],
    ["one", '"retry":1', "1 of 2", "1 of 2"],
    // Sidekiq's API gives `true` to a job without it.
    ["none", '"tags":[]', "1 of 2", "1 of 26"],
    ["null", '"retry":null', "1 of 2", "1 of 2"],
    ["true", '"retry":true', "1 of 26", "1 of 26"],
    ["last", '"retry":1,"retry_count":0,"failed_at":1700000000.5', "2 of 2", "2 of 2"],
    ["lowered", '"retry":null,"retry_count":7,"failed_at":1700000000.5', "9 of 9", "9 of 9"],
    ["window", '"retry_for":-1', "1 of 1", "1 of 1"],
    ["over", '"retry_for":60,"retry_count":3,"failed_at":1700000000.5', "5 of 26", "5 of 26"],
    // Its worker died in the last of its attempts: it does not run, until somebody says so.
    ["lost", '"retry":null,"fervo_recovered":2,"fervo_lost":true', "", "3 of 3"],
  ];
  for (const [id, fields] of jobs) {
    await redis.cli("LPUSH", "queue:jobs", `{"class":"X","args":[],"queue":"jobs","jid":"${id}",${fields}}`);
  }
  await runUntilFiled(site, redis, jobs.length);
  const lines = (column: 2 | 3) =>
    jobs.filter((job) => job[column] !== "").map((job) => `${job[0]} try ${job[column]}`).sort();
  assert.deepEqual(await ranSince(redis), lines(2));
  const retried = (await redis.elements("ZRANGE", "retry", "0", "-1")).map((text) => JSON.parse(text).jid);
  assert.deepEqual(retried.sort(), ["none", "null", "one", "true"]);
  for (const page of ["/retries", "/morgue"]) assert.equal(await sidekiq.ask("page", page), 200, page);
  for (let round = 0; round < 2; round++) {
    assert.deepEqual(await sidekiq.ask("retry_all"), []);
    await runUntilFiled(site, redis, jobs.length);
    assert.deepEqual(await ranSince(redis), lines(3), `round ${round}`);
  }
});

Deno.test("No message takes a page of the Web UI down, or is lost by its Retry; ours gives the bytes back", async () => {
  await using redis = await RedisServer.start();
  await using sidekiq = await SidekiqApi.start(redis);
  await using site = await failingSite(redis);
  const rails = '"class":"ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper"';
  const odd = [
    "null",
    "5",
    "[1]",
    '"x"',
    "true",
    "hello",
    "",
    " ",
    "\x00",
    "{}",
    '{"class":"X"}',
    '{"args":[]}',
    '{"class":5,"args":[]}',
    '{"class":"X","args":{}}',
    '{"class":"X","args":[NaN]}',
    '{"class":"X","args":[],"jid":"a\\u0000"}',
    '{"class":"X","args":[],"encrypt":true}',
    `{${rails},"args":[],"wrapped":"Y"}`,
    `{${rails},"args":["ActionMailer::DeliveryJob"]}`,
    "[".repeat(50_000),
  ].map((text) => new TextEncoder().encode(text));
  odd.push(new Uint8Array([0xff, 0xfe, 0x80]), new Uint8Array([0xed, 0xa0, 0x80]));
  const jobs = [
    '"tags":5',
    '"tags":"a"',
    '"tags":{"a":1}',
    '"retry_count":"x"',
    '"created_at":1e300',
    '"queue":""',
  ];
  for (const message of odd) await pushBytes(redis, message);
  for (const [i, fields] of jobs.entries()) {
    const job = `{"class":"X","args":[],"retry":0,"jid":"job${i}",${fields}}`;
    await pushBytes(redis, new TextEncoder().encode(job));
  }
  const all = odd.length + jobs.length;
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  assert.equal((await ranSince(redis)).length, jobs.length);
  for (let round = 0; round < 2; round++) {
    assert.equal(await redis.cli("ZCARD", "dead"), `${all}`);
    assert.equal(await sidekiq.ask("page", "/morgue"), 200);
    assert.match(await site.runOk(["queues"]), new RegExp(`^ +0 +0 +0 +${all} +default +jobs$`, "m"));
    const letters = JSON.parse(await site.runOk(["dead", "list", "--json", "--limit", "100"]));
    const payloads = letters.map((letter: { payload?: string; payload_base64?: string }) =>
      letter.payload === undefined
        ? letter.payload_base64
        : new TextEncoder().encode(letter.payload).toBase64()
    );
    for (const message of odd) assert.ok(payloads.includes(message.toBase64()), `${message.subarray(0, 60)}`);
    // The whole dead set through the Web UI's Retry, and back.
    assert.deepEqual(await sidekiq.ask("retry_all"), []);
    await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  }
  assert.equal(await site.runOk(["dead", "retry", "--all", "--yes"]), `Retried ${all} jobs\n`);
  assert.equal(await redis.cli("LLEN", "queue:jobs"), `${all}`);
  const digests = async (texts: Uint8Array<ArrayBuffer>[]) =>
    (await Promise.all(
      texts.map(async (text) => new Uint8Array(await crypto.subtle.digest("SHA-1", text)).toHex()),
    ))
      .sort();
  const script =
    "local d = {} for i, v in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do d[i] = redis.sha1hex(v) end return d";
  const back = await redis.elements("EVAL", script, "1", "queue:jobs");
  for (const digest of await digests(odd)) assert.ok(back.includes(digest));
});

/** Pushes any bytes, which an argument cannot hold. */
async function pushBytes(redis: RedisServer, message: Uint8Array<ArrayBuffer>): Promise<void> {
  const args = ["-s", redis.socket, "-x", "LPUSH", "queue:jobs"];
  const cli = new Deno.Command("redis-cli", { args, stdin: "piped", stdout: "null" }).spawn();
  await new Response(message).body!.pipeTo(cli.stdin);
  await cli.status;
}
