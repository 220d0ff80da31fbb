import assert from "node:assert/strict";
import { Backoff } from "../../../src/core/backoff.ts";
import { Gate } from "../../../src/worker/pause.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const SLOTS = 8;

function gateOf(options: { maxPauseMs?: number } = {}) {
  const clock = new FakeClock();
  const seen: number[] = [];
  const gate: Gate = new Gate(
    { clock, random: () => 0.5, onChange: () => seen.push(gate.limit(SLOTS)) },
    { maxPauseMs: 5_000, ...options },
  );
  return { clock, gate, seen, limit: () => gate.limit(SLOTS) };
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
  const { clock, gate, seen, limit } = gateOf();
  assert.equal(gate.available(), false);
  assert.deepEqual([limit(), seen, clock.pendingTimers], [SLOTS, [], 0]);
});

Deno.test("Gate closes when the executor is away, and lets one job through after the pause", async () => {
  const { clock, gate, seen, limit } = gateOf();
  assert.equal(gate.unavailable(), 50);
  assert.equal(limit(), 0);
  await clock.advance(49);
  assert.deepEqual([limit(), seen], [0, []]);
  await clock.advance(1);
  assert.deepEqual([limit(), seen], [1, [1]]);
});

Deno.test("Gate.unavailable() counts failures while it is closed as one with the first", () => {
  const { gate } = gateOf();
  assert.deepEqual([gate.unavailable(), gate.unavailable(), gate.unavailable()], [50, undefined, undefined]);
});

Deno.test("Gate.unavailable() pauses longer each time a probe fails, up to the limit", async () => {
  const { clock, gate, limit } = gateOf({ maxPauseMs: 150 });
  for (const pauseMs of [50, 100, 150, 150]) {
    assert.equal(gate.unavailable(), pauseMs);
    assert.equal(limit(), 0);
    await clock.advance(pauseMs);
    assert.equal(limit(), 1);
  }
});

Deno.test("Gate.available() opens it after a probe, and the next pause is short again", async () => {
  const { clock, gate, seen, limit } = gateOf();
  gate.unavailable();
  await clock.advance(50);
  gate.unavailable();
  await clock.advance(100);
  assert.equal(gate.available(), true);
  assert.deepEqual([limit(), seen, clock.pendingTimers], [SLOTS, [1, 1, SLOTS], 0]);
  assert.equal(gate.available(), false);
  assert.equal(gate.unavailable(), 50);
});

Deno.test("Gate.available() says nothing while it is closed: such a job began before the pause", async () => {
  const { clock, gate, limit } = gateOf();
  gate.unavailable();
  assert.equal(gate.available(), false);
  assert.equal(limit(), 0);
  await clock.advance(50);
  assert.equal(gate.available(), true);
});

Deno.test("Gate opens when a probe has not failed in 3 s", async () => {
  const { clock, gate, seen, limit } = gateOf();
  gate.unavailable();
  await clock.advance(50 + 2_999);
  assert.equal(limit(), 1);
  await clock.advance(1);
  assert.deepEqual([limit(), seen], [SLOTS, [1, SLOTS]]);
});

Deno.test("Gate that opened by time pauses longer at the next failure: nothing has gone well since", async () => {
  const { clock, gate } = gateOf();
  gate.unavailable();
  await clock.advance(50 + 3_000);
  assert.equal(gate.unavailable(), 100);
});

Deno.test("Gate.available() tells of the first job that goes well also when it had opened by time", async () => {
  const { clock, gate, seen } = gateOf();
  gate.unavailable();
  await clock.advance(50 + 3_000);
  assert.equal(gate.available(), true);
  assert.equal(gate.available(), false);
  assert.equal(gate.unavailable(), 50);
  assert.deepEqual(seen, [1, SLOTS]);
});

Deno.test("Gate.close() takes its timer back", async () => {
  const { clock, gate } = gateOf();
  gate.close();
  gate.unavailable();
  gate.close();
  assert.equal(clock.pendingTimers, 0);
  gate.unavailable();
  await clock.advance(100);
  gate.close();
  assert.equal(clock.pendingTimers, 0);
});
