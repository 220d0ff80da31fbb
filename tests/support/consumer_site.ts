import assert from "node:assert/strict";
import {
  Consumer,
  type ConsumerOptions,
  DEFAULT_CONSUMER_OPTIONS,
} from "../../src/worker/consumer/consumer.ts";
import { EventLog } from "./event_log.ts";
import { FakeBroker, FakeDelivery } from "./fake_broker.ts";
import { FakeClock, settlePromises } from "./fake_clock.ts";
import { FakeExecutor } from "./fake_executor.ts";

/**
 * A consumer with fakes around it; after the test it has ended, and has left no timer and nothing unsettled.
 *
 * @param change Is given the broker before the consumer is made.
 */
export function startConsumer(options: Partial<ConsumerOptions>, change: (broker: FakeBroker) => void) {
  const clock = new FakeClock();
  const broker = new FakeBroker(clock);
  const executor = new FakeExecutor();
  const log = new EventLog();
  change(broker);
  const deps = { broker, executor, clock, observe: log.observe, random: () => 0.5 };
  const consumer = new Consumer(deps, {
    ...DEFAULT_CONSUMER_OPTIONS,
    name: "main",
    queues: [{ name: "default", weight: 1 }],
    concurrency: 1,
    ...options,
  });
  const given: FakeDelivery[] = [];
  const running = consumer.run();
  return {
    clock,
    broker,
    executor,
    log,
    consumer,
    running,
    /** Puts jobs into the broker, all at once, and lets the consumer do what it does. */
    async give(...jobs: (string | FakeDelivery)[]) {
      const deliveries = jobs.map((job) => typeof job === "string" ? new FakeDelivery(job) : job);
      given.push(...deliveries);
      broker.give(...deliveries);
      await settlePromises();
      return deliveries;
    },
    started: () => log.of("job_started").map(({ id }) => id),
    async [Symbol.asyncDispose]() {
      await consumer.stopNow();
      await running;
      await settlePromises();
      assert.equal(consumer.inFlight, 0);
      assert.equal(clock.pendingTimers, 0, "a timer is left");
      for (const { id, settled } of given) assert.ok(settled.length <= 1, `job ${id} was settled twice`);
    },
  };
}

/** What became of each. */
export const settledOf = (deliveries: readonly FakeDelivery[]) => deliveries.map(({ settled }) => settled[0]);
