import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { RedisServer } from "../support/redis_server.ts";

/** As FervoDeferredEventBundle pushed it, by musicglue/sidekiq-job-pusher: no id, no queue, no times. */
const deferred = (data: string) => JSON.stringify({ class: "DeferEvent", args: [data], retry: false });

Deno.test("Jobs of the bundle of 2013 reach PHP on STDIN, or as DEFERRED_DATA, as their worker gave them", async () => {
  await using redis = await RedisServer.start();
  await using fpm = await PhpFpm.start({ children: 4 });
  const broker = { driver: "redis", url: redis.url };
  await using site = await Site.create(fpm, { broker });
  await redis.cli("LPUSH", "queue:jobs", deferred("{}"));
  await site.runOk(["run", "--until-empty"]);
  assert.deepEqual(site.payloads(), ["{}"]);

  const script = `${site.directory}/dispatch.php`;
  const file = `${site.directory}/seen`;
  await Deno.writeTextFile(
    script,
    `<?php file_put_contents(${
      JSON.stringify(file)
    }, $_SERVER['DEFERRED_DATA'] . '|' . file_get_contents('php://input'));`,
  );
  await site.configure({
    broker,
    fpm: { script },
    consumer: { payload_param: "DEFERRED_DATA", ack_on: "status" },
  });
  await redis.cli("LPUSH", "queue:jobs", deferred("Tzo4OiJzdGRDbGFzcyI6MDp7fQ=="));
  await site.runOk(["run", "--until-empty"]);
  assert.equal(await Deno.readTextFile(file), "Tzo4OiJzdGRDbGFzcyI6MDp7fQ==|");
});

Deno.test("push, queues, dead and check work on Redis", async () => {
  await using redis = await RedisServer.start({ config: ["maxmemory-policy allkeys-lru", "appendonly yes"] });
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, {
    broker: { driver: "redis", url: redis.url, password: "${REDIS_SECRET}" },
  });
  const env = { REDIS_SECRET: "" };
  const job = '{"class":"Report","args":[1.0],"fail_until":9}';
  const { ids: [id] } = JSON.parse(
    await site.runOk(["push", "jobs", job, "--attempts", "1", "--json"], { env }),
  );
  assert.match(id, /^[0-9a-f]{24}$/);
  const pushed = (await redis.elements("LRANGE", "queue:jobs", "0", "-1"))[0]!;
  assert.match(pushed, /^\{"class":"Report","args":\[1\.0\],"fail_until":9,"retry":false,/);
  await site.runOk(["push", "jobs", job, "--delay", "1h"], { env });
  assert.match(await site.runOk(["queues"], { env }), /^ +1 +1 +0 +0 +default +jobs$/m);

  await using worker = site.start(["run"], { env });
  await eventually("it is dead", async () => (await redis.cli("ZCARD", "dead")) === "1");
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.match(await site.runOk(["dead", "show", id], { env }), new RegExp(`Job: +${id}\\nQueue: +jobs`));
  assert.equal(await site.runOk(["dead", "retry", id], { env }), "Retried 1 job\n");
  assert.equal(await redis.cli("LLEN", "queue:jobs"), "1");

  const refused = await site.run(["push", "jobs", "hello"], { env });
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /Cannot read the message as a Sidekiq job: it is not JSON in UTF-8/);
  const check = await site.run(["check"], { env });
  assert.match(
    check.stdout,
    /warning {2}brokers\.default: maxmemory-policy is "allkeys-lru" \[redis\.eviction\]/,
  );
});

Deno.test("Quiet and stop by Sidekiq's signals end a worker in order", async () => {
  await using redis = await RedisServer.start();
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { broker: { driver: "redis", url: redis.url, lease_ms: 1_000 } });
  await using worker = site.start(["run"]);
  await eventually(
    "it is in the list",
    async () => (await redis.elements("SMEMBERS", "processes")).length === 1,
  );
  const [identity] = await redis.elements("SMEMBERS", "processes");
  await redis.cli("LPUSH", `${identity}-signals`, "TSTP");
  await eventually("it is quiet", async () => (await redis.cli("HGET", identity!, "quiet")) === "true");
  await redis.cli("LPUSH", "queue:jobs", deferred("{}"));
  await redis.cli("LPUSH", `${identity}-signals`, "TERM");
  assert.equal((await worker.ended).code, 0);
  assert.equal(await redis.cli("LLEN", "queue:jobs"), "1");
  assert.equal(await redis.cli("EXISTS", "processes"), "0");
});

Deno.test("A worker that is told to be quiet by SIGTSTP is quiet in Sidekiq's list of processes", async () => {
  await using redis = await RedisServer.start();
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { broker: { driver: "redis", url: redis.url } });
  await using worker = site.start(["run"]);
  const quiet = async () => {
    const [identity] = await redis.elements("SMEMBERS", "processes");
    return identity === undefined ? undefined : await redis.cli("HGET", identity, "quiet");
  };
  await eventually("it is in the list", async () => await quiet() === "false");
  worker.kill("SIGTSTP");
  await eventually("it is quiet", async () => await quiet() === "true", 4_000);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("A wrong password is told without it, and in words", async () => {
  await using redis = await RedisServer.start({ config: ["requirepass right"] });
  await using site = await Site.create(undefined, {
    broker: { driver: "redis", url: redis.url, password: "hush-hush" },
  });
  const { code, stderr } = await site.run(["queues"]);
  assert.equal(code, 4);
  assert.match(stderr, /Cannot use Redis at ".*redis\.sock": the user name or the password is wrong/);
  assert.doesNotMatch(stderr, /hush/);
});
