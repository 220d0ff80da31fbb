import assert from "node:assert/strict";
import { envelope } from "../../../src/dialects/envelope.ts";
import { raw } from "../../../src/dialects/raw.ts";
import {
  DEFAULT_SCHEDULE_OPTIONS,
  MAX_CATCH_UP,
  Schedule,
  type ScheduleOptions,
} from "../../../src/worker/schedule.ts";
import { EventLog } from "../../support/event_log.ts";
import { FakeBook } from "../../support/fake_book.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeDriver, unavailable } from "../../support/fake_driver.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const NOON = Date.UTC(2026, 0, 31, 12);
const HOURLY: ScheduleOptions["rule"] = { cron: "0 * * * *", timeZone: "UTC" };

interface Setup extends Partial<ScheduleOptions> {
  clock?: FakeClock;
  book?: FakeBook;
  dialect?: typeof raw;
}

/** A schedule that is due every hour; at first it is a quarter past noon. */
function build(
  { clock = new FakeClock(NOON + 15 * MINUTE_MS), book = new FakeBook(), dialect = raw, ...options }: Setup =
    {},
) {
  const log = new EventLog();
  const driver = new FakeDriver(clock);
  driver.schedule = book;
  const schedule = new Schedule({ driver, dialect, clock, observe: log.observe, random: () => 0.5 }, {
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

Deno.test("Schedule writes the job in its broker's format, with its priority and tries", async () => {
  for (const dialect of [raw, envelope]) {
    const t = build({ dialect, priority: 7, attempts: 2 });
    const running = t.schedule.run();
    await t.clock.advance(HOUR_MS);
    const [{ queue, message, options }] = t.book.pushed as [typeof t.book.pushed[0]];
    assert.equal(queue, "reports");
    if (dialect === raw) {
      assert.equal(message, "{}");
      assert.deepEqual(options, { priority: 7, maxAttempts: 2 });
    } else {
      assert.deepEqual(JSON.parse(message), {
        fervo: 1,
        attempts: 2,
        enqueued_at: NOON + HOUR_MS,
        payload: "{}",
      });
      assert.deepEqual(options, { priority: 7 });
    }
    await end(t, running);
  }
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
    book.claimed.set("hourly", { rule: "0 * * * * UTC", toMs: NOON - 5 * HOUR_MS });
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
  busy.book.claimed.set("hourly", { rule: "0 * * * * UTC", toMs: NOON - 500 * HOUR_MS });
  const catching = busy.schedule.run();
  for (let i = 0; i < 50; i++) await Promise.resolve();
  await end(busy, catching);
  const { length } = busy.book.pushedMs;
  assert.ok(length > 0 && length < 500, `${length} jobs`);
});
