import assert from "node:assert/strict";
import fc from "fast-check";
import { queueOrder, type WeightedQueue } from "../../../../../src/worker/consumer/receive/queue_order.ts";

const queuesOf = (weight: fc.Arbitrary<number>) =>
  fc.array(weight, { minLength: 1, maxLength: 8 }).map((weights) =>
    weights.map((weight, i): WeightedQueue => ({ name: `q${i}`, weight }))
  );
const queues = queuesOf(fc.integer({ min: 1, max: 100 }));
/** A random number as Math.random gives it, its extremes included. */
const random = fc.oneof(
  fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  fc.constantFrom(0, 1 - Number.EPSILON / 2),
);

Deno.test("queueOrder() strict gives the queues as configured and draws nothing", () => {
  fc.assert(fc.property(queues, (queues) => {
    const next = queueOrder(queues, "strict", () => assert.fail("it drew a number"));
    assert.deepEqual(next(), queues.map(({ name }) => name));
    assert.deepEqual(next(), queues.map(({ name }) => name));
  }));
});

Deno.test("queueOrder() weighted gives each queue exactly once, whatever is drawn", () => {
  const numbers = fc.array(random, { minLength: 24, maxLength: 24 });
  const anyQueues = fc.oneof(queues, queuesOf(fc.double({ min: 1e-9, max: 1e9, noNaN: true })));
  fc.assert(fc.property(anyQueues, numbers, (queues, numbers) => {
    let drawn = 0;
    const next = queueOrder(queues, "weighted", () => numbers[drawn++]!);
    for (let i = 0; i < 3; i++) {
      assert.deepEqual([...next()].sort(), queues.map(({ name }) => name).sort());
    }
  }));
});

Deno.test("queueOrder() weighted puts each queue first in proportion to its weight", () => {
  const DRAWS = 500;
  fc.assert(
    fc.property(queues, (queues) => {
      // The number that chooses the first queue goes evenly through [0, 1); the others do not matter here.
      let order = 0;
      let drawn = 0;
      const next = queueOrder(queues, "weighted", () => drawn++ === 0 ? (order + 0.5) / DRAWS : 0.5);
      const firsts = new Map<string, number>();
      for (; order < DRAWS; order++) {
        drawn = 0;
        const first = next()[0]!;
        firsts.set(first, (firsts.get(first) ?? 0) + 1);
      }
      const total = queues.reduce((sum, { weight }) => sum + weight, 0);
      for (const { name, weight } of queues) {
        const expected = queues.length === 1 ? DRAWS : DRAWS * weight / total;
        const seen = firsts.get(name) ?? 0;
        assert.ok(Math.abs(seen - expected) <= 1, `${name} came first ${seen} times, not ${expected}`);
      }
    }),
    { numRuns: 50 },
  );
});

Deno.test("queueOrder() weighted draws the later places by weight, too, among the queues that are left", () => {
  const queues = [{ name: "a", weight: 1 }, { name: "b", weight: 3 }, { name: "c", weight: 4 }];
  const draw = (...numbers: number[]) => {
    const left = [...numbers];
    return queueOrder(queues, "weighted", () => left.shift()!)();
  };
  // First: a below 1/8, b below 4/8, c above. Without c: a below 1/4, b above.
  assert.deepEqual(draw(0.6, 0.24, 0), ["c", "a", "b"]);
  assert.deepEqual(draw(0.6, 0.26, 0), ["c", "b", "a"]);
  assert.deepEqual(draw(0.12, 0.42, 0), ["a", "b", "c"]);
  assert.deepEqual(draw(0.13, 0.19, 0), ["b", "a", "c"]);
});
