/** How a consumer heeds pauses, keeps what it must not give back, and drops what it has lost. */
import assert from "node:assert/strict";
import type { PausedQueue, PauseOptions, Pauses } from "../../../../../src/core/admin.ts";
import { FervoError } from "../../../../../src/core/errors.ts";
import { ACK } from "../../../../../src/core/outcome.ts";
import {
  Consumer,
  type ConsumerOptions,
  DEFAULT_CONSUMER_OPTIONS,
} from "../../../../../src/worker/consumer/consumer.ts";
import { EventLog } from "../../../../support/event_log.ts";
import { FakeBroker, FakeDelivery, leaseLost, unavailable } from "../../../../support/fake_broker.ts";
import { FakeClock, settlePromises } from "../../../../support/fake_clock.ts";
import { executorAway, failed, FakeExecutor } from "../../../../support/fake_executor.ts";

/** Queues that a test pauses. */
class FakePauses implements Pauses {
  readonly isEnforced = false;
  readonly paused = new Map<string, PauseOptions>();
  outage: Error | undefined;
  latest: readonly PausedQueue[] | undefined;
  lists = 0;

  list(): Promise<PausedQueue[]> {
    this.lists++;
    if (this.outage !== undefined) return Promise.reject(this.outage);
    return Promise.resolve([...this.paused].map(([queue, pause]) => ({ queue, ...pause })));
  }

  pause(queue: string, options: PauseOptions = {}): Promise<void> {
    this.paused.set(queue, options);
    return Promise.resolve();
  }

  resume(queue: string): Promise<boolean> {
    return Promise.resolve(this.paused.delete(queue));
  }
}

function start(options: Partial<ConsumerOptions> = {}, change: (broker: FakeBroker) => void = () => {}) {
  const clock = new FakeClock();
  const broker = new FakeBroker(clock);
  const pauses = new FakePauses();
  broker.admin = { ...broker.admin, pauses };
  change(broker);
  const executor = new FakeExecutor();
  const log = new EventLog();
  const consumer = new Consumer(
    { broker, executor, clock, observe: log.observe, random: () => 0.5 },
    {
      ...DEFAULT_CONSUMER_OPTIONS,
      name: "main",
      queues: [{ name: "a", weight: 1 }, { name: "b", weight: 1 }],
      concurrency: 2,
      ...options,
    },
  );
  const running = consumer.run();
  return {
    clock,
    broker,
    pauses,
    executor,
    log,
    consumer,
    /** The queues that each receive was for. */
    asked: () => broker.requests.map(({ queues }) => queues.join(" ")),
    async give(...ids: string[]) {
      const deliveries = broker.give(...ids.map((id) => new FakeDelivery(id)));
      await settlePromises();
      return deliveries;
    },
    async [Symbol.asyncDispose]() {
      await consumer.stopNow();
      await clock.advance(1_000);
      await running;
      assert.equal(clock.pendingTimers, 0, "a timer is left");
    },
  };
}

/** A broker that counts a release as an attempt. */
const counted = (broker: FakeBroker) => {
  broker.capabilities = { ...broker.capabilities, release: "counted" };
};

Deno.test("Consumer knows what is paused before it receives, and asks for the other queues only", async () => {
  await using t = start({}, (broker) => void broker.admin.pauses!.pause("a"));
  await settlePromises();
  assert.deepEqual(t.asked(), ["b"]);
});

Deno.test("Consumer ends a receive that waits when queues are paused or resumed, and asks anew", async () => {
  await using t = start();
  await settlePromises();
  t.pauses.pause("b");
  await t.clock.advance(1_000);
  t.pauses.paused.clear();
  await t.clock.advance(1_000);
  assert.deepEqual(t.asked(), ["a b", "a", "a b"]);
  assert.equal(t.pauses.lists, 3);
  assert.deepEqual(t.log.of("queues_paused").map(({ queues }) => queues), [[{ queue: "b" }], []]);
});

Deno.test("Consumer asks for pauses only where the broker has not learned them by the way", async () => {
  await using t = start({}, (broker) => void ((broker.admin.pauses as FakePauses).latest = []));
  await settlePromises();
  // It does not begin by hearsay.
  assert.equal(t.pauses.lists, 1);
  t.pauses.pause("a");
  await t.clock.advance(5_000);
  assert.equal(t.pauses.lists, 1);
  t.pauses.latest = undefined;
  await t.clock.advance(1_000);
  assert.equal(t.pauses.lists, 2);
  assert.equal(t.asked().at(-1), "b");
  t.pauses.latest = [];
  await t.clock.advance(1_000);
  assert.deepEqual([t.pauses.lists, t.asked().at(-1)], [2, "a b"]);
});

Deno.test("Consumer tells of another time or reason of a pause, and not of other queues' pauses", async () => {
  await using t = start({}, (broker) => void broker.admin.pauses!.pause("b", { reason: "moved" }));
  await settlePromises();
  await t.clock.advance(3_000);
  t.pauses.pause("another", { reason: "not ours" });
  await t.clock.advance(1_000);
  t.pauses.pause("b", { reason: "moved", untilMs: 7 });
  await t.clock.advance(1_000);
  const told = t.log.of("queues_paused").map(({ queues }) => queues);
  assert.deepEqual(told, [[{ queue: "b", reason: "moved" }], [{ queue: "b", reason: "moved", untilMs: 7 }]]);
});

Deno.test("Consumer asks for nothing while all its queues are paused, and counts as having no room", async () => {
  await using t = start();
  await settlePromises();
  for (const queue of ["a", "b", "another"]) t.pauses.pause(queue);
  await t.clock.advance(60_000);
  assert.deepEqual(t.asked(), ["a b"]);
  assert.equal(t.consumer.stats.hasRoom, false);
  assert.equal(t.consumer.stall, undefined);
  t.pauses.paused.delete("b");
  await t.clock.advance(1_000);
  assert.deepEqual(t.asked(), ["a b", "b"]);
});

Deno.test("Consumer receives nothing until it is known what is paused, and tells why", async () => {
  await using t = start({}, (broker) => void ((broker.admin.pauses as FakePauses).outage = unavailable()));
  await t.clock.advance(5_000);
  assert.deepEqual(t.asked(), []);
  assert.equal(t.log.of("broker_failed")[0]!.during, "receive");
  t.pauses.outage = undefined;
  await t.clock.advance(5_000);
  // The first receive ends soon, so that it is known that the broker works again.
  assert.deepEqual(t.asked(), ["a b", "a b"]);
});

Deno.test("Consumer goes by what it knew of pauses while the broker does not say, and tells of that", async () => {
  await using t = start({}, (broker) => void broker.admin.pauses!.pause("a"));
  await settlePromises();
  t.pauses.outage = unavailable();
  await t.clock.advance(5_000);
  assert.deepEqual(t.asked(), ["b"]);
  assert.ok(
    t.log.of("broker_failed").every(({ during, consumer }) => during === "pauses" && consumer === "main"),
  );
  t.pauses.outage = undefined;
  t.pauses.paused.clear();
  await t.clock.advance(1_000);
  assert.deepEqual(t.asked(), ["b", "a b"]);
  assert.equal(t.log.of("broker_recovered").length, 1);
});

Deno.test("Consumer subscribes with as much room as it has, and once more than slots only where a release costs nothing", async () => {
  await using free = start({ concurrency: 3 });
  await using costly = start({ concurrency: 3 }, counted);
  assert.deepEqual(
    [free, costly].map(({ broker }) => broker.subscribed.map(({ queues, capacity }) => [queues, capacity])),
    [[[["a", "b"], 6]], [[["a", "b"], 3]]],
  );
});

Deno.test("Consumer keeps a job that could not be run where a release would cost an attempt, and runs it itself", async () => {
  await using t = start({}, counted);
  const [one, two] = await t.give("1", "2");
  t.executor.runs[0]!.end(executorAway());
  t.executor.runs[1]!.end(executorAway());
  await t.clock.advance(1_000);
  assert.deepEqual([one!.settled, two!.settled, t.consumer.inFlight], [[], [], 2]);
  // One of them finds out whether the executor is back.
  assert.deepEqual(t.executor.ids, ["1", "2", "1"]);
  t.executor.runs[2]!.end(ACK);
  await settlePromises();
  assert.deepEqual(t.executor.ids, ["1", "2", "1", "2"]);
  t.executor.runs[3]!.end(failed(7));
  await settlePromises();
  assert.deepEqual([one!.settled, two!.settled], [["ack"], ["retry 7 JOB_FAILED"]]);
});

Deno.test("Consumer keeps its leases of the jobs that it keeps, and gives them back when it is to take no more", async () => {
  await using t = start({}, counted);
  const [one] = await t.give("1");
  t.executor.probeAnswer = new FervoError("FASTCGI_CONNECT_FAILED", "Nobody listens");
  t.executor.runs[0]!.end(executorAway());
  await t.clock.advance(30_000);
  assert.ok(one!.extensions >= 2, `${one!.extensions}`);
  assert.deepEqual(one!.settled, []);
  t.consumer.quiet();
  await settlePromises();
  assert.deepEqual(one!.settled, ["release"]);
});

Deno.test("Consumer runs those of a batch again that were not begun, where a release would cost an attempt", async () => {
  await using t = start({ concurrency: 1, batchSize: 3 }, counted);
  const all = await t.give("1", "2", "3");
  t.executor.batches[0]!.tell(ACK);
  // The second takes PHP down with it.
  t.executor.batches[0]!.end(failed(5));
  await settlePromises();
  assert.deepEqual(all.map(({ settled }) => settled), [["ack"], ["retry 5 JOB_FAILED"], []]);
  assert.deepEqual(t.executor.batchIds, [["1", "2", "3"], ["3"]]);
  t.executor.batches[1]!.end(ACK);
  await settlePromises();
  assert.deepEqual(all[2]!.settled, ["ack"]);
});

Deno.test("Consumer takes nothing ahead of a free slot where a release would cost an attempt", async () => {
  await using t = start({ concurrency: 1 }, counted);
  t.executor.answer = () => ACK;
  for (let i = 0; i < 100; i++) await t.give(`${i}`);
  assert.deepEqual([...new Set(t.broker.asked)], [1]);
});

Deno.test("Consumer does not begin what waits for a slot and is ours no more", async () => {
  await using t = start({ concurrency: 1 });
  t.executor.answer = () => ACK;
  // Short jobs, so that some are taken ahead.
  for (let i = 0; i < 100; i++) await t.give(`${i}`);
  t.executor.answer = undefined;
  const [runs, waits] = await t.give("runs", "waits");
  assert.deepEqual([t.executor.ids.at(-1), t.consumer.snapshot().ahead], ["runs", 1]);
  for (const lost of [runs!, waits!]) lost.settleFailures.push(leaseLost());
  t.broker.subscribed[0]!.onLost([runs!, waits!]);
  await settlePromises();
  t.executor.runs.at(-1)!.end(ACK);
  await settlePromises();
  assert.equal(t.executor.ids.at(-1), "runs");
  assert.deepEqual(t.log.of("lease_lost").map(({ id }) => id), ["waits", "runs"]);
});

Deno.test("Consumer.emptied() of a broker that cannot count waits until nothing has come for a while, and says what it cannot see", async () => {
  await using t = start({}, (broker) => void (broker.admin = {}));
  await settlePromises();
  assert.equal(await t.consumer.emptied(5_000), undefined);
  await t.clock.advance(4_000);
  await t.give("1");
  await t.clock.advance(4_000);
  t.executor.runs[0]!.end(ACK);
  await settlePromises();
  await t.clock.advance(4_999);
  assert.equal(await t.consumer.emptied(5_000), undefined);
  await t.clock.advance(1);
  assert.deepEqual(await t.consumer.emptied(5_000), ["ready", "delayed", "reserved"]);
});

Deno.test("Consumer.emptied() does not take a broker for empty that cannot count and does not answer", async () => {
  await using t = start({}, (broker) => {
    broker.admin = {};
    broker.outage = unavailable();
  });
  await t.clock.advance(60_000);
  assert.equal(await t.consumer.emptied(5_000), undefined);
  t.broker.outage = undefined;
});

Deno.test("Consumer does not begin what it keeps and is ours no more, as its broker or a renewal has shown", async () => {
  for (const isTold of [true, false]) {
    await using t = start({ concurrency: 1 }, counted);
    const [lost] = await t.give("1");
    t.executor.probeAnswer = new FervoError("FASTCGI_CONNECT_FAILED", "Nobody listens");
    t.executor.runs[0]!.end(executorAway());
    await settlePromises();
    lost!.settleFailures.push(leaseLost());
    if (isTold) t.broker.subscribed[0]!.onLost([lost!]);
    else lost!.extendFailures.push(leaseLost());
    await t.clock.advance(10_000);
    t.executor.probeAnswer = undefined;
    await t.clock.advance(10_000);
    assert.deepEqual([t.executor.ids, t.consumer.inFlight], [["1"], 0]);
    assert.equal(t.log.of("lease_lost").length, 1);
  }
});

Deno.test("Consumer.emptied() does not take a broker for empty that cannot count, while the application holds back a queue", async () => {
  await using t = start({}, (broker) => {
    broker.admin = {};
    broker.knowsQueues = true;
  });
  t.broker.give(new FakeDelivery("1", { queue: "a" }));
  await settlePromises();
  const error = new FervoError("JOB_POSTPONED", "later");
  t.executor.runs[0]!.end({ kind: "release", reason: "asked", delayMs: 1_000, error, queuePauseMs: 30_000 });
  await t.clock.advance(29_000);
  assert.equal(await t.consumer.emptied(5_000), undefined);
  await t.clock.advance(4_000);
  assert.equal(await t.consumer.emptied(5_000), undefined);
  await t.clock.advance(1_000);
  assert.notEqual(await t.consumer.emptied(5_000), undefined);
});
