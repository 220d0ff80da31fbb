/** A consumer of a framework's messages: they say when they begin, may end in any order, and their deaths are told. */
import assert from "node:assert/strict";
import type { Capabilities } from "../../../../src/core/broker.ts";
import { FervoError, JobError } from "../../../../src/core/errors.ts";
import { ACK, type Outcome } from "../../../../src/core/outcome.ts";
import {
  Consumer,
  type ConsumerOptions,
  DEFAULT_CONSUMER_OPTIONS,
} from "../../../../src/worker/consumer/consumer.ts";
import { QueuePauses } from "../../../../src/worker/queue_pauses.ts";
import { settledOf, startConsumer } from "../../../support/consumer_site.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";
import { FakeBroker, FakeDelivery, leaseLost, unavailable } from "../../../support/fake_broker.ts";
import { executorAway, failed, FakeExecutor } from "../../../support/fake_executor.ts";
import { FRAMEWORK } from "../../../support/framework_format.ts";

const CRASHED: Outcome = { kind: "retry", error: new JobError("JOB_CRASHED", "The PHP process died") };
const HANDLED: Outcome = { kind: "handled", error: new JobError("JOB_FAILED", "filed") };
const NOT_STARTED: Outcome = {
  kind: "release",
  reason: "misconfigured",
  error: new FervoError("APPLICATION_NOT_STARTED", "The application did not start"),
};

function start(
  { capabilities, ...options }: Partial<ConsumerOptions> & { capabilities?: Partial<Capabilities> } = {},
) {
  const queues = [{ name: "default", weight: 1 }, { name: "other", weight: 1 }];
  return startConsumer({ queues, ...options }, (broker) => {
    broker.format = FRAMEWORK;
    broker.knowsQueues = true;
    broker.capabilities = { ...broker.capabilities, redeliveries: "counted", ...capabilities };
  });
}

/** Ends the batch that runs with a crash of its job, once that has begun. */
async function crash({ executor }: ReturnType<typeof start>, at = 0): Promise<void> {
  const batch = executor.batches[at]!;
  batch.begin(batch.jobs[0]!);
  batch.end(CRASHED);
  await settlePromises();
}

// --- begun

Deno.test("Consumer sends a framework's message as a batch of one, with its headers, and has it started when it says so", async () => {
  await using t = start();
  const [job] = await t.give(new FakeDelivery("1", { headers: { type: "Mail" } }));
  const batch = t.executor.batches[0]!;
  assert.deepEqual(batch.jobs[0]!.framework, { format: "framework", headers: { type: "Mail" } });
  assert.deepEqual(t.started(), []);
  batch.begin(batch.jobs[0]!);
  assert.deepEqual(t.started(), ["1"]);
  batch.tell(ACK);
  batch.end();
  await settlePromises();
  assert.deepEqual(job!.settled, ["ack"]);
});

Deno.test("Consumer settles a framework's messages in the order in which their outcomes come", async () => {
  await using t = start({ batchSize: 3 });
  const jobs = await t.give("1", "2", "3");
  const batch = t.executor.batches[0]!;
  for (const job of batch.jobs) batch.begin(job);
  batch.tell(HANDLED, batch.jobs[2]);
  await settlePromises();
  assert.deepEqual(settledOf(jobs), [undefined, undefined, "handled JOB_FAILED"]);
  batch.tell(ACK, batch.jobs[0]);
  batch.tell(ACK, batch.jobs[1]);
  batch.end();
  await settlePromises();
  assert.deepEqual(settledOf(jobs), ["ack", "ack", "handled JOB_FAILED"]);
});

Deno.test("Consumer gives a framework's messages their time from the last record, all that have begun together", async () => {
  await using t = start({ batchSize: 2, timeoutMs: 1_000 });
  await t.give("1", "2");
  const batch = t.executor.batches[0]!;
  await t.clock.advance(900);
  batch.begin(batch.jobs[0]!);
  await t.clock.advance(900);
  batch.begin(batch.jobs[1]!);
  await t.clock.advance(900);
  assert.equal(batch.signal.aborted, false);
  t.executor.failureAnswer = () => HANDLED;
  await t.clock.advance(100);
  assert.equal((batch.signal.reason as FervoError).code, "JOB_TIMEOUT");
});

Deno.test("Consumer counts nothing while the application does not start, says so, and goes on when it does", async () => {
  await using t = start({ batchSize: 2 });
  const jobs = await t.give("1", "2");
  t.executor.probeAnswer = NOT_STARTED.kind === "release" ? NOT_STARTED.error : undefined;
  t.executor.batches[0]!.end(NOT_STARTED);
  await settlePromises();
  assert.deepEqual(settledOf(jobs), ["release", "release"]);
  assert.equal(t.consumer.fault?.code, "APPLICATION_NOT_STARTED");
  assert.deepEqual(t.executor.failures, []);
  await t.clock.advance(60_000);
  assert.ok(t.executor.probes.length > 10);
  assert.equal(t.executor.batches.length, 1);
  t.executor.probeAnswer = undefined;
  const [next] = await t.give("3");
  await t.clock.advance(2_000);
  const batch = t.executor.batches[1]!;
  batch.begin(batch.jobs[0]!);
  batch.tell(ACK);
  batch.end();
  await settlePromises();
  assert.deepEqual([next!.settled, t.consumer.fault], [["ack"], undefined]);
});

// --- the post-mortem

Deno.test("Consumer tells a framework of a job that died, in its slot, and does what that says", async () => {
  await using t = start();
  const answer = Promise.withResolvers<Outcome>();
  t.executor.failureAnswer = () => answer.promise;
  const [dead] = await t.give("1", "2");
  await crash(t);
  const [{ job, failure }] = t.executor.failures as [typeof t.executor.failures[0]];
  assert.deepEqual([job.id, failure.code, failure.message], ["1", "JOB_CRASHED", "The PHP process died"]);
  // It has just been made sure of.
  assert.equal(t.broker.calls.at(-1), "extend 1");
  assert.equal(t.executor.batches.length, 1);
  answer.resolve(HANDLED);
  await settlePromises();
  assert.deepEqual(dead!.settled, ["handled JOB_FAILED"]);
  assert.equal(t.executor.batches.length, 2);
});

Deno.test("Consumer tells of each job that had begun when its batch died, and puts the others back", async () => {
  for (const begun of [1, 7, 10]) {
    await using t = start({ batchSize: 10 });
    t.executor.failureAnswer = ({ id }) => id === "3" ? undefined : HANDLED;
    const jobs = await t.give(...Array.from({ length: 10 }, (_, at) => String(at + 1)));
    const batch = t.executor.batches[0]!;
    for (const job of batch.jobs.slice(0, begun)) batch.begin(job);
    batch.end(CRASHED, batch.jobs.slice(0, begun));
    await settlePromises();
    const expected = jobs.map(({ id }) =>
      Number(id) > begun ? "release" : id === "3" ? "retry 1000 JOB_CRASHED" : "handled JOB_FAILED"
    );
    assert.deepEqual(settledOf(jobs), expected);
  }
});

Deno.test("Consumer tells a death again when its telling died, once, and then retries the job as any other", async () => {
  await using t = start();
  const [dead] = await t.give("1");
  await crash(t);
  const { failures } = t.executor;
  assert.equal(failures.length, 2);
  assert.equal(failures[0]!.failure.id, failures[1]!.failure.id);
  assert.deepEqual(dead!.settled, ["retry 1000 JOB_CRASHED"]);
  assert.deepEqual(t.log.of("post_mortem_died").map(({ deaths }) => deaths), [1, 2]);
});

Deno.test("Consumer files a job as dead that died with its telling at its last attempt", async () => {
  await using t = start({ retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 2 } });
  const [dead] = await t.give(new FakeDelivery("1", { attempt: 2 }));
  await crash(t);
  assert.deepEqual(dead!.settled, ["bury JOB_CRASHED"]);
});

Deno.test("Consumer keeps a death that could not be told, and tells it when php-fpm is back", async () => {
  await using t = start();
  const answers: Outcome[] = [executorAway(), NOT_STARTED, HANDLED];
  t.executor.failureAnswer = () => answers.shift();
  const [dead] = await t.give("1", "2");
  await crash(t);
  assert.equal(t.executor.failures.length, 1);
  assert.equal(t.consumer.stats.isPaused, true);
  await t.clock.advance(60_000);
  assert.deepEqual(new Set(t.executor.failures.map(({ failure }) => failure.id)).size, 1);
  assert.deepEqual([t.executor.failures.length, dead!.settled], [3, ["handled JOB_FAILED"]]);
  assert.equal(t.executor.batches.length, 2);
});

Deno.test("Consumer gives up telling a front controller that starts and takes none up, and runs the other jobs", async () => {
  await using t = start({ timeoutMs: 1_000_000 });
  t.executor.failureAnswer = () => NOT_STARTED;
  const [dead] = await t.give("1", "2");
  await crash(t);
  await t.clock.advance(200_000);
  assert.deepEqual([t.executor.failures.length, dead!.settled], [3, ["retry 1000 JOB_CRASHED"]]);
  assert.deepEqual(t.executor.batchIds.slice(0, 2), [["1"], ["2"]]);
});

Deno.test("Consumer tells nothing of a job that is no longer its own, or that may still run", async () => {
  await using t = start();
  const lost = new FakeDelivery("1");
  lost.extendFailures.push(leaseLost());
  lost.settleFailures.push(leaseLost());
  await t.give(lost);
  await crash(t);
  assert.deepEqual([t.executor.failures, lost.settled], [[], []]);
  assert.equal(t.log.of("lease_lost").length, 1);
  t.executor.hasEnded = false;
  const [mayRun] = await t.give("2");
  await crash(t, 1);
  assert.deepEqual([t.executor.failures, mayRun!.settled], [[], ["retry 1000 JOB_CRASHED"]]);
});

Deno.test("Consumer waits for a broker that is gone before it tells of a death", async () => {
  await using t = start();
  t.executor.failureAnswer = () => HANDLED;
  const dead = new FakeDelivery("1");
  dead.extendFailures.push(unavailable(), unavailable());
  await t.give(dead);
  await crash(t);
  assert.deepEqual(t.executor.failures, []);
  await t.clock.advance(2_000);
  assert.deepEqual(dead.settled, ["handled JOB_FAILED"]);
});

Deno.test("Consumer ends the telling of a death that takes too long, and what waits for it at a shutdown", async () => {
  await using t = start({ postMortemTimeoutMs: 5_000, timeoutMs: 1_000 });
  const signals: AbortSignal[] = [];
  t.executor.tellFailure = (_job, _failure, signal) => {
    signals.push(signal);
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve(undefined)));
  };
  const [dead] = await t.give("1");
  await crash(t);
  await t.clock.advance(4_999);
  assert.equal(signals[0]!.aborted, false);
  await t.clock.advance(1);
  assert.equal((signals[0]!.reason as FervoError).code, "JOB_TIMEOUT");
  assert.equal(signals.length, 2);
  const stopping = t.consumer.cutOff();
  await settlePromises();
  assert.equal((signals[1]!.reason as FervoError).code, "SHUTDOWN");
  await stopping;
  assert.deepEqual(dead!.settled, ["retry 1000 JOB_CRASHED"]);
});

Deno.test("Consumer runs no job whose worker was lost too often, and tells its framework so before it runs others", async () => {
  await using t = start({ batchSize: 3 });
  t.executor.failureAnswer = () => HANDLED;
  const jobs = await t.give(
    new FakeDelivery("1", { redeliveries: 2 }),
    new FakeDelivery("2", { redeliveries: 3 }),
  );
  assert.deepEqual(t.executor.failures.map(({ job, failure }) => [job.id, failure.code]), [[
    "2",
    "JOB_ABANDONED",
  ]]);
  assert.deepEqual(t.executor.batchIds, [["1"]]);
  assert.deepEqual(jobs[1]!.settled, ["handled JOB_FAILED"]);
  t.executor.batches[0]!.end();
  await settlePromises();
});

Deno.test("Consumer runs no job again of which a broker knows only that its worker was lost", async () => {
  await using t = start({ capabilities: { redeliveries: "flagged" } });
  t.executor.failureAnswer = () => HANDLED;
  const [dead] = await t.give(new FakeDelivery("1", { redeliveries: 1 }));
  assert.deepEqual([t.executor.batches, dead!.settled], [[], ["handled JOB_FAILED"]]);
});

// --- later, and not now

const later = (delayMs: number, queuePauseMs?: number): Outcome => ({
  kind: "release",
  reason: "asked",
  delayMs,
  error: new JobError("JOB_POSTPONED", "later"),
  ...(queuePauseMs !== undefined && { queuePauseMs }),
});

Deno.test("Consumer gives a job that asks to come later back for that time, and goes on", async () => {
  await using t = start({ retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 1 } });
  const [job] = await t.give("1", "2");
  const batch = t.executor.batches[0]!;
  batch.begin(batch.jobs[0]!);
  batch.tell(later(5_000));
  batch.end();
  await settlePromises();
  assert.deepEqual(job!.settled, ["release 5000"]);
  assert.equal(t.executor.batches.length, 2);
});

Deno.test("Consumer keeps a job that asks to come later, for a minute at most, where its broker would count that", async () => {
  await using t = start({ capabilities: { delayedRelease: "counted" } });
  const answers = [later(60_000), ACK, later(60_001)];
  const run = async () => {
    const batch = t.executor.batches.at(-1)!;
    batch.begin(batch.jobs[0]!);
    batch.tell(answers.shift()!);
    batch.end();
    await settlePromises();
  };
  const [kept] = await t.give("1");
  await run();
  assert.deepEqual([kept!.settled, t.executor.batches.length], [[], 1]);
  await t.clock.advance(59_999);
  assert.equal(t.executor.batches.length, 1);
  await t.clock.advance(1);
  assert.equal(t.executor.batches.length, 2);
  await run();
  assert.deepEqual(kept!.settled, ["ack"]);
  const [given] = await t.give("2");
  await run();
  assert.deepEqual(given!.settled, ["release 60001"]);
});

Deno.test("Consumer takes no job of a queue that the application holds back, then one, then all", async () => {
  await using t = start({ concurrency: 4 });
  const of = (queue: string, id: string) => new FakeDelivery(id, { queue });
  const [first] = await t.give(of("default", "1"));
  const [batch] = t.executor.batches;
  batch!.begin(batch!.jobs[0]!);
  batch!.tell(later(1_000, 10_000));
  batch!.end();
  await settlePromises();
  assert.deepEqual(first!.settled, ["release 1000"]);
  assert.deepEqual(t.consumer.stats.heldBack, [{ queue: "default", forMs: 10_000 }]);
  await t.give(of("default", "2"), of("default", "3"), of("default", "4"), of("other", "5"));
  assert.deepEqual(t.executor.batchIds, [["1"], ["5"]]);
  await t.clock.advance(10_000);
  assert.deepEqual(t.executor.batchIds.slice(2), [["2"]]);
  const probe = t.executor.batches[2]!;
  probe.begin(probe.jobs[0]!);
  probe.tell(ACK);
  probe.end();
  await settlePromises();
  assert.deepEqual(t.executor.batchIds.slice(3), [["3"], ["4"]]);
  assert.deepEqual(t.log.types.filter((type) => type.startsWith("queue_")), [
    "queue_held_back",
    "queue_let_go",
  ]);
  assert.deepEqual(t.consumer.stats.heldBack, []);
  for (const { end } of t.executor.batches.slice(1)) end(failed());
  t.executor.failureAnswer = () => HANDLED;
  await settlePromises();
});

Deno.test("Consumer tells nothing of a job that its broker has said is no longer its own, though it has no lease", async () => {
  await using t = start();
  t.broker.leaseMs = undefined;
  const answers: Outcome[] = [executorAway(), HANDLED];
  t.executor.failureAnswer = () => answers.shift();
  const [lost] = await t.give("1");
  await crash(t);
  lost!.settleFailures.push(leaseLost());
  t.broker.subscribed[0]!.onLost([lost!]);
  await t.clock.advance(60_000);
  assert.deepEqual([t.executor.failures.length, lost!.settled], [1, []]);
  assert.equal(t.log.of("lease_lost").length, 1);
});

Deno.test("Consumer keeps a job that finds no slot free, where a release would cost an attempt", async () => {
  await using t = start({ capabilities: { release: "counted", delayedRelease: "counted" } });
  await t.give("1");
  const [first] = t.executor.batches;
  first!.begin(first!.jobs[0]!);
  first!.tell(later(5_000));
  first!.end();
  // It takes the slot that the next receive was meant for.
  await t.clock.advance(5_000);
  const [second] = await t.give("2");
  await t.clock.advance(1_000);
  assert.deepEqual([second!.settled, t.executor.batchIds], [[], [["1"], ["1"]]]);
  const again = t.executor.batches[1]!;
  again.begin(again.jobs[0]!);
  again.tell(ACK);
  again.end();
  await settlePromises();
  assert.deepEqual(t.executor.batchIds.slice(2), [["2"]]);
});

Deno.test("Consumer runs a job that was only given back, where its broker cannot tell that from a loss", async () => {
  await using t = start({ capabilities: { redeliveries: "flagged", release: "counted" } });
  await t.give(new FakeDelivery("1", { redeliveries: 1 }));
  assert.deepEqual([t.executor.batchIds, t.executor.failures], [[["1"]], []]);
});

Deno.test("Consumer does what a framework has said of a death, though it is told to end meanwhile", async () => {
  await using t = start();
  const answer = Promise.withResolvers<Outcome>();
  t.executor.failureAnswer = () => answer.promise;
  const [dead] = await t.give("1");
  await crash(t);
  const stopping = t.consumer.cutOff();
  answer.resolve(HANDLED);
  await stopping;
  assert.deepEqual(dead!.settled, ["handled JOB_FAILED"]);
});

Deno.test("Consumer tells a death again when a fault of its own came in the way, and loses no slot", async () => {
  await using t = start();
  const answers: (() => Outcome)[] = [() => {
    throw new TypeError("a fault");
  }, () => HANDLED];
  t.executor.failureAnswer = () => answers.shift()!();
  const [dead] = await t.give("1");
  await crash(t);
  await t.clock.advance(10_000);
  assert.deepEqual(dead!.settled, ["handled JOB_FAILED"]);
  assert.equal(t.consumer.busySlots, 0);
});

Deno.test("Consumer gives those that wait behind an abandoned job their whole time", async () => {
  await using t = start({ batchSize: 2, timeoutMs: 1_000 });
  const answer = Promise.withResolvers<Outcome>();
  t.executor.failureAnswer = () => answer.promise;
  await t.give(new FakeDelivery("1", { redeliveries: 3 }), "2");
  await t.clock.advance(5_000);
  answer.resolve(HANDLED);
  await settlePromises();
  assert.equal(t.executor.batches[0]!.jobs[0]!.deadlineMs, t.clock.nowMs() + 1_000);
});

Deno.test("Consumer tells of a job whose worker was lost at its last attempt, rather than file it untold", async () => {
  await using t = start({ retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, attempts: 1 } });
  t.executor.failureAnswer = ({ id }) => id === "1" ? HANDLED : undefined;
  const jobs = await t.give(
    new FakeDelivery("1", { redeliveries: 3, attempt: 4 }),
    new FakeDelivery("2", { redeliveries: 3, attempt: 4 }),
  );
  assert.deepEqual(settledOf(jobs), ["handled JOB_FAILED", "bury JOB_ABANDONED"]);
});

Deno.test("Consumer that never runs, as after a reload that failed, heeds no queue that is held back", () => {
  const clock = new FakeClock();
  const observe = () => {};
  const queuePauses = new QueuePauses({ clock, observe }, { broker: "default" });
  const deps = {
    broker: new FakeBroker(clock),
    executor: new FakeExecutor(),
    clock,
    observe,
    random: () => 0,
  };
  new Consumer({ ...deps, queuePauses }, { ...DEFAULT_CONSUMER_OPTIONS, name: "main", queues: [] });
  const unwatch = queuePauses.watch(() => {});
  queuePauses.pause("default", 60_000);
  unwatch();
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("Consumer takes jobs of a queue again when the one that finds out asks to come later, and no more", async () => {
  await using t = start({ concurrency: 2 });
  const end = async (at: number, outcome: Outcome) => {
    const batch = t.executor.batches[at]!;
    batch.begin(batch.jobs[0]!);
    batch.tell(outcome);
    batch.end();
    await settlePromises();
  };
  await t.give("1");
  await end(0, later(1_000, 10_000));
  await t.give("2", "3", "4");
  await t.clock.advance(10_000);
  await end(1, later(1_000));
  assert.deepEqual(t.executor.batchIds, [["1"], ["2"], ["3"], ["4"]]);
});

Deno.test("Consumer goes on with others however many jobs it keeps that have asked to come later", async () => {
  await using t = start({ capabilities: { delayedRelease: "counted" } });
  const jobs = Array.from({ length: 20 }, (_, at) => String(at));
  await t.give(...jobs);
  for (const at of jobs.keys()) {
    const batch = t.executor.batches[at]!;
    batch.begin(batch.jobs[0]!);
    batch.tell(later(60_000));
    batch.end();
    await settlePromises();
  }
  assert.deepEqual([t.executor.batchIds, t.consumer.inFlight], [jobs.map((id) => [id]), 20]);
});
