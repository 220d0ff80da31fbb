import assert from "node:assert/strict";
import type { Delivery } from "../../../../src/core/delivery.ts";
import {
  Consumer,
  type ConsumerOptions,
  DEFAULT_CONSUMER_OPTIONS,
} from "../../../../src/worker/consumer/consumer.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";
import { FakeBroker, FakeDelivery, unavailable } from "../../../support/fake_broker.ts";
import { executorAway, FakeExecutor } from "../../../support/fake_executor.ts";

const HOUR_MS = 3_600_000;

/** A broker whose answer a test can hold back. */
class HangingBroker extends FakeBroker {
  hang: Promise<Delivery[]> | undefined;

  override receive(...request: Parameters<FakeBroker["receive"]>): Promise<Delivery[]> {
    return this.hang ?? super.receive(...request);
  }
}

function start(options: Partial<ConsumerOptions> = {}, ofExecutor: { abortMs?: number } = {}) {
  const clock = new FakeClock();
  const broker = new HangingBroker(clock);
  const executor = Object.assign(new FakeExecutor(), ofExecutor);
  const deps = { broker, executor, clock, observe: () => {}, random: () => 0.5 };
  const consumer = new Consumer(deps, {
    ...DEFAULT_CONSUMER_OPTIONS,
    name: "main",
    queues: [{ name: "default", weight: 1 }],
    concurrency: 2,
    ...options,
  });
  // A call: the compiler would take a property for what it was found to be before.
  return { clock, broker, executor, consumer, stats: () => consumer.stats };
}

Deno.test("Consumer.stall says nothing of a consumer that has nothing to do, however long", {
  permissions: "none",
}, async () => {
  const { clock, consumer } = start();
  const running = consumer.run();
  for (let minute = 0; minute < 20; minute++) {
    await clock.advance(60_000);
    assert.equal(consumer.stall, undefined);
  }
  await consumer.stopNow();
  await running;
  clock.jump(24 * HOUR_MS);
  assert.equal(consumer.stall, undefined);
});

Deno.test("Consumer.stall names a receive that never ends", { permissions: "none" }, async () => {
  const { clock, broker, consumer } = start();
  const { promise, resolve } = Promise.withResolvers<Delivery[]>();
  broker.hang = promise;
  const running = consumer.run();
  await clock.advance(150_000);
  assert.equal(consumer.stall, undefined);
  await clock.advance(1_000);
  assert.match(consumer.stall!, /^its receive has gone on for 151 s/);
  broker.hang = undefined;
  resolve([]);
  await settlePromises();
  assert.equal(consumer.stall, undefined);
  await consumer.stopNow();
  await running;
});

Deno.test(
  "Consumer.stall says nothing of a broker that is away, nor of php-fpm",
  { permissions: "none" },
  async () => {
    const { clock, broker, executor, consumer } = start();
    executor.answer = executorAway;
    broker.give(new FakeDelivery("1"));
    const running = consumer.run();
    await settlePromises();
    broker.outage = unavailable();
    await clock.advance(300_000);
    assert.equal(consumer.stall, undefined);
    broker.outage = undefined;
    await consumer.stopNow();
    await running;
  },
);

Deno.test(
  "Consumer.stall says nothing of slots whose jobs take their time, and tells when they outlive their abort",
  {
    permissions: "none",
  },
  async () => {
    const { clock, broker, executor, consumer } = start({ timeoutMs: HOUR_MS });
    executor.isDeaf = true;
    broker.leaseMs = undefined;
    broker.give(new FakeDelivery("1"), new FakeDelivery("2"));
    const running = consumer.run();
    await clock.advance(HOUR_MS + 119_000);
    assert.equal(consumer.stall, undefined);
    await clock.advance(2_000);
    assert.equal(
      consumer.stall,
      "all slots (2) run jobs that did not end after they were aborted at their time limit",
    );
    executor.runs[0]!.end(executorAway());
    await settlePromises();
    assert.equal(consumer.stall, undefined, "one slot is free");
    executor.runs[1]!.end(executorAway());
    await consumer.stopNow();
    await running;
  },
);

Deno.test(
  "Consumer.stall gives an executor the time that it needs to end a job",
  { permissions: "none" },
  async () => {
    const { clock, broker, executor, consumer } = start({ timeoutMs: 1_000, concurrency: 1 }, {
      abortMs: 500_000,
    });
    executor.isDeaf = true;
    broker.give(new FakeDelivery("1"));
    const running = consumer.run();
    await clock.advance(620_000);
    assert.equal(consumer.stall, undefined);
    await clock.advance(2_000);
    assert.match(consumer.stall!, /^all slots \(1\)/);
    executor.runs[0]!.end(executorAway());
    await consumer.stopNow();
    await running;
  },
);

Deno.test(
  "Consumer.stats tells slots, what is in them, whether there is room, and when the broker answered",
  {
    permissions: "none",
  },
  async () => {
    const { clock, broker, executor, consumer, stats } = start();
    assert.deepEqual(stats(), {
      slots: 2,
      busySlots: 0,
      inFlight: 0,
      hasRoom: true,
      isPaused: false,
      heldBack: [],
      receivedAtMs: undefined,
    });
    broker.give(new FakeDelivery("1"));
    const running = consumer.run();
    await settlePromises();
    const startedMs = clock.nowMs();
    assert.deepEqual(stats(), {
      slots: 2,
      busySlots: 1,
      inFlight: 1,
      hasRoom: true,
      isPaused: false,
      heldBack: [],
      receivedAtMs: startedMs,
    });
    await clock.advance(30_000);
    assert.equal(stats().receivedAtMs, startedMs + 30_000, "an empty answer counts, too");
    executor.runs[0]!.end(executorAway());
    await settlePromises();
    assert.deepEqual([stats().busySlots, stats().isPaused, stats().hasRoom], [0, true, false]);
    await consumer.stopNow();
    await running;
  },
);

Deno.test("Consumer.stats has no room when its slots are full, its rate limit is reached, or it is quiet", {
  permissions: "none",
}, async () => {
  for (const options of [{ concurrency: 1 }, { rateLimit: { jobs: 1, periodMs: 60_000 } }]) {
    const { broker, executor, consumer, stats } = start(options);
    assert.equal(stats().hasRoom, true);
    broker.give(new FakeDelivery("1"));
    const running = consumer.run();
    await settlePromises();
    assert.equal(stats().hasRoom, false);
    consumer.quiet();
    executor.runs[0]!.end({ kind: "ack" });
    await running;
    assert.equal(stats().hasRoom, false);
  }
});
