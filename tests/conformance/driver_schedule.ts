import assert from "node:assert/strict";
import type { DriverCapabilities, ScheduleBook } from "../../src/core/driver.ts";
import { type BrokerTest, bytes, rejectsWith, takeNow, type TestBroker, textOf } from "./driver_broker.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const HOUR_MS = 3_600_000;

/** Jobs that are pushed at their time, by one of all workers. */
export function scheduleTests(test: BrokerTest, capabilities: DriverCapabilities): void {
  if (!capabilities.schedule) {
    test("it keeps no schedule", async (broker) => {
      await using driver = await broker.open();
      assert.equal(driver.schedule, undefined);
    });
    return;
  }

  test("schedule.push() pushes the job of a slot once, whoever tries at the same time", async (broker) => {
    await using stack = new AsyncDisposableStack();
    const books: ScheduleBook[] = [];
    for (let i = 0; i < 3; i++) books.push(bookOf(stack.use(await broker.open())));
    const dues = Array.from({ length: 20 }, (_, i) => NOON + i * HOUR_MS);
    const winners: (string | undefined)[] = [];
    for (const dueMs of dues) {
      const tries = await Promise.all(
        books.flatMap((book) => [push(book, dueMs), push(book, dueMs)]),
      );
      const ids = tries.filter((id) => id !== undefined);
      assert.equal(ids.length, 1, `${ids.length} jobs of one slot`);
      winners.push(ids[0]);
    }
    await using driver = await broker.open();
    const jobs = await takeNow(driver);
    assert.deepEqual(jobs.map(textOf), dues.map(String));
    assert.deepEqual(jobs.map(({ id }) => id), winners);
  });

  test("schedule.push() claims all earlier slots of its schedule, and of no other", async (broker) => {
    await using driver = await broker.open();
    const book = bookOf(driver);
    assert.notEqual(await push(book, NOON), undefined);
    assert.equal(await push(book, NOON), undefined);
    assert.equal(await push(book, NOON - HOUR_MS), undefined);
    assert.notEqual(await push(book, NOON - HOUR_MS, "other"), undefined);
    assert.notEqual(await push(book, NOON + 1), undefined);
    assert.equal((await driver.depth("q")).ready, 3);
  });

  test("schedule.skip() claims a slot and pushes nothing", async (broker) => {
    await using driver = await broker.open();
    const book = bookOf(driver);
    assert.equal(await book.skip({ ...slot(NOON) }), true);
    assert.equal(await book.skip({ ...slot(NOON) }), false);
    assert.equal(await push(book, NOON), undefined);
    assert.deepEqual(await driver.queues(), []);
    assert.notEqual(await push(book, NOON + HOUR_MS), undefined);
  });

  test("schedule.begin() tells up to when slots are claimed, to whoever comes later", async (broker) => {
    await using driver = await broker.open();
    await using other = await broker.open();
    assert.equal(await bookOf(driver).begin(slot(NOON)), NOON);
    assert.equal(await bookOf(other).begin(slot(NOON + 5 * HOUR_MS)), NOON);
    await push(bookOf(other), NOON + HOUR_MS);
    assert.equal(await bookOf(driver).begin(slot(NOON + 5 * HOUR_MS)), NOON + HOUR_MS);
    await bookOf(driver).skip(slot(NOON + 2 * HOUR_MS));
    assert.equal(await bookOf(other).begin(slot(NOON + 5 * HOUR_MS)), NOON + 2 * HOUR_MS);
  });

  test("schedule.begin() with another rule begins anew, and never goes back", async (broker) => {
    await using driver = await broker.open();
    const book = bookOf(driver);
    await book.begin(slot(NOON));
    const changed = { ...slot(NOON + HOUR_MS), rule: "0 9 * * * Europe/Berlin" };
    assert.equal(await book.begin(changed), NOON + HOUR_MS);
    assert.equal(await book.begin({ ...changed, dueMs: NOON + 2 * HOUR_MS }), NOON + HOUR_MS);
    assert.equal(await book.begin({ ...slot(NOON), rule: "a third" }), NOON + HOUR_MS);
  });

  test("schedule.push() of a job that is refused claims nothing", async (broker) => {
    await using driver = await broker.open();
    const book = bookOf(driver);
    const code = capabilities.headers ? "QUEUE_UNAVAILABLE" : "JOB_MALFORMED";
    await rejectsWith(code, book.push(slot(NOON), "q", bytes("a job"), { maxAttempts: 0 }));
    assert.equal((await driver.depth("q")).ready, 0);
    assert.notEqual(await push(book, NOON), undefined);
  });

  test("What is claimed outlives its driver", async (broker) => {
    await claimIn(broker);
    await broker.passTime(broker.leaseMs);
    await using later = await broker.open();
    assert.equal(await bookOf(later).begin(slot(NOON + 9 * HOUR_MS)), NOON);
    assert.equal(await push(bookOf(later), NOON), undefined);
    assert.equal((await later.depth("q")).ready, 1);
  });

  if (!capabilities.headers) return;
  test("schedule.push() takes a priority and a limit of tries", async (broker) => {
    await using driver = await broker.open();
    const book = bookOf(driver);
    await push(book, NOON);
    await book.push(slot(NOON + 1), "q", bytes("urgent"), { priority: 5, maxAttempts: 2 });
    const [first] = await takeNow(driver);
    assert.deepEqual([textOf(first!), first!.maxAttempts], ["urgent", 2]);
  });
}

async function claimIn(broker: TestBroker): Promise<void> {
  await using driver = await broker.open();
  await push(bookOf(driver), NOON);
}

function bookOf({ schedule }: { schedule?: ScheduleBook }): ScheduleBook {
  assert.ok(schedule !== undefined);
  return schedule;
}

function slot(dueMs: number, schedule = "nightly") {
  return { schedule, rule: "0 * * * * UTC", dueMs };
}

function push(book: ScheduleBook, dueMs: number, schedule?: string): Promise<string | undefined> {
  return book.push(slot(dueMs, schedule), "q", bytes(String(dueMs)));
}
