import assert from "node:assert/strict";
import { Backoff } from "../../../../src/core/time/backoff.ts";
import { FervoError } from "../../../../src/core/errors.ts";
import { Gate } from "../../../../src/worker/consumer/pause.ts";
import { EventLog } from "../../../support/event_log.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";
import { FakeExecutor } from "../../../support/fake_executor.ts";

const SLOTS = 8;

const AWAY = new FervoError("FASTCGI_CONNECT_FAILED", "php-fpm is away");
const WRONG = new FervoError("FPM_MISCONFIGURED", "php-fpm cannot find the script");

function gateOf({ maxPauseMs = 5_000, isIdle = false } = {}) {
  const clock = new FakeClock();
  const log = new EventLog();
  const executor = new FakeExecutor();
  const seen: number[] = [];
  const gate: Gate = new Gate(
    {
      clock,
      executor,
      observe: log.observe,
      random: () => 0.5,
      isIdle: () => isIdle,
      onChange: () => seen.push(gate.limit(SLOTS)),
    },
    { name: "main", maxPauseMs },
  );
  return {
    clock,
    gate,
    log,
    executor,
    seen,
    limit: () => gate.limit(SLOTS),
    pauses: () => log.of("consumer_paused").map(({ forMs }) => forMs),
  };
}

Deno.test("Backoff.nextMs() begins at 50 ms and doubles up to its limit", () => {
  const backoff = new Backoff({ random: () => 0.5 }, { maxMs: 1_000 });
  assert.deepEqual(Array.from({ length: 7 }, () => backoff.nextMs()), [50, 100, 200, 400, 800, 1_000, 1_000]);
});

Deno.test("Backoff.nextMs() varies by 20 % down and up", () => {
  for (const [random, waits] of [[0, [40, 80, 160]], [1 - Number.EPSILON, [60, 120, 240]]] as const) {
    const backoff = new Backoff({ random: () => random }, { maxMs: 5_000 });
    assert.deepEqual([backoff.nextMs(), backoff.nextMs(), backoff.nextMs()], waits);
  }
});

Deno.test("Backoff.nextMs() stays at its limit after any number of failures", () => {
  const backoff = new Backoff({ random: () => 0.5 }, { maxMs: 5_000 });
  for (let i = 0; i < 2_000; i++) backoff.nextMs();
  assert.equal(backoff.nextMs(), 5_000);
});

Deno.test("Backoff.reset() lets it begin anew", () => {
  const backoff = new Backoff({ random: () => 0.5 }, { maxMs: 5_000 });
  backoff.nextMs();
  backoff.nextMs();
  backoff.reset();
  assert.equal(backoff.nextMs(), 50);
});

Deno.test("Gate is open at first and takes no notice of jobs that go well", () => {
  const { clock, gate, seen, limit, log } = gateOf();
  gate.available();
  assert.deepEqual([limit(), seen, log.types, clock.pendingTimers], [SLOTS, [], [], 0]);
});

Deno.test("Gate closes when no job can be run, says why, and lets one job through after the pause and a probe", async () => {
  const { clock, gate, seen, limit, log, executor } = gateOf();
  gate.unable(AWAY);
  assert.deepEqual(log.events, [{ type: "consumer_paused", consumer: "main", error: AWAY, forMs: 50 }]);
  assert.equal(limit(), 0);
  await clock.advance(49);
  assert.deepEqual([limit(), seen, executor.probes], [0, [], []]);
  await clock.advance(1);
  assert.deepEqual([limit(), seen, executor.probes], [1, [1], [AWAY]]);
});

Deno.test("Gate lets no job through while the executor's probe says that none can be run", async () => {
  const { clock, gate, seen, limit, executor, log, pauses } = gateOf({ maxPauseMs: 150 });
  executor.probeAnswer = WRONG;
  gate.unable(AWAY);
  await clock.advance(50 + 100 + 150 + 150 - 1);
  assert.deepEqual([limit(), seen, pauses()], [0, [], [50, 100, 150, 150]]);
  assert.deepEqual(executor.probes, [AWAY, WRONG, WRONG], "each probe is told what the last one said");
  assert.deepEqual(gate.closure, { error: WRONG, failures: 4, sinceMs: 0 });
  executor.probeAnswer = undefined;
  await clock.advance(1);
  assert.deepEqual([limit(), seen], [1, [1]]);
  gate.available();
  assert.deepEqual([limit(), gate.closure], [SLOTS, undefined]);
  assert.deepEqual(log.of("consumer_resumed"), [
    { type: "consumer_resumed", consumer: "main", error: WRONG, failures: 4, afterMs: 450 },
  ]);
});

Deno.test("Gate gives no job while a probe takes its time", async () => {
  const { clock, gate, limit, executor } = gateOf();
  const slow = Promise.withResolvers<undefined>();
  executor.probe = () => slow.promise;
  gate.unable(WRONG);
  await clock.advance(60_000);
  assert.equal(limit(), 0);
  slow.resolve(undefined);
  await settlePromises();
  assert.equal(limit(), 1);
});

Deno.test("Gate gives a job more and more seldom that meets what the probe does not, twice a minute at last", async () => {
  const { clock, gate, pauses } = gateOf({ maxPauseMs: 150 });
  for (let i = 0; i < 12; i++) {
    gate.unable(WRONG);
    await clock.advance(pauses().at(-1)!);
    assert.equal(gate.state, "probing");
  }
  assert.deepEqual(pauses().slice(0, 4), [50, 100, 200, 400]);
  assert.deepEqual(pauses().slice(-3), [25_600, 30_000, 30_000]);
});

Deno.test("Gate.unable() counts failures while it is closed as one with the first", () => {
  const { gate, pauses } = gateOf();
  for (let i = 0; i < 3; i++) gate.unable(AWAY);
  assert.deepEqual([pauses(), gate.closure?.failures], [[50], 1]);
});

Deno.test("Gate.unable() pauses longer each time a job fails to be run, up to the limit", async () => {
  const { clock, gate, limit, pauses } = gateOf({ maxPauseMs: 150 });
  for (const pauseMs of [50, 100, 150, 150]) {
    gate.unable(AWAY);
    assert.equal(pauses().at(-1), pauseMs);
    assert.equal(limit(), 0);
    await clock.advance(pauseMs);
    assert.equal(limit(), 1);
  }
});

Deno.test("Gate.available() opens it after a probe, and the next pause is short again", async () => {
  const { clock, gate, seen, limit, log, pauses } = gateOf();
  gate.unable(AWAY);
  await clock.advance(50);
  gate.unable(AWAY);
  await clock.advance(100);
  gate.available();
  assert.deepEqual([limit(), seen, clock.pendingTimers], [SLOTS, [1, 1, SLOTS], 0]);
  gate.available();
  assert.equal(log.of("consumer_resumed").length, 1);
  gate.unable(AWAY);
  assert.deepEqual(pauses(), [50, 100, 50]);
});

Deno.test("Gate.available() says nothing while it is closed: such a job began before the pause", async () => {
  const { clock, gate, limit, log } = gateOf();
  gate.unable(AWAY);
  gate.available();
  assert.deepEqual([limit(), log.of("consumer_resumed")], [0, []]);
  await clock.advance(50);
  gate.available();
  assert.equal(log.of("consumer_resumed").length, 1);
});

Deno.test("Gate opens when a job that runs has not failed in 3 s", async () => {
  const { clock, gate, seen, limit, log } = gateOf();
  gate.unable(AWAY);
  await clock.advance(50 + 2_999);
  assert.equal(limit(), 1);
  await clock.advance(1);
  assert.deepEqual([limit(), seen, log.of("consumer_resumed")], [SLOTS, [1, SLOTS], []]);
});

Deno.test("Gate that opened by time pauses longer at the next failure: nothing has gone well since", async () => {
  const { clock, gate, pauses } = gateOf();
  gate.unable(AWAY);
  await clock.advance(50 + 3_000);
  gate.unable(AWAY);
  assert.deepEqual([pauses(), gate.closure?.failures], [[50, 100], 2]);
});

Deno.test("Gate.available() tells of the first job that goes well also when it had opened by time", async () => {
  const { clock, gate, seen, log, pauses } = gateOf();
  gate.unable(AWAY);
  await clock.advance(50 + 3_000);
  gate.available();
  gate.available();
  assert.equal(log.of("consumer_resumed").length, 1);
  gate.unable(AWAY);
  assert.deepEqual([pauses(), seen], [[50, 50], [1, SLOTS]]);
});

Deno.test("Gate takes the probe's word when there is no job to try for 3 s", async () => {
  const { clock, gate, limit, log } = gateOf({ isIdle: true });
  gate.unable(AWAY);
  await clock.advance(50 + 3_000);
  assert.deepEqual([limit(), log.of("consumer_resumed").map(({ afterMs }) => afterMs)], [SLOTS, [3_050]]);
});

Deno.test("Gate.probeNow() looks at once, and only while it is closed", async () => {
  const { gate, limit, executor } = gateOf();
  gate.probeNow();
  gate.unable(WRONG);
  assert.deepEqual(executor.probes, []);
  gate.probeNow();
  gate.probeNow();
  await settlePromises();
  assert.deepEqual([executor.probes, limit()], [[WRONG], 1]);
  gate.close();
});

Deno.test("Gate.close() takes its timer back, and ends its probe", async () => {
  const { clock, gate } = gateOf();
  gate.close();
  gate.unable(AWAY);
  gate.close();
  assert.equal(clock.pendingTimers, 0);
  gate.unable(AWAY);
  await clock.advance(100);
  gate.close();
  assert.equal(clock.pendingTimers, 0);

  const other = gateOf();
  const ended = Promise.withResolvers<FervoError>();
  other.executor.probe = (_cause, signal) => {
    signal.addEventListener("abort", () => ended.resolve(AWAY));
    return ended.promise;
  };
  other.gate.unable(AWAY);
  await other.clock.advance(50);
  other.gate.close();
  await ended.promise;
  await settlePromises();
  assert.deepEqual([other.pauses(), other.clock.pendingTimers], [[50], 0]);
});
