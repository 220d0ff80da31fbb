import assert from "node:assert/strict";
import fc from "fast-check";
import { FitRule, type PoolObservation } from "../../../../src/fpm/autoscale/fit_rule.ts";
import { SimulatedPool, type SimulatedWorker } from "../../../support/simulated_pool.ts";

const PURE = { permissions: "none" } as const;
const BOUNDS = { min: 1, max: Infinity, reserve: 0 };

function ruleOf(bounds: Partial<typeof BOUNDS> = {}, idle?: number): FitRule {
  return new FitRule({ random: () => 0.5 }, { ...BOUNDS, ...bounds }, idle);
}

/** A pool of 8 with nobody else there, all of it in use by 8 slots. */
const FULL: PoolObservation = {
  nowMs: 0,
  children: 8,
  idle: 0,
  others: 0,
  isQueued: false,
  overloads: 0,
  isSaturated: true,
};

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

/** Children that each had on average since then. */
function shares(workers: readonly SimulatedWorker[], since: number): number[] {
  return workers.map(({ servedHistory }) => mean(servedHistory.slice(since)));
}

// --- one worker

Deno.test("FitRule starts with the idle children less the reserve, within its bounds", PURE, () => {
  assert.equal(ruleOf({}, 8).slots, 8);
  assert.equal(ruleOf({ reserve: 2 }, 8).slots, 6);
  assert.equal(ruleOf({ max: 5 }, 8).slots, 5);
  assert.equal(ruleOf({ min: 3 }, 0).slots, 3);
  assert.equal(ruleOf({ min: 2 }).slots, 2);
});

Deno.test(
  "FitRule halves when php-fpm has no room for a connection, and not again for the same crowd",
  PURE,
  () => {
    const rule = ruleOf({}, 8);
    assert.equal(rule.adjust({ ...FULL, overloads: 3 }), "overloaded");
    assert.equal(rule.slots, 4);
    assert.equal(rule.adjust({ ...FULL, nowMs: 500, overloads: 1 }), undefined);
    assert.equal(rule.slots, 4);
    assert.equal(rule.adjust({ ...FULL, nowMs: 1_000, overloads: 1 }), "overloaded");
    assert.equal(rule.slots, 2);
  },
);

Deno.test(
  "FitRule grows into idle children: at once where nobody else is, and one by one where others are",
  PURE,
  () => {
    const alone = ruleOf({}, 2);
    assert.equal(alone.adjust({ ...FULL, idle: 6 }), "idle");
    assert.equal(alone.slots, 8);
    const shared = ruleOf({}, 2);
    for (const slots of [3, 4, 5]) {
      assert.equal(shared.adjust({ ...FULL, children: 12, idle: 3, others: 6 }), "idle");
      assert.equal(shared.slots, slots);
    }
  },
);

Deno.test(
  "FitRule that has more than the others takes an idle child only when the next look shows it still",
  PURE,
  () => {
    const rule = ruleOf({}, 4);
    const look = (idle: number) => rule.adjust({ ...FULL, idle, others: 2 });
    assert.deepEqual([look(2), look(2), rule.slots], [undefined, "idle", 5]);
    assert.deepEqual([look(1), look(1), rule.slots], [undefined, "idle", 6]);
  },
);

Deno.test("FitRule does not grow while it has slots to spare, nor right after an overload", PURE, () => {
  const rule = ruleOf({}, 2);
  assert.equal(rule.adjust({ ...FULL, idle: 6, isSaturated: false }), undefined);
  rule.adjust({ ...FULL, overloads: 1 });
  assert.equal(rule.slots, 1);
  assert.equal(rule.adjust({ ...FULL, nowMs: 900, idle: 6 }), undefined);
  assert.equal(rule.adjust({ ...FULL, nowMs: 1_000, idle: 6 }), "idle");
});

Deno.test(
  "FitRule follows the pool at once when that has fewer children, and leaves those that others have",
  PURE,
  () => {
    const rule = ruleOf({}, 8);
    assert.equal(rule.adjust({ ...FULL, children: 3 }), "children");
    assert.equal(rule.slots, 3);
    const polite = ruleOf({ reserve: 1 }, 8);
    // Once may be a child between two requests.
    assert.equal(polite.adjust({ ...FULL, others: 4 }), undefined);
    assert.equal(polite.adjust({ ...FULL, others: 4 }), "others");
    assert.equal(polite.slots, 3);
  },
);

Deno.test("FitRule gives way also to others who are only seen now and then", PURE, () => {
  const rule = ruleOf({}, 8);
  for (let look = 0; look < 20; look++) {
    rule.adjust({ ...FULL, nowMs: 500 * look, isQueued: look % 8 === 0 });
  }
  assert.ok(rule.slots <= 5, String(rule.slots));
});

Deno.test(
  "FitRule takes one slot more at a time without a status page, up to what the pool has",
  PURE,
  () => {
    const unseen = { ...FULL, idle: undefined };
    const rule = ruleOf({ reserve: 1 }, 8);
    assert.equal(rule.slots, 7);
    rule.adjust({ ...unseen, overloads: 1 });
    const counts = [1_000, 1_500, 2_000, 2_500, 3_000, 3_500].map((nowMs) => {
      rule.adjust({ ...unseen, nowMs });
      return rule.slots;
    });
    assert.deepEqual(counts, [4, 5, 6, 7, 7, 7]);
  },
);

Deno.test("FitRule alone on a pool uses all of it, all the time", PURE, () => {
  for (const children of [1, 4, 8, 16, 100]) {
    const pool = new SimulatedPool({ children });
    const worker = pool.join();
    pool.run(240);
    assert.ok(worker.history.every((slots) => slots === children), worker.history.join(" "));
    assert.deepEqual(worker.reasons, []);
  }
});

Deno.test("FitRule follows a pool that is reloaded with fewer and with more children", PURE, () => {
  const pool = new SimulatedPool({ children: 8 });
  const worker = pool.join();
  pool.run(30);
  pool.children = 4;
  pool.run(2);
  assert.equal(worker.rule.slots, 4);
  pool.run(40);
  pool.children = 16;
  pool.run(3);
  assert.equal(worker.rule.slots, 16);
});

Deno.test("FitRule gives way to those who know no rule, and takes all back when they are gone", PURE, () => {
  const pool = new SimulatedPool({ children: 8 });
  const worker = pool.join();
  pool.run(30);
  pool.web = 3;
  pool.run(4);
  assert.ok(worker.rule.slots <= 5);
  pool.run(60);
  assert.ok(mean(worker.history.slice(-50)) > 4, "it starves");
  pool.web = 0;
  pool.run(3);
  assert.equal(worker.rule.slots, 8);
});

// --- several workers

Deno.test(
  "FitRule shares a pool among workers that start at different times: each gets its part, and little is lost",
  PURE,
  () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 4, max: 40 }),
        fc.integer({ min: 2, max: 4 }),
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 4, maxLength: 4 }),
        fc.integer(),
        (children, count, apart, seed) => {
          fc.pre(children >= 2 * count);
          const pool = new SimulatedPool({ children, seed });
          for (let i = 0; i < count; i++) {
            pool.join();
            pool.run(apart[i]!);
          }
          const joined = pool.workers[0]!.history.length;
          pool.run(40 + 240);
          const all = pool.workers.map(({ servedHistory }) => mean(servedHistory.slice(-240)));
          assert.ok(joined > 0);
          const fair = children / count;
          for (const share of all) {
            assert.ok(
              share > 0.4 * fair && share < 1.9 * fair,
              `${all.map((one) => one.toFixed(1))} of ${children}`,
            );
          }
          const used = all.reduce((sum, share) => sum + share, 0);
          assert.ok(used > 0.9 * children, `${used.toFixed(1)} of ${children} in use`);
        },
      ),
      { numRuns: 60, seed: 20 },
    );
  },
);

Deno.test(
  "FitRule lets a worker that has nothing to do keep nobody waiting, and gives it its part when it has",
  PURE,
  () => {
    const pool = new SimulatedPool({ children: 8 });
    const [busy, quiet] = [pool.join(), pool.join()];
    quiet.demand = 0;
    pool.run(60);
    assert.equal(busy.rule.slots, 8);
    quiet.demand = Infinity;
    pool.run(120);
    const [first, second] = shares(pool.workers, 100);
    assert.ok(second! > 2 && first! > 2, `${first} and ${second}`);
  },
);

Deno.test("FitRule never leaves its bounds, whatever it sees", PURE, () => {
  const observation = fc.record({
    passedMs: fc.integer({ min: 1, max: 5_000 }),
    children: fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined }),
    idle: fc.option(fc.integer({ min: -3, max: 50 }), { nil: undefined }),
    others: fc.integer({ min: 0, max: 50 }),
    isQueued: fc.boolean(),
    overloads: fc.integer({ min: 0, max: 3 }),
    isSaturated: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 10 }),
      fc.integer({ min: 0, max: 30 }),
      fc.integer({ min: 0, max: 10 }),
      fc.array(observation, { maxLength: 200 }),
      (min, more, reserve, observations) => {
        const max = min + more;
        const rule = new FitRule({ random: Math.random }, { min, max, reserve }, 20);
        let nowMs = 0;
        for (const { passedMs, ...seen } of observations) {
          const before = rule.slots;
          nowMs += passedMs;
          const reason = rule.adjust({ ...seen, nowMs });
          assert.ok(
            Number.isInteger(rule.slots) && rule.slots >= min && rule.slots <= max,
            String(rule.slots),
          );
          assert.equal(reason === undefined, rule.slots === before);
        }
      },
    ),
    { seed: 21 },
  );
});
