import assert from "node:assert/strict";
import { Prefetch } from "../../../../src/worker/consumer/prefetch.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

function build(slots = 8, perSlot = 1) {
  const clock = new FakeClock();
  const stale: string[][] = [];
  const limit = { slots };
  const ahead = new Prefetch<string>({ clock, onStale: (items) => stale.push(items) }, { limit, perSlot });
  const run = (jobs: number, ms: number) => {
    for (let i = 0; i < jobs; i++) ahead.ran(ms);
  };
  return { clock, stale, ahead, limit, run };
}

Deno.test("Prefetch takes nothing ahead before it has seen many short jobs, and nothing while jobs are long", () => {
  const { ahead, run } = build();
  assert.deepEqual([ahead.room, ahead.allowance], [0, 0]);
  run(30, 1);
  assert.equal(ahead.room, 0);
  run(70, 1);
  assert.deepEqual([ahead.room, ahead.allowance], [8, 32]);
  run(1, 500);
  assert.equal(ahead.room, 0);
});

Deno.test("Prefetch asks for more only when half of what it may hold is used up, first come first served", () => {
  const { ahead, run } = build(4);
  run(100, 1);
  ahead.add(["a", "b", "c"]);
  assert.equal(ahead.room, 0);
  assert.deepEqual(ahead.take(1), ["a"]);
  assert.equal(ahead.room, 2);
  assert.deepEqual([ahead.take(1), ahead.take(3), ahead.take(1)], [["b"], ["c"], []]);
  assert.equal(ahead.room, 4);
});

Deno.test("Prefetch gives back what has waited too long, and takes nothing ahead then", async () => {
  const { clock, stale, ahead, run } = build();
  run(100, 1);
  ahead.add(["a"]);
  await clock.advance(60);
  ahead.take(1);
  ahead.add(["b"]);
  ahead.add(["c"]);
  await clock.advance(99);
  assert.deepEqual(stale, []);
  await clock.advance(1);
  assert.deepEqual(stale, [["b", "c"]]);
  assert.equal(ahead.room, 0);
});

Deno.test("Prefetch.takeAll() empties it, and leaves no timer", async () => {
  const { clock, stale, ahead } = build();
  ahead.add(["a"]);
  assert.deepEqual(ahead.takeAll(), ["a"]);
  await clock.advance(1_000);
  assert.deepEqual([stale, ahead.take(1)], [[], []]);
});

Deno.test("Prefetch follows the number of slots when that changes", () => {
  const { ahead, limit, run } = build(8);
  run(100, 1);
  assert.deepEqual([ahead.room, ahead.allowance], [8, 32]);
  limit.slots = 2;
  assert.deepEqual([ahead.room, ahead.allowance], [2, 8]);
});
