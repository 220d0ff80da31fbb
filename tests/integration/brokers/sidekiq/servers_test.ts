/** Where Redis is and how to get in: TLS, databases, prefixes, Sentinel, Cluster; and what `check` says of it. */
import type { Delivery } from "../../../../src/core/delivery.ts";
import assert from "node:assert/strict";
import { bytes, FOREVER_MS, take, takeNow, takeOne, textOf } from "../../../conformance/fixture.ts";
import { FervoError } from "../../../../src/core/errors.ts";
import { parseHostPort } from "../../../../src/redis/address.ts";
import { eventually } from "../../../support/eventually.ts";
import { freePort, RedisServer } from "../../../support/redis_server.ts";
import { RedisTls } from "../../../support/redis_tls.ts";
import { soon } from "../../../support/soon.ts";
import { openRedis } from "./broker.ts";
import { ACK, RELEASE, retry } from "../../../support/verdicts.ts";

const job = (name: string) => bytes(`{"class":"Suite","args":[${JSON.stringify(name)}]}`);
const nameOf = (delivery: Delivery) => JSON.parse(textOf(delivery)).args[0] as string;
const endpoint = (server: RedisServer) => parseHostPort(server.hostPort, 0);

async function persist<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof FervoError) || error.code !== "QUEUE_UNAVAILABLE") throw error;
    }
  }
}

Deno.test("A database and a key prefix keep queues apart", async () => {
  await using server = await RedisServer.start();
  await using plain = openRedis(server);
  await using other = openRedis(server, { database: 3 });
  await using prefixed = openRedis(server, { keyPrefix: "ns:" });
  for (const [broker, name] of [[plain, "plain"], [other, "other"], [prefixed, "prefixed"]] as const) {
    await broker.push("q", job(name));
  }
  for (const [broker, name] of [[plain, "plain"], [other, "other"], [prefixed, "prefixed"]] as const) {
    const [delivery, ...more] = await takeNow(broker);
    assert.equal(nameOf(delivery!), name);
    assert.deepEqual(more, []);
    await delivery!.settle(ACK);
  }
  const keys = await server.elements("KEYS", "ns:*");
  assert.ok(keys.includes("ns:queues") && keys.includes("ns:processes"), `${keys}`);
});

Deno.test("TLS by an own authority works, and an unknown one is told", async () => {
  await using tls = await RedisTls.create("127.0.0.1");
  const port = freePort();
  await using server = await RedisServer.start({ config: tls.config(port) });
  const target = { kind: "server", endpoint: { transport: "tcp", hostname: "127.0.0.1", port } } as const;
  await using broker = openRedis(server, { target, isTls: true, caFile: tls.caFile });
  await broker.push("q", job("x"));
  await (await takeOne(broker)).settle(ACK);
  await using strict = openRedis(server, { target, isTls: true });
  await assert.rejects(strict.admin.queues(), /its certificate cannot be verified: set ca_file/);
});

Deno.test("Sentinel tells the master, and after a failover the new one", async () => {
  await using master = await RedisServer.start({ tcp: true, config: ["repl-diskless-sync-delay 0"] });
  await using replica = await RedisServer.start({
    tcp: true,
    config: [`replicaof 127.0.0.1 ${master.port}`],
  });
  await eventually(
    "it follows",
    async () => (await replica.cli("INFO", "replication")).includes("link_status:up"),
    20_000,
  );
  await using sentinel = await RedisServer.start({
    tcp: true,
    isSentinel: true,
    config: [
      `sentinel monitor jobs 127.0.0.1 ${master.port} 1`,
      "sentinel down-after-milliseconds jobs 500",
      "sentinel failover-timeout jobs 3000",
    ],
  });
  await eventually(
    "it knows the replica",
    async () => (await sentinel.cli("SENTINEL", "REPLICAS", "jobs")) !== "",
    20_000,
  );
  const target = {
    kind: "sentinel",
    master: "jobs",
    // The first is away.
    sentinels: [{ transport: "tcp", hostname: "127.0.0.1", port: 1 }, endpoint(sentinel)],
    password: undefined,
  } as const;
  await using broker = openRedis(master, { target });
  await broker.push("q", job("before"));
  await (await takeOne(broker)).settle(ACK);
  const waiting = persist(() => take(broker, { waitMs: FOREVER_MS }));
  await eventually("it waits", async () => (await master.cli("CLIENT", "LIST")).includes("cmd=blmove"));
  await master.kill();
  await eventually(
    "the replica is master",
    async () => (await replica.cli("ROLE")).startsWith("master"),
    20_000,
  );
  await persist(() => broker.push("q", job("after")));
  const [delivery] = await soon("the job", waiting);
  assert.equal(nameOf(delivery!), "after");
  await delivery!.settle(ACK);

  await using unknown = openRedis(master, { target: { ...target, master: "none" } });
  await assert.rejects(unknown.admin.queues(), /The Sentinel at ".*" does not know the master "none"/);
});

Deno.test("In a cluster the keys of a prefix with a hash tag are found, also when their slot moves", async () => {
  const config = ["cluster-enabled yes", "cluster-node-timeout 2000"];
  await using one = await RedisServer.start({ tcp: true, config });
  await using two = await RedisServer.start({ tcp: true, config });
  await one.cli("CLUSTER", "ADDSLOTSRANGE", "0", "8191");
  await two.cli("CLUSTER", "ADDSLOTSRANGE", "8192", "16383");
  await one.cli("CLUSTER", "MEET", "127.0.0.1", String(two.port));
  for (const server of [one, two]) {
    await eventually("the cluster is whole", async () => {
      return (await server.cli("CLUSTER", "INFO")).includes("cluster_state:ok") &&
        (await server.cli("CLUSTER", "SLOTS")).includes(String(two.port)) &&
        (await server.cli("CLUSTER", "SLOTS")).includes(String(one.port));
    }, 20_000);
  }
  const prefix = "{jobs}:";
  const slot = Number(await one.cli("CLUSTER", "KEYSLOT", prefix));
  const [owner, other] = slot < 8_192 ? [one, two] : [two, one];
  const target = { kind: "cluster", nodes: [endpoint(other)], key: prefix } as const;
  await using broker = openRedis(one, { target, keyPrefix: prefix });
  const names = ["1", "2", "3"];
  for (const name of names) await broker.push("q", job(name), name === "3" ? { delayMs: 1 } : {});
  const held = [];
  while (held.length < 3) held.push(...await take(broker, { max: 3 }));
  assert.deepEqual(held.map(nameOf).toSorted(), names);
  await held[0]!.settle(ACK);
  await held[1]!.settle(retry(0, new FervoError("JOB_FAILED", "oh")));
  await held[2]!.settle(RELEASE);
  for (const delivery of await take(broker, { max: 2 })) await delivery.settle(ACK);
  for (const delivery of await takeNow(broker)) await delivery.settle(ACK);
  assert.equal(await owner.cli("EXISTS", `${prefix}queues`), "1");

  const ids = new Map([[one, await one.cli("CLUSTER", "MYID")], [two, await two.cli("CLUSTER", "MYID")]]);
  await other.cli("CLUSTER", "SETSLOT", String(slot), "IMPORTING", ids.get(owner)!);
  await owner.cli("CLUSTER", "SETSLOT", String(slot), "MIGRATING", ids.get(other)!);
  for (const key of await owner.elements("CLUSTER", "GETKEYSINSLOT", String(slot), "1000")) {
    await owner.cli("MIGRATE", "127.0.0.1", String(other.port), key, "0", "5000");
  }
  for (const server of [other, owner]) {
    await server.cli("CLUSTER", "SETSLOT", String(slot), "NODE", ids.get(other)!);
  }
  await persist(() => broker.push("q", job("moved")));
  const [moved] = await persist(() => take(broker));
  assert.equal(nameOf(moved!), "moved");
  await moved!.settle(ACK);
});

Deno.test("findings() tell what endangers jobs, and that a server is set up well", async () => {
  await using good = await RedisServer.start({
    tcp: true,
    config: ["appendonly yes", "repl-diskless-sync-delay 0"],
  });
  await using well = openRedis(good);
  assert.deepEqual(
    (await well.admin.findings([])).map(({ id, severity }) => `${id} ${severity}`),
    ["redis.version ok", "redis.eviction ok", "redis.persistence ok"],
  );
  await using bad = await RedisServer.start({
    config: ["maxmemory-policy allkeys-lru", `replicaof 127.0.0.1 ${good.port}`],
  });
  await using broker = openRedis(bad);
  assert.deepEqual(
    (await broker.admin.findings([])).map(({ id, severity, what }) => [id, severity, what]).slice(1),
    [
      ["redis.eviction", "warning", 'maxmemory-policy is "allkeys-lru"'],
      ["redis.replica", "error", "it is a replica"],
      ["redis.persistence", "warning", "it writes nothing to disk"],
    ],
  );
});
