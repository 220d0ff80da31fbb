import assert from "node:assert/strict";
import type { Clock } from "../../../../src/core/time/clock.ts";
import {
  DEFAULT_SCHEDULE_OPTIONS,
  MAX_CATCH_UP,
  Schedule,
  type ScheduleOptions,
} from "../../../../src/worker/schedule/schedule.ts";
import { EventLog } from "../../../support/event_log.ts";
import { FakeBook } from "../../../support/fake_book.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { FakeBroker, unavailable } from "../../../support/fake_broker.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const NOON = Date.UTC(2026, 0, 31, 12);
const HOURLY: ScheduleOptions["rule"] = { cron: "0 * * * *", timeZone: "UTC" };

interface Setup extends Partial<ScheduleOptions> {
  clock?: FakeClock;
  /** Another time of day than the clock's. */
  time?: Clock;
  book?: FakeBook;
}

/** A schedule that is due every hour; at first it is a quarter past noon. */
function build(
  {
    clock = new FakeClock(NOON + 15 * MINUTE_MS),
    time = clock,
    book = new FakeBook(),
    ...options
  }: Setup = {},
) {
  const log = new EventLog();
  const broker = new FakeBroker(clock);
  broker.admin = { schedule: book };
  const schedule = new Schedule({ broker, clock: time, observe: log.observe, random: () => 0.5 }, {
    ...DEFAULT_SCHEDULE_OPTIONS,
    name: "hourly",
    queue: "reports",
    rule: HOURLY,
    payload: new TextEncoder().encode("{}"),
    attempts: undefined,
    ...options,
  });
  return { clock, log, book, schedule };
}

/** Ends it, and makes sure that nothing is left. */
async function end({ schedule, clock }: ReturnType<typeof build>, running: Promise<void>): Promise<void> {
  schedule.quiet();
  await running;
  assert.equal(clock.pendingTimers, 0);
}

function hours(...hours: number[]): number[] {
  return hours.map((hour) => NOON + hour * HOUR_MS);
}

/** The jobs that are pushed when the workers come back after a while. */
async function afterDowntime(catchUp: ScheduleOptions["catchUp"], minutes: number, rule = HOURLY) {
  const before = build({ rule, catchUp });
  const first = before.schedule.run();
  await before.clock.advance(50 * MINUTE_MS);
  await end(before, first);
  assert.deepEqual(before.book.pushedMs, rule === HOURLY ? hours(1) : before.book.pushedMs);
  const already = before.book.pushedMs.length;
  before.clock.jump(minutes * MINUTE_MS);
  const t = build({ clock: before.clock, book: before.book, rule, catchUp });
  const running = t.schedule.run();
  await t.clock.advance(0);
  await end(t, running);
  return { pushed: t.book.pushedMs.slice(already), missed: t.log.of("schedule_missed") };
}

Deno.test("Schedule pushes its job at each due time, and nothing before", async () => {
  const t = build();
  const running = t.schedule.run();
  await t.clock.advance(45 * MINUTE_MS - 1);
  assert.deepEqual(t.book.pushedMs, []);
  await t.clock.advance(1);
  assert.deepEqual(t.book.pushedMs, hours(1));
  await t.clock.advance(3 * HOUR_MS);
  assert.deepEqual(t.book.pushedMs, hours(1, 2, 3, 4));
  assert.deepEqual(
    t.log.of("job_scheduled").map(({ schedule, queue, id, dueMs }) => [schedule, queue, id, dueMs]),
    [
      ["hourly", "reports", "1", NOON + HOUR_MS],
      ["hourly", "reports", "2", NOON + 2 * HOUR_MS],
      ["hourly", "reports", "3", NOON + 3 * HOUR_MS],
      ["hourly", "reports", "4", NOON + 4 * HOUR_MS],
    ],
  );
  assert.deepEqual(t.log.of("schedule_missed"), []);
  await end(t, running);
});

Deno.test("Schedule pushes its job with its priority and limit of attempts", async () => {
  const t = build({ priority: 7, attempts: 2 });
  const running = t.schedule.run();
  await t.clock.advance(HOUR_MS);
  const [{ queue, message, options }] = t.book.pushed as [typeof t.book.pushed[0]];
  assert.deepEqual([queue, message, options], ["reports", "{}", { priority: 7, maxAttempts: 2 }]);
  await end(t, running);
});

Deno.test("Schedule of several workers on one broker pushes each job once", async () => {
  const { clock, book } = build();
  const workers = [1, 2, 3].map(() => build({ clock, book, rule: { everyMs: 60_000 } }));
  const running = workers.map(({ schedule }) => schedule.run());
  await clock.advance(HOUR_MS);
  assert.equal(book.pushedMs.length, 60);
  assert.equal(new Set(book.pushedMs).size, 60);
  assert.equal(workers.reduce((sum, { log }) => sum + log.of("job_scheduled").length, 0), 60);
  assert.equal(book.calls, 3 * 61, "one call for each worker and slot, and one to begin");
  for (const { schedule } of workers) schedule.quiet();
  await Promise.all(running);
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("Schedule that is new catches nothing up, whatever catch_up says", async () => {
  for (const catchUp of ["skip", "one", "all"] as const) {
    const t = build({ catchUp });
    const running = t.schedule.run();
    await t.clock.advance(0);
    assert.deepEqual(t.book.pushedMs, []);
    await end(t, running);
  }
});

Deno.test("Schedule with another rule than before does not catch up by the new one", async () => {
  const before = build();
  const first = before.schedule.run();
  await before.clock.advance(0);
  await end(before, first);
  before.clock.jump(3 * HOUR_MS);
  const t = build({ clock: before.clock, book: before.book, catchUp: "all", rule: { everyMs: MINUTE_MS } });
  const running = t.schedule.run();
  await t.clock.advance(0);
  assert.deepEqual(t.book.pushedMs, []);
  await t.clock.advance(MINUTE_MS);
  assert.equal(t.book.pushedMs.length, 1);
  await end(t, running);
});

Deno.test('After downtime, catch_up = "skip" pushes nothing for what was missed, and tells it once', async () => {
  // From 13:05 to 16:35; 14:00, 15:00 and 16:00 are missed.
  const { pushed, missed } = await afterDowntime("skip", 210);
  assert.deepEqual(pushed, []);
  assert.deepEqual(missed.map(({ fromMs, toMs }) => [fromMs, toMs]), [hours(2, 4)]);
});

Deno.test('After downtime, catch_up = "skip" pushes what was due in the last minute', async () => {
  const { pushed, missed } = await afterDowntime("skip", 176);
  assert.deepEqual(pushed, hours(4));
  assert.deepEqual(missed.map(({ fromMs, toMs }) => [fromMs, toMs]), [hours(2, 3)]);
  assert.deepEqual((await afterDowntime("skip", 177)).pushed, []);
});

Deno.test('After downtime, catch_up = "one" pushes one job, for the latest time', async () => {
  const { pushed, missed } = await afterDowntime("one", 210);
  assert.deepEqual(pushed, hours(4));
  assert.deepEqual(missed.map(({ fromMs, toMs }) => [fromMs, toMs]), [hours(2, 3)]);
});

Deno.test('After downtime, catch_up = "all" pushes a job for each time, the earliest first', async () => {
  const { pushed, missed } = await afterDowntime("all", 210);
  assert.deepEqual(pushed, hours(2, 3, 4));
  assert.deepEqual(missed, []);
});

Deno.test('After long downtime, catch_up = "all" pushes the latest jobs only, so many that it is bounded', async () => {
  const { pushed, missed } = await afterDowntime("all", 2 * 24 * 60, { everyMs: MINUTE_MS });
  assert.equal(pushed.length, MAX_CATCH_UP);
  const last = NOON + 65 * MINUTE_MS + 48 * HOUR_MS;
  assert.deepEqual([pushed[0], pushed.at(-1)], [last - (MAX_CATCH_UP - 1) * MINUTE_MS, last]);
  assert.deepEqual(missed.map(({ fromMs, toMs }) => [fromMs, toMs]), [
    [NOON + 66 * MINUTE_MS, pushed[0]! - MINUTE_MS],
  ]);
});

Deno.test("After no downtime that missed anything, nothing is pushed twice", async () => {
  for (const catchUp of ["skip", "one", "all"] as const) {
    assert.deepEqual(await afterDowntime(catchUp, 10), { pushed: [], missed: [] });
  }
});

Deno.test("What several workers find missed is caught up, and told, by one of them", async () => {
  for (const [catchUp, jobs] of [["skip", 0], ["one", 1], ["all", 5]] as const) {
    const { clock, book } = build();
    book.enter("hourly", "0 * * * * UTC", NOON - 5 * HOUR_MS);
    const workers = [1, 2, 3].map(() => build({ clock, book, catchUp }));
    const running = workers.map(({ schedule }) => schedule.run());
    await clock.advance(0);
    assert.equal(book.pushedMs.length, jobs, catchUp);
    const told = workers.reduce((sum, { log }) => sum + log.of("schedule_missed").length, 0);
    assert.equal(told, catchUp === "all" ? 0 : 1);
    for (const { schedule } of workers) schedule.quiet();
    await Promise.all(running);
  }
});

Deno.test("Schedule whose broker is away tries on, tells it and its end, and pushes when it is back", async () => {
  const t = build();
  const running = t.schedule.run();
  await t.clock.advance(40 * MINUTE_MS);
  t.book.outage = unavailable();
  await t.clock.advance(5 * MINUTE_MS + 40_000);
  assert.deepEqual(t.book.pushedMs, []);
  const [failure] = t.log.of("broker_failed");
  assert.deepEqual([failure!.during, failure!.schedule, failure!.consumer], [
    "schedule",
    "hourly",
    undefined,
  ]);
  assert.deepEqual(t.log.of("broker_recovered"), []);
  t.book.outage = undefined;
  await t.clock.advance(6_000);
  assert.deepEqual(t.book.pushedMs, hours(1), "less than a minute late");
  assert.deepEqual(t.log.of("broker_recovered"), [
    { type: "broker_recovered", during: "schedule", schedule: "hourly" },
  ]);
  await end(t, running);
});

Deno.test("Schedule whose broker was away for long goes by catch_up", async () => {
  for (const [catchUp, expected] of [["skip", []], ["one", hours(3)], ["all", hours(1, 2, 3)]] as const) {
    const t = build({ catchUp });
    const running = t.schedule.run();
    await t.clock.advance(0);
    t.book.outage = unavailable();
    await t.clock.advance(50 * MINUTE_MS);
    t.clock.jump(2 * HOUR_MS);
    t.book.outage = undefined;
    await t.clock.advance(6_000);
    assert.deepEqual(t.book.pushedMs, expected, catchUp);
    await end(t, running);
  }
});

Deno.test("Schedule whose broker is away at the start begins when it is back", async () => {
  const t = build();
  t.book.outage = unavailable();
  const running = t.schedule.run();
  await t.clock.advance(10 * MINUTE_MS);
  t.book.outage = undefined;
  await t.clock.advance(HOUR_MS);
  assert.deepEqual(t.book.pushedMs, hours(1));
  await end(t, running);
});

Deno.test("A push whose answer was lost is not made twice", async () => {
  const t = build();
  t.book.lostAnswers = 1;
  const running = t.schedule.run();
  await t.clock.advance(2 * HOUR_MS);
  assert.deepEqual(t.book.pushedMs, hours(1, 2));
  assert.match(t.log.of("broker_failed")[0]!.error.message, /The connection is lost/);
  await end(t, running);
});

Deno.test("Schedule notices within seconds that the machine has slept, or that its clock was set", async () => {
  const t = build();
  const running = t.schedule.run();
  await t.clock.advance(0);
  // The time of day is ahead of what the timers have counted.
  t.clock.setTimeOfDay(NOON + HOUR_MS - 1);
  await t.clock.advance(10_000);
  assert.deepEqual(t.book.pushedMs, hours(1));
  await end(t, running);
});

Deno.test("Schedule.quiet() ends it at once, also while the broker is away, and in the middle of a catch-up", async () => {
  const waiting = build();
  const running = waiting.schedule.run();
  await waiting.clock.advance(1_000);
  await end(waiting, running);

  const away = build();
  away.book.outage = unavailable();
  const trying = away.schedule.run();
  await away.clock.advance(1_000);
  await end(away, trying);

  const busy = build({ catchUp: "all" });
  busy.book.enter("hourly", "0 * * * * UTC", NOON - 500 * HOUR_MS);
  const catching = busy.schedule.run();
  for (let i = 0; i < 50; i++) await Promise.resolve();
  await end(busy, catching);
  const { length } = busy.book.pushedMs;
  assert.ok(length > 0 && length < 500, `${length} jobs`);
});

const YEAR_MS = 8_760 * HOUR_MS;
const EVERY_MINUTE: ScheduleOptions["rule"] = { everyMs: MINUTE_MS };

/** A clock whose time of day is another one. */
function shifted(clock: FakeClock, byMs: number): Clock {
  return {
    nowMs: () => clock.nowMs() + byMs,
    monotonicMs: () => clock.monotonicMs(),
    setTimer: (callback, delayMs) => clock.setTimer(callback, delayMs),
  };
}

/** What was told of claims that are still to come, in order. */
function aheadStates({ log }: ReturnType<typeof build>): (string | undefined)[] {
  return log.of("schedule_ahead").map(({ ahead }) => ahead?.state);
}

for (const catchUp of ["skip", "one", "all"] as const) {
  Deno.test(`A worker whose clock was ahead for a moment silences no schedule with catch_up = "${catchUp}", be it new, known or changed`, async () => {
    for (const isKnown of [false, true]) {
      const { clock, book } = build();
      const setup = { clock, book, catchUp, rule: { cron: "0 * * * *", timeZone: "UTC" } };
      if (isKnown) {
        const known = build(setup);
        const running = known.schedule.run();
        await clock.advance(HOUR_MS);
        await end(known, running);
      }
      const ahead = build({ ...setup, time: shifted(clock, 2 * YEAR_MS) });
      const before = ahead.schedule.run();
      await clock.advance(10_000);
      await end(ahead, before);
      const already = book.pushedMs.length;

      const right = build(setup);
      const running = right.schedule.run();
      await clock.advance(1_000);
      assert.deepEqual(aheadStates(right), ["watched"]);
      assert.equal(right.schedule.state.nextDueMs, undefined);
      await clock.advance(3 * HOUR_MS);
      const dues = isKnown ? hours(2, 3, 4) : hours(1, 2, 3);
      assert.deepEqual(book.pushedMs.slice(already), dues);
      assert.deepEqual(aheadStates(right), ["watched", "set_aside"]);
      assert.equal(right.schedule.state.nextDueMs, dues[2]! + HOUR_MS);
      assert.deepEqual(right.log.of("schedule_missed"), []);
      await end(right, running);

      const changed = build({ ...setup, rule: EVERY_MINUTE });
      const anew = changed.schedule.run();
      await clock.advance(3 * MINUTE_MS);
      assert.equal(book.pushedMs.slice(already).length, 6, "what was set aside stays so");
      assert.deepEqual(aheadStates(changed), ["set_aside"]);
      await end(changed, anew);
    }
  });
}

Deno.test("A worker that runs goes on after another one was ahead for a moment, and so does one that was ahead itself", async () => {
  const { clock, book } = build();
  const right = build({ clock, book, rule: EVERY_MINUTE });
  let aheadMs = 2 * YEAR_MS;
  const set = { ...shifted(clock, 0), nowMs: () => clock.nowMs() + aheadMs };
  const wrong = build({ clock, book, time: set, rule: EVERY_MINUTE });
  const running = [right.schedule.run()];
  await clock.advance(3 * MINUTE_MS);
  assert.equal(book.pushedMs.length, 3);
  running.push(wrong.schedule.run());
  await clock.advance(2 * MINUTE_MS);
  aheadMs = 0;
  await clock.advance(3 * MINUTE_MS);
  const already = book.pushedMs.length;
  await clock.advance(10 * MINUTE_MS);
  const dues = book.pushedMs.slice(already);
  assert.deepEqual(dues, Array.from({ length: 10 }, (_, i) => NOON + (24 + i) * MINUTE_MS));
  assert.deepEqual(aheadStates(right), ["watched", "set_aside"]);
  assert.deepEqual(aheadStates(wrong), ["watched", "set_aside"]);
  assert.equal(new Set(book.pushedMs).size, book.pushedMs.length);
  for (const { schedule } of [right, wrong]) schedule.quiet();
  await Promise.all(running);
});

Deno.test("A worker whose clock is behind pushes nothing beside one that is right, tells why, and joins in when it is set", async () => {
  const { clock, book } = build();
  let behindMs = HOUR_MS;
  const time = { ...shifted(clock, 0), nowMs: () => clock.nowMs() - behindMs };
  const right = build({ clock, book, rule: EVERY_MINUTE });
  const behind = build({ clock, book, time, rule: EVERY_MINUTE });
  const running = [right.schedule.run()];
  await clock.advance(2 * MINUTE_MS);
  running.push(behind.schedule.run());
  await clock.advance(70 * MINUTE_MS);
  assert.deepEqual(behind.log.of("job_scheduled"), []);
  assert.equal(right.log.of("job_scheduled").length, 72, "each minute one");
  // At last its clock has reached the time at which the schedule was begun.
  assert.deepEqual(aheadStates(behind), ["watched", "claimed"]);
  behindMs = 0;
  await clock.advance(MINUTE_MS);
  assert.deepEqual(aheadStates(behind), ["watched", "claimed", undefined]);
  right.schedule.quiet();
  await clock.advance(2 * MINUTE_MS);
  assert.ok(behind.log.of("job_scheduled").length >= 2);
  assert.deepEqual(book.pushedMs, book.pushedMs.map((_, i) => NOON + (16 + i) * MINUTE_MS), "each once");
  behind.schedule.quiet();
  await Promise.all(running);
});

Deno.test("Workers whose clocks differ by minutes push each job once, after downtime, too, and tell of nothing", async () => {
  for (const catchUp of ["skip", "one", "all"] as const) {
    const { clock, book } = build();
    const clocks = [0, -4 * MINUTE_MS, -20_000];
    for (let i = 0; i < 3; i++) {
      const workers: ReturnType<typeof build>[] = clocks.map((byMs) =>
        build({ clock, book, catchUp, time: shifted(clock, byMs), rule: EVERY_MINUTE })
      );
      const running = workers.map(({ schedule }) => schedule.run());
      await clock.advance(20 * MINUTE_MS);
      for (const { schedule } of workers) schedule.quiet();
      await Promise.all(running);
      workers.forEach((worker) => assert.deepEqual(aheadStates(worker), []));
      clock.jump(2 * HOUR_MS);
    }
    assert.ok(book.pushedMs.length >= 60);
    assert.deepEqual(book.pushedMs, [...new Set(book.pushedMs)].toSorted((a, b) => a - b), catchUp);
  }
});

Deno.test("A rare schedule waits no longer than minutes for somebody to go on with what is ahead, and catches up then", async () => {
  const { clock, book } = build();
  book.enter("hourly", "0 * * * * UTC", NOON + YEAR_MS);
  clock.jump(44 * MINUTE_MS);
  const t = build({ clock, book, catchUp: "one" });
  const running = t.schedule.run();
  // It is due while the schedule waits.
  await clock.advance(2 * MINUTE_MS);
  assert.deepEqual(book.pushedMs, []);
  await clock.advance(HOUR_MS);
  assert.deepEqual(aheadStates(t), ["watched", "set_aside"]);
  assert.deepEqual(book.pushedMs, hours(1, 2));
  await end(t, running);
});
