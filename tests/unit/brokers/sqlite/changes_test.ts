import assert from "node:assert/strict";
import { SqliteChanges } from "../../../../src/brokers/sqlite/store/changes.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";

/** A database whose version is a number, with a log that cannot be watched or whose events are made by hand. */
class FakeDatabase implements Disposable {
  readonly clock = new FakeClock();
  readonly changes = new SqliteChanges({
    path: "/folder/queue.sqlite",
    clock: this.clock,
    readDataVersion: () => {
      this.looks++;
      return this.version;
    },
  });
  version = 1;
  looks = 0;
  watchers = 0;
  /** Happens as the watching begins. */
  onWatch = () => {};
  readonly #watchFs = Deno.watchFs;
  #event: ((event: IteratorResult<Deno.FsEvent>) => void) | undefined;

  constructor({ canWatch = true } = {}) {
    Deno.watchFs = (paths) => {
      // Never the folder or the database: the runtime would close files that SQLite holds locks on.
      assert.equal(paths, "/folder/queue.sqlite-wal");
      if (!canWatch) throw new Error("no inotify");
      this.watchers++;
      this.onWatch();
      return this.#watcher();
    };
  }

  /** The system says that the log was written to. */
  async touchLog(): Promise<void> {
    this.#event?.({ done: false, value: { kind: "modify", paths: ["/folder/queue.sqlite-wal"] } });
    await settlePromises();
  }

  [Symbol.dispose](): void {
    Deno.watchFs = this.#watchFs;
  }

  #watcher(): Deno.FsWatcher {
    const events: AsyncIterableIterator<Deno.FsEvent> = {
      next: () => new Promise((resolve) => this.#event = resolve),
      [Symbol.asyncIterator]: () => events,
    };
    const close = () => {
      this.watchers--;
      this.#event?.({ done: true, value: undefined });
    };
    return { close, [Symbol.asyncIterator]: () => events, [Symbol.dispose]: close };
  }
}

/** Begins to wait; tells whether the wait has ended. */
function waitOn(
  { changes }: FakeDatabase,
  { timeoutMs = Infinity, signal = new AbortController().signal } = {},
): { isOver: boolean } {
  const wait = { isOver: false };
  void changes.wait(changes.mark(), timeoutMs, signal).then(() => wait.isOver = true);
  return wait;
}

Deno.test("SqliteChanges.wait() sees another's commit within milliseconds while alert", async () => {
  using database = new FakeDatabase();
  const wait = waitOn(database);
  await database.clock.advance(100);
  assert.equal(wait.isOver, false);
  database.version++;
  await database.clock.advance(4);
  assert.equal(wait.isOver, true);
  assert.equal(database.clock.pendingTimers, 0);
});

Deno.test("SqliteChanges.wait() returns at once when something has changed since the mark", async () => {
  using database = new FakeDatabase();
  const mark = database.changes.mark();
  database.version++;
  await database.changes.wait(mark, Infinity, new AbortController().signal);
  const later = database.changes.mark();
  database.changes.announceOwn();
  await database.changes.wait(later, Infinity, new AbortController().signal);
});

Deno.test("SqliteChanges.wait() costs next to nothing while it sleeps", async () => {
  using database = new FakeDatabase();
  const wait = waitOn(database);
  await database.clock.advance(300);
  const before = database.looks;
  await database.clock.advance(60_000);
  assert.ok(database.looks - before <= 2 * 61, `${database.looks - before} looks in a minute`);
  assert.equal(wait.isOver, false);
});

Deno.test("SqliteChanges.wait() that sleeps is woken by a write to the log, and sees the commit after it", async () => {
  using database = new FakeDatabase();
  const wait = waitOn(database);
  await database.clock.advance(300);
  // The write to the log comes before the commit can be seen.
  await database.touchLog();
  assert.equal(wait.isOver, false);
  database.version++;
  await database.clock.advance(1);
  assert.equal(wait.isOver, true);
  assert.equal(database.watchers, 0);
});

Deno.test("SqliteChanges.wait() sees a commit that came as the watching began, and so raised no event", async () => {
  using database = new FakeDatabase();
  const wait = waitOn(database);
  database.onWatch = () => database.version++;
  await database.clock.advance(300);
  assert.equal(database.version, 2);
  assert.equal(wait.isOver, true);
});

Deno.test("SqliteChanges.wait() that sleeps looks once a second also when no event comes", async () => {
  using database = new FakeDatabase();
  const wait = waitOn(database);
  await database.clock.advance(300);
  database.version++;
  await database.clock.advance(1_000);
  assert.equal(wait.isOver, true);
});

Deno.test("SqliteChanges.wait() looks often where files cannot be watched", async () => {
  using database = new FakeDatabase({ canWatch: false });
  const wait = waitOn(database);
  await database.clock.advance(300);
  assert.equal(wait.isOver, false);
  database.version++;
  await database.clock.advance(20);
  assert.equal(wait.isOver, true);
});

Deno.test("SqliteChanges.announceOwn() wakes all who wait, alert or asleep, and leaves no watch", async () => {
  using database = new FakeDatabase();
  const asleep = waitOn(database);
  await database.clock.advance(300);
  const alert = waitOn(database);
  await settlePromises();
  assert.equal(database.watchers, 1);
  database.changes.announceOwn();
  await settlePromises();
  assert.deepEqual([asleep.isOver, alert.isOver], [true, true]);
  assert.equal(database.watchers, 0);
  assert.equal(database.clock.pendingTimers, 0);
});

for (const [state, afterMs] of [["alert", 100], ["asleep", 2_000]] as const) {
  Deno.test(`SqliteChanges.wait() that is ${state} ends when its time is over, and when its signal aborts`, async () => {
    using database = new FakeDatabase();
    const abort = new AbortController();
    const timed = waitOn(database, { timeoutMs: afterMs + 1 });
    const aborted = waitOn(database, { signal: abort.signal });
    await database.clock.advance(afterMs);
    assert.deepEqual([timed.isOver, aborted.isOver], [false, false]);
    await database.clock.advance(1);
    assert.deepEqual([timed.isOver, aborted.isOver], [true, false]);
    abort.abort();
    await settlePromises();
    assert.equal(aborted.isOver, true);
    assert.equal(database.watchers, 0);
    assert.equal(database.clock.pendingTimers, 0);
  });
}
