/** Workers take no jobs from queues that are paused, on each broker, and go on when they are resumed. */
import assert from "node:assert/strict";
import type { Broker } from "../../../src/core/broker.ts";
import { ACK } from "../../../src/core/outcome.ts";
import { systemClock } from "../../../src/core/time/clock.ts";
import { Consumer, DEFAULT_CONSUMER_OPTIONS } from "../../../src/worker/consumer/consumer.ts";
import { adminOf, inMessages, pushAll, type TestBroker } from "../../conformance/fixture.ts";
import { Beanstalkd } from "../../support/beanstalkd.ts";
import { EventLog } from "../../support/event_log.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeExecutor } from "../../support/fake_executor.ts";
import { RedisBroker, sidekiqMessages } from "../brokers/sidekiq/broker.ts";
import { SqliteFileQueue } from "../brokers/sqlite/broker.ts";

const SERVERS: Record<
  string,
  () => Promise<Pick<TestBroker, "open" | "passTime" | typeof Symbol.asyncDispose>>
> = {
  sqlite: () => SqliteFileQueue.start(),
  redis: async () => {
    const server = await RedisBroker.start();
    return {
      open: async () => inMessages(await server.open(), sidekiqMessages),
      passTime: (ms) => server.passTime(ms),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
  beanstalkd: async () => {
    const server = await Beanstalkd.start({ hasMovableClock: true });
    return {
      open: () => Promise.resolve(server.open()),
      passTime: (ms) => server.passTime(ms),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};

/** A consumer of the queues "a" and "b", whose jobs end at once. */
function consumeFrom(broker: Broker) {
  const executor = new FakeExecutor();
  executor.answer = () => ACK;
  const log = new EventLog();
  const deps = { broker, executor, clock: systemClock, observe: log.observe, random: Math.random };
  const consumer = new Consumer(deps, {
    ...DEFAULT_CONSUMER_OPTIONS,
    name: "main",
    queues: [{ name: "a", weight: 1 }, { name: "b", weight: 1 }],
  });
  const running = consumer.run();
  return {
    log,
    /** From which queues jobs were run, in order. */
    ran: () => executor.runs.map(({ job }) => job.queue),
    async [Symbol.asyncDispose]() {
      await consumer.stopNow();
      await running;
    },
  };
}

for (const [name, start] of Object.entries(SERVERS)) {
  Deno.test(`A worker on ${name} takes no job from a queue that is paused, and takes them when it is resumed`, async () => {
    await using server = await start();
    await using people = await server.open();
    await using broker = await server.open();
    const { pauses } = adminOf(broker);
    const list = pauses.list.bind(pauses);
    let listed = 0;
    pauses.list = async () => {
      const paused = await list();
      listed++;
      return paused;
    };
    /** Resolves when the worker has looked this often what is paused; the first of them may have begun before. */
    const looks = async (count: number) => {
      if (pauses.isEnforced) return;
      const until = listed + count;
      await eventually(`${count} looks`, () => listed >= until);
    };
    await pushAll(people, ["first"], "a");
    await adminOf(people).pauses.pause("a");
    await using worker = consumeFrom(broker);
    await pushAll(people, ["second"], "b");
    await eventually("the other queue's job has run", () => worker.ran().length === 1);
    assert.deepEqual(worker.ran(), ["b"]);
    await adminOf(people).pauses.resume("a");
    await eventually("the job has run", () => worker.ran().length === 2);
    assert.deepEqual(worker.ran(), ["b", "a"]);
    // It waits for jobs of both now.
    await adminOf(people).pauses.pause("a");
    await adminOf(people).pauses.pause("b");
    await looks(2);
    await pushAll(people, ["a job"], "a");
    await pushAll(people, ["a job"], "b");
    await looks(2);
    assert.deepEqual(worker.ran(), ["b", "a"]);
    await adminOf(people).pauses.resume("b");
    await eventually("b's job has run", () => worker.ran().length === 3);
    assert.deepEqual(worker.ran(), ["b", "a", "b"]);
    assert.deepEqual(worker.log.of("broker_failed"), []);
  });

  Deno.test(`A worker on ${name} takes jobs of a queue again when the time of its pause is over, by itself`, async () => {
    await using server = await start();
    await using people = await server.open();
    await using broker = await server.open();
    const { pauses } = adminOf(people);
    await pushAll(people, ["of a"], "a");
    await pauses.pause("a", { untilMs: Date.now() + 3_600_000 });
    await using worker = consumeFrom(broker);
    await pushAll(people, ["of b"], "b");
    await eventually("the other queue's job has run", () => worker.ran().length === 1);
    await server.passTime(3_601_000);
    await eventually("the job has run", () => worker.ran().length === 2);
    assert.deepEqual(worker.ran(), ["b", "a"]);
    assert.deepEqual(await pauses.list(), []);
    const told = worker.log.of("queues_paused").map(({ queues }) => queues.map(({ queue }) => queue));
    assert.deepEqual(told, pauses.isEnforced ? [] : [["a"], []]);
  });
}
