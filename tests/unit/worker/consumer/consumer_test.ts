import assert from "node:assert/strict";
import { FervoError, JobError } from "../../../../src/core/errors.ts";
import { ACK, type Outcome } from "../../../../src/core/outcome.ts";
import type { Format } from "../../../../src/core/format.ts";
import { envelope } from "../../../../src/formats/envelope.ts";
import { raw } from "../../../../src/formats/raw.ts";
import {
  Consumer,
  type ConsumerOptions,
  DEFAULT_CONSUMER_OPTIONS,
} from "../../../../src/worker/consumer/consumer.ts";
import type { SlotLimit } from "../../../../src/core/slot_limit.ts";
import { EventLog, type EventOf } from "../../../support/event_log.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";
import { FakeBroker, FakeDelivery, leaseLost, unavailable } from "../../../support/fake_broker.ts";
import {
  buried,
  executorAway,
  failed,
  FakeExecutor,
  misconfigured,
  scriptMissing,
} from "../../../support/fake_executor.ts";

/** No jitter: the number in the middle changes no delay. */
const MIDDLE = () => 0.5;

/** A consumer with fakes around it; after the test it has ended, and has left no timer and nothing unsettled. */
function start(
  options: Partial<ConsumerOptions> = {},
  format: Format = raw,
  beforeRun: (consumer: Consumer) => void = () => {},
  limit?: SlotLimit,
  abortMs = 0,
) {
  const clock = new FakeClock();
  const broker = new FakeBroker(clock);
  const executor = Object.assign(new FakeExecutor(), { abortMs });
  const log = new EventLog();
  broker.format = format;
  const deps = { broker, executor, clock, observe: log.observe, random: MIDDLE };
  const consumer = new Consumer({ ...deps, ...limit && { limit } }, {
    ...DEFAULT_CONSUMER_OPTIONS,
    name: "main",
    queues: [{ name: "default", weight: 1 }],
    ...options,
  });
  const given: FakeDelivery[] = [];
  const ended = { isEnded: false };
  beforeRun(consumer);
  const running = consumer.run().then(() => {
    ended.isEnded = true;
  });
  return {
    clock,
    broker,
    executor,
    log,
    consumer,
    ended,
    running,
    /** Puts a job into the broker, and lets the consumer do what it does. */
    async give(id: string, fields: ConstructorParameters<typeof FakeDelivery>[1] = {}) {
      const delivery = new FakeDelivery(id, fields);
      given.push(delivery);
      broker.give(delivery);
      await settlePromises();
      return delivery;
    },
    /** Runs one job to the outcome. */
    async run(outcome: Outcome, fields: ConstructorParameters<typeof FakeDelivery>[1] = {}) {
      const delivery = await this.give("1", fields);
      assert.equal(executor.runs.length, 1, "the job was not run");
      executor.runs[0]!.end(outcome);
      await settlePromises();
      return delivery;
    },
    async [Symbol.asyncDispose]() {
      broker.outage = undefined;
      await consumer.stopNow();
      await running;
      await settlePromises();
      assert.equal(consumer.inFlight, 0);
      assert.equal(clock.pendingTimers, 0, "a timer is left");
      for (const { id, settled } of given) assert.ok(settled.length <= 1, `job ${id} was settled twice`);
    },
  };
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

// --- what it takes

Deno.test("Consumer asks for as many deliveries as it has free slots, and for none when it has none", async () => {
  await using t = start({ concurrency: 3 });
  await t.give("1");
  assert.deepEqual(t.broker.asked, [3, 2]);
  await t.give("2");
  assert.deepEqual(t.broker.asked, [3, 2, 1]);
  await t.give("3");
  await t.give("4");
  assert.deepEqual([t.broker.asked, t.executor.ids, t.broker.left], [[3, 2, 1], ["1", "2", "3"], 1]);
  t.executor.runs[1]!.end(ACK);
  await settlePromises();
  assert.deepEqual([t.broker.asked, t.executor.ids], [[3, 2, 1, 1], ["1", "2", "3", "4"]]);
});

Deno.test("Consumer uses more slots as soon as there are more, and with fewer begins none until enough are free", async () => {
  const limit = { slots: 1 };
  await using t = start({ concurrency: 9 }, raw, () => {}, limit);
  for (const id of ["1", "2", "3", "4", "5"]) await t.give(id);
  assert.deepEqual([t.executor.ids, t.consumer.stats.slots], [["1"], 1]);
  limit.slots = 3;
  t.consumer.limitChanged();
  await settlePromises();
  assert.deepEqual([t.executor.ids, t.consumer.stats.slots], [["1", "2", "3"], 3]);
  limit.slots = 2;
  t.executor.runs[0]!.end(ACK);
  await settlePromises();
  assert.deepEqual(t.executor.ids, ["1", "2", "3"]);
  t.executor.runs[1]!.end(ACK);
  await settlePromises();
  assert.deepEqual(t.executor.ids, ["1", "2", "3", "4"]);
});

Deno.test("Consumer never runs more jobs than it has slots, however many are ready", async () => {
  await using t = start({ concurrency: 4 });
  t.broker.give(...Array.from({ length: 50 }, (_, i) => new FakeDelivery(String(i))));
  for (let i = 0; i < 50; i++) {
    await settlePromises();
    assert.ok(t.executor.running <= 4);
    assert.ok(t.consumer.inFlight <= 4);
    t.executor.runs[i]!.end(ACK);
  }
  await settlePromises();
  assert.deepEqual([t.executor.peak, t.executor.runs.length, t.consumer.inFlight], [4, 50, 0]);
});

Deno.test("Consumer takes a next job while the settle of the last one is still under way", async () => {
  await using t = start({ concurrency: 1 });
  const slow = Promise.withResolvers<void>();
  const first = await t.give("1", { settle: () => slow.promise });
  t.executor.runs[0]!.end(ACK);
  await t.give("2");
  assert.deepEqual([t.executor.ids, t.consumer.inFlight, first.settled], [["1", "2"], 2, []]);
  t.executor.runs[1]!.end(ACK);
  slow.resolve();
  await settlePromises();
  assert.equal(t.consumer.inFlight, 0);
});

Deno.test("Consumer holds at most twice its slots when settles lag", async () => {
  await using t = start({ concurrency: 2 });
  const slow = Promise.withResolvers<void>();
  for (let i = 0; i < 6; i++) await t.give(String(i), { settle: () => slow.promise });
  for (const id of [0, 1, 2, 3]) {
    t.executor.runs[id]!.end(ACK);
    await settlePromises();
  }
  assert.deepEqual([t.consumer.inFlight, t.executor.runs.length, t.broker.left], [4, 4, 2]);
  slow.resolve();
  await settlePromises();
  assert.deepEqual([t.consumer.inFlight, t.executor.runs.length, t.broker.left], [2, 6, 0]);
});

Deno.test("Consumer looks into its queues in the strict order", async () => {
  await using t = start({
    queues: [{ name: "high", weight: 1 }, { name: "low", weight: 9 }],
    order: "strict",
  });
  await t.give("1");
  assert.deepEqual(t.broker.requests.map((request) => request.queues), [["high", "low"], ["high", "low"]]);
});

Deno.test("Consumer draws the order of its queues anew for each receive when it is weighted", async () => {
  // The number in the middle lies within the heavier queue's share.
  await using t = start({
    queues: [{ name: "low", weight: 1 }, { name: "high", weight: 9 }],
    order: "weighted",
  });
  await t.give("1");
  assert.deepEqual(t.broker.requests.map((request) => request.queues), [["high", "low"], ["high", "low"]]);
});

Deno.test("Consumer asks again when a receive has found nothing", async () => {
  await using t = start({ concurrency: 2 });
  await t.clock.advance(30_000);
  assert.deepEqual(t.broker.requests.map(({ max, waitMs }) => [max, waitMs]), [[2, 30_000], [2, 30_000]]);
});

// --- what it gives to the executor

Deno.test("Consumer gives the executor the job as the delivery and the format say", async () => {
  await using t = start({ timeoutMs: 5_000, retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 7 } });
  const nowMs = t.clock.nowMs();
  await t.give("17", {
    queue: "mail",
    attempt: 2,
    enqueuedAtMs: 1_700_000_000_123,
    headers: { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" },
  });
  const { payload, ...job } = t.executor.runs[0]!.job;
  assert.equal(text(payload), "payload");
  assert.deepEqual(job, {
    id: "17",
    queue: "mail",
    attempt: 2,
    maxAttempts: 7,
    enqueuedAtMs: 1_700_000_000_123,
    deadlineMs: nowMs + 5_000,
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  });
});

Deno.test("Consumer takes now for the time of pushing when nobody knows it", async () => {
  await using t = start();
  await t.give("1");
  const { job } = t.executor.runs[0]!;
  assert.equal(job.enqueuedAtMs, t.clock.nowMs());
  assert.equal("traceparent" in job, false);
});

Deno.test("Consumer prefers what the message says of its job to what the delivery says", async () => {
  await using t = start({}, envelope);
  const message = { payload: new TextEncoder().encode("x"), id: "order-1", maxAttempts: 9, enqueuedAtMs: 5 };
  await t.give("1", { raw: envelope.write(message).body, maxAttempts: 3, enqueuedAtMs: 7 });
  const { id, maxAttempts, enqueuedAtMs, payload } = t.executor.runs[0]!.job;
  assert.deepEqual([id, maxAttempts, enqueuedAtMs, text(payload)], ["order-1", 9, 5, "x"]);
});

Deno.test("Consumer names a job alike in all its events: by the message's id where it has one", async () => {
  await using t = start({}, envelope);
  const message = { payload: new Uint8Array(), id: "order-1" };
  const lost = await t.give("1", { raw: envelope.write(message).body });
  t.executor.runs[0]!.end(ACK);
  await settlePromises();
  assert.deepEqual(lost.settled, ["ack"]);
  const second = await t.give("2", { raw: envelope.write({ ...message, id: "order-2" }).body });
  second.settleFailures.push(leaseLost());
  t.executor.runs[1]!.end(ACK);
  await settlePromises();
  assert.deepEqual(t.log.of("job_started").map(({ id }) => id), ["order-1", "order-2"]);
  assert.deepEqual(t.log.of("job_settled").map(({ id }) => id), ["order-1"]);
  assert.deepEqual(t.log.of("lease_lost").map(({ id }) => id), ["order-2"]);
});

// --- outcomes and their settles

Deno.test("Consumer acknowledges a job that was done", async () => {
  await using t = start();
  assert.deepEqual((await t.run(ACK)).settled, ["ack"]);
});

Deno.test("Consumer retries a failed job after the policy's delay, which grows from try to try", async () => {
  const retry = { attempts: 9, delayMs: 100, factor: 3, maxDelayMs: 1_000, jitter: 0.2 };
  for (const [attempt, delayMs] of [[1, 100], [2, 300], [3, 900], [4, 1_000]]) {
    await using t = start({ retry });
    const delivery = await t.run(failed(), { attempt: attempt! });
    assert.deepEqual(delivery.settled, [`retry ${delayMs} JOB_FAILED`]);
    assert.equal(delivery.error?.details.stderr, "PHP message");
  }
});

Deno.test("Consumer prefers the outcome's own delay to the policy's, also when it is 0", async () => {
  for (const delayMs of [0, 86_400_000]) {
    await using t = start();
    assert.deepEqual((await t.run(failed(delayMs))).settled, [`retry ${delayMs} JOB_FAILED`]);
  }
});

Deno.test("Consumer cuts a delay to the longest that the broker keeps, and tells it once", async () => {
  await using t = start({ concurrency: 3 });
  const error = new JobError("JOB_FAILED", "It went wrong");
  t.broker.capabilities = { ...t.broker.capabilities, retryDelay: { maxMs: 1_000, stepMs: 1 } };
  const replace = {
    kind: "replace",
    message: { body: new Uint8Array(0), headers: {} },
    delayMs: 9_000,
    error,
  } as const;
  const settled: string[] = [];
  for (const outcome of [failed(1_000), failed(5_000), replace]) {
    const delivery = await t.give(String(settled.length));
    t.executor.runs.at(-1)!.end(outcome);
    await settlePromises();
    settled.push(...delivery.settled);
  }
  assert.deepEqual(settled, ["retry 1000 JOB_FAILED", "retry 1000 JOB_FAILED", "replace 1000 JOB_FAILED"]);
  assert.deepEqual(t.log.of("delay_cut"), [{
    type: "delay_cut",
    consumer: "main",
    delayMs: 5_000,
    maxMs: 1_000,
  }]);
});

Deno.test("Consumer buries a job that fails at its last attempt, with the error", async () => {
  await using t = start({ retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 3 } });
  const delivery = await t.run(failed(10), { attempt: 3 });
  assert.deepEqual(delivery.settled, ["bury JOB_FAILED"]);
  assert.equal(delivery.error?.message, "The job failed: because");
  const [event] = t.log.of("job_settled");
  assert.equal(event!.verdict.kind, "bury");
});

Deno.test("Consumer retries a job that fails at its last but one attempt", async () => {
  await using t = start({ retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 3 } });
  assert.deepEqual((await t.run(failed(10), { attempt: 2 })).settled, ["retry 10 JOB_FAILED"]);
});

Deno.test("Consumer obeys the delivery's own limit of tries before the policy's, lower or higher", async () => {
  const retry = { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 3 };
  for (
    const [maxAttempts, attempt, settle] of [[1, 1, "bury"], [4, 3, "retry 10"], [4, 4, "bury"]] as const
  ) {
    await using t = start({ retry });
    const delivery = await t.run(failed(10), { maxAttempts, attempt });
    assert.deepEqual(delivery.settled, [`${settle} JOB_FAILED`]);
  }
});

Deno.test("Consumer obeys the message's own limit of tries before the delivery's and the policy's", async () => {
  const retry = { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 3 };
  for (
    const [maxAttempts, attempt, settle] of [[1, 1, "bury"], [4, 3, "retry 10"], [4, 4, "bury"]] as const
  ) {
    await using t = start({ retry }, envelope);
    const bytes = envelope.write({ payload: new Uint8Array(), maxAttempts }).body;
    const delivery = await t.run(failed(10), { maxAttempts: 2, attempt, raw: bytes });
    assert.deepEqual(delivery.settled, [`${settle} JOB_FAILED`]);
  }
});

Deno.test("Consumer buries a job whose outcome says so, at its first attempt", async () => {
  await using t = start();
  const delivery = await t.run(buried());
  assert.deepEqual(delivery.settled, ["bury JOB_FAILED"]);
  assert.equal(delivery.error?.message, "The job failed: no handler");
});

Deno.test("Consumer puts a job back that could not be run, even at its last attempt", async () => {
  await using t = start({ retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 1 } });
  assert.deepEqual((await t.run(executorAway())).settled, ["release"]);
});

Deno.test("Consumer buries a delivery with a problem without running it", async () => {
  await using t = start({ concurrency: 1 });
  const problem = new JobError("JOB_MALFORMED", "The payload has 9 bytes, more than 8");
  const delivery = await t.give("1", { problem });
  assert.deepEqual([t.executor.runs.length, delivery.settled], [0, ["bury JOB_MALFORMED"]]);
  assert.equal(delivery.error, problem);
  assert.deepEqual(t.log.of("job_started"), []);
  await t.give("2");
  assert.deepEqual(t.executor.ids, ["2"]);
});

Deno.test("Consumer buries a message that its format cannot read without running it", async () => {
  await using t = start({ concurrency: 1 }, envelope);
  const delivery = await t.give("1", { raw: new TextEncoder().encode("{") });
  assert.deepEqual([t.executor.runs.length, delivery.settled], [0, ["bury JOB_MALFORMED"]]);
  assert.match(delivery.error!.message, /^Cannot read the message as an envelope: /);
  await t.give("2", { raw: envelope.write({ payload: new Uint8Array() }).body });
  assert.deepEqual(t.executor.ids, ["2"]);
});

Deno.test("Consumer buries a job that comes after its last attempt as JOB_CRASHED without running it", async () => {
  for (const maxAttempts of [undefined, 3]) {
    await using t = start({ retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 3 } });
    const delivery = await t.give("1", { attempt: 4, ...(maxAttempts && { maxAttempts }) });
    assert.deepEqual([t.executor.runs.length, delivery.settled], [0, ["bury JOB_CRASHED"]]);
    assert.match(delivery.error!.message, /^This would be attempt 4 of 3: /);
  }
});

Deno.test("Consumer runs a job at its last attempt", async () => {
  await using t = start({ retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 3 } });
  assert.deepEqual((await t.run(ACK, { attempt: 3 })).settled, ["ack"]);
});

Deno.test("Consumer tells how long a job waited and ran, also when its settle took long", async () => {
  await using t = start({ timeoutMs: 10_000 });
  const delivery = await t.give("1", { readyAtMs: t.clock.nowMs() - 700 });
  delivery.settleFailures.push(unavailable());
  await t.clock.advance(2_000);
  t.executor.runs[0]!.end(ACK);
  await t.clock.advance(1_000);
  const [event] = t.log.of("job_settled");
  assert.deepEqual([event!.waitMs, event!.runMs], [700, 2_000]);
});

Deno.test("Consumer does not tell a wait where the broker does not know it, nor a negative one", async () => {
  await using t = start();
  await t.run(ACK);
  await t.give("2", { readyAtMs: t.clock.nowMs() + 5 });
  t.executor.runs[1]!.end(ACK);
  await settlePromises();
  assert.deepEqual(t.log.of("job_settled").map(({ waitMs }) => waitMs), [undefined, 0]);
});

// --- time limit and leases

Deno.test("Consumer aborts a job whose time is up with JOB_TIMEOUT, and the attempt counts", async () => {
  await using t = start({ timeoutMs: 5_000 });
  const delivery = await t.give("1");
  await t.clock.advance(4_999);
  assert.equal(t.executor.runs[0]!.signal.aborted, false);
  await t.clock.advance(1);
  const { reason } = t.executor.runs[0]!.signal;
  assert.ok(reason instanceof JobError);
  assert.equal(reason.code, "JOB_TIMEOUT");
  assert.match(reason.message, /timeout_ms = 5000/);
  assert.deepEqual(delivery.settled, ["retry 1000 JOB_TIMEOUT"]);
});

Deno.test("Consumer buries a job whose time is up at its last attempt", async () => {
  await using t = start({ timeoutMs: 5_000 });
  const delivery = await t.give("1", { attempt: 5 });
  await t.clock.advance(5_000);
  assert.deepEqual(delivery.settled, ["bury JOB_TIMEOUT"]);
});

Deno.test("Consumer takes a job's time limit back when the job has ended", async () => {
  await using t = start({ timeoutMs: 5_000 });
  await t.run(ACK);
  await t.clock.advance(5_000);
  assert.equal(t.executor.runs[0]!.signal.aborted, false);
});

Deno.test("Consumer renews the leases of running jobs every third of their length, and not after", async () => {
  await using t = start({ timeoutMs: 600_000 });
  t.broker.leaseMs = 30_000;
  const [first, second] = [await t.give("1"), await t.give("2")];
  await t.clock.advance(9_999);
  assert.deepEqual([first.extensions, second.extensions], [0, 0]);
  await t.clock.advance(1);
  assert.deepEqual([first.extensions, second.extensions], [1, 1]);
  t.executor.runs[0]!.end(ACK);
  await t.clock.advance(10_000);
  assert.deepEqual([first.extensions, second.extensions], [1, 2]);
  t.executor.runs[1]!.end(ACK);
  await t.clock.advance(60_000);
  assert.deepEqual([first.extensions, second.extensions], [1, 2]);
});

Deno.test("Consumer renews leases again for a job that comes after a time without any", async () => {
  await using t = start({ timeoutMs: 600_000 });
  await t.run(ACK);
  await t.clock.advance(60_000);
  const late = await t.give("2");
  await t.clock.advance(10_000);
  assert.equal(late.extensions, 1);
});

Deno.test("Consumer renews the lease of a job that waits for its settle, and not after", async () => {
  await using t = start();
  t.broker.leaseMs = 300;
  const delivery = await t.give("1");
  delivery.settleFailures.push(unavailable(), unavailable(), unavailable());
  t.executor.runs[0]!.end(ACK);
  // It is settled after 50 + 100 + 200 ms.
  await t.clock.advance(349);
  assert.deepEqual([delivery.settled, delivery.extensions], [[], 3]);
  await t.clock.advance(1_000);
  assert.deepEqual([delivery.settled, delivery.extensions], [["ack"], 3]);
});

Deno.test("Consumer sets no timer for leases where the broker has none", async () => {
  await using t = start();
  t.broker.leaseMs = undefined;
  await settlePromises();
  const before = t.clock.pendingTimers;
  const delivery = await t.give("1");
  // The job's time limit, nothing else.
  assert.equal(t.clock.pendingTimers, before + 1);
  await t.clock.advance(50_000);
  assert.equal(delivery.extensions, 0);
});

Deno.test("Consumer lives with a broker that fails while a lease is renewed, and says so", async () => {
  await using t = start({ timeoutMs: 600_000 });
  const delivery = await t.give("1");
  delivery.extendFailures.push(unavailable());
  await t.clock.advance(20_000);
  assert.equal(delivery.extensions, 2);
  assert.deepEqual(t.log.of("broker_failed").map(({ during, error }) => [during, error.code]), [
    ["extend", "QUEUE_UNAVAILABLE"],
  ]);
});

Deno.test("Consumer says nothing of a lease found lost while it is renewed, and runs the job to its end", async () => {
  await using t = start({ timeoutMs: 600_000 });
  const delivery = await t.give("1");
  delivery.extendFailures.push(leaseLost());
  await t.clock.advance(10_000);
  assert.deepEqual([delivery.extensions, t.executor.running], [1, 1]);
  delivery.settleFailures.push(leaseLost());
  t.executor.runs[0]!.end(ACK);
  await settlePromises();
  assert.deepEqual([t.log.of("broker_failed").length, t.log.of("lease_lost").length], [0, 1]);
});

// --- a broker that fails

Deno.test("Consumer tells of a lease lost at settle, settles no more, and goes on", async () => {
  await using t = start({ concurrency: 1 });
  const delivery = await t.give("1", { attempt: 2 });
  delivery.settleFailures.push(leaseLost());
  t.executor.runs[0]!.end(ACK);
  await t.clock.advance(60_000);
  assert.deepEqual(delivery.settled, []);
  assert.deepEqual(t.log.of("lease_lost"), [
    {
      type: "lease_lost",
      consumer: "main",
      queue: "default",
      id: "1",
      attempt: 2,
      waitMs: undefined,
      runMs: 0,
    },
  ]);
  assert.deepEqual([t.log.of("job_settled").length, t.consumer.inFlight, t.consumer.orphaned], [0, 0, 0]);
  await t.give("2");
  assert.deepEqual(t.executor.ids, ["1", "2"]);
});

Deno.test("Consumer settles again with growing pauses until the broker takes it", async () => {
  await using t = start({ pauseMaxMs: 150 });
  const triesAtMs: number[] = [];
  const delays: number[] = [];
  await t.give("1", {
    settle: (verdict) => {
      triesAtMs.push(t.clock.monotonicMs());
      assert.ok(verdict.kind === "retry");
      delays.push(verdict.delayMs);
      return triesAtMs.length < 5 ? Promise.reject(unavailable()) : Promise.resolve();
    },
  });
  t.executor.runs[0]!.end(failed(77));
  await t.clock.advance(10_000);
  assert.deepEqual(triesAtMs, [0, 50, 150, 300, 450]);
  assert.deepEqual(delays, [77, 77, 77, 77, 77]);
  assert.deepEqual(t.log.of("broker_failed").map(({ during }) => during), Array(4).fill("settle"));
  assert.deepEqual([t.log.of("job_settled").length, t.consumer.inFlight], [1, 0]);
});

Deno.test("Consumer tells an unforeseen error of a settle as a fault of ours, and settles again", async () => {
  await using t = start();
  const delivery = await t.give("1");
  delivery.settleFailures.push(new TypeError("broken"));
  t.executor.runs[0]!.end(ACK);
  await t.clock.advance(50);
  assert.deepEqual(delivery.settled, ["ack"]);
  const [failure] = t.log.of("broker_failed");
  assert.equal(failure!.error.code, "WORKER_FAULT");
  assert.match(failure!.error.message, /fault in fervo-worker itself; please report it: TypeError: broken$/);
});

Deno.test("Consumer puts a job back uncounted and backs off when its executor throws, and goes on afterwards", async () => {
  await using t = start();
  let thrown: Error | undefined = new TypeError("broken");
  const { execute } = t.executor;
  t.executor.execute = (job, signal) =>
    thrown === undefined ? execute.call(t.executor, job, signal) : Promise.reject(thrown);
  const first = await t.give("1");
  assert.deepEqual(first.settled, ["release"]);
  const [paused] = t.log.of("consumer_paused");
  assert.equal(paused!.error.code, "WORKER_FAULT");
  // However often: it waits longer each time, and never buries.
  const pauses = () => t.log.of("consumer_paused").map(({ forMs }) => forMs);
  for (const id of ["2", "3", "4"]) {
    const next = await t.give(id);
    await t.clock.advance(pauses().at(-1)!);
    assert.deepEqual(next.settled, ["release"]);
  }
  assert.ok(pauses().length > 2);
  assert.deepEqual(pauses(), pauses().toSorted((a, b) => a - b));
  thrown = undefined;
  const last = await t.give("5");
  await t.clock.advance(t.log.of("consumer_paused").at(-1)!.forMs);
  t.executor.runs[0]!.end(ACK);
  await settlePromises();
  assert.deepEqual([last.settled, t.log.of("consumer_resumed").length], [["ack"], 1]);
});

Deno.test("Consumer puts a job back uncounted when its format throws what is no FervoError", async () => {
  const odd: Format = { ...raw, read: () => assert.fail("a bug") };
  await using t = start({}, odd);
  const delivery = await t.give("1");
  assert.deepEqual(delivery.settled, ["release"]);
  assert.equal(t.log.of("consumer_paused")[0]!.error.code, "WORKER_FAULT");
  assert.equal(t.executor.runs.length, 0);
});

Deno.test("Consumer has all its slots again after settles that failed for a while", async () => {
  await using t = start({ concurrency: 2 });
  const deliveries = [];
  for (const id of ["1", "2", "3", "4", "5", "6"]) {
    const delivery = await t.give(id);
    delivery.settleFailures.push(unavailable(), unavailable());
    deliveries.push(delivery);
  }
  for (const i of [0, 1, 2, 3]) {
    t.executor.runs[i]!.end(ACK);
    await settlePromises();
  }
  assert.deepEqual([t.consumer.inFlight, t.executor.runs.length], [4, 4]);
  await t.clock.advance(150);
  assert.deepEqual([t.consumer.inFlight, t.executor.runs.length], [2, 6]);
  for (const i of [4, 5]) t.executor.runs[i]!.end(ACK);
  await t.clock.advance(150);
  assert.deepEqual(deliveries.map(({ settled }) => settled), Array(6).fill(["ack"]));
  assert.deepEqual([t.consumer.inFlight, t.broker.asked.at(-1)], [0, 2]);
  await t.give("7");
  await t.give("8");
  assert.equal(t.executor.running, 2);
});

Deno.test("Consumer asks again with growing pauses when a receive fails, and recovers", async () => {
  await using t = start({ pauseMaxMs: 300 });
  t.broker.receiveFailures.push(...Array.from({ length: 5 }, unavailable));
  await t.clock.advance(10_000);
  // 50, 100 and 200 ms, then the limit; and a second after the first receive that works, without a job.
  assert.deepEqual(t.broker.askedAtMs, [0, 50, 150, 350, 650, 950, 1_950]);
  assert.equal(t.log.of("broker_recovered").length, 1);
  assert.deepEqual(t.log.of("broker_failed").map(({ during }) => during), Array(5).fill("receive"));
  await t.give("1");
  assert.deepEqual(t.executor.ids, ["1"]);
});

Deno.test("Consumer begins with short pauses again when a receive has worked in between", async () => {
  await using t = start();
  t.broker.receiveFailures.push(unavailable(), unavailable());
  await t.clock.advance(1_000);
  t.broker.receiveFailures.push(unavailable());
  await t.give("1");
  await t.clock.advance(100);
  assert.deepEqual(t.broker.askedAtMs, [0, 50, 150, 1_000, 1_050]);
});

Deno.test("Consumer that waits for its broker ends at once when it is quieted", async () => {
  await using t = start();
  t.broker.receiveFailures.push(unavailable());
  await settlePromises();
  assert.equal(t.log.of("broker_failed").length, 1);
  t.consumer.quiet();
  await settlePromises();
  assert.deepEqual([t.ended.isEnded, t.broker.requests.length], [true, 1]);
});

// --- an executor that is away

Deno.test("Consumer pauses when its executor is away, and says for how long and why", async () => {
  await using t = start({ concurrency: 1 });
  const delivery = await t.run(executorAway());
  await t.give("2");
  assert.deepEqual(delivery.settled, ["release"]);
  const [event] = t.log.of("consumer_paused");
  assert.deepEqual([event!.consumer, event!.forMs, event!.error.code], [
    "main",
    50,
    "FASTCGI_CONNECT_FAILED",
  ]);
  await t.clock.advance(49);
  assert.deepEqual(t.executor.ids, ["1"]);
  await t.clock.advance(1);
  assert.deepEqual(t.executor.ids, ["1", "2"]);
});

Deno.test("Consumer tries one job after each pause, and the pauses grow up to the limit", async () => {
  await using t = start({ concurrency: 4, pauseMaxMs: 300 });
  t.executor.answer = executorAway;
  t.broker.give(...Array.from({ length: 30 }, (_, i) => new FakeDelivery(String(i))));
  await settlePromises();
  assert.equal(t.executor.runs.length, 4);
  const runs: number[] = [];
  for (const pauseMs of [50, 100, 200, 300, 300]) {
    await t.clock.advance(pauseMs - 1);
    runs.push(t.executor.runs.length);
    await t.clock.advance(1);
    runs.push(t.executor.runs.length);
  }
  assert.deepEqual(runs, [4, 5, 5, 6, 6, 7, 7, 8, 8, 9]);
  assert.deepEqual(t.log.of("consumer_paused").map(({ forMs }) => forMs), [50, 100, 200, 300, 300, 300]);
  assert.equal(t.log.of("consumer_resumed").length, 0);
});

Deno.test("Consumer counts the failures of several slots at once as one", async () => {
  await using t = start({ concurrency: 3 });
  for (const id of ["1", "2", "3"]) await t.give(id);
  for (const run of t.executor.runs) run.end(executorAway());
  await settlePromises();
  assert.deepEqual(t.log.of("consumer_paused").map(({ forMs }) => forMs), [50]);
  assert.deepEqual(t.broker.calls, ["release 1", "release 2", "release 3"]);
});

Deno.test("Consumer probes with one job, and uses all its slots again when that has gone well", async () => {
  await using t = start({ concurrency: 3 });
  await t.run(executorAway());
  // One more was asked for before the pause.
  for (const id of ["2", "3", "4", "5"]) await t.give(id);
  const early = t.executor.ids.length;
  for (const run of t.executor.runs.slice(1)) run.end(executorAway());
  await t.clock.advance(50);
  assert.equal(t.executor.running, 1);
  assert.equal(t.log.of("consumer_resumed").length, 0);
  t.executor.runs[early]!.end(ACK);
  await settlePromises();
  assert.deepEqual(t.log.of("consumer_resumed").map(({ failures, afterMs }) => [failures, afterMs]), [[
    1,
    50,
  ]]);
  for (const id of ["6", "7", "8"]) await t.give(id);
  assert.equal(t.executor.running, 3);
});

Deno.test("Consumer takes a job that failed by itself for a sign that its executor is back", async () => {
  await using t = start({ concurrency: 1 });
  await t.run(executorAway());
  await t.give("2");
  await t.clock.advance(50);
  t.executor.runs[1]!.end(failed());
  await settlePromises();
  assert.equal(t.log.of("consumer_resumed").length, 1);
});

Deno.test("Consumer does not take a message that cannot be run for a sign that its executor is back", async () => {
  await using t = start({ concurrency: 1 });
  await t.run(executorAway());
  const problem = new JobError("JOB_MALFORMED", "broken");
  const malformed = await t.give("2", { problem });
  await t.clock.advance(50);
  assert.deepEqual(malformed.settled, ["bury JOB_MALFORMED"]);
  assert.equal(t.log.of("consumer_resumed").length, 0);
});

Deno.test("Consumer begins with short pauses again after a recovery", async () => {
  await using t = start({ concurrency: 1 });
  const outcomes = [executorAway(), executorAway(), ACK, executorAway()];
  for (const [i, outcome] of outcomes.entries()) {
    await t.give(String(i));
    await t.clock.advance(200);
    t.executor.runs[i]!.end(outcome);
    await settlePromises();
  }
  assert.deepEqual(t.log.of("consumer_paused").map(({ forMs }) => forMs), [50, 100, 50]);
});

Deno.test("Consumer uses all its slots again when a probing job runs for long", async () => {
  await using t = start({ concurrency: 3, timeoutMs: 60_000 });
  for (const id of ["1", "2", "3"]) await t.give(id);
  for (const run of t.executor.runs) run.end(executorAway());
  for (const id of ["4", "5", "6"]) await t.give(id);
  await t.clock.advance(50);
  assert.equal(t.executor.running, 1);
  await t.clock.advance(2_999);
  assert.equal(t.executor.running, 1);
  await t.clock.advance(1);
  assert.equal(t.executor.running, 3);
});

Deno.test("Consumer tells that it has resumed also when the probing job took long to end", async () => {
  await using t = start({ concurrency: 1, timeoutMs: 60_000 });
  await t.run(executorAway());
  await t.give("2");
  await t.clock.advance(50 + 3_000);
  t.executor.runs[1]!.end(ACK);
  await settlePromises();
  assert.equal(t.log.of("consumer_resumed").length, 1);
  await t.give("3");
  t.executor.runs[2]!.end(executorAway());
  await settlePromises();
  assert.deepEqual(t.log.of("consumer_paused").map(({ forMs }) => forMs), [50, 50]);
});

Deno.test("Consumer does not resume by a job that began before the pause and ends in it", async () => {
  await using t = start({ concurrency: 2 });
  await t.give("1");
  await t.give("2");
  t.executor.runs[1]!.end(executorAway());
  await settlePromises();
  t.executor.runs[0]!.end(ACK);
  await t.clock.advance(49);
  await t.give("3");
  assert.deepEqual([t.log.of("consumer_resumed").length, t.executor.runs.length], [0, 2]);
});

Deno.test("Consumer that pauses ends at once when it is quieted", async () => {
  await using t = start({ concurrency: 1 });
  await t.run(executorAway());
  t.consumer.quiet();
  await settlePromises();
  assert.equal(t.ended.isEnded, true);
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Consumer does not stop when the executor is misconfigured: it puts jobs back, and goes on when a probe shows that it can", async () => {
  await using t = start({ concurrency: 2, pauseMaxMs: 1_000, timeoutMs: 3_600_000 });
  const other = await t.give("0");
  const delivery = await t.give("1");
  t.executor.probeAnswer = scriptMissing();
  t.executor.runs[1]!.end(misconfigured());
  await t.give("2");
  assert.deepEqual([delivery.settled, t.executor.ids], [["release"], ["0", "1"]]);
  assert.deepEqual([t.consumer.fault, t.consumer.lastingFault], [scriptMissing(), undefined]);
  await t.clock.advance(600_000);
  assert.deepEqual([t.executor.ids, t.broker.left, t.ended.isEnded], [["0", "1"], 1, false]);
  assert.deepEqual(t.consumer.lastingFault, scriptMissing());
  assert.ok(t.executor.probes.length > 600, "it looks once a second");
  t.executor.runs[0]!.end(ACK);
  await settlePromises();
  assert.deepEqual([other.settled, t.consumer.fault?.code], [["ack"], "FPM_MISCONFIGURED"]);
  t.executor.probeAnswer = undefined;
  await t.clock.advance(1_000);
  assert.deepEqual(t.executor.ids, ["0", "1", "2"]);
  t.executor.runs[2]!.end(ACK);
  await settlePromises();
  assert.deepEqual([t.consumer.fault, t.consumer.lastingFault], [undefined, undefined]);
  assert.equal(t.log.of("consumer_resumed").length, 1);
});

Deno.test("Consumer.probeNow() ends a long pause of one that is misconfigured", async () => {
  await using t = start({ concurrency: 1 });
  await t.run(misconfigured());
  await t.give("2");
  t.consumer.probeNow();
  await settlePromises();
  assert.deepEqual(t.executor.ids, ["1", "2"]);
});

// --- the end

Deno.test("Consumer.quiet() takes no more jobs, and lets those that run finish", async () => {
  await using t = start({ concurrency: 2 });
  const delivery = await t.give("1");
  t.consumer.quiet();
  await t.give("2");
  assert.deepEqual([t.executor.ids, t.broker.left, t.ended.isEnded], [["1"], 1, false]);
  assert.equal(t.executor.runs[0]!.signal.aborted, false);
  const receives = t.broker.requests.length;
  t.executor.runs[0]!.end(ACK);
  await t.running;
  assert.deepEqual([delivery.settled, t.broker.requests.length], [["ack"], receives]);
  const [event] = t.log.of("consumer_stopped");
  assert.deepEqual(event, { type: "consumer_stopped", consumer: "main" });
  assert.equal(t.log.types.at(-1), "consumer_stopped");
});

Deno.test("Consumer.quiet() waits for settles that have to be made again", async () => {
  await using t = start();
  const delivery = await t.give("1");
  delivery.settleFailures.push(unavailable(), unavailable());
  t.executor.runs[0]!.end(ACK);
  t.consumer.quiet();
  await t.clock.advance(149);
  assert.equal(t.ended.isEnded, false);
  await t.clock.advance(1);
  assert.deepEqual([t.ended.isEnded, delivery.settled, t.consumer.orphaned], [true, ["ack"], 0]);
});

Deno.test("Consumer.quiet() before run() lets it end without a receive", async () => {
  await using t = start({}, raw, (consumer) => consumer.quiet());
  await t.running;
  assert.deepEqual(t.broker.requests, []);
});

Deno.test("Consumer runs deliveries that arrive at the moment of quiet", async () => {
  await using t = start();
  await settlePromises();
  const [first, second] = [new FakeDelivery("1"), new FakeDelivery("2")];
  t.broker.lastMoment.push(first, second);
  t.consumer.quiet();
  await settlePromises();
  assert.deepEqual([t.executor.ids, t.ended.isEnded], [["1", "2"], false]);
  for (const run of t.executor.runs) run.end(ACK);
  await t.running;
  assert.deepEqual([first.settled, second.settled], [["ack"], ["ack"]]);
});

Deno.test("Consumer.stopNow() aborts running jobs, and puts each back when it has ended", async () => {
  await using t = start({ concurrency: 3 });
  const deliveries = [await t.give("1"), await t.give("2")];
  t.executor.isDeaf = true;
  t.executor.onAbort = ({ id }) => t.broker.calls.push(`abort ${id}`);
  const stopped = t.consumer.stopNow();
  await settlePromises();
  // The last one first, so that the queue is in its old order.
  assert.deepEqual(t.broker.calls, ["abort 2", "abort 1"]);
  for (const run of t.executor.runs) assert.equal(run.signal.reason.code, "SHUTDOWN");
  const error = t.executor.runs[0]!.signal.reason;
  for (const run of t.executor.runs.toReversed()) run.end({ kind: "release", reason: "shutdown", error });
  await Promise.all([stopped, t.running]);
  assert.deepEqual(t.broker.calls.slice(2), ["release 2", "release 1"]);
  assert.deepEqual(deliveries.map(({ settled }) => settled), [["release"], ["release"]]);
  assert.equal(t.consumer.orphaned, 0);
});

Deno.test("Consumer.stopNow() keeps what a job says that ends just then", async () => {
  await using t = start();
  t.executor.isDeaf = true;
  const [done, failing] = [await t.give("1"), await t.give("2")];
  const stopped = t.consumer.stopNow();
  t.executor.runs[0]!.end(ACK);
  t.executor.runs[1]!.end(failed(7));
  await Promise.all([stopped, t.running]);
  assert.deepEqual([done.settled, failing.settled], [["ack"], ["retry 7 JOB_FAILED"]]);
});

Deno.test("Consumer.stopNow() puts back in time what does not end, and says that it may run on", async () => {
  for (const abortMs of [0, 5_000]) {
    await using t = start({}, raw, undefined, undefined, abortMs);
    t.executor.isDeaf = true;
    const delivery = await t.give("1");
    const stopped = t.consumer.stopNow();
    await t.clock.advance(abortMs + 999);
    assert.deepEqual([delivery.settled, t.ended.isEnded], [[], false]);
    await t.clock.advance(1);
    await Promise.all([stopped, t.running]);
    assert.deepEqual(delivery.settled, ["release"]);
    const [{ verdict: outcome }] = t.log.of("job_settled") as [EventOf<"job_settled">];
    assert.equal(outcome.kind === "release" && outcome.mayRunOn, true);
  }
});

Deno.test("Consumer does not settle a job again when its outcome comes after stopNow()", async () => {
  for (const outcome of [ACK, failed(), buried(), executorAway(), misconfigured()]) {
    await using t = start();
    t.executor.isDeaf = true;
    const delivery = await t.give("1");
    const stopped = t.consumer.stopNow();
    await t.clock.advance(1_000);
    await Promise.all([stopped, t.running]);
    assert.equal(t.executor.running, 1);
    t.executor.runs[0]!.end(outcome);
    await settlePromises();
    assert.deepEqual(delivery.settled, ["release"]);
    assert.deepEqual([t.log.types.at(-1), t.consumer.fault], ["consumer_stopped", undefined]);
    assert.equal(t.clock.pendingTimers, 0, "a pause began after the end");
  }
});

Deno.test("Consumer.stopNow() leaves a settle alone that is under way", async () => {
  await using t = start();
  const slow = Promise.withResolvers<void>();
  let acks = 0;
  const delivery = await t.give("1", {
    settle: ({ kind }) => {
      assert.equal(kind, "ack");
      acks++;
      return slow.promise;
    },
  });
  t.executor.runs[0]!.end(ACK);
  await settlePromises();
  await t.consumer.stopNow();
  slow.resolve();
  await t.running;
  assert.deepEqual([acks, delivery.settled, t.consumer.orphaned], [1, [], 0]);
});

Deno.test("Consumer puts deliveries back that arrive at the moment of stopNow(), and runs none", async () => {
  await using t = start();
  await settlePromises();
  const late = new FakeDelivery("1");
  t.broker.lastMoment.push(late);
  await t.consumer.stopNow();
  await settlePromises();
  assert.deepEqual([t.executor.ids, late.settled], [[], ["release"]]);
  assert.equal(t.ended.isEnded, true);
});

Deno.test("Consumer.stopNow() counts jobs as orphaned that cannot be put back, and aborts them all the same", async () => {
  await using t = start();
  const [first, second] = [await t.give("1"), await t.give("2")];
  first.settleFailures.push(unavailable());
  await t.consumer.stopNow();
  await t.running;
  assert.deepEqual([t.consumer.orphaned, first.settled, second.settled], [1, [], ["release"]]);
  for (const run of t.executor.runs) assert.equal(run.signal.aborted, true);
  assert.deepEqual(t.log.of("broker_failed").map(({ during }) => during), ["settle"]);
});

Deno.test("Consumer.cutOff() puts running jobs back as stopNow() does, and tries until the broker takes them", async () => {
  await using t = start();
  const delivery = await t.give("1");
  delivery.settleFailures.push(unavailable(), unavailable(), unavailable());
  const cut = t.consumer.cutOff();
  await t.clock.advance(60_000);
  await cut;
  await t.running;
  assert.deepEqual([delivery.settled, t.consumer.orphaned], [["release"], 0]);
  assert.equal(t.executor.runs[0]!.signal.aborted, true);
});

Deno.test("Consumer.stopNow() after cutOff() gives up what the broker does not take", async () => {
  await using t = start();
  const delivery = await t.give("1");
  delivery.settleFailures.push(...Array.from({ length: 9 }, unavailable));
  const cut = t.consumer.cutOff();
  await settlePromises();
  assert.deepEqual([t.ended.isEnded, t.consumer.inFlight], [false, 1]);
  await t.consumer.stopNow();
  await Promise.all([cut, t.running]);
  assert.deepEqual([delivery.settled, t.consumer.orphaned], [[], 1]);
});

Deno.test("Consumer.stopNow() tries a settle that waits once more, then counts the job as orphaned", async () => {
  for (const failures of [1, 2]) {
    await using t = start();
    const delivery = await t.give("1");
    delivery.settleFailures.push(...Array.from({ length: failures }, unavailable));
    t.executor.runs[0]!.end(ACK);
    await settlePromises();
    assert.equal(t.broker.calls.length, 1);
    await t.consumer.stopNow();
    await t.running;
    assert.deepEqual(t.broker.calls, ["ack 1", "ack 1"]);
    assert.deepEqual([delivery.settled.length, t.consumer.orphaned], failures === 1 ? [1, 0] : [0, 1]);
  }
});

Deno.test("Consumer.stopNow() takes a lost lease for put back: somebody else has the job", async () => {
  await using t = start();
  const delivery = await t.give("1");
  delivery.settleFailures.push(leaseLost());
  await t.consumer.stopNow();
  await t.running;
  assert.deepEqual([t.consumer.orphaned, t.log.of("lease_lost").length], [0, 1]);
});

Deno.test("Consumer.stopNow() twice puts each job back once", async () => {
  await using t = start();
  const delivery = await t.give("1");
  await Promise.all([t.consumer.stopNow(), t.consumer.stopNow()]);
  await t.running;
  assert.deepEqual([delivery.settled, t.broker.calls], [["release"], ["release 1"]]);
});

// --- whether there is work left

Deno.test("Consumer.emptied() says so only when none of its queues has a job to run and none is held", async () => {
  await using t = start({ queues: [{ name: "a", weight: 1 }, { name: "b", weight: 1 }] });
  assert.deepEqual(await t.consumer.emptied(0), []);
  for (const state of ["ready", "delayed", "reserved"]) {
    t.broker.depths.set("b", { [state]: 1 });
    assert.equal(await t.consumer.emptied(0), undefined, state);
  }
  t.broker.depths.set("b", { dead: 3 });
  t.broker.depths.set("c", { ready: 3 });
  assert.deepEqual(await t.consumer.emptied(0), []);
  await t.give("1");
  assert.equal(await t.consumer.emptied(0), undefined);
});

Deno.test("Consumer.emptied() rejects with QUEUE_UNAVAILABLE when the broker is away", async () => {
  await using t = start();
  await settlePromises();
  t.broker.outage = unavailable();
  await assert.rejects(t.consumer.emptied(0), (error) => {
    return error instanceof FervoError && error.code === "QUEUE_UNAVAILABLE";
  });
});

Deno.test("Consumer tells of each job: started, then settled with what was done", async () => {
  await using t = start();
  await t.run(failed(5), { attempt: 2 });
  assert.deepEqual(t.log.types, ["consumer_started", "job_started", "job_settled"]);
  assert.deepEqual(t.log.of("consumer_started"), [
    { type: "consumer_started", consumer: "main", queues: ["default"] },
  ]);
  assert.deepEqual(t.log.of("job_started"), [
    { type: "job_started", consumer: "main", queue: "default", id: "1", attempt: 2 },
  ]);
  const { verdict: outcome, ...event } = t.log.of("job_settled")[0]!;
  assert.deepEqual(event, {
    type: "job_settled",
    consumer: "main",
    queue: "default",
    id: "1",
    attempt: 2,
    waitMs: undefined,
    runMs: 0,
  });
  assert.deepEqual([outcome.kind, outcome.kind === "retry" && outcome.delayMs], ["retry", 5]);
});

Deno.test("Consumer tells the policy's delay with a retry", async () => {
  await using t = start();
  await t.run(failed());
  const { verdict: outcome } = t.log.of("job_settled")[0]!;
  assert.equal(outcome.kind === "retry" && outcome.delayMs, 1_000);
});

Deno.test("Consumer starts no more jobs than its rate limit allows, and goes on by itself when it may", async () => {
  await using t = start({ concurrency: 10, rateLimit: { jobs: 2, periodMs: 1_000 } });
  for (const id of ["1", "2", "3", "4"]) await t.give(id);
  const started = () => t.executor.runs.length;
  assert.equal(started(), 2);
  await t.clock.advance(499);
  assert.equal(started(), 2);
  await t.clock.advance(1);
  assert.equal(started(), 3);
  await t.clock.advance(500);
  assert.equal(started(), 4);
  for (const run of t.executor.runs) run.end(ACK);
});

Deno.test("Consumer gives the rate limit back what it put back unrun", async () => {
  await using t = start({ concurrency: 1, rateLimit: { jobs: 1, periodMs: 60_000 } });
  await t.give("1");
  t.executor.runs[0]!.end(executorAway());
  await t.give("2");
  // The pause is over, and the limit alone would last for a minute.
  await t.clock.advance(1_000);
  assert.deepEqual(t.executor.ids, ["1", "2"]);
  t.executor.runs[1]!.end(ACK);
  await t.give("3");
  await t.clock.advance(1_000);
  assert.deepEqual(t.executor.ids, ["1", "2"], "the one that ran counts");
});

/** Runs so many jobs that end at once, so that jobs count as short. */
async function runShortJobs(t: ReturnType<typeof start>, ms = 0): Promise<void> {
  for (let i = 0; i < 100; i++) {
    await t.give(`short-${i}`);
    if (ms > 0) await t.clock.advance(ms);
    t.executor.runs.at(-1)!.end(ACK);
    await settlePromises();
  }
}

Deno.test("Consumer takes short jobs ahead of its slots, one for each, and starts them in order", async () => {
  await using t = start({ concurrency: 2 });
  await runShortJobs(t, 10);
  const jobs = [];
  for (const id of ["a", "b", "c", "d", "e"]) jobs.push(await t.give(id));
  const started = () => t.executor.runs.slice(100).map(({ job }) => job.id);
  assert.deepEqual(started(), ["a", "b"]);
  assert.equal(t.consumer.inFlight, 4);
  t.executor.runs[100]!.end(ACK);
  await settlePromises();
  assert.deepEqual(started(), ["a", "b", "c"]);
  t.consumer.quiet();
  await settlePromises();
  // "d" was taken and not begun.
  assert.deepEqual(jobs.map(({ settled }) => settled), [["ack"], [], [], ["release"], ["release"]]);
  for (const run of t.executor.runs.slice(101)) run.end(ACK);
});

Deno.test("Consumer takes up to three jobs ahead for each slot, as many as run in five milliseconds", async () => {
  for (const [ms, ahead] of [[0, 3], [3, 1], [15, 1], [25, 0]] as const) {
    await using t = start({ concurrency: 2 });
    await runShortJobs(t, ms);
    t.broker.give(...Array.from({ length: 20 }, (_, i) => new FakeDelivery(`${i}`)));
    await settlePromises();
    assert.equal(t.consumer.inFlight, 2 + 2 * ahead, `jobs of ${ms} ms`);
    for (const run of t.executor.runs.slice(100)) run.end(ACK);
    t.consumer.quiet();
    await settlePromises();
    for (const run of t.executor.runs.slice(102)) run.end(ACK);
  }
});

Deno.test("Consumer puts back what it took ahead when php-fpm is away, and when jobs turn out long", async () => {
  await using t = start({ concurrency: 1 });
  await runShortJobs(t);
  await t.give("a");
  const ahead = await t.give("b");
  t.executor.runs[100]!.end(executorAway());
  await settlePromises();
  assert.deepEqual(ahead.settled, ["release"]);

  await using u = start({ concurrency: 1 });
  await runShortJobs(u);
  await u.give("a");
  const waiting = await u.give("b");
  await u.clock.advance(100);
  assert.deepEqual(waiting.settled, ["release"]);
  u.executor.runs[100]!.end(ACK);
});

Deno.test("A consumer takes no more than max_in_flight_bytes allows, and a longer job by itself", async () => {
  await using site = start({ concurrency: 8, maxInFlightBytes: 1_000 });
  const { broker, executor } = site;
  const raw = new Uint8Array(400);
  const jobs = ["1", "2", "3", "4", "5"].map((id) => new FakeDelivery(id, { raw }));
  broker.give(...jobs, new FakeDelivery("long", { raw: new Uint8Array(5_000) }));
  await settlePromises();
  assert.deepEqual(
    executor.runs.map(({ job }) => job.id),
    ["1", "2", "3"],
    "the third one reaches the limit",
  );
  assert.equal(broker.left, 3);
  assert.equal(broker.requests.at(-1)!.maxBytes, 1_000);
  executor.runs[0]!.end(ACK);
  await settlePromises();
  assert.equal(broker.requests.at(-1)!.maxBytes, 200);
  assert.deepEqual(executor.runs.map(({ job }) => job.id).slice(3), ["4"]);
  for (const run of executor.runs.slice(1)) run.end(ACK);
  await settlePromises();
  assert.deepEqual(executor.runs.map(({ job }) => job.id).slice(4), ["5", "long"]);
  for (const run of executor.runs.slice(4)) run.end(ACK);
});

Deno.test("Consumer tries a job again whose successor the broker does not take, and settles it once", async () => {
  await using t = start({
    concurrency: 1,
    retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, delayMs: 1_000, jitter: 0 },
  });
  const tooLong = new JobError("JOB_MALFORMED", "The message is too long");
  const delivery = await t.run({
    kind: "replace",
    message: { body: new Uint8Array(9), headers: {} },
    delayMs: 0,
    error: new JobError("JOB_FAILED", "busy"),
  });
  assert.deepEqual(delivery.settled, ["replace 0 JOB_FAILED"]);
  const refused = await t.give("2");
  refused.settleFailures.push(tooLong);
  t.executor.runs[1]!.end({
    kind: "replace",
    message: { body: new Uint8Array(9), headers: {} },
    delayMs: 0,
    error: new JobError("JOB_FAILED", "busy"),
  });
  await settlePromises();
  assert.deepEqual([refused.settled, refused.error], [["retry 1000 JOB_MALFORMED"], tooLong]);
  assert.deepEqual(t.log.of("broker_failed"), []);
});
