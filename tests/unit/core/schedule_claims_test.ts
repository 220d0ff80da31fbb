import assert from "node:assert/strict";
import fc from "fast-check";
import {
  begun,
  claimed,
  claimedAhead,
  claimedAheadReason,
  claimsAt,
  LATEST_MS,
  latestClaimMs,
  type ScheduleRecord,
  setAside,
  SKEW_MS,
  spansOf,
  spansText,
} from "../../../src/core/schedule_claims.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const HOUR_MS = 3_600_000;
const YEAR_MS = 8_760 * HOUR_MS;
/** With catch_up = "skip", a slot is claimed no later than this after its time. */
const LATE_MS = 60_000;
const rule = "0 * * * * UTC";

/** A schedule that is due each so often, and workers with clocks of their own. */
class Workers {
  record: ScheduleRecord | undefined;
  readonly claimed: number[] = [];
  readonly #everyMs: number;

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  /** A worker looks, and claims what is due by its clock, unless that is too late. */
  look(nowMs: number): void {
    const before = this.record;
    this.record = begun(before, { rule, nowMs });
    if (before !== undefined) assert.ok(latestClaimMs(this.record.spans) >= latestClaimMs(before.spans));
    const { claimedToMs = nowMs } = claimsAt(this.record, nowMs);
    const dueMs = Math.floor(nowMs / this.#everyMs) * this.#everyMs;
    const firstMs = (Math.floor(claimedToMs / this.#everyMs) + 1) * this.#everyMs;
    if (nowMs - dueMs > LATE_MS) return;
    const next = claimed(this.record, { rule, dueMs, firstMs, nowMs });
    if (typeof next === "string") return;
    assert.ok(latestClaimMs(next.spans) >= latestClaimMs(this.record.spans), "a claim was taken back");
    this.record = next;
    this.claimed.push(dueMs);
  }

  /** A worker takes what is ahead for nobody's, be that right or not. */
  setAside(nowMs: number): void {
    if (this.record === undefined) return;
    const { ahead } = claimsAt(this.record, nowMs);
    if (ahead !== undefined) this.record = setAside(this.record, { untilMs: ahead.untilMs, nowMs });
  }
}

const step = fc.record({
  who: fc.integer({ min: 0, max: 3 }),
  passMs: fc.oneof(fc.integer({ min: 0, max: 90_000 }), fc.integer({ min: 0, max: 30 * HOUR_MS })),
  setsAside: fc.boolean(),
});
const everyMs = fc.constantFrom(1_000, 60_000, HOUR_MS);

Deno.test("No slot is claimed twice at its time, whatever the clocks are, and whoever sets aside what", () => {
  const offsetMs = fc.oneof(
    fc.integer({ min: -10_000, max: 10_000 }),
    fc.integer({ min: -3 * HOUR_MS, max: 3 * HOUR_MS }),
    fc.integer({ min: -30 * YEAR_MS, max: 30 * YEAR_MS }),
  );
  const clocks = fc.array(offsetMs, { minLength: 4, maxLength: 4 });
  fc.assert(fc.property(clocks, everyMs, fc.array(step, { maxLength: 120 }), (clocks, everyMs, steps) => {
    const workers = new Workers(everyMs);
    let nowMs = NOON;
    for (const { who, passMs, setsAside } of steps) {
      nowMs += passMs;
      if (setsAside) workers.setAside(nowMs + clocks[who]!);
      workers.look(nowMs + clocks[who]!);
    }
    assert.deepEqual(workers.claimed.toSorted(), [...new Set(workers.claimed)].toSorted());
    if (workers.record !== undefined) {
      assert.ok(workers.record.spans.length <= 8);
      assert.deepEqual(spansOf(spansText(workers.record.spans)), workers.record.spans);
    }
  }));
});

Deno.test("To workers whose clocks differ by a little, nothing is ever ahead, and the claims only grow", () => {
  const clocks = fc.array(fc.integer({ min: 0, max: SKEW_MS }), { minLength: 4, maxLength: 4 });
  fc.assert(fc.property(clocks, everyMs, fc.array(step, { maxLength: 120 }), (clocks, everyMs, steps) => {
    const workers = new Workers(everyMs);
    let nowMs = NOON;
    for (const { who, passMs } of steps) {
      nowMs += passMs;
      workers.look(nowMs + clocks[who]!);
      for (const aheadMs of clocks) {
        const claims = claimsAt(workers.record!, nowMs + aheadMs);
        assert.equal(claims.ahead, undefined);
        assert.equal(claims.claimedToMs, latestClaimMs(workers.record!.spans));
        assert.equal(claimedAhead(claims, nowMs + aheadMs), undefined);
      }
    }
    assert.deepEqual(workers.claimed, [...new Set(workers.claimed)].toSorted((a, b) => a - b));
  }));
});

Deno.test("A clock that was ahead makes a schedule wait only until its claims are set aside, however many it has caught up", () => {
  let record = begun(undefined, { rule, nowMs: NOON });
  const aheadMs = NOON + 2 * YEAR_MS;
  for (let dueMs = NOON + HOUR_MS; dueMs <= NOON + 100 * HOUR_MS; dueMs += HOUR_MS) {
    record = claimed(record, { rule, dueMs, firstMs: dueMs, nowMs: aheadMs }) as ScheduleRecord;
  }
  const slot = { rule, dueMs: NOON + HOUR_MS, firstMs: NOON + HOUR_MS, nowMs: NOON + HOUR_MS };
  assert.equal(claimed(record, slot), "doubtful");
  assert.equal(begun(record, { rule: "another", nowMs: NOON }), record);
  record = setAside(record, { untilMs: aheadMs, nowMs: NOON })!;
  assert.equal(typeof claimed(record, slot), "object");
  const changed = begun(record, { rule: "another", nowMs: NOON + 5, sinceMs: NOON + 3 });
  assert.deepEqual(claimsAt(changed, NOON + 5), {
    claimedToMs: NOON + 3,
    ahead: { untilMs: aheadMs, isAside: true },
  });
});

Deno.test("What is set aside counts when its time has come, and to all when somebody claims in it", () => {
  const later = NOON + YEAR_MS;
  const alone = begun(undefined, { rule, nowMs: later });
  assert.equal(setAside(alone, { untilMs: later - 1, nowMs: NOON }), undefined);
  const record = begun(setAside(alone, { untilMs: later, nowMs: NOON })!, { rule, nowMs: NOON });
  assert.equal(claimsAt(record, NOON).claimedToMs, NOON);
  assert.deepEqual(claimsAt(record, later - SKEW_MS), { claimedToMs: later });
  const [dueMs, nowMs] = [later + HOUR_MS, later + HOUR_MS];
  const taken = claimed(record, { rule, dueMs, firstMs: dueMs, nowMs }) as ScheduleRecord;
  assert.equal(claimsAt(taken, NOON).ahead?.isAside, false);
});

Deno.test("Where there are too many spans, those nearest to each other become one, and those far ahead stay", () => {
  const spans = Array.from({ length: 8 }, (_, i) => ({
    fromMs: NOON + i * HOUR_MS,
    toMs: NOON + i * HOUR_MS,
    isAside: false,
  }));
  spans[7] = { fromMs: NOON + YEAR_MS, toMs: NOON + YEAR_MS, isAside: true };
  const dueMs = NOON + 9 * HOUR_MS;
  const record = claimed({ rule, spans }, { rule, dueMs, firstMs: NOON + 7 * HOUR_MS, nowMs: dueMs });
  assert.deepEqual((record as ScheduleRecord).spans, [
    { fromMs: NOON, toMs: NOON + HOUR_MS, isAside: false },
    ...spans.slice(2, 7),
    { fromMs: dueMs, toMs: dueMs, isAside: false },
    spans[7],
  ]);
});

Deno.test("claimedAhead() tells what is still to come, and its reason what that means", () => {
  const untilMs = NOON + HOUR_MS;
  const cases = [
    [{ claimedToMs: NOON + SKEW_MS }, undefined, /$/],
    [{ claimedToMs: undefined }, undefined, /$/],
    [{ claimedToMs: untilMs }, "claimed", /pushes no jobs before then$/],
    [{ claimedToMs: NOON, ahead: { untilMs, isAside: false } }, "watched", /until it is known/],
    [
      { claimedToMs: undefined, ahead: { untilMs, isAside: true } },
      "set_aside",
      /pushes jobs until the claimed times begin$/,
    ],
  ] as const;
  for (const [claims, state, reason] of cases) {
    const ahead = claimedAhead(claims, NOON);
    assert.equal(ahead?.state, state);
    if (ahead === undefined) continue;
    assert.match(claimedAheadReason(ahead), /^its times are claimed up to 2026-01-31T13:00:00.000Z, /);
    assert.match(claimedAheadReason(ahead), reason);
  }
});

Deno.test("spansOf() reads what spansText() wrote, a single claim of old, and nothing else", () => {
  assert.deepEqual(spansOf("5"), [{ fromMs: 5, toMs: 5, isAside: false }]);
  assert.deepEqual(spansOf("7-9?,1-2"), [
    { fromMs: 1, toMs: 2, isAside: false },
    { fromMs: 7, toMs: 9, isAside: true },
  ]);
  assert.equal(spansOf("9999999999999999")![0]!.toMs, LATEST_MS);
  for (const text of ["", "x", "-5", "1-", "1-2-3", "1,", "12345678901234567", "1e5", "1?"]) {
    assert.equal(spansOf(text), undefined, text);
  }
});
