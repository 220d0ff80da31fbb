import assert from "node:assert/strict";
import type { Pauses } from "../../../src/core/admin.ts";
import type { WorkerEvent } from "../../../src/core/observer.ts";
import { StuckJobsWatch } from "../../../src/monitor/stuck_jobs_watch.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeBroker, unavailable } from "../../support/fake_broker.ts";

/** A watch of a consumer of "mail" with a free slot, and its broker. */
function start() {
  const clock = new FakeClock();
  const broker = new FakeBroker(clock);
  const asked: string[][] = [];
  const paused: string[] = [];
  let lists = 0;
  const watched = {
    census: (queues: readonly string[]) => {
      asked.push([...queues]);
      return broker.admin.census!(queues);
    },
    pauses: {
      list: () => {
        lists++;
        return Promise.resolve(paused.map((queue) => ({ queue })));
      },
    } as unknown as Pauses,
  };
  const watchedBroker = { admin: watched };
  const stats = {
    slots: 2,
    busySlots: 1,
    inFlight: 1,
    hasRoom: true,
    isPaused: false,
    heldBack: [],
    receivedAtMs: 0,
  };
  const consumer = { name: "main", stats, ran: { jobs: 5, ms: 0 }, inFlight: 1 };
  const told: WorkerEvent[] = [];
  const watch = new StuckJobsWatch({
    clock,
    observe: (event) => void told.push(event),
    brokers: () => [{ name: "redis", broker: watchedBroker, consumers: [{ consumer, queues: ["mail"] }] }],
  });
  return { clock, broker, consumer, asked, paused, told, watch, watched, lists: () => lists };
}

type Told = Extract<WorkerEvent, { type: "jobs_stuck" | "jobs_moving" }>;
const inWords = (told: readonly WorkerEvent[]) =>
  (told as Told[]).map(({ type, stuck }) =>
    `${type}: ${stuck.kind} ${stuck.jobs} for ${stuck.forMs / 1_000} s`
  );

Deno.test("StuckJobsWatch tells once that jobs are stuck, each minute that they are, and when they move", {
  permissions: "none",
}, async () => {
  const { clock, broker, consumer, told, watch } = start();
  broker.depths.set("mail", { ready: 3 });
  await clock.advance(35_000);
  assert.deepEqual(inWords(told), []);
  assert.deepEqual(watch.stuck.map(({ forMs }) => forMs), [25_000]);
  await clock.advance(5_000);
  assert.deepEqual(inWords(told), ["jobs_stuck: starved 3 for 30 s"]);
  await clock.advance(60_000);
  assert.deepEqual(inWords(told).slice(1), ["jobs_stuck: starved 3 for 90 s"]);
  consumer.ran.jobs++;
  await clock.advance(5_000);
  assert.deepEqual(inWords(told).slice(2), ["jobs_moving: starved 3 for 90 s"]);
  assert.deepEqual(watch.stuck, []);
  watch[Symbol.dispose]();
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("StuckJobsWatch compares the broker's count of jobs in flight with the consumers'", {
  permissions: "none",
}, async () => {
  const { clock, broker, consumer, told, watch } = start();
  broker.inFlight = 3;
  await clock.advance(35_000);
  assert.deepEqual(inWords(told), ["jobs_stuck: orphaned 2 for 30 s"]);
  consumer.inFlight = 3;
  await clock.advance(5_000);
  assert.deepEqual(inWords(told).slice(1), ["jobs_moving: orphaned 2 for 30 s"]);
  watch[Symbol.dispose]();
});

Deno.test("StuckJobsWatch asks for no ready jobs and no pauses while the consumer takes jobs, or cannot", {
  permissions: "none",
}, async () => {
  const { clock, broker, consumer, asked, lists, watch } = start();
  broker.depths.set("mail", { ready: 100_000 });
  for (let look = 0; look < 20; look++) {
    consumer.ran.jobs++;
    await clock.advance(5_000);
  }
  for (
    const busy of [{ busySlots: 2 }, { busySlots: 1, isPaused: true }, { isPaused: false, hasRoom: false }]
  ) {
    Object.assign(consumer.stats, busy);
    await clock.advance(60_000);
  }
  assert.deepEqual(asked.flat(), []);
  assert.equal(lists(), 0);
  assert.deepEqual(watch.stuck, []);
  watch[Symbol.dispose]();
});

Deno.test("StuckJobsWatch asks nothing of a queue that is paused", { permissions: "none" }, async () => {
  const { clock, broker, asked, paused, told, watch } = start();
  broker.depths.set("mail", { ready: 100_000 });
  paused.push("mail");
  await clock.advance(120_000);
  assert.deepEqual([asked.flat(), told], [[], []]);
  watch[Symbol.dispose]();
});

Deno.test("StuckJobsWatch begins anew when the broker was away, and asks one that hangs no second time", {
  permissions: "none",
}, async () => {
  const { clock, broker, asked, told, watch, watched } = start();
  broker.depths.set("mail", { ready: 3 });
  await clock.advance(30_000);
  broker.outage = unavailable();
  await clock.advance(5_000);
  broker.outage = undefined;
  await clock.advance(30_000);
  assert.deepEqual(told, []);
  const hanging = Promise.withResolvers<never>();
  const { census } = watched;
  watched.census = (queues) => {
    asked.push([...queues]);
    return hanging.promise;
  };
  const before = asked.length;
  await clock.advance(60_000);
  assert.equal(asked.length, before + 1);
  assert.deepEqual(watch.stuck, []);
  hanging.reject(unavailable());
  watched.census = census;
  await clock.advance(42_000);
  assert.deepEqual(inWords(told), ["jobs_stuck: starved 3 for 30 s"]);
  watch[Symbol.dispose]();
});
