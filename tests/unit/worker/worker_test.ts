import assert from "node:assert/strict";
import { ACK } from "../../../src/core/outcome.ts";
import { DEFAULT_SCHEDULE_OPTIONS, Schedule } from "../../../src/worker/schedule/schedule.ts";
import { Consumer, DEFAULT_CONSUMER_OPTIONS } from "../../../src/worker/consumer/consumer.ts";
import { type RunResult, Worker } from "../../../src/worker/worker.ts";
import { EventLog } from "../../support/event_log.ts";
import { FakeBook } from "../../support/fake_book.ts";
import { FakeClock, settlePromises } from "../../support/fake_clock.ts";
import { FakeBroker, FakeDelivery, unavailable } from "../../support/fake_broker.ts";
import { FakeExecutor, misconfigured, scriptMissing } from "../../support/fake_executor.ts";

const SHUTDOWN_TIMEOUT_MS = 30_000;

/** A worker with a consumer for each queue; each has a broker and an executor of its own. */
function build(queues: readonly string[] = ["default"], isScheduled = false) {
  const clock = new FakeClock();
  const log = new EventLog();
  const parts = queues.map((name) => {
    const broker = new FakeBroker(clock);
    const executor = new FakeExecutor();
    const deps = { broker, executor, clock, observe: log.observe, random: () => 0.5 };
    const consumer = new Consumer(deps, {
      ...DEFAULT_CONSUMER_OPTIONS,
      timeoutMs: 3_600_000,
      name,
      queues: [{ name, weight: 1 }],
    });
    return { broker, executor, consumer };
  });
  const quieted: number[] = [];
  const consumers = parts.map(({ consumer }) => consumer);
  const onQuiet = () => void quieted.push(clock.monotonicMs());
  const book = new FakeBook();
  const schedules = isScheduled ? [everyMinute(parts[0]!.broker, book, { clock, observe: log.observe })] : [];
  const worker = new Worker({ consumers, schedules, clock, observe: log.observe, onQuiet }, {
    shutdownTimeoutMs: SHUTDOWN_TIMEOUT_MS,
  });
  return { clock, log, parts, worker, quieted, book, ...parts[0]! };
}

function everyMinute(
  broker: FakeBroker,
  book: FakeBook,
  deps: { clock: FakeClock; observe: EventLog["observe"] },
): Schedule {
  broker.admin = { schedule: book };
  return new Schedule({ broker, ...deps, random: () => 0.5 }, {
    ...DEFAULT_SCHEDULE_OPTIONS,
    name: "minutely",
    queue: "default",
    rule: { everyMs: 60_000 },
    payload: new Uint8Array(0),
    attempts: undefined,
  });
}

function start(t: ReturnType<typeof build>, options = { untilEmpty: false }) {
  const ended: { result?: RunResult } = {};
  const running = t.worker.run(options).then((result) => {
    ended.result = result;
    return result;
  });
  return { ended, running };
}

/** A job of it cannot be run, and none can until `executor.probeAnswer` is another one. */
async function misconfigure({ broker, executor }: ReturnType<typeof build>["parts"][number]): Promise<void> {
  await give(broker, "1");
  executor.probeAnswer = scriptMissing();
  executor.runs.at(-1)!.end(misconfigured());
  await settlePromises();
}

async function give(broker: FakeBroker, id: string): Promise<FakeDelivery> {
  const delivery = new FakeDelivery(id);
  broker.give(delivery);
  await settlePromises();
  return delivery;
}

Deno.test("Worker runs all its consumers until it is stopped", async () => {
  const t = build(["a", "b"]);
  const { ended, running } = start(t);
  await t.clock.advance(600_000);
  assert.equal(ended.result, undefined);
  const deliveries = await Promise.all(t.parts.map(({ broker }) => give(broker, "1")));
  for (const { executor } of t.parts) executor.runs[0]!.end(ACK);
  await settlePromises();
  assert.deepEqual(deliveries.map(({ settled }) => settled), [["ack"], ["ack"]]);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker tells when it takes no more jobs, by quiet() and by stop(), and not when one consumer can run none", async () => {
  const t = build(["a", "b"]);
  const { running } = start(t);
  await give(t.parts[0]!.broker, "1");
  t.parts[0]!.executor.runs[0]!.end(misconfigured());
  await settlePromises();
  assert.deepEqual(t.quieted, []);
  t.worker.quiet();
  assert.deepEqual(t.quieted, [0]);
  await t.clock.advance(1_000);
  t.worker.stop();
  assert.deepEqual(t.quieted, [0, 1_000]);
  await running;
});

Deno.test("Worker.stop() takes no more jobs and waits for those that run", async () => {
  const t = build();
  const { ended, running } = start(t);
  const delivery = await give(t.broker, "1");
  t.worker.stop();
  assert.deepEqual(t.log.of("draining"), [{ type: "draining", inFlight: 1 }]);
  await give(t.broker, "2");
  await t.clock.advance(SHUTDOWN_TIMEOUT_MS - 1);
  assert.deepEqual([ended.result, t.broker.left, t.executor.runs[0]!.signal.aborted], [undefined, 1, false]);
  t.executor.runs[0]!.end(ACK);
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.deepEqual(delivery.settled, ["ack"]);
  assert.deepEqual(t.log.types.slice(-2), ["consumer_stopped", "stopped"]);
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker puts back and aborts what runs still when the shutdown timeout has passed", async () => {
  const t = build(["a", "b"]);
  const { ended, running } = start(t);
  const deliveries = await Promise.all(t.parts.map(({ broker }) => give(broker, "1")));
  await t.clock.advance(10_000);
  t.worker.stop();
  await t.clock.advance(SHUTDOWN_TIMEOUT_MS - 1);
  assert.equal(ended.result, undefined);
  await t.clock.advance(1);
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.deepEqual(deliveries.map(({ settled }) => settled), [["release"], ["release"]]);
  for (const { executor } of t.parts) assert.equal(executor.runs[0]!.signal.reason.code, "SHUTDOWN");
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker.quiet() takes no more jobs, and stays until it is stopped", async () => {
  const t = build();
  const { ended, running } = start(t);
  const delivery = await give(t.broker, "1");
  t.worker.quiet();
  t.worker.quiet();
  await give(t.broker, "2");
  t.executor.runs[0]!.end(ACK);
  await t.clock.advance(10 * SHUTDOWN_TIMEOUT_MS);
  assert.deepEqual(delivery.settled, ["ack"]);
  assert.equal(t.broker.left, 1);
  assert.equal(ended.result, undefined);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker.stop() a second time ends now", async () => {
  const t = build();
  const { running } = start(t);
  const delivery = await give(t.broker, "1");
  t.worker.stop();
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.deepEqual(delivery.settled, ["release"]);
  assert.equal(t.log.of("draining").length, 1);
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker.stop() before run() lets it end at once", async () => {
  for (const stops of [1, 2, 3]) {
    const t = build();
    for (let i = 0; i < stops; i++) t.worker.stop();
    t.broker.give(new FakeDelivery("1"));
    assert.deepEqual(await start(t).running, { orphaned: 0, faults: [], uncounted: [] });
    assert.deepEqual([t.broker.left, t.clock.pendingTimers], [1, 0]);
  }
});

Deno.test("Worker.stop() after the end does nothing", async () => {
  const t = build();
  const { running } = start(t);
  t.worker.stop();
  await running;
  const events = t.log.events.length;
  t.worker.stop();
  t.worker.stop();
  assert.deepEqual([t.log.events.length, t.clock.pendingTimers], [events, 0]);
});

Deno.test("Worker tells how many jobs it could not put back, of all its consumers", async () => {
  const t = build(["a", "b"]);
  const { running } = start(t);
  for (const { broker } of t.parts) {
    for (const id of ["1", "2"]) (await give(broker, id)).settleFailures.push(unavailable());
    await give(broker, "3");
  }
  t.worker.stop();
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 4, faults: [], uncounted: [] });
  assert.deepEqual(t.log.of("stopped"), [{ type: "stopped", orphaned: 4 }]);
});

Deno.test("Worker does not end because none of its consumers can run jobs, and goes on when they can", async () => {
  const t = build(["a", "b"]);
  const { ended, running } = start(t);
  for (const part of t.parts) await misconfigure(part);
  await t.clock.advance(3_600_000);
  assert.equal(ended.result, undefined);
  for (const { executor } of t.parts) executor.probeAnswer = undefined;
  await t.clock.advance(1_000);
  const deliveries = await Promise.all(t.parts.map(({ broker }) => give(broker, "2")));
  for (const { executor } of t.parts) executor.runs[1]!.end(ACK);
  await settlePromises();
  assert.deepEqual(deliveries.map(({ settled }) => settled), [["ack"], ["ack"]]);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
});

Deno.test("Worker that is stopped while a consumer can run no jobs has ended well: they wait in the broker", async () => {
  const t = build();
  const { running } = start(t);
  await misconfigure(t.parts[0]!);
  await t.clock.advance(60_000);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker.run() until empty ends only when no queue has a job left, not even a delayed one", async () => {
  const t = build(["a", "b"]);
  const { depths } = t.parts[1]!.broker;
  depths.set("b", { ready: 1 });
  const { ended, running } = start(t, { untilEmpty: true });
  for (const state of ["ready", "delayed", "reserved"]) {
    depths.set("b", { [state]: 1 });
    await t.clock.advance(5_000);
    assert.equal(ended.result, undefined, state);
  }
  depths.set("b", { dead: 5 });
  await t.clock.advance(100);
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker.run() until empty ends at once when there is nothing to do", async () => {
  const t = build();
  assert.deepEqual(await start(t, { untilEmpty: true }).running, { orphaned: 0, faults: [], uncounted: [] });
});

Deno.test("Worker.run() until empty waits for a job that runs, also when its broker counts none", async () => {
  const t = build();
  t.broker.depths.set("default", { ready: 1 });
  const { ended, running } = start(t, { untilEmpty: true });
  await give(t.broker, "1");
  t.broker.depths.clear();
  await t.clock.advance(60_000);
  assert.equal(ended.result, undefined);
  t.executor.runs[0]!.end(ACK);
  await t.clock.advance(100);
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
});

Deno.test("Worker.run() until empty does not take a broker that is away for empty", async () => {
  const t = build();
  t.broker.outage = unavailable();
  const { ended, running } = start(t, { untilEmpty: true });
  await t.clock.advance(60_000);
  assert.equal(ended.result, undefined);
  t.broker.outage = undefined;
  await t.clock.advance(100);
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker.run() until empty can be stopped before it is empty", async () => {
  const t = build();
  t.broker.depths.set("default", { delayed: 1 });
  const { running } = start(t, { untilEmpty: true });
  await t.clock.advance(1_000);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker.run() until empty ends when its consumers have failed to run a job eight times, and says why", async () => {
  const t = build();
  t.broker.depths.set("default", { ready: 1 });
  const { ended, running } = start(t, { untilEmpty: true });
  await misconfigure(t.parts[0]!);
  await t.clock.advance(2_500);
  assert.deepEqual([ended.result, t.executor.probes.length], [undefined, 6]);
  await t.clock.advance(300);
  assert.deepEqual((await running).faults, [scriptMissing()]);
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker.run() until empty goes on with a consumer that could run no jobs for a moment", async () => {
  const t = build();
  t.broker.depths.set("default", { ready: 1 });
  const { ended, running } = start(t, { untilEmpty: true });
  await misconfigure(t.parts[0]!);
  await t.clock.advance(2_000);
  t.executor.probeAnswer = undefined;
  await t.clock.advance(1_000);
  await give(t.broker, "1");
  t.executor.runs[1]!.end(ACK);
  await t.clock.advance(60_000);
  assert.equal(ended.result, undefined);
  t.broker.depths.clear();
  await t.clock.advance(100);
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
});

Deno.test("Worker.run() until empty does not wait for the jobs of a consumer that can run none", async () => {
  const t = build(["a", "b"]);
  const [a, b] = t.parts;
  // What a released is ready still, for a person to look at; b has a job that takes its time.
  a!.broker.depths.set("a", { ready: 1 });
  const { ended, running } = start(t, { untilEmpty: true });
  await misconfigure(a!);
  await give(b!.broker, "2");
  await t.clock.advance(60_000);
  assert.equal(ended.result, undefined);
  b!.executor.runs[0]!.end(ACK);
  await t.clock.advance(1_000);
  assert.equal((await running).faults.length, 1);
});

Deno.test("Worker.run() until empty never turns a stop from outside into an end now", async () => {
  const t = build();
  const looked = Promise.withResolvers<void>();
  t.broker.admin.depth = async () => {
    await looked.promise;
    return { ready: 0, delayed: 0, reserved: 0, dead: 0 };
  };
  const received = Promise.withResolvers<FakeDelivery[]>();
  t.broker.receive = () => received.promise;
  const { ended, running } = start(t, { untilEmpty: true });
  await settlePromises();
  // The stop comes while it looks whether all is empty, and while a job is on its way.
  t.worker.stop();
  looked.resolve();
  await settlePromises();
  const late = new FakeDelivery("1");
  received.resolve([late]);
  await settlePromises();
  assert.deepEqual([t.executor.ids, ended.result], [["1"], undefined]);
  t.executor.runs[0]!.end(ACK);
  await running;
  assert.deepEqual(late.settled, ["ack"]);
});

Deno.test("Worker.drain() begins to stop, and never means now, however often it is said", async () => {
  const t = build();
  const { running } = start(t);
  const delivery = await give(t.broker, "1");
  t.worker.drain();
  t.worker.drain();
  await settlePromises();
  assert.deepEqual([t.log.of("draining").length, delivery.settled], [1, []]);
  t.executor.runs[0]!.end(ACK);
  await running;
  assert.deepEqual(delivery.settled, ["ack"]);
});

Deno.test("Worker has its schedules push until it is quiet, or stopped", async () => {
  for (const end of ["quiet", "stop"] as const) {
    const t = build(["default"], true);
    const { running } = start(t);
    await give(t.broker, "1");
    await t.clock.advance(150_000);
    assert.equal(t.book.pushedMs.length, 2);
    t.worker[end]();
    // The job that runs goes on.
    await t.clock.advance(20_000);
    t.executor.runs[0]!.end(ACK);
    await t.clock.advance(120_000);
    assert.equal(t.book.pushedMs.length, 2, end);
    t.worker.drain();
    await running;
    assert.equal(t.clock.pendingTimers, 0);
  }
});

Deno.test("Worker.run() until empty pushes no jobs of the schedules", async () => {
  const t = build(["default"], true);
  t.broker.depths.set("default", { ready: 1 });
  const { running } = start(t, { untilEmpty: true });
  await t.clock.advance(120_000);
  assert.equal(t.book.calls, 0);
  t.broker.depths.clear();
  await t.clock.advance(1_000);
  await running;
});

/** A consumer that takes the place of another one, with a broker and an executor of its own. */
function successor(t: ReturnType<typeof build>) {
  const broker = new FakeBroker(t.clock);
  const executor = new FakeExecutor();
  const deps = { broker, executor, clock: t.clock, observe: t.log.observe, random: () => 0.5 };
  const consumer = new Consumer(deps, {
    ...DEFAULT_CONSUMER_OPTIONS,
    timeoutMs: 3_600_000,
    name: "new",
    queues: [{ name: "new", weight: 1 }],
  });
  return { broker, executor, consumer };
}

/** Puts one consumer in the place of another. */
function replace(
  { worker }: ReturnType<typeof build>,
  going: Consumer,
  coming: Consumer,
  { losesBroker = false } = {},
): Promise<void> {
  return worker.replace(
    { consumers: [going], schedules: [] },
    () => ({ consumers: [coming], schedules: [] }),
    () => losesBroker,
  );
}

Deno.test("Worker.replace() begins what comes when the jobs of what goes have ended, and leaves the rest alone", async () => {
  const t = build(["a", "b"]);
  const { running } = start(t);
  const next = successor(t);
  const [a, b] = t.parts as [typeof t.parts[0], typeof t.parts[0]];
  const going = await give(a.broker, "1");
  let isDone = false;
  const replaced = replace(t, a.consumer, next.consumer).then(() => isDone = true);
  await give(a.broker, "2");
  const staying = await give(b.broker, "1");
  await give(next.broker, "1");
  assert.deepEqual([isDone, a.broker.left, next.executor.runs.length, t.worker.inFlight], [false, 1, 0, 2]);
  b.executor.runs[0]!.end(ACK);
  await settlePromises();
  assert.deepEqual(staying.settled, ["ack"]);
  a.executor.runs[0]!.end(ACK);
  await replaced;
  await settlePromises();
  assert.deepEqual([going.settled, next.executor.runs.length], [["ack"], 1]);
  next.executor.runs[0]!.end(ACK);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.equal(t.clock.pendingTimers, 0);
});

Deno.test("Worker.replace() puts back what runs still when the shutdown timeout has passed, as set last", async () => {
  const t = build(["a", "b"]);
  const { running } = start(t);
  const next = successor(t);
  const delivery = await give(t.broker, "1");
  const other = await give(t.parts[1]!.broker, "1");
  t.worker.setOptions({ shutdownTimeoutMs: 5_000 });
  const replaced = replace(t, t.consumer, next.consumer);
  await t.clock.advance(4_999);
  assert.deepEqual(delivery.settled, []);
  await t.clock.advance(1);
  await replaced;
  assert.deepEqual([delivery.settled, other.settled], [["release"], []]);
  t.parts[1]!.executor.runs[0]!.end(ACK);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
  assert.equal(t.clock.pendingTimers, 0);
});

for (const order of ["stop", "quiet"] as const) {
  Deno.test(`Worker.${order}() while it replaces begins nothing new, and run() waits for what goes`, async () => {
    const t = build();
    const { ended, running } = start(t);
    const next = successor(t);
    const delivery = await give(t.broker, "1");
    const replaced = replace(t, t.consumer, next.consumer);
    t.worker[order]();
    await settlePromises();
    assert.equal(ended.result, undefined);
    t.executor.runs[0]!.end(ACK);
    await replaced;
    if (order === "quiet") t.worker.stop();
    assert.deepEqual(await running, { orphaned: 0, faults: [], uncounted: [] });
    assert.deepEqual(delivery.settled, ["ack"]);
    assert.equal(t.log.of("consumer_started").length, 1);
    assert.equal(t.clock.pendingTimers, 0);
  });
}

Deno.test("Worker.replace() waits for a broker that stays, and gives up with the worker", async () => {
  for (const isBack of [true, false]) {
    const t = build();
    const { running } = start(t);
    const next = successor(t);
    const delivery = await give(t.broker, "1");
    delivery.settleFailures.push(...Array.from({ length: isBack ? 3 : 1_000 }, unavailable));
    let isDone = false;
    const replaced = replace(t, t.consumer, next.consumer).then(() => isDone = true);
    await t.clock.advance(SHUTDOWN_TIMEOUT_MS);
    await settlePromises();
    assert.deepEqual([isDone, delivery.settled], [false, []]);
    await t.clock.advance(60_000);
    assert.deepEqual([isDone, delivery.settled], isBack ? [true, ["release"]] : [false, []]);
    t.worker.stop();
    if (!isBack) await t.clock.advance(SHUTDOWN_TIMEOUT_MS);
    await replaced;
    assert.deepEqual(await running, { orphaned: isBack ? 0 : 1, faults: [], uncounted: [] });
    assert.equal(t.clock.pendingTimers, 0);
  }
});

Deno.test("Worker.replace() of all its consumers does not end it, and counts what a broker that goes did not take back", async () => {
  const t = build();
  const { ended, running } = start(t);
  const next = successor(t);
  (await give(t.broker, "1")).settleFailures.push(unavailable());
  const replaced = replace(t, t.consumer, next.consumer, { losesBroker: true });
  await t.clock.advance(SHUTDOWN_TIMEOUT_MS);
  await replaced;
  await settlePromises();
  assert.equal(ended.result, undefined);
  t.worker.stop();
  assert.deepEqual(await running, { orphaned: 1, faults: [], uncounted: [] });
});
