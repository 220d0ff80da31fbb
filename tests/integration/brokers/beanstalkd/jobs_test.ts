/** What is special to beanstalkd: whose a job is and for how long, what it counts, what it refuses, and its own tools. */
import { raw } from "../../../../src/formats/raw.ts";
import assert from "node:assert/strict";
import type { Delivery } from "../../../../src/core/delivery.ts";
import {
  buryNew,
  bytes,
  FAILED,
  FOREVER_MS,
  problemOf,
  pushAll,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "../../../conformance/fixture.ts";
import { BeanstalkdBroker, DEFAULT_BEANSTALKD_OPTIONS } from "../../../../src/brokers/beanstalkd/broker.ts";
import { Beanstalkd, type BeanstalkdClient, MAX_JOB_BYTES } from "../../../support/beanstalkd.ts";
import { eventually } from "../../../support/eventually.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { ACK, bury, RELEASE, retry } from "../../../support/verdicts.ts";

const NOTHING = { ready: 0, delayed: 0, reserved: 0, dead: 0 };

/** A worker whose machine stands still when it is told to: it renews nothing, and its time goes on. */
function standing(
  server: Beanstalkd,
): { holder: BeanstalkdBroker; standStill: (ms: number) => Promise<void> } {
  const clock = new FakeClock();
  return {
    holder: new BeanstalkdBroker({ clock, format: raw }, {
      ...DEFAULT_BEANSTALKD_OPTIONS,
      address: server.address,
    }),
    standStill: async (ms) => {
      clock.jump(ms);
      await server.passTime(ms);
    },
  };
}

const SETTLES: Readonly<Record<string, (delivery: Delivery) => Promise<void>>> = {
  "ack()": (delivery) => delivery.settle(ACK),
  "retry()": (delivery) => delivery.settle(retry(0, FAILED)),
  "bury()": (delivery) => delivery.settle(bury(FAILED)),
  "release()": (delivery) => delivery.settle(RELEASE),
};

/** Resolves when somebody waits for jobs of that tube. */
async function waits(client: BeanstalkdClient, tube: string): Promise<void> {
  await eventually(
    "it waits",
    async () => (await client.ask(`stats-tube ${tube}\r\n`)).includes("current-waiting: 1"),
  );
}

for (const by of ["another worker", "the same one"] as const) {
  Deno.test(`A job whose time to run is over goes to ${by}; late settles are LEASE_LOST and change nothing`, async () => {
    await using server = await Beanstalkd.start({ hasMovableClock: true });
    const { holder, standStill } = standing(server);
    await using _holder = holder;
    await using another = server.open();
    using client = await server.client();
    const taker = by === "another worker" ? another : holder;
    for (const _ of Object.keys(SETTLES)) await client.put("q", "job", { ttr: 3 });
    const lost = await takeNow(holder);
    assert.equal(lost.length, 4);
    await standStill(4_000);
    const found = await takeNow(taker);
    assert.deepEqual(found.map(({ attempt }) => attempt), [2, 2, 2, 2]);
    for (const settle of Object.values(SETTLES)) {
      const late = lost.shift()!;
      await rejectsWith("LEASE_LOST", settle(late));
    }
    assert.deepEqual(await taker.admin.depth("q"), { ...NOTHING, reserved: 4 });
    for (const delivery of found) await delivery.settle(ACK);
    assert.deepEqual(await taker.admin.depth("q"), NOTHING);
  });
}

Deno.test("A job that was lost and buried by another worker stays buried when its old holder acknowledges it", async () => {
  await using server = await Beanstalkd.start({ hasMovableClock: true });
  const { holder, standStill } = standing(server);
  await using _holder = holder;
  await using another = server.open();
  using client = await server.client();
  await client.put("q", "job", { ttr: 2 });
  const [lost] = await takeNow(holder);
  await standStill(3_000);
  const [found] = await takeNow(another);
  await found!.settle(bury(FAILED));
  await rejectsWith("LEASE_LOST", lost!.settle(ACK));
  assert.deepEqual(await another.admin.depth("q"), { ...NOTHING, dead: 1 });
});

Deno.test("A job is kept beyond its time to run, however short, as long as it is held", async () => {
  await using server = await Beanstalkd.start();
  await using holder = server.open();
  using client = await server.client();
  const short = await client.put("q", "short", { ttr: 2 });
  const longer = await client.put("q", "longer", { ttr: 3 });
  const held = [await takeOne(holder), await takeOne(holder, { waitMs: 5_000 })];
  const waiting = take(holder, { queues: ["q", "r"], waitMs: FOREVER_MS });
  const startMs = performance.now();
  await eventually("longer than both", () => performance.now() - startMs > 4_500);
  for (const id of [short, longer]) {
    const { state, timeouts, reserves } = await client.job(id) ?? {};
    assert.deepEqual({ state, timeouts, reserves }, { state: "reserved", timeouts: "0", reserves: "1" });
  }
  for (const delivery of held) await delivery.settle(ACK);
  await client.put("r", "end");
  await (await soon("the wait goes on", waiting))[0]!.settle(ACK);
});

Deno.test("receive() with waitMs 0 gets what is ready though another job's time is nearly over (DEADLINE_SOON)", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  using client = await server.client();
  await client.put("q", "held", { ttr: 1 });
  const held = await takeOne(broker);
  assert.deepEqual(await takeNow(broker), []);
  await client.put("q", "ready");
  assert.deepEqual((await takeNow(broker)).map(textOf), ["ready"]);
  assert.equal(textOf(held), "held");
});

Deno.test("release() counts no attempt for any worker, and leaves no job delayed or buried", async () => {
  await using server = await Beanstalkd.start();
  const ids = [];
  for (let worker = 0; worker < 3; worker++) {
    await using broker = server.open();
    if (worker === 0) ids.push(...await pushAll(broker, ["a", "b"]));
    for (let i = 0; i < 3; i++) {
      const delivery = await takeOne(broker);
      assert.deepEqual([delivery.id, delivery.attempt], [ids[0], worker + 1]);
      await delivery.settle(RELEASE);
      assert.deepEqual(await broker.admin.depth("q"), { ...NOTHING, ready: 2 });
    }
    await (await takeOne(broker)).settle(retry(0, FAILED));
  }
});

Deno.test("A job that is held when its driver is closed is ready at once, and the attempt does not count", async () => {
  await using server = await Beanstalkd.start();
  await using another = server.open();
  for (const isWaiting of [false, true]) {
    await using holder = server.open();
    const taking = isWaiting ? take(holder, { waitMs: FOREVER_MS }) : undefined;
    await pushAll(another, ["job"]);
    await (taking ?? takeOne(holder));
    await holder.close();
    const again = await takeOne(another, { waitMs: 0 });
    assert.equal(again.attempt, 1);
    await again.settle(ACK);
  }
});

Deno.test("A job that a lost connection held is another worker's; it counts, and late settles are LEASE_LOST", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await pushAll(broker, ["1", "2", "3", "4"]);
  const lost = await takeNow(broker);
  await server.restart();
  for (const [i, settle] of Object.values(SETTLES).entries()) {
    // The first call may be the one that finds out.
    await settle(lost[i]!).then(() => assert.fail("settled"), (error) => {
      assert.ok(["LEASE_LOST", "QUEUE_UNAVAILABLE"].includes(error.code), error.code);
    });
    await rejectsWith("LEASE_LOST", settle(lost[i]!));
  }
  assert.deepEqual(await broker.admin.depth("q").catch(() => broker.admin.depth("q")), {
    ...NOTHING,
    ready: 4,
  });
  assert.deepEqual((await takeNow(broker)).map(textOf), ["1", "2", "3", "4"]);
});

Deno.test("Each wait has a connection of its own, and settling does not wait for another's wait", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await using producer = server.open();
  const held: Delivery[] = [];
  for (let i = 0; i < 8; i++) {
    const waiting = take(broker, { waitMs: FOREVER_MS });
    await pushAll(producer, [`job ${i}`]);
    held.push(...await soon("the job", waiting));
  }
  const waiting = take(broker, { waitMs: FOREVER_MS });
  for (const delivery of held) await soon("the settle", delivery.settle(ACK));
  await pushAll(producer, ["last"]);
  assert.equal((await soon("the last job", waiting)).length, 1);
});

Deno.test("A wait is left alone by a late settle of a job that its connection held before", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await using producer = server.open();
  const first = take(broker, { waitMs: FOREVER_MS });
  using client = await server.client();
  await waits(client, "q");
  await pushAll(producer, ["first"]);
  const [settled] = await first;
  await settled!.settle(ACK);
  const second = take(broker, { queues: ["q"], waitMs: FOREVER_MS });
  await waits(client, "q");
  await soon("the late settle", rejectsWith("LEASE_LOST", settled!.settle(ACK)));
  const third = take(broker, { queues: ["r"], waitMs: FOREVER_MS });
  await waits(client, "r");
  await pushAll(producer, ["third"], "r");
  assert.deepEqual((await soon("the job for the other wait", third)).map(textOf), ["third"]);
  await pushAll(producer, ["second"]);
  assert.deepEqual((await soon("the job", second)).map(textOf), ["second"]);
});

Deno.test("Connections of waits are used again", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await using producer = server.open();
  using client = await server.client();
  const connections = async () =>
    Number(/^total-connections: (\d+)$/m.exec(await client.ask("stats\r\n"))![1]);
  let before = 0;
  for (let i = 0; i < 20; i++) {
    const waiting = take(broker, { waitMs: FOREVER_MS });
    await waits(client, "q");
    await pushAll(producer, ["job"]);
    for (const delivery of await waiting) await delivery.settle(ACK);
    if (i === 0) before = await connections();
  }
  assert.equal(await connections(), before);
});

Deno.test("push() maps priority, delay and time to run to beanstalkd's own", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open({ ttrMs: 7_001 });
  using client = await server.client();
  const plain = await client.job(await broker.push("q", bytes("x")));
  assert.deepEqual([plain?.["pri"], plain?.["delay"], plain?.["ttr"]], ["1024", "0", "8"]);
  const special = await client.job(await broker.push("q", bytes("x"), { priority: 24, delayMs: 1_500 }));
  assert.deepEqual([special?.["pri"], special?.["delay"], special?.["state"]], ["1000", "2", "delayed"]);
});

Deno.test("retry() and release() keep the priority that a job was put with", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  using client = await server.client();
  const id = await client.put("q", "job", { pri: 77 });
  await (await takeOne(broker)).settle(retry(0, FAILED));
  await (await takeOne(broker)).settle(RELEASE);
  assert.equal((await client.job(id))?.["pri"], "77");
  await (await takeOne(broker)).settle(bury(FAILED));
  assert.equal((await client.job(id))?.["pri"], "77");
  await broker.admin.dead.retry([id]);
  assert.equal((await client.job((await takeOne(broker)).id))?.["pri"], "77");
});

Deno.test("receive() takes the earlier queue first, whatever priorities its jobs have", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await broker.push("low", bytes("urgent, in the low queue"), { priority: 1_000 });
  await broker.push("high", bytes("in the high queue"), { priority: -1_000 });
  const found = await takeNow(broker, { queues: ["high", "low"] });
  assert.deepEqual(found.map(textOf), ["in the high queue", "urgent, in the low queue"]);
});

Deno.test("push() refuses what beanstalkd does, in words that help, and goes on after it", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open({ maxPayloadBytes: 9_000_000 });
  await assert.rejects(broker.push("q", new Uint8Array(8_000_001)), {
    code: "JOB_MALFORMED",
    message:
      'The message for queue "q" has 8000001 bytes, more than beanstalkd accepts; start it with a larger -z',
  });
  await assert.rejects(broker.push("q", new Uint8Array(9_000_001)), {
    code: "JOB_MALFORMED",
    message: /more than the 9000000 that max_payload_bytes allows/,
  });
  for (const name of ["x".repeat(201), "a:b", "-a", "a\r\nb", ""]) {
    await assert.rejects(broker.push(name, bytes("job")), {
      code: "CONFIG_INVALID",
      message: /tubes have 1 to 200/,
    });
  }
  const id = await broker.push("q", new Uint8Array(8_000_000));
  assert.equal((await takeOne(broker)).id, id);
  assert.deepEqual(await broker.admin.queues(), ["q"]);
});

Deno.test("push() refuses headers and a limit of tries instead of losing them", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  for (const options of [{ headers: { traceparent: "00-ab-cd-01" } }, { maxAttempts: 3 }]) {
    await assert.rejects(broker.push("q", bytes("job"), options), {
      code: "JOB_MALFORMED",
      message:
        /beanstalkd stores no headers and no attempt limit with a job; use the message format "envelope"/,
    });
  }
  assert.deepEqual(await broker.admin.queues(), []);
});

Deno.test("A payload above maxPayloadBytes is a problem; buried and retried it keeps its bytes", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open({ maxPayloadBytes: 100 });
  using client = await server.client();
  await client.put("q", "x".repeat(101));
  const delivery = await takeOne(broker);
  assert.equal(delivery.message.body.length, 0);
  assert.match(problemOf(delivery)!.message, /"q" has 101 bytes, more than the 100/);
  await delivery.settle(bury(problemOf(delivery)!));
  assert.equal((await broker.admin.dead.list({ limit: 1 }))[0]?.payload.length, 101);
  assert.equal(await broker.admin.dead.retry("all"), 1);
  await using later = server.open();
  assert.equal((await takeOne(later)).message.body.length, 101);
});

Deno.test("dead.list() finds buried jobs among many others, also those older than the first that was buried", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  const ids = await Promise.all(
    Array.from({ length: 3_000 }, (_, i) => broker.push(`q${i % 2}`, bytes(`${i}`))),
  );
  const deliveries = new Map<string, Delivery>();
  while (deliveries.size < 3_000) {
    for (const delivery of await takeNow(broker, { queues: ["q0", "q1"] })) {
      deliveries.set(delivery.id, delivery);
    }
  }
  const dead = [1_500, 2, 2_999, 0].map((i) => ids[i]!);
  for (const id of dead) await deliveries.get(id)!.settle(bury(FAILED));
  const listed = await broker.admin.dead.list({ limit: 10 });
  assert.deepEqual(listed.map(({ id }) => id), [2_999, 1_500, 2, 0].map((i) => ids[i]));
  assert.deepEqual(listed.map(({ payload }) => new TextDecoder().decode(payload)), [
    "2999",
    "1500",
    "2",
    "0",
  ]);
  const page = await broker.admin.dead.list({ limit: 2, queue: "q0", after: ids[1_500]! });
  assert.deepEqual(page.map(({ id }) => id), [ids[2], ids[0]]);
  assert.equal((await broker.admin.depth("fervo-worker.probe")).delayed, 0, "nothing of the search is left");
});

Deno.test("A dead letter says that beanstalkd keeps no error, and never has a time of death", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  const letter = await broker.admin.dead.get(await buryNew(broker, "job"));
  assert.deepEqual(letter?.error, {
    code: "JOB_FAILED",
    message: "beanstalkd stores no errors; see the worker's log",
  });
  assert.equal(letter?.diedAtMs, undefined);
});

Deno.test("A buried job that a person kicks is tried once more, with its count of attempts", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  using client = await server.client();
  const id = await broker.push("q", bytes("job"));
  await (await takeOne(broker)).settle(retry(0, FAILED));
  await (await takeOne(broker)).settle(bury(FAILED));
  assert.equal(await client.ask(`kick-job ${id}\r\n`), "KICKED\r\n");
  assert.equal((await takeOne(broker)).attempt, 2);
});

Deno.test("The driver works over a unix socket", async () => {
  await using server = await Beanstalkd.start({ isUnix: true });
  await using broker = server.open();
  const waiting = take(broker, { waitMs: FOREVER_MS });
  await pushAll(broker, ["job"]);
  assert.deepEqual((await soon("the job", waiting)).map(textOf), ["job"]);
});

Deno.test("Jobs are taken, settled and listed also when the server's clock was set back since they were put", async () => {
  await using server = await Beanstalkd.start({ hasMovableClock: true });
  await server.passTime(7_200_000);
  await using broker = server.open();
  await buryNew(broker, "dead");
  const ids = await pushAll(broker, ["1", "2"]);
  await server.passTime(-3_600_000);
  using client = await server.client();
  await eventually("it is noticed", async () => Number((await client.job(ids[0]!))!["age"]) < 0);
  const taken = await take(broker, { max: 2 });
  assert.deepEqual(taken.map(textOf), ["1", "2"]);
  assert.equal(taken[0]!.enqueuedAtMs, undefined, "what is not known is not told");
  const [letter] = await broker.admin.dead.list({ limit: 10 });
  assert.equal(letter!.enqueuedAtMs, undefined);
  assert.deepEqual(await broker.admin.queues(), ["q"]);
  for (const delivery of taken) await delivery.settle(ACK);
  assert.deepEqual(await broker.admin.depth("q"), { ...NOTHING, dead: 1 });
});

/** Buries as many jobs, as fast as can be. */
async function buryMany(broker: BeanstalkdBroker, count: number): Promise<void> {
  await pushAll(broker, Array.from({ length: count }, (_, i) => `job ${i}`));
  for (const delivery of await take(broker, { max: count })) await delivery.settle(bury(FAILED));
}

/** The payloads of all that is ready, sorted. */
async function readyTexts(broker: BeanstalkdBroker): Promise<string[]> {
  return (await takeNow(broker, { max: 10_000 })).map(textOf).sort();
}

Deno.test("Dead letters that two admins retry at once are retried once each", async () => {
  await using server = await Beanstalkd.start();
  await using one = server.open();
  await using another = server.open();
  const count = 400;
  await buryMany(one, count);
  const letters = (await one.admin.dead.list({ limit: count })).map(({ id }) => id);
  const retried = await Promise.all([
    one.admin.dead.retry("all"),
    another.admin.dead.retry("all"),
    // By their ids, too, the last ones first.
    one.admin.dead.retry(letters),
  ]);
  assert.equal(retried.reduce((sum, n) => sum + n, 0), count);
  assert.deepEqual(await one.admin.depth("q"), { ...NOTHING, ready: count });
  const texts = await readyTexts(one);
  assert.equal(new Set(texts).size, count);
});

Deno.test("Dead letters that one admin retries and another removes at once are one or the other", async () => {
  await using server = await Beanstalkd.start();
  await using one = server.open();
  await using another = server.open();
  const count = 400;
  await buryMany(one, count);
  const [retried, removed] = await Promise.all([
    one.admin.dead.retry("all"),
    another.admin.dead.remove("all"),
  ]);
  assert.equal(retried + removed, count);
  assert.ok(retried > 0 && removed > 0, `${retried} ${removed}`);
  assert.deepEqual(await one.admin.depth("q"), { ...NOTHING, ready: retried });
});

Deno.test("Dead letters that are retried beside a kick of beanstalkd's own tools are ready once each", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  using client = await server.client();
  const count = 400;
  await buryMany(broker, count);
  await client.ask("use q\r\n");
  const kick = async () => {
    for (let i = 0; i < count / 2; i++) await client.ask("kick 1\r\n");
  };
  const [retried] = await Promise.all([broker.admin.dead.retry("all"), kick()]);
  assert.ok(retried > 0 && retried < count, `${retried}`);
  const { ready, dead } = await broker.admin.depth("q");
  assert.deepEqual([ready! + dead!, new Set(await readyTexts(broker)).size], [count, ready]);
});

Deno.test("A dead letter that cannot be put again stays one", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await buryMany(broker, 2);
  Deno.kill(server.pid, "SIGUSR1");
  await assert.rejects(broker.admin.dead.retry("all"), /it is in drain mode/);
  assert.deepEqual(await broker.admin.depth("q"), { ...NOTHING, dead: 2 });
  assert.equal(await broker.admin.dead.remove("all"), 2);
});

Deno.test("A message that is too long for beanstalkd takes no job's place: that is told, and the job is still ours", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await pushAll(broker, ["a job"]);
  const delivery = await takeOne(broker);
  const message = { body: new Uint8Array(MAX_JOB_BYTES + 1), headers: {} };
  await rejectsWith(
    "JOB_MALFORMED",
    delivery.settle({ kind: "replace", message, delayMs: 0, error: FAILED }),
  );
  await delivery.settle(retry(0, FAILED));
  assert.equal(textOf(await takeOne(broker)), "a job");
});
