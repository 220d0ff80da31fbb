import assert from "node:assert/strict";
import type { ScheduleBook, ScheduleSlot } from "../../src/core/admin.ts";
import type { Broker, Capabilities } from "../../src/core/broker.ts";
import {
  type BrokerTest,
  bytes,
  depthOf,
  headOf,
  needing,
  queuesOf,
  rejectsWith,
  takeNow,
  type TestBroker,
  textOf,
} from "./fixture.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const HOUR_MS = 3_600_000;

/** Jobs that are pushed at their time, by one of all workers. */
export function scheduleTests(all: BrokerTest, capabilities: Capabilities): void {
  if (!capabilities.schedule) {
    all("It keeps no schedules", async (server) => {
      await using broker = await server.open();
      assert.equal(broker.admin.schedule, undefined);
    });
  }
  const test = needing(all, "schedules");

  test("schedule.push() pushes the job of a slot once, whoever tries at the same time", async (server) => {
    await using stack = new AsyncDisposableStack();
    const books: ScheduleBook[] = [];
    for (let i = 0; i < 3; i++) books.push(bookOf(stack.use(await server.open())));
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
    await using broker = await server.open();
    const jobs = await takeNow(broker);
    assert.deepEqual(jobs.map(textOf), dues.map(String));
    assert.deepEqual(jobs.map(({ id }) => id), winners);
  });

  test("schedule.push() claims all earlier slots of its schedule, and of no other", async (server) => {
    await using broker = await server.open();
    const book = bookOf(broker);
    assert.notEqual(await push(book, NOON), undefined);
    assert.equal(await push(book, NOON), undefined);
    assert.equal(await push(book, NOON - HOUR_MS, { nowMs: NOON }), undefined);
    assert.notEqual(await push(book, NOON - HOUR_MS, { schedule: "other" }), undefined);
    assert.notEqual(await push(book, NOON + 1), undefined);
    assert.equal((await depthOf(broker)).ready, 3);
  });

  test("schedule.skip() claims a slot and pushes nothing", async (server) => {
    await using broker = await server.open();
    const book = bookOf(broker);
    assert.equal(await book.skip(slot(NOON)), "ours");
    assert.equal(await book.skip(slot(NOON)), "claimed");
    assert.equal(await push(book, NOON), undefined);
    assert.deepEqual(await queuesOf(broker), []);
    assert.notEqual(await push(book, NOON + HOUR_MS), undefined);
  });

  test("schedule.begin() tells up to when slots are claimed, to whoever comes later", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    assert.equal(await claimedTo(bookOf(broker), slot(NOON)), NOON);
    assert.equal(await claimedTo(bookOf(other), slot(NOON + 5 * HOUR_MS)), NOON);
    await push(bookOf(other), NOON + HOUR_MS);
    assert.equal(await claimedTo(bookOf(broker), slot(NOON + 5 * HOUR_MS)), NOON + HOUR_MS);
    await bookOf(broker).skip(slot(NOON + 2 * HOUR_MS));
    assert.equal(await claimedTo(bookOf(other), slot(NOON + 5 * HOUR_MS)), NOON + 2 * HOUR_MS);
  });

  test("schedule.begin() with another rule begins anew, and never goes back", async (server) => {
    await using broker = await server.open();
    const book = bookOf(broker);
    await book.begin(slot(NOON));
    const changed = { ...slot(NOON + HOUR_MS), rule: "0 9 * * * Europe/Berlin" };
    assert.equal(await claimedTo(book, changed), NOON + HOUR_MS);
    assert.equal(await claimedTo(book, { ...changed, nowMs: NOON + 2 * HOUR_MS }), NOON + HOUR_MS);
    assert.equal(await claimedTo(book, { ...slot(NOON), rule: "a third" }), NOON + HOUR_MS);
  });

  test("Slots that a clock was ahead for are set aside when nobody goes on with them, and are claimed nevertheless", async (server) => {
    await using broker = await server.open();
    const book = bookOf(broker);
    const later = NOON + 1_000 * HOUR_MS;
    await book.begin(slot(later));
    await push(book, later + HOUR_MS);
    assert.deepEqual(await book.look("nightly", NOON), {
      claimedToMs: undefined,
      ahead: { untilMs: later + HOUR_MS, isAside: false },
    });
    await using other = await server.open();
    assert.deepEqual(await bookOf(other).begin(slot(NOON)), await book.look("nightly", NOON));
    assert.deepEqual(await bookOf(other).push(slot(NOON), "q", bytes("no job")), { result: "doubtful" });
    assert.equal(await bookOf(other).skip(slot(NOON)), "doubtful");
    assert.equal(await bookOf(other).setAside("nightly", { untilMs: later, nowMs: NOON }), false);
    assert.equal(await bookOf(other).setAside("nightly", { untilMs: later + HOUR_MS, nowMs: NOON }), true);
    assert.equal(await claimedTo(bookOf(other), slot(NOON)), NOON);
    assert.notEqual(await push(bookOf(other), NOON + HOUR_MS), undefined);
    // Whoever has reached it knows that it was claimed.
    assert.equal(await claimedTo(book, slot(later)), later + HOUR_MS);
    assert.equal(await push(book, later + HOUR_MS), undefined);
    assert.notEqual(await push(book, later + 2 * HOUR_MS), undefined);
    // Somebody is there after all.
    assert.equal(await push(bookOf(other), NOON + 2 * HOUR_MS), undefined);
    assert.equal((await depthOf(broker)).ready, 3);
  });

  test("schedule.look() changes nothing, and knows no schedule that nobody has begun", async (server) => {
    await using broker = await server.open();
    assert.equal(await bookOf(broker).look("nightly", NOON), undefined);
    assert.equal(await bookOf(broker).look("nightly", NOON), undefined);
    await bookOf(broker).begin(slot(NOON));
    assert.deepEqual(await bookOf(broker).look("nightly", NOON + HOUR_MS), { claimedToMs: NOON });
  });

  test("schedule.push() of a job that is refused claims nothing", async (server) => {
    await using broker = await server.open();
    const book = bookOf(broker);
    const [code, odd] = capabilities.headers
      ? ["QUEUE_UNAVAILABLE", { maxAttempts: 0 }] as const
      : ["JOB_MALFORMED", { headers: { traceparent: "00-ab-cd-01" } }] as const;
    await rejectsWith(code, book.push(slot(NOON), "q", bytes("a job"), odd));
    assert.equal((await depthOf(broker)).ready, 0);
    assert.notEqual(await push(book, NOON), undefined);
  });

  test("What is claimed outlives its driver", async (server) => {
    await claimIn(server);
    await server.passTime(server.leaseMs);
    await using later = await server.open();
    assert.equal(await claimedTo(bookOf(later), slot(NOON + 9 * HOUR_MS)), NOON);
    assert.equal(await push(bookOf(later), NOON), undefined);
    assert.equal((await depthOf(later)).ready, 1);
  });

  test("schedule.push() takes a priority and a limit of tries", async (server) => {
    await using broker = await server.open();
    const book = bookOf(broker);
    await push(book, NOON);
    await book.push(slot(NOON + 1), "q", bytes("urgent"), { priority: 5, maxAttempts: 2 });
    const [first] = await takeNow(broker);
    assert.deepEqual([textOf(first!), headOf(first!).maxAttempts], ["urgent", 2]);
  }, ["priorities", "headers"]);
}

async function claimIn(server: TestBroker): Promise<void> {
  await using broker = await server.open();
  await push(bookOf(broker), NOON);
}

function bookOf({ admin: { schedule } }: Pick<Broker, "admin">): ScheduleBook {
  assert.ok(schedule !== undefined);
  return schedule;
}

/** As it is claimed by a worker that was there, at its time unless told otherwise. */
function slot(dueMs: number, { schedule = "nightly", nowMs = dueMs } = {}): ScheduleSlot {
  return { schedule, rule: "0 * * * * UTC", dueMs, firstMs: dueMs, nowMs };
}

/** The id of the job, when the slot was to be had. */
async function push(
  book: ScheduleBook,
  dueMs: number,
  options: { schedule?: string; nowMs?: number } = {},
): Promise<string | undefined> {
  return (await book.push(slot(dueMs, options), "q", bytes(String(dueMs)))).id;
}

async function claimedTo(book: ScheduleBook, at: ScheduleSlot): Promise<number | undefined> {
  return (await book.begin(at)).claimedToMs;
}
