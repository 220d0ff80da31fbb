import assert from "node:assert/strict";
import { ACK } from "../../../../src/core/outcome.ts";
import type { Format } from "../../../../src/core/format.ts";
import { envelope } from "../../../../src/formats/envelope.ts";
import { raw } from "../../../../src/formats/raw.ts";
import type { Executor } from "../../../../src/executors/executor.ts";
import {
  Consumer,
  type ConsumerOptions,
  DEFAULT_CONSUMER_OPTIONS,
} from "../../../../src/worker/consumer/consumer.ts";
import { settledOf, startConsumer } from "../../../support/consumer_site.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";
import { FakeBroker, FakeDelivery, unavailable } from "../../../support/fake_broker.ts";
import { executorAway, failed, misconfigured } from "../../../support/fake_executor.ts";

// A consumer with a batch size. What it has in common with one without is in consumer_test.ts.

function start(options: Partial<ConsumerOptions> = {}, format: Format = raw) {
  return startConsumer({ batchSize: 10, ...options }, (broker) => void (broker.format = format));
}

// --- faults of ours

Deno.test("Consumer with a batch size puts back what has no outcome, uncounted, when its executor throws", async () => {
  await using t = start();
  t.executor.executeBatch = ({ jobs, onOutcome }) => {
    onOutcome(ACK, jobs[0]!);
    return Promise.reject(new TypeError("broken"));
  };
  const jobs = await t.give(..."abc");
  assert.deepEqual(settledOf(jobs), ["ack", "release", "release"]);
  assert.equal(t.log.of("consumer_paused")[0]!.error.code, "WORKER_FAULT");
});

Deno.test("Consumer with a batch size runs the others when its format throws at one job", async () => {
  const odd: Format = {
    ...raw,
    read: (message) => message.body[0] === 0 ? assert.fail("a bug") : raw.read(message),
  };
  await using t = start({}, odd);
  const jobs = await t.give(new FakeDelivery("a", { raw: Uint8Array.of(0) }), "b");
  assert.deepEqual(t.executor.batchIds, [["b"]]);
  t.executor.batches[0]!.tell(ACK);
  t.executor.batches[0]!.end();
  await t.clock.advance(0);
  assert.deepEqual(settledOf(jobs), ["release", "ack"]);
});

// --- what a slot takes

Deno.test("Consumer with a batch size asks for so many jobs a slot, and spreads what comes evenly over free slots", async () => {
  await using t = start({ concurrency: 4, batchSize: 10 });
  await t.give(..."abcdefg");
  assert.deepEqual(t.executor.batchIds, [["a", "b"], ["c", "d"], ["e", "f"], ["g"]]);
  assert.deepEqual(t.broker.asked, [40]);
  t.executor.batches[1]!.tell(ACK);
  t.executor.batches[1]!.tell(ACK);
  t.executor.batches[1]!.end();
  await settlePromises();
  assert.deepEqual(t.broker.asked, [40, 10]);
  await t.give("h");
  assert.deepEqual(t.executor.batchIds.at(-1), ["h"]);
});

Deno.test("Consumer with a batch size never waits to fill a batch, and makes none larger", async () => {
  await using t = start({ concurrency: 2, batchSize: 3 });
  await t.give("a");
  assert.deepEqual(t.executor.batchIds, [["a"]]);
  await t.give(..."bcdef");
  assert.deepEqual(t.executor.batchIds, [["a"], ["b", "c", "d"]]);
  assert.deepEqual([t.broker.asked, t.broker.left], [[6, 3], 2]);
});

Deno.test("Consumer runs each job by itself where the batch size is 1", async () => {
  await using t = start({ concurrency: 1, batchSize: 1 });
  await t.give("a");
  assert.deepEqual([t.executor.ids, t.executor.batchIds], [["a"], []]);
  t.executor.runs[0]!.end(ACK);
});

Deno.test("Consumer is not made with a batch size for an executor that runs no batches", () => {
  const clock = new FakeClock();
  const executor: Executor = {
    execute: () => Promise.resolve(ACK),
    probe: () => Promise.resolve(undefined),
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const deps = {
    broker: new FakeBroker(clock),
    executor,
    clock,
    observe() {},
    random: () => 0,
  };
  const options = { ...DEFAULT_CONSUMER_OPTIONS, name: "main", queues: [] };
  assert.throws(() => new Consumer(deps, { ...options, batchSize: 2 }), /runs no batches/);
  assert.ok(new Consumer(deps, options));
});

Deno.test("Consumer counts the jobs of a batch, not the batches, for its rate limit", async () => {
  await using t = start({ concurrency: 2, rateLimit: { jobs: 3, periodMs: 3_000 } });
  await t.give(..."abcde");
  assert.deepEqual(t.executor.batchIds, [["a", "b"], ["c"]]);
  for (const batch of t.executor.batches) {
    for (const _ of batch.jobs) batch.tell(ACK);
    batch.end();
  }
  await t.clock.advance(1_000);
  assert.deepEqual(t.executor.batchIds.slice(2), [["d"]]);
});

Deno.test("Consumer takes short batches ahead, as many jobs as its slots run at once, and no more", async () => {
  await using t = start({ concurrency: 1, batchSize: 3 });
  for (let i = 0; i < 100; i++) {
    await t.give(`short-${i}`);
    await t.clock.advance(10);
    t.executor.batches.at(-1)!.tell(ACK);
    t.executor.batches.at(-1)!.end();
    await settlePromises();
  }
  const jobs = await t.give(..."abcdefgh");
  assert.deepEqual(t.executor.batchIds.slice(100), [["a", "b", "c"]]);
  assert.deepEqual([t.consumer.inFlight, t.broker.left], [6, 2]);
  for (let i = 0; i < 3; i++) t.executor.batches.at(-1)!.tell(ACK);
  t.executor.batches.at(-1)!.end();
  await settlePromises();
  assert.deepEqual(t.executor.batchIds.slice(100), [["a", "b", "c"], ["d", "e", "f"]]);
  assert.deepEqual(settledOf(jobs.slice(0, 4)), ["ack", "ack", "ack", undefined]);
  // What waits still for its slot is put back.
  t.consumer.quiet();
  await settlePromises();
  assert.deepEqual(settledOf(jobs.slice(6)), ["release", "release"]);
});

Deno.test("Consumer with a batch size finds out with one job whether its executor is back", async () => {
  await using t = start({ concurrency: 2 });
  const jobs = await t.give(..."abcd");
  t.executor.batches[0]!.end(executorAway());
  t.executor.batches[1]!.end(executorAway());
  await settlePromises();
  assert.deepEqual(settledOf(jobs), Array(4).fill("release"));
  assert.equal(t.log.of("consumer_paused").length, 1);
  t.broker.give(...["e", "f", "g"].map((id) => new FakeDelivery(id)));
  await t.clock.advance(49);
  assert.equal(t.executor.batches.length, 2);
  await t.clock.advance(1);
  assert.deepEqual(t.executor.batchIds.slice(2), [["e"]]);
  t.executor.batches.at(-1)!.tell(ACK);
  await settlePromises();
  assert.equal(t.log.of("consumer_resumed").length, 1);
  assert.deepEqual(t.executor.batchIds.at(-1), ["f", "g"]);
});

// --- a record after the other

Deno.test("Consumer settles each job of a batch when its own outcome comes, and tells when the next begins", async () => {
  await using t = start({ timeoutMs: 5_000 });
  const jobs = await t.give("a", new FakeDelivery("b", { attempt: 2 }), "c");
  const { jobs: sent, timeoutMs, tell, end } = t.executor.batches[0]!;
  assert.deepEqual([timeoutMs, sent.map(({ attempt }) => attempt)], [5_000, [1, 2, 1]]);
  assert.deepEqual(t.started(), ["a"]);
  await t.clock.advance(100);
  tell(ACK);
  await settlePromises();
  assert.deepEqual([settledOf(jobs), t.started()], [["ack", undefined, undefined], ["a", "b"]]);
  await t.clock.advance(20);
  tell(failed(7));
  await settlePromises();
  assert.deepEqual([settledOf(jobs), t.started()], [["ack", "retry 7 JOB_FAILED", undefined], [
    "a",
    "b",
    "c",
  ]]);
  assert.deepEqual(t.broker.asked, [10], "the slot is taken until the batch has ended");
  await t.clock.advance(3);
  tell(ACK);
  await settlePromises();
  assert.deepEqual(t.broker.asked, [10]);
  end();
  await settlePromises();
  assert.deepEqual(t.broker.asked, [10, 10]);
  assert.deepEqual(t.log.of("job_settled").map(({ id, runMs }) => [id, runMs]), [
    ["a", 100],
    ["b", 20],
    ["c", 3],
  ]);
  assert.deepEqual(settledOf(jobs), ["ack", "retry 7 JOB_FAILED", "ack"]);
});

Deno.test("Consumer settles the job that ran when a batch ended early by its outcome, and puts the others back, the last first", async () => {
  await using t = start();
  const jobs = await t.give(..."abcd");
  t.executor.batches[0]!.tell(ACK);
  t.executor.batches[0]!.end(failed(5));
  await settlePromises();
  assert.deepEqual(settledOf(jobs), ["ack", "retry 5 JOB_FAILED", "release", "release"]);
  assert.deepEqual(t.broker.calls, ["ack a", "retry 5 JOB_FAILED b", "release d", "release c"]);
  assert.deepEqual(t.started(), ["a", "b"]);
  assert.equal(t.log.of("consumer_paused").length, 0);
});

Deno.test("Consumer has put all jobs back when the script does not know batches, and tries again with one", async () => {
  await using t = start();
  const jobs = await t.give(..."abc");
  t.executor.batches[0]!.end(misconfigured());
  await settlePromises();
  assert.deepEqual(settledOf(jobs), ["release", "release", "release"]);
  assert.equal(t.consumer.fault?.code, "FPM_MISCONFIGURED");
  await t.give(..."de");
  await t.clock.advance(50);
  assert.deepEqual(t.executor.batchIds, [["a", "b", "c"], ["d"]]);
  t.executor.batches[1]!.end(misconfigured());
  await t.clock.advance(99);
  assert.equal(t.executor.batches.length, 2);
});

Deno.test("Consumer goes on with a batch while a settle of one of its jobs has to be made again", async () => {
  await using t = start();
  const [a, b] = await t.give(..."ab");
  a!.settleFailures.push(unavailable());
  t.executor.batches[0]!.tell(ACK);
  t.executor.batches[0]!.tell(ACK);
  t.executor.batches[0]!.end();
  await settlePromises();
  assert.deepEqual(settledOf([a!, b!]), [undefined, "ack"]);
  await t.clock.advance(50);
  assert.deepEqual(settledOf([a!, b!]), ["ack", "ack"]);
});

Deno.test("Consumer buries a message of a batch that cannot be read, alone and at once", async () => {
  await using t = start({}, envelope);
  const good = (id: string) => {
    return new FakeDelivery(id, {
      raw: envelope.write({ payload: new Uint8Array(), id: `order-${id}` }).body,
    });
  };
  const jobs = await t.give(
    good("1"),
    new FakeDelivery("2", { raw: new TextEncoder().encode("{") }),
    good("3"),
  );
  assert.deepEqual(t.executor.batchIds, [["order-1", "order-3"]]);
  assert.deepEqual(settledOf(jobs), [undefined, "bury JOB_MALFORMED", undefined]);
  t.executor.batches[0]!.tell(ACK);
  t.executor.batches[0]!.tell(ACK);
  t.executor.batches[0]!.end();
  await settlePromises();
  assert.deepEqual(settledOf(jobs), ["ack", "bury JOB_MALFORMED", "ack"]);
  assert.deepEqual(t.started(), ["order-1", "order-3"]);

  const [lone] = await t.give(new FakeDelivery("4", { raw: new TextEncoder().encode("[") }));
  assert.deepEqual([t.executor.batches.length, lone!.settled], [1, ["bury JOB_MALFORMED"]]);
  await t.give(good("5"));
  assert.deepEqual(t.executor.batchIds.at(-1), ["order-5"]);
});

// --- time limit and leases

Deno.test("Consumer gives each job of a batch its whole time, from when the one before has ended", async () => {
  await using t = start({ timeoutMs: 1_000 });
  const jobs = await t.give(..."abc");
  const { signal, tell } = t.executor.batches[0]!;
  await t.clock.advance(900);
  tell(ACK);
  await t.clock.advance(999);
  assert.equal(signal.aborted, false);
  await t.clock.advance(1);
  assert.equal(signal.reason.code, "JOB_TIMEOUT");
  assert.deepEqual(settledOf(jobs), ["ack", "retry 1000 JOB_TIMEOUT", "release"]);
});

Deno.test("Consumer ends a batch whose jobs have all ended when the batch does not, and settles none again", async () => {
  await using t = start({ timeoutMs: 1_000 });
  const jobs = await t.give("a");
  const { signal, tell, end } = t.executor.batches[0]!;
  t.executor.isDeaf = true;
  tell(ACK);
  await t.clock.advance(1_000);
  assert.equal(signal.reason.code, "JOB_TIMEOUT");
  end();
  await settlePromises();
  assert.deepEqual([settledOf(jobs), t.broker.asked], [["ack"], [10, 10]]);
});

Deno.test("Consumer times each slot by itself, whichever began first", async () => {
  await using t = start({ concurrency: 2, timeoutMs: 1_000 });
  await t.give("a", "b", "c", "d");
  const [first, second] = t.executor.batches;
  await t.clock.advance(600);
  first!.tell(ACK);
  await t.clock.advance(400);
  assert.deepEqual([first!.signal.aborted, second!.signal.aborted], [false, true]);
  await t.clock.advance(599);
  assert.equal(first!.signal.aborted, false);
  await t.clock.advance(1);
  assert.equal(first!.signal.aborted, true);
});

Deno.test("Consumer renews the leases of all jobs of a batch, also of those that wait in it", async () => {
  await using t = start({ timeoutMs: 600_000 });
  const jobs = await t.give(..."abc");
  t.executor.batches[0]!.tell(ACK);
  await t.clock.advance(10_000);
  assert.deepEqual(jobs.map(({ extensions }) => extensions), [0, 1, 1]);
});

// --- the end

Deno.test("Consumer.quiet() lets a batch that runs come to its end", async () => {
  await using t = start();
  const jobs = await t.give(..."ab");
  t.consumer.quiet();
  t.executor.batches[0]!.tell(ACK);
  t.executor.batches[0]!.tell(failed(1));
  t.executor.batches[0]!.end();
  await t.running;
  assert.deepEqual(settledOf(jobs), ["ack", "retry 1 JOB_FAILED"]);
});

Deno.test("Consumer.stopNow() aborts a batch, and puts its jobs without an outcome back then, the last one first", async () => {
  await using t = start({ concurrency: 2 });
  t.executor.onAbort = ({ id }) => t.broker.calls.push(`abort ${id}`);
  const jobs = await t.give(..."abcde");
  t.executor.batches[0]!.tell(ACK);
  await settlePromises();
  await t.consumer.stopNow();
  await t.running;
  assert.deepEqual(t.broker.calls, [
    "ack a",
    "abort d",
    "abort a",
    "release e",
    "release d",
    "release c",
    "release b",
  ]);
  assert.deepEqual(settledOf(jobs), ["ack", "release", "release", "release", "release"]);
  for (const { signal } of t.executor.batches) assert.equal(signal.reason.code, "SHUTDOWN");
});

Deno.test("Consumer takes no notice of what a batch says after stopNow() has put its jobs back", async () => {
  await using t = start();
  t.executor.isDeaf = true;
  const jobs = await t.give(..."abc");
  const stopped = t.consumer.stopNow();
  await t.clock.advance(1_000);
  await Promise.all([stopped, t.running]);
  t.executor.batches[0]!.tell(ACK);
  t.executor.batches[0]!.end(executorAway());
  await settlePromises();
  assert.deepEqual(settledOf(jobs), ["release", "release", "release"]);
  assert.deepEqual([t.started(), t.log.types.at(-1)], [["a"], "consumer_stopped"]);
});

Deno.test("Consumer.stopNow() aborts also a batch whose jobs are all settled and which has not ended", async () => {
  await using t = start();
  await t.give("a");
  t.executor.batches[0]!.tell(ACK);
  await settlePromises();
  await t.consumer.stopNow();
  assert.equal(t.executor.batches[0]!.signal.aborted, true);
});
