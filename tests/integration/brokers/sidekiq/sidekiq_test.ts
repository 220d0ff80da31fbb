import assert from "node:assert/strict";
import { FAILED, take, takeNow, takeOne } from "../../../conformance/fixture.ts";
import type { RemoteSignal } from "../../../../src/brokers/broker_type.ts";
import { eventually } from "../../../support/eventually.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { openRedis } from "./broker.ts";
import { installedFormat, SidekiqApi, SidekiqProcess } from "./ruby_sidekiq.ts";
import { ACK, bury, retry } from "../../../support/verdicts.ts";

/** As the machine's Sidekiq writes jobs. */
const OURS = { format: await installedFormat() };

const job = (fields: object) => new TextEncoder().encode(JSON.stringify(fields));

Deno.test("Sidekiq's API reads our jobs in every set, and we read those that it pushes", async () => {
  await using server = await RedisServer.start();
  await using sidekiq = await SidekiqApi.start(server);
  await using broker = openRedis(server, OURS);

  const pushed = await sidekiq.ask("push", { class: "Suite", args: ["a"], queue: "mail", retry: 3 });
  const delivery = await takeOne(broker, { queues: ["mail"] });
  assert.equal(delivery.id, pushed);
  assert.equal(delivery.attempt, 1);
  assert.ok(Math.abs(delivery.enqueuedAtMs! - Date.now()) < 60_000);
  await delivery.settle(retry(60_000, FAILED));
  const [filed] = await sidekiq.ask("retries");
  assert.equal(filed.jid, pushed);
  assert.equal(filed.queue_name, "mail");
  assert.equal(filed.retry_count, 0);
  assert.equal(filed.error_class, "JOB_FAILED");
  assert.equal(filed.error_message, FAILED.message);
  assert.equal(filed.fervo_stderr, FAILED.details.stderr);
  assert.ok(Math.abs(filed.failed_at - Date.now() / 1_000) < 60);
  assert.ok(Math.abs(filed.at - filed.failed_at - 60) < 1);

  const ready = await broker.push("mail", job({ class: "Suite", args: ["b"] }));
  const later = await broker.push("mail", job({ class: "Suite", args: ["c"] }), { delayMs: 90_000 });
  assert.deepEqual(await sidekiq.ask("queues"), { mail: 1 });
  const [waiting] = await sidekiq.ask("jobs", "mail");
  assert.equal(waiting.jid, ready);
  assert.equal(waiting.queue, "mail");
  assert.ok(Math.abs(waiting.enqueued_at - Date.now() / 1_000) < 60);
  const [scheduled] = await sidekiq.ask("scheduled");
  assert.equal(scheduled.jid, later);
  assert.equal("enqueued_at" in scheduled || scheduled.args[0] !== "c", false);

  await (await takeOne(broker, { queues: ["mail"] })).settle(bury(FAILED));
  const [[deadId, deadText, deadQueue]] = await sidekiq.ask("dead");
  assert.deepEqual([deadId, deadQueue], [ready, "mail"]);
  assert.equal(JSON.parse(deadText).error_class, "JOB_FAILED");
  await sidekiq.ask("retry_dead", ready);
  const revived = await takeOne(broker, { queues: ["mail"] });
  assert.equal(revived.id, ready);
  await revived.settle(ACK);
});

Deno.test("Sidekiq's API lists our process, its running jobs and its statistics, until it closes", async () => {
  await using server = await RedisServer.start();
  await using sidekiq = await SidekiqApi.start(server);
  const queues = [{ name: "mail", weight: 2 }, { name: "reports", weight: 1 }];
  const broker = openRedis(server, { ...OURS, leaseMs: 1_000, process: { concurrency: 7, queues } });
  await broker.push("mail", job({ class: "Suite", args: ["a"] }));
  await broker.push("mail", job({ class: "Suite", args: ["b"] }));
  const [done, running] = await take(broker, { queues: ["mail", "reports"], max: 2 });
  await done!.settle(ACK);
  await eventually("the statistics", async () => (await sidekiq.ask("stats")).processed === 1);
  const [process, ...others] = await sidekiq.ask("processes");
  assert.deepEqual(others, []);
  assert.equal(process.hostname, Deno.hostname());
  assert.equal(process.pid, Deno.pid);
  assert.equal(process.concurrency, 7);
  assert.deepEqual(process.queues, ["mail", "reports"]);
  assert.equal(process.tag, "fervo-worker");
  assert.ok(process.rss > 1_000 && process.rss < 10_000_000, "KiB");
  assert.ok(Math.abs(process.started_at - Date.now() / 1_000) < 60);
  await eventually("only one job runs", async () => (await sidekiq.ask("processes"))[0].busy === 1);
  const [[, , queue, payload, runAt]] = await sidekiq.ask("workers");
  assert.equal(queue, "mail");
  assert.equal(payload.jid, running!.id);
  assert.ok(Math.abs(runAt - Date.now() / 1_000) < 60);
  await running!.settle(retry(60_000, FAILED));
  await broker.close();
  const stats = await sidekiq.ask("stats");
  assert.deepEqual([stats.processed, stats.failed, stats.history], [2, 1, 2]);
  assert.deepEqual(await sidekiq.ask("processes"), []);
  assert.deepEqual((await server.elements("KEYS", "*")).filter((key) => key.includes(":inflight:")), []);
});

Deno.test("Quiet and stop from Sidekiq's API reach our process, and quiet shows", async () => {
  await using server = await RedisServer.start();
  await using sidekiq = await SidekiqApi.start(server);
  const signals: RemoteSignal[] = [];
  await using broker = openRedis(server, {
    ...OURS,
    leaseMs: 1_000,
    onSignal: (signal) => signals.push(signal),
  });
  await takeNow(broker);
  await sidekiq.ask("quiet");
  await eventually("quiet", async () => (await sidekiq.ask("processes"))[0].quiet === "true");
  assert.deepEqual(signals, ["quiet"]);
  await sidekiq.ask("stop");
  await eventually("stop", () => signals.length === 2);
  assert.deepEqual(signals, ["quiet", "stop"]);
});

for (const isUnderWay of [false, true]) {
  const also = isUnderWay ? ", also during a heartbeat" : "";
  Deno.test(`A process that goes quiet by itself shows it at once${also}`, async () => {
    await using server = await RedisServer.start();
    await using sidekiq = await SidekiqApi.start(server);
    const clock = new MovableClock();
    await using broker = openRedis(server, { ...OURS, leaseMs: 60_000, clock });
    await takeNow(broker);
    assert.equal((await sidekiq.ask("processes"))[0].quiet, "false");
    if (isUnderWay) {
      await server.cli("CLIENT", "PAUSE", "300", "WRITE");
      clock.moveAhead(10_000);
      await eventually(
        "it is sent",
        async () => (await server.cli("INFO", "clients")).includes("blocked_clients:1"),
      );
    }
    broker.presence.quiet();
    await eventually("quiet", async () => (await sidekiq.ask("processes"))[0].quiet === "true", 5_000);
  });
}

Deno.test("A process that receives nothing is not shown when it goes quiet", async () => {
  await using server = await RedisServer.start();
  const broker = openRedis(server);
  broker.presence.quiet();
  await broker.admin.depth("q");
  await broker.close();
  assert.deepEqual(await server.elements("KEYS", "*"), []);
});

Deno.test("A real Sidekiq process and we share a queue: each job runs once, in one of both", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, OURS);
  const runs = `${server.folder}/runs`;
  await Deno.writeTextFile(runs, "");
  const names = Array.from({ length: 600 }, (_, i) => `job ${i}`);
  // Some come out of the schedule, which both processes look at.
  await Promise.all(
    names.map((name, i) =>
      broker.push(
        "shared",
        job({ class: "Suite", args: [name], retry: true }),
        i % 10 === 0 ? { delayMs: 500 } : {},
      )
    ),
  );
  await using _ruby = new SidekiqProcess(server, runs, ["shared"]);
  const ruby = () => Deno.readTextFileSync(runs).split("\n").filter((line) => line !== "");
  await eventually("Ruby has begun", () => ruby().length > 0);
  const ours: string[] = [];
  await eventually("all jobs have run", async () => {
    for (const delivery of await take(broker, { queues: ["shared"], max: 3, waitMs: 50 })) {
      ours.push(JSON.parse(new TextDecoder().decode(delivery.message.body)).args[0]);
      await delivery.settle(ACK);
    }
    return ours.length + ruby().length >= names.length;
  });
  const all = [...ours, ...ruby().map((line) => line.slice("ruby ".length))];
  assert.deepEqual(all.toSorted(), names.toSorted());
  assert.ok(ours.length > 0, "we had none");
});

Deno.test("A job that failed here is retried by a real Sidekiq process", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server, OURS);
  const runs = `${server.folder}/runs`;
  await broker.push("q", job({ class: "Suite", args: ["again"], retry: true }));
  await (await takeOne(broker)).settle(retry(1, FAILED));
  await broker.close();
  await using _ruby = new SidekiqProcess(server, runs, ["q"]);
  // Its first look at the retries is 10 to 15 seconds after its start.
  const file = () => Deno.readTextFile(runs).catch(() => "");
  await eventually("Ruby ran it", async () => await file() === "ruby again\n", 30_000);
});
