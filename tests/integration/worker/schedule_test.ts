/** Several workers' schedules on one broker, each with a connection of its own. */
import assert from "node:assert/strict";
import { takeNow, type TestBroker, textOf } from "../../conformance/fixture.ts";
import { DEFAULT_SCHEDULE_OPTIONS, Schedule } from "../../../src/worker/schedule/schedule.ts";
import { EventLog } from "../../support/event_log.ts";
import { MovableClock } from "../../support/movable_clock.ts";
import { RedisBroker } from "../brokers/sidekiq/broker.ts";
import { SqliteFileQueue } from "../brokers/sqlite/broker.ts";

const WORKERS = 3;
const SLOTS = 25;

const BROKERS = {
  sqlite: { start: () => SqliteFileQueue.start(), payload: "{}" },
  redis: { start: () => RedisBroker.start(), payload: '{"class":"Tick","args":[]}' },
};

for (const [name, { start, payload }] of Object.entries(BROKERS)) {
  Deno.test(`Of ${WORKERS} workers on ${name} one pushes the job of each slot, and those that come later go on`, async () => {
    await using broker: TestBroker = await start();
    await using opened = new AsyncDisposableStack();
    const clock = new MovableClock();
    const log = new EventLog();
    const begin = async () => {
      const schedule = new Schedule({
        broker: opened.use(await broker.open()),
        clock,
        observe: log.observe,
        random: Math.random,
      }, {
        ...DEFAULT_SCHEDULE_OPTIONS,
        catchUp: "all",
        name: "hourly",
        queue: "q",
        rule: { cron: "0 * * * *", timeZone: "Europe/Berlin" },
        payload: new TextEncoder().encode(payload),
        attempts: undefined,
      });
      return { schedule, running: schedule.run() };
    };
    const witness = opened.use(await broker.open());
    // Whoever begins late has to catch up from here.
    const rule = "0 * * * * Europe/Berlin";
    await witness.admin.schedule!.begin({ schedule: "hourly", rule, nowMs: clock.nowMs() });
    const workers = [];
    for (let i = 0; i < WORKERS; i++) workers.push(await begin());
    for (let pushed = 1; pushed <= SLOTS; pushed++) {
      clock.moveAhead(3_600_000);
      await log.count("job_scheduled", pushed);
    }
    // One that is away for a while, and one that is new, find all done.
    workers[0]!.schedule.quiet();
    await workers[0]!.running;
    workers.push(await begin());
    clock.moveAhead(3_600_000);
    await log.count("job_scheduled", SLOTS + 1);
    for (const { schedule } of workers) schedule.quiet();
    await Promise.all(workers.map(({ running }) => running));

    const dues = log.of("job_scheduled").map(({ dueMs }) => dueMs);
    assert.deepEqual(dues, dues.map((_, i) => dues[0]! + i * 3_600_000), "each hour once, in order");
    const jobs = await takeNow(witness);
    assert.equal(jobs.length, SLOTS + 1);
    assert.deepEqual(jobs.map(({ id }) => id), log.of("job_scheduled").map(({ id }) => id));
    if (name === "sqlite") assert.ok(jobs.every((job) => textOf(job) === payload));
    assert.deepEqual([log.of("broker_failed"), log.of("schedule_missed")], [[], []]);
  });
}
