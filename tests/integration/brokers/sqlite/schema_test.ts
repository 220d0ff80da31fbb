import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { APPLICATION_ID, migrate, MIGRATIONS } from "../../../../src/brokers/sqlite/store/schema.ts";
import { bytes, takeOne, textOf } from "../../../conformance/fixture.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { OtherProcess } from "./process.ts";

const NEXT = [
  ...MIGRATIONS,
  "ALTER TABLE fervo_jobs ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'",
  "CREATE TABLE fervo_notes (note TEXT); INSERT INTO fervo_notes VALUES ('made once')",
];

function pragmaOf(db: DatabaseSync, name: string): unknown {
  return db.prepare(`PRAGMA ${name}`).get()![name];
}

Deno.test("SqliteBroker.open() marks the file as its own, in the newest version", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await openSqlite(path).close();
  const db = new DatabaseSync(path);
  assert.equal(pragmaOf(db, "application_id"), APPLICATION_ID);
  assert.equal(pragmaOf(db, "user_version"), MIGRATIONS.length);
  assert.equal(pragmaOf(db, "journal_mode"), "wal");
  db.close();
});

for (
  const [what, make] of Object.entries({
    "with tables": (db: DatabaseSync) => db.exec("CREATE TABLE users (name TEXT)"),
    "with a version": (db: DatabaseSync) => db.exec("PRAGMA user_version = 4"),
    "with an application's mark": (db: DatabaseSync) => db.exec("PRAGMA application_id = 4711"),
  })
) {
  Deno.test(`SqliteBroker.open() refuses another program's database ${what} and leaves it untouched`, async () => {
    await using folder = await makeFolder();
    const path = `${folder.path}/theirs.sqlite`;
    const db = new DatabaseSync(path);
    make(db);
    db.close();
    const before = await Deno.readFile(path);
    assert.throws(() => openSqlite(path), {
      code: "QUEUE_UNAVAILABLE",
      message:
        `Cannot use the database "${path}" as a queue: it belongs to another program; choose another path`,
    });
    assert.deepEqual(await Deno.readFile(path), before);
    assert.deepEqual([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["theirs.sqlite"]);
  });
}

Deno.test("SqliteBroker.open() refuses the queue of a newer fervo-worker and leaves it untouched", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  const db = new DatabaseSync(path);
  migrate(db, path, NEXT);
  db.close();
  const before = await Deno.readFile(path);
  assert.throws(() => openSqlite(path), {
    code: "QUEUE_UNAVAILABLE",
    message: /its schema has version 6, and this fervo-worker supports up to 4; upgrade fervo-worker/,
  });
  assert.deepEqual(await Deno.readFile(path), before);
});

Deno.test("migrate() brings an older queue to the newest version and keeps its jobs", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  {
    await using broker = openSqlite(path);
    for (let i = 0; i < 5; i++) await broker.push("q", bytes(`job ${i}`), { priority: i });
    await takeOne(broker);
  }
  const db = new DatabaseSync(path);
  const rows = () => db.prepare("SELECT id, queue, payload, priority, state, attempts FROM fervo_jobs").all();
  const before = rows();
  migrate(db, path, NEXT);
  migrate(db, path, NEXT);
  assert.deepEqual(rows(), before);
  assert.equal(pragmaOf(db, "user_version"), NEXT.length);
  assert.equal(db.prepare("SELECT count(*) AS n FROM fervo_jobs WHERE colour = 'blue'").get()!["n"], 5);
  assert.equal(db.prepare("SELECT count(*) AS n FROM fervo_notes").get()!["n"], 1);
  db.close();
});

Deno.test("A worker of version 3 that has the queue open goes on with pauses, and sees the end of those that have one", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  using former = new DatabaseSync(path);
  former.exec("PRAGMA journal_mode = WAL");
  migrate(former, path, MIGRATIONS.slice(0, 3));
  const pause = former.prepare("INSERT OR IGNORE INTO fervo_paused (queue, paused_at) VALUES (?, 1)");
  const list = former.prepare("SELECT queue FROM fervo_paused ORDER BY queue");
  const seen = () => list.all().map(({ queue }) => queue);
  pause.run("before");
  const clock = new MovableClock();
  await using broker = openSqlite(path, { clock });
  const { pauses } = broker.admin;
  await pauses.pause("timed", { untilMs: clock.nowMs() + 3_600_000, reason: "moved" });
  pause.run("after");
  assert.deepEqual(seen(), ["after", "before", "timed"]);
  clock.moveAhead(3_601_000);
  assert.deepEqual(await pauses.list(), [{ queue: "after" }, { queue: "before" }]);
  assert.deepEqual(seen(), ["after", "before"]);
});

Deno.test("migrate() that fails changes nothing and says why", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  {
    await using broker = openSqlite(path);
    await broker.push("q", bytes("a job"));
  }
  const db = new DatabaseSync(path);
  assert.throws(
    () => migrate(db, path, [...NEXT, "DROP TABLE fervo_jobs; ALTER TABLE nothing RENAME TO x"]),
    /nothing/,
  );
  assert.equal(db.isTransaction, false);
  assert.equal(pragmaOf(db, "user_version"), MIGRATIONS.length);
  db.close();
  await using broker = openSqlite(path);
  assert.equal(textOf(await takeOne(broker)), "a job");
});

Deno.test("migrate() does not take a queue for another program's when it is created just then", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  using db = new DatabaseSync(path);
  using another = new DatabaseSync(path);
  db.exec("PRAGMA journal_mode = WAL");
  let isCreated = false;
  // The other process is done between two looks of this one.
  const interrupted = new Proxy(db, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (sql: string) => {
        if (sql === "PRAGMA user_version" && !isCreated) {
          isCreated = true;
          migrate(another, path);
        }
        return value.call(target, sql);
      };
    },
  });
  migrate(interrupted, path);
  assert.equal(isCreated, true);
  assert.equal(pragmaOf(db, "user_version"), MIGRATIONS.length);
});

Deno.test("migrate() by several processes at once is done once", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  {
    await using broker = openSqlite(path);
    await broker.push("q", bytes("a job"));
  }
  await assertAllSucceed("migrate", [path, JSON.stringify(NEXT)]);
  const db = new DatabaseSync(path);
  assert.equal(pragmaOf(db, "user_version"), NEXT.length);
  assert.equal(db.prepare("SELECT count(*) AS n FROM fervo_notes").get()!["n"], 1);
  assert.equal(db.prepare("SELECT count(*) AS n FROM fervo_jobs").get()!["n"], 1);
  db.close();
});

Deno.test("SqliteBroker.open() by several processes at once creates the queue once", async () => {
  await using folder = await makeFolder();
  const paths = Array.from({ length: 10 }, (_, i) => `${folder.path}/queue${i}.sqlite`);
  await assertAllSucceed("open", paths, paths.length);
  for (const path of paths) {
    await using broker = openSqlite(path);
    assert.equal((await broker.admin.depth("q")).ready, 4);
  }
});

/** Four processes run a command as near to the same time as can be, as often as it has rounds. */
async function assertAllSucceed(command: string, args: readonly string[], rounds = 1): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const processes = Array.from({ length: 4 }, () => stack.use(OtherProcess.command(command, args)));
  for (let round = 0; round < rounds; round++) {
    for (const process of processes) assert.equal(await process.line(), "ready");
    await Promise.all(processes.map((process) => process.tell("go")));
    const said = await Promise.all(processes.map((process) => process.line()));
    assert.deepEqual(said, ["ok", "ok", "ok", "ok"]);
  }
}
