import type { Delivery } from "../../../../src/core/delivery.ts";
import assert from "node:assert/strict";
import {
  bytes,
  FAILED,
  FOREVER_MS,
  problemOf,
  rejectsWith,
  take,
  takeNow,
  takeOne,
  textOf,
} from "../../../conformance/fixture.ts";
import { FervoError } from "../../../../src/core/errors.ts";
import type { SidekiqBroker } from "../../../../src/brokers/sidekiq/broker.ts";
import { EventLog } from "../../../support/event_log.ts";
import { eventually } from "../../../support/eventually.ts";
import { documentedRights, RedisServer } from "../../../support/redis_server.ts";
import { soon } from "../../../support/soon.ts";
import { openRedis } from "./broker.ts";
import { ACK, bury, RELEASE, retry } from "../../../support/verdicts.ts";

const job = (name: string) => bytes(`{"class":"Suite","args":[${JSON.stringify(name)}],"retry":true}`);
const nameOf = (delivery: Delivery) => JSON.parse(textOf(delivery)).args[0] as string;

/** Makes a call until it is answered, or until `signal` aborts. */
async function persist<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof FervoError) || error.code !== "QUEUE_UNAVAILABLE") throw error;
    }
  }
}

Deno.test("A Redis killed under load and started again loses no job; only those in flight may run twice", async () => {
  await using server = await RedisServer.start({ config: ["appendonly yes", "appendfsync always"] });
  await using producer = openRedis(server);
  await using consumer = openRedis(server);
  const names = Array.from({ length: 2_000 }, (_, i) => `job ${i}`);
  const runs = new Map<string, number>();
  let pushed = 0;
  let doublePushes = 0;
  const done = new AbortController();
  // Before the brokers are closed: on a closed one every call ends at once, and nothing else would have its turn.
  await using load = new AsyncDisposableStack();
  load.defer(async () => {
    done.abort(new Error("the test is over"));
    await Promise.allSettled([pushing, working]);
  });
  const pushing = (async () => {
    for (const name of names) {
      let tries = 0;
      await persist(() => {
        if (tries++ > 0) doublePushes++;
        return producer.push("q", job(name));
      }, done.signal);
      pushed++;
    }
  })();
  const working = Promise.all([1, 2].map(async () => {
    while (!done.signal.aborted) {
      const receive = () => take(consumer, { max: 10, waitMs: FOREVER_MS, signal: done.signal });
      for (const delivery of await persist(receive, done.signal)) {
        const name = nameOf(delivery);
        runs.set(name, (runs.get(name) ?? 0) + 1);
        await persist(() => delivery.settle(ACK), done.signal)
          .catch((error) => assert.equal(error.code, "LEASE_LOST"));
      }
    }
  }));
  for (let kill = 1; kill <= 3; kill++) {
    await eventually("some are pushed", () => pushed >= kill * 400, 30_000);
    await server.kill();
    await server.start();
  }
  await soon("all are pushed", pushing);
  await eventually("all have run", () => names.every((name) => runs.has(name)), 30_000);
  done.abort();
  await soon("the end", working);
  const doubles = names.filter((name) => runs.get(name)! > 1).length;
  assert.ok(doubles <= doublePushes + 3 * 20, `${doubles} ran twice`);
  assert.deepEqual(await persist(() => consumer.admin.depth("q")), {
    ready: 0,
    delayed: 0,
    reserved: 0,
    dead: 0,
  });
});

Deno.test("receive() waits through an outage, and gets what is pushed after it", async () => {
  await using server = await RedisServer.start({ config: ["appendonly yes"] });
  await using broker = openRedis(server);
  const waiting = persist(() => take(broker, { waitMs: FOREVER_MS }));
  await eventually("it waits", async () => (await server.cli("CLIENT", "LIST")).includes("cmd=blmove"));
  await server.kill();
  await server.start();
  await persist(() => broker.push("q", job("after")));
  const [delivery] = await soon("the job", waiting);
  assert.equal(nameOf(delivery!), "after");
  await delivery!.settle(ACK);
});

Deno.test("Jobs that were taken by a command whose answer was lost come back", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await takeNow(broker);
  // As when Redis had moved it and its answer never came.
  const identity = (await server.elements("SMEMBERS", "processes"))[0]!;
  await server.cli("LPUSH", `fervo:inflight:${identity}:q`, '{"class":"Suite","args":["lost"],"jid":"abc"}');
  const waiting = persist(() => take(broker, { waitMs: FOREVER_MS }));
  await eventually("it waits", async () => (await server.cli("CLIENT", "LIST")).includes("cmd=blmove"));
  await server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  const [delivery] = await soon("the job", waiting);
  assert.equal(delivery!.id, "abc");
  await delivery!.settle(ACK);
  assert.deepEqual(await broker.admin.depth("q"), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
});

Deno.test("Jobs that were taken without a wait, and whose answer was lost, come back", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await takeNow(broker);
  const identity = (await server.elements("SMEMBERS", "processes"))[0]!;
  await server.cli("LPUSH", `fervo:inflight:${identity}:q`, '{"class":"Suite","args":["lost"],"jid":"abc"}');
  await server.cli("CLIENT", "PAUSE", "20000", "WRITE");
  const failing = rejectsWith("QUEUE_UNAVAILABLE", takeNow(broker));
  await eventually(
    "it asks",
    async () => (await server.cli("INFO", "clients")).includes("blocked_clients:1"),
  );
  await server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  await failing;
  await server.cli("CLIENT", "UNPAUSE");
  const [delivery] = await persist(() => takeNow(broker));
  assert.equal(delivery!.id, "abc");
  await delivery!.settle(ACK);
});

const LOST = '{"class":"Suite","args":["lost"],"jid":"abc"}';

/** Makes calls that Redis gets and never answers; they reject. */
async function unanswered(server: RedisServer, ...calls: (() => Promise<unknown>)[]): Promise<void> {
  await server.cli("CLIENT", "PAUSE", "20000", "WRITE");
  const failing = calls.map((call) => rejectsWith("QUEUE_UNAVAILABLE", call()));
  await eventually(
    "it asks",
    async () => (await server.cli("INFO", "clients")).includes("blocked_clients:1"),
  );
  await server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  await Promise.all(failing);
  await server.cli("CLIENT", "UNPAUSE");
}

Deno.test("Jobs whose taking had no answer come back at once, also beside a settle that was done and had none", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { leaseMs: 60_000 });
  await broker.push("q", job("settled"));
  const settled = await takeOne(broker);
  await unanswered(server, () => settled.settle(ACK), () => takeNow(broker));
  const identity = (await server.elements("SMEMBERS", "processes"))[0]!;
  const list = `fervo:inflight:${identity}:q`;
  await server.cli("DEL", list);
  await server.cli("LPUSH", list, LOST);
  const [back] = await persist(() => takeNow(broker));
  assert.equal(back?.id, "abc");
  await back.settle(ACK);
  await persist(() => settled.settle(ACK));
});

Deno.test("Jobs whose taking had no answer come back at once, also beside a job that was taken back by others", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { leaseMs: 60_000 });
  await broker.push("q", job("taken back"));
  const takenBack = await takeOne(broker);
  const identity = (await server.elements("SMEMBERS", "processes"))[0]!;
  const list = `fervo:inflight:${identity}:q`;
  await server.cli("DEL", list, identity);
  // It notices that it had counted as dead.
  await takeNow(broker);
  await unanswered(server, () => takeNow(broker));
  await server.cli("LPUSH", list, LOST);
  const [back] = await persist(() => takeNow(broker));
  assert.equal(back?.id, "abc");
  await back.settle(ACK);
  await rejectsWith("LEASE_LOST", takenBack.settle(ACK));
});

Deno.test("A job that comes in the moment in which the wait on another queue fails is received", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { leaseMs: 60_000 });
  const queues = ["a", "b"];
  const waits = async () =>
    Array.from((await server.cli("CLIENT", "LIST")).matchAll(/^id=(\d+) .*cmd=blmove/gm), ([, id]) => id!);
  for (let round = 0; round < 20; round++) {
    const waiting = persist(() => take(broker, { queues, waitMs: FOREVER_MS }));
    await eventually("it waits on both", async () => (await waits()).length === 2);
    const [id] = await waits();
    await server.transaction(
      `CLIENT KILL ID ${id}`,
      ...queues.map((queue) => `LPUSH queue:${queue} '{"class":"Suite","args":["${queue}"]}'`),
    );
    const received = await soon("the first job", waiting);
    await eventually("both are received", async () => {
      received.push(...await persist(() => takeNow(broker, { queues })));
      return received.length === 2;
    });
    for (const delivery of received) await delivery.settle(ACK);
  }
});

Deno.test("A settle whose answer was lost takes nobody else's job of the same bytes", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const same = '{"class":"DeferEvent","args":["x"],"retry":false}';
  await server.cli("LPUSH", "queue:q", same, same);
  const [one, two] = await take(broker, { max: 2 });
  assert.notEqual(one!.id, two!.id);
  // Redis does it, and cannot answer.
  await server.cli("CLIENT", "PAUSE", "20000", "WRITE");
  const acking = rejectsWith("QUEUE_UNAVAILABLE", one!.settle(ACK));
  await server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  await acking;
  const identity = (await server.elements("SMEMBERS", "processes"))[0]!;
  await server.cli("CLIENT", "UNPAUSE");
  const list = `fervo:inflight:${identity}:q`;
  if (await server.cli("LLEN", list) === "2") await server.cli("LREM", list, "1", same);
  await persist(() => one!.settle(ACK));
  assert.equal(await server.cli("LLEN", list), "1", "the other job's entry");
  await two!.settle(retry(60_000, FAILED));
  assert.equal((await broker.admin.depth("q")).delayed, 1);
});

/** A job whose acknowledgement Redis has got and could not answer; it is in the list all the same. */
async function ackUnanswered(server: RedisServer, broker: SidekiqBroker) {
  await broker.push("q", job("x"));
  const delivery = await takeOne(broker);
  await server.cli("CLIENT", "PAUSE", "20000", "WRITE");
  const acking = rejectsWith("QUEUE_UNAVAILABLE", delivery.settle(ACK));
  await server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  await acking;
  await server.cli("CLIENT", "UNPAUSE");
  const identity = (await server.elements("SMEMBERS", "processes"))[0]!;
  return { delivery, identity, list: `fervo:inflight:${identity}:q` };
}

Deno.test("A settle whose answer was lost, and that was done, is done", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { leaseMs: 60_000 });
  const { delivery, list } = await ackUnanswered(server, broker);
  await server.cli("DEL", list);
  await persist(() => delivery.settle(ACK));
});

for (const when of ["still", "for a while"]) {
  Deno.test(`A settle whose answer was lost says LEASE_LOST when this process counted as dead ${when}`, async () => {
    await using server = await RedisServer.start();
    await using broker = openRedis(server, { leaseMs: 60_000 });
    const { delivery, identity, list } = await ackUnanswered(server, broker);
    // As when its heartbeats had ended, and another one had taken the job back.
    await server.cli("DEL", identity, list);
    if (when === "for a while") {
      await persist(() => takeNow(broker));
      assert.equal(await server.cli("EXISTS", identity), "1");
    }
    await rejectsWith("LEASE_LOST", persist(() => delivery.settle(ACK)));
  });
}

Deno.test("A job whose settle was not answered is settled when it is still there, also after a death", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { leaseMs: 60_000 });
  const { delivery, identity, list } = await ackUnanswered(server, broker);
  if (await server.cli("LLEN", list) === "0") {
    await server.cli("LPUSH", list, new TextDecoder().decode(delivery.message.body));
  }
  await server.cli("DEL", identity);
  await persist(() => delivery.settle(ACK));
  assert.equal(await server.cli("EXISTS", list), "0");
});

Deno.test("A Redis that hangs is noticed, and used again when it goes on", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, { connectTimeoutMs: 300 });
  await broker.push("q", job("before"));
  await server.signal("SIGSTOP");
  await using other = openRedis(server, { connectTimeoutMs: 300 });
  try {
    await soon("the failure", rejectsWith("QUEUE_UNAVAILABLE", other.push("q", job("hung"))));
  } finally {
    await server.signal("SIGCONT");
  }
  await persist(() => other.push("q", job("after")));
  assert.equal((await take(broker, { max: 3 })).length >= 2, true);
});

Deno.test("What the driver does by itself tells an outage once, and the next one again", async () => {
  await using server = await RedisServer.start({ config: ["appendonly yes"] });
  const log = new EventLog();
  await using broker = openRedis(server, { leaseMs: 1_000, observe: log.observe });
  await takeNow(broker);
  const identity = (await server.elements("SMEMBERS", "processes"))[0]!;
  const works = ["heartbeat", "recovery", "schedule"];
  const haveFailed = (since: number) =>
    eventually("all have failed", () => {
      const failed = log.of("broker_failed").slice(since).map(({ during }) => during);
      return works.every((work) => failed.includes(work as typeof failed[number]));
    });
  await server.kill();
  await haveFailed(0);
  await server.start();
  await server.cli("DEL", identity);
  await eventually("a heartbeat", async () => await server.cli("EXISTS", identity) === "1");
  for (const name of ["dead:1:a", "dead:1:b"]) {
    await server.cli("SADD", "fervo:processes", name);
    await eventually(
      "it is forgotten",
      async () => await server.cli("SISMEMBER", "fervo:processes", name) === "0",
    );
    // The look that moves the second one is another one.
    await server.cli("ZADD", "schedule", "1", `{"class":"X","args":["${name}"],"queue":"other"}`);
    await eventually("it is moved", async () => await server.cli("ZCARD", "schedule") === "0");
  }
  assert.deepEqual(log.of("broker_recovered").map(({ during }) => during).toSorted(), works);
  await server.kill();
  await haveFailed(log.of("broker_failed").length);
  const events = log.of("broker_failed");
  for (const { error, consumer } of events) {
    assert.equal(error.code, "QUEUE_UNAVAILABLE");
    assert.equal(consumer, undefined);
  }
});

/** The text of the failure of a call. */
async function failureOf(
  broker: SidekiqBroker,
  call: (broker: SidekiqBroker) => Promise<unknown>,
): Promise<string> {
  const error = await call(broker).then(() => undefined, (error) => error);
  assert.ok(error instanceof FervoError, `not a FervoError: ${error}`);
  assert.equal(error.code, "QUEUE_UNAVAILABLE");
  return error.message;
}

Deno.test("A wrong or missing password is told in plain words, and is in no text", async () => {
  await using server = await RedisServer.start({ config: ["requirepass right-secret"] });
  await using wrong = openRedis(server, { password: "wrong-secret" });
  await using missing = openRedis(server);
  await using right = openRedis(server, { password: "right-secret" });
  const text = await failureOf(wrong, (broker) => broker.admin.queues());
  assert.match(text, /^Cannot use Redis at ".*redis\.sock": the user name or the password is wrong/);
  assert.doesNotMatch(text, /wrong-secret/);
  assert.match(
    await failureOf(missing, (broker) => broker.push("q", job("x"))),
    /it requires a password: set password/,
  );
  await right.push("q", job("x"));
  await (await takeOne(right)).settle(ACK);
});

Deno.test("password_file is read at each connect; ACL users work, and what they lack is told", async () => {
  await using server = await RedisServer.start();
  await server.cli("ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all");
  await server.cli("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+@connection");
  const file = `${server.folder}/password`;
  await Deno.writeTextFile(file, "old\n");
  await using broker = openRedis(server, { username: "worker", passwordFile: file });
  assert.match(await failureOf(broker, (one) => one.admin.queues()), /password is wrong/);
  await Deno.writeTextFile(file, "secret\n");
  await persist(() => broker.push("q", job("x")));
  await using reader = openRedis(server, { username: "reader", password: "secret" });
  assert.match(await failureOf(reader, (one) => one.push("q", job("x"))), /the user lacks a right/);
  await using lost = openRedis(server, { passwordFile: `${server.folder}/none` });
  assert.match(await failureOf(lost, (one) => one.admin.queues()), /Cannot read the password_file ".*none"/);
});

Deno.test("The rights that docs/brokers/sidekiq.md names are enough for all that a worker does", async () => {
  await using server = await RedisServer.start();
  await server.cli("ACL", "SETUSER", "worker", ...await documentedRights());
  const worker = { username: "worker", password: "SECRET", leaseMs: 1_000 };
  const dead = openRedis(server, worker);
  await dead.push("q", job("1"));
  await takeOne(dead);
  // It goes without a word, and another one takes its job back.
  await server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  await using broker = openRedis(server, worker);
  await broker.push("q", job("2"), { delayMs: 1 });
  const [delivery] = await take(broker, { queues: ["other", "q"] });
  await delivery!.settle(retry(60_000, FAILED));
  await broker.push("q", job("3"));
  await (await takeOne(broker)).settle(bury(FAILED));
  await broker.push("q", job("4"));
  await (await takeOne(broker)).settle(RELEASE);
  await (await takeOne(broker)).settle(ACK);
  await broker.admin.dead.retry("all");
  await broker.admin.findings([]);
  await broker.admin.queues();
  await eventually(
    "it has looked for the dead",
    async () => (await server.cli("EXISTS", "fervo:recovery")) === "1",
  );
  await dead.close();
  await broker.close();
  const denied = (await server.cli("--json", "ACL", "LOG")).replaceAll("config|get", "");
  assert.doesNotMatch(denied, /"object":"[a-z|]+"/, denied);
});

Deno.test("A key of a wrong type is named", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await server.cli("SET", "queue:q", "a text");
  for (const waitMs of [0, 1_000]) {
    const text = await failureOf(broker, (one) => take(one, { waitMs }));
    assert.match(text, /the key "queue:q" holds data that is not Sidekiq's/);
  }
  assert.match(await failureOf(broker, (one) => one.push("q", job("x"))), /the key "queue:q"/);
  await server.cli("SET", "dead", "a text");
  await server.cli("DEL", "queue:q");
  await broker.push("q", job("x"));
  const delivery = await takeOne(broker);
  assert.match(await failureOf(broker, () => delivery.settle(bury(FAILED))), /the key "dead"/);
  await server.cli("DEL", "dead");
  // The job was where it had been.
  await delivery.settle(bury(FAILED));
  assert.equal((await broker.admin.dead.list({ limit: 10 })).length, 1);
});

Deno.test("A job that falls due is not lost when its queue's key is of a wrong type", async () => {
  await using server = await RedisServer.start();
  const log = new EventLog();
  await using broker = openRedis(server, { observe: log.observe });
  await server.cli("SET", "queue:q", "a text");
  await server.cli(
    "ZADD",
    "retry",
    "1",
    '{"class":"X","args":[],"jid":"0123456789abcdef01234567","queue":"q"}',
  );
  assert.deepEqual(await take(broker, { queues: ["other"], waitMs: 100 }), []);
  const { during, error } = await log.next("broker_failed");
  assert.equal(during, "schedule");
  assert.match(error.message, /the key "queue:q" holds data that is not Sidekiq's/);
  assert.equal(await server.cli("ZCARD", "retry"), "1");
});

Deno.test("A replica is told from a master", async () => {
  await using server = await RedisServer.start({ tcp: true, config: ["repl-diskless-sync-delay 0"] });
  await using replica = await RedisServer.start({ config: [`replicaof 127.0.0.1 ${server.port}`] });
  await eventually(
    "it follows",
    async () => (await replica.cli("INFO", "replication")).includes("link_status:up"),
  );
  await using broker = openRedis(replica);
  assert.match(
    await failureOf(broker, (one) => one.push("q", job("x"))),
    /it is a replica, which cannot be written to/,
  );
  assert.match(await failureOf(broker, (one) => takeNow(one)), /it is a replica/);
});

Deno.test("A full memory is told to who pushes, and what is queued can be worked off", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  await broker.push("q", job("x"));
  await server.cli("CONFIG", "SET", "maxmemory", "1");
  assert.match(await failureOf(broker, (one) => one.push("q", job("y"))), /its memory is full/);
  const [delivery] = await take(broker, { waitMs: 0 });
  await delivery!.settle(ACK);
  assert.equal((await broker.admin.depth("q")).ready, 0);
});

Deno.test("What is no job goes to the dead letters with its bytes, from a queue and from the schedule", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const bad = ["{not json", '["a list"]', '{"class":"X"}', '{"class":"X","args":[]}trailing', ""];
  for (const text of bad) await server.cli("LPUSH", "queue:q", text);
  await server.cli("ZADD", "schedule", "1", "{broken schedule");
  await server.cli("ZADD", "retry", "1", "{broken retry");
  for (const delivery of await take(broker, { max: 10 })) {
    assert.equal(problemOf(delivery)?.code, "JOB_MALFORMED");
    await delivery.settle(bury(problemOf(delivery)!));
  }
  assert.deepEqual(await takeNow(broker), []);
  const letters = await broker.admin.dead.list({ limit: 10 });
  const texts = letters.map(({ payload }) => new TextDecoder().decode(payload));
  assert.deepEqual(texts.toSorted(), [...bad, "{broken schedule", "{broken retry"].toSorted());
  for (const { id, error } of letters) {
    assert.match(id, /^[0-9a-f]{40}$/);
    assert.equal(error.code, "JOB_MALFORMED");
    assert.equal((await broker.admin.dead.get(id))!.id, id);
  }
  assert.equal((await broker.admin.depth("q")).dead, bad.length);
  assert.deepEqual(await broker.admin.queues(), ["q"]);
  assert.equal(await broker.admin.dead.retry("all"), bad.length, "the others have no queue to go to");
  const back = await server.elements("LRANGE", "queue:q", "0", "-1");
  assert.deepEqual(back.toSorted(), bad.toSorted(), "as they were");
  const [first, second] = await broker.admin.dead.list({ limit: 10 });
  assert.deepEqual([first!.queue, second!.queue], ["", ""]);
  assert.equal(await broker.admin.dead.remove([first!.id]), 1);
  assert.equal(await broker.admin.dead.remove("all"), 1);
});
