/** A worker with the rights that docs/brokers/sidekiq.md names, and no others. */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { Site } from "../../support/fervo_worker.ts";
import { documentedRights, RedisServer } from "../../support/redis_server.ts";

/** What a worker must not be able to do, whatever the pattern of its keys. */
const FORBIDDEN = [
  ["FLUSHALL"],
  ["FLUSHDB"],
  ["SWAPDB", "0", "1"],
  ["KEYS", "*"],
  ["CLIENT", "LIST"],
  ["CLIENT", "KILL", "TYPE", "normal"],
  ["CONFIG", "GET", "requirepass"],
  ["CONFIG", "SET", "maxmemory", "1"],
  ["ACL", "LIST"],
  ["MIGRATE", "127.0.0.1", "1", "queue:jobs", "0", "1"],
  ["REPLICAOF", "127.0.0.1", "1"],
  ["SAVE"],
  ["SHUTDOWN", "NOSAVE"],
  ["MONITOR"],
  ["SCRIPT", "FLUSH"],
  ["EVAL", "return redis.call('FLUSHALL')", "0"],
  ["EVAL", "return redis.call('KEYS', '*')", "0"],
];

/** Keys of others, which the pattern of `~ns:*` leaves alone. */
const OTHERS = "other-application:data";

for (const keyPrefix of ["", "ns:"]) {
  const pattern = keyPrefix === "" ? "all keys" : `the keys of a prefix`;
  Deno.test(`All that the worker does goes with the documented rights to ${pattern}, and nothing dangerous does`, async () => {
    const rights = (await documentedRights()).map((rule) => rule === "~*" ? `~${keyPrefix}*` : rule);
    await using redis = await RedisServer.start({ tcp: true, config: [`user worker ${rights.join(" ")}`] });
    await redis.cli("SET", OTHERS, "precious");
    const broker = {
      driver: "redis",
      url: `redis://worker:SECRET@${redis.hostPort}`,
      key_prefix: keyPrefix,
      lease_ms: 1_000,
    };
    await using site = await Site.create(undefined, { broker });
    const schedule = { every_ms: 1_000, payload: '{"class":"Timed","args":[],"retry":0}' };
    await site.configure({
      broker,
      schedule,
      process: { command: ["false"] },
    });

    const job = '{"class":"X","args":[]}';
    await site.runOk(["push", "jobs", job, "--attempts", "1"]);
    await site.runOk(["push", "jobs", job, "--delay", "100ms", "--attempts", "3"]);
    // In flight of a worker that died.
    const dead = `${keyPrefix}fervo:inflight:gone:1:a:jobs`;
    await redis.cli("SADD", `${keyPrefix}fervo:processes`, "gone:1:a");
    await redis.cli("SADD", `${keyPrefix}fervo:queues:gone:1:a`, "jobs");
    await redis.cli("LPUSH", dead, '{"class":"X","args":[],"jid":"recovered","retry":0}');
    await redis.cli("ZADD", `${keyPrefix}schedule`, "1", "no job");
    await using worker = site.start(["run"]);
    await eventually("jobs of all kinds have failed", async () => {
      const text = (await redis.elements("ZRANGE", `${keyPrefix}dead`, "0", "-1")).join();
      const retry = await redis.cli("ZCARD", `${keyPrefix}retry`);
      return text.includes("recovered") && text.includes("Timed") && text.includes("unreadable") &&
        retry === "1";
    }, 60_000);
    await site.runOk(["pause", "jobs", "--for", "1h", "--reason", "moved"]);
    await site.runOk(["resume", "jobs"]);
    for (const state of ["ready", "delayed", "reserved"]) {
      await site.runOk(["jobs", "jobs", "--state", state]);
    }
    await site.runOk(["dead", "groups"]);
    await site.runOk(["queues"]);
    const letters = JSON.parse(await site.runOk(["dead", "list", "--json"]));
    await site.runOk(["dead", "show", letters[0].id]);
    await site.runOk(["dead", "retry", letters[0].id]);
    worker.kill("SIGTERM");
    assert.equal((await worker.ended).code, 0);
    assert.doesNotMatch(worker.stderr, /NOPERM|not allowed/);
    await site.runOk(["dead", "remove", "--all", "--yes"]);
    const check = await site.run(["check"]);
    assert.match(check.stdout, /redis\.persistence/);
    assert.doesNotMatch(check.stdout + check.stderr, /NOPERM|QUEUE_UNAVAILABLE/);

    for (const command of FORBIDDEN) {
      const said = await redis.cli("--user", "worker", "--pass", "SECRET", "--no-auth-warning", ...command);
      assert.match(said, /NOPERM|no permissions|can't run this command/, command.join(" "));
    }
    assert.equal(await redis.cli("GET", OTHERS), "precious");
    const log = JSON.parse(await redis.cli("--json", "ACL", "LOG", "128")) as {
      object: string;
      context: string;
    }[];
    const denied = new Set(log.map(({ object }) => object));
    const allowed = new Set([
      "config|get",
      ...FORBIDDEN.map(([name, sub]) =>
        `${name}${["CLIENT", "CONFIG", "ACL", "SCRIPT"].includes(name!) ? `|${sub}` : ""}`.toLowerCase()
      ),
    ]);
    assert.deepEqual(
      [...denied].filter((object) => !allowed.has(object)),
      [],
      "the worker asked for no other thing",
    );
  });
}

Deno.test("What check may not ask of Redis is a notice, and no failure", async () => {
  const rights = (await documentedRights()).filter((rule) => rule !== "+info");
  await using redis = await RedisServer.start({ tcp: true, config: [`user worker ${rights.join(" ")}`] });
  const broker = { driver: "redis", url: `redis://worker:SECRET@${redis.hostPort}` };
  await using site = await Site.create(undefined, { broker });
  await site.configure({ broker, process: { command: ["true"] } });
  const { stdout, stderr } = await site.run(["check"]);
  assert.match(stdout, /the server's version is unknown/);
  assert.doesNotMatch(stdout + stderr, /error|replica|QUEUE_UNAVAILABLE/);
});
