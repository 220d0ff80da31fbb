import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { QueueError } from "../../../../src/core/errors.ts";
import { read, SqliteWriter, unavailableError } from "../../../../src/brokers/sqlite/store/writer.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

/** Its time stands still: what waits for a lock where there is none would never end. */
function writerOn(db: DatabaseSync): SqliteWriter {
  return new SqliteWriter({ db, path: "/q", clock: new FakeClock() }, { busyTimeoutMs: 1_000 });
}

function fileAt(path: string) {
  return { path, check: () => {} };
}

function databaseWith(sql: string): DatabaseSync {
  const db = new DatabaseSync(":memory:");
  db.exec(sql);
  return db;
}

Deno.test("SqliteWriter.write() makes all changes of a turn in one transaction, in the order of the calls", async () => {
  using db = databaseWith("CREATE TABLE t (n INTEGER)");
  const insert = db.prepare("INSERT INTO t VALUES (?)");
  const changes = db.prepare("SELECT total_changes() AS n");
  const writer = writerOn(db);
  const begun: unknown[] = [];
  const exec = db.prepare("SELECT count(*) AS n FROM t");
  const results = await Promise.all([1, 2, 3].map((n) =>
    writer.write(() => {
      begun.push(db.isTransaction);
      insert.run(n);
      return exec.get()!["n"];
    })
  ));
  assert.deepEqual(results, [1, 2, 3]);
  assert.deepEqual(begun, [true, true, true]);
  assert.equal(db.isTransaction, false);
  assert.deepEqual(db.prepare("SELECT n FROM t").all().map((row) => row["n"]), [1, 2, 3]);
  assert.equal(changes.get()!["n"], 3);
  assert.equal(writer.hasChanges, false);
});

Deno.test("SqliteWriter.write() resolves after the commit and not before", async () => {
  using db = databaseWith("CREATE TABLE t (n INTEGER)");
  const insert = db.prepare("INSERT INTO t VALUES (1)");
  const writer = writerOn(db);
  await Promise.all(
    [1, 2].map(() => writer.write(() => insert.run()).then(() => assert.equal(db.isTransaction, false))),
  );
});

Deno.test("SqliteWriter.write() rejects a change that breaks a constraint, and makes the others", async () => {
  using db = databaseWith("CREATE TABLE t (n INTEGER CHECK (n < 10))");
  const insert = db.prepare("INSERT INTO t VALUES (?)");
  const writer = writerOn(db);
  const results = await Promise.allSettled([1, 99, 2].map((n) => writer.write(() => insert.run(n))));
  assert.deepEqual(results.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
  const { reason } = results[1] as PromiseRejectedResult;
  assert.equal(reason.code, "QUEUE_UNAVAILABLE");
  assert.deepEqual(db.prepare("SELECT n FROM t").all().map((row) => row["n"]), [1, 2]);
});

Deno.test("SqliteWriter.write() rejects only the change that broke its transaction, and makes the others", async () => {
  using db = databaseWith("CREATE TABLE t (n INTEGER)");
  const insert = db.prepare("INSERT INTO t VALUES (?)");
  const writer = writerOn(db);
  const committed: number[] = [];
  const [first, broken, last] = await Promise.allSettled([
    writer.write(() => insert.run(1), false, () => committed.push(1)),
    writer.write(
      () => {
        insert.run(2);
        throw new TypeError("a bug");
      },
      false,
      () => committed.push(2),
    ),
    writer.write(() => insert.run(3), false, () => committed.push(3)),
  ]);
  assert.equal(first.status, "fulfilled");
  assert.equal(last.status, "fulfilled");
  assert.ok(broken.status === "rejected");
  assert.equal(broken.reason.message, 'Cannot use the queue "/q": a bug');
  assert.ok(broken.reason.cause instanceof TypeError);
  assert.deepEqual(db.prepare("SELECT n FROM t").all().map((row) => row["n"]), [1, 3]);
  assert.deepEqual(committed, [1, 3]);
});

Deno.test("SqliteWriter.write() waits for the disk when one of the changes has to be durable, else not", async () => {
  using db = databaseWith("CREATE TABLE t (n INTEGER)");
  const writer = writerOn(db);
  const levels = [];
  for (const durable of [[false], [true], [false, true, false], [false, false]]) {
    const [level] = await Promise.all(
      durable.map((isDurable) =>
        writer.write(() => db.prepare("PRAGMA synchronous").get()!["synchronous"], isDurable)
      ),
    );
    levels.push(level);
  }
  const [NORMAL, FULL] = [1, 2];
  assert.deepEqual(levels, [NORMAL, FULL, FULL, NORMAL]);
});

Deno.test("SqliteWriter.drain() waits for all changes, also for those made meanwhile", async () => {
  using db = databaseWith("CREATE TABLE t (n INTEGER)");
  const insert = db.prepare("INSERT INTO t VALUES (?)");
  const writer = writerOn(db);
  let done = 0;
  const count = () => void done++;
  void writer.write(() => insert.run(1)).then(() => {
    count();
    return writer.write(() => insert.run(2));
  }).then(count);
  await writer.drain();
  assert.equal(db.prepare("SELECT count(*) AS n FROM t").get()!["n"], 2);
  assert.equal(done, 2);
});

Deno.test("unavailableError() says what to do by SQLite's result code, and keeps its words", () => {
  const sqliteError = (errcode: number, message: string) => Object.assign(new Error(message), { errcode });
  for (
    const [error, expected] of [
      [
        sqliteError(5, "database is locked"),
        /"\/q": another process has locked it.* \(database is locked\)$/,
      ],
      [sqliteError(5 | 1 << 8, "locked!"), /another process has locked it.* \(locked!\)$/],
      [sqliteError(13, "full"), /"\/q": the disk is full; make room on its file system \(full\)$/],
      [sqliteError(778, "disk I/O error"), /see the system's log.* \(disk I\/O error\)$/],
      [sqliteError(11, "malformed"), /the file is damaged; .* \(malformed\)$/],
      [sqliteError(26, "no db"), /the file is not a SQLite database; choose another path \(no db\)$/],
      [sqliteError(8, "readonly"), /it is read-only for this user.* \(readonly\)$/],
      // Deno gives no code with the errors of exec() and of opening.
      [new Error("database or disk is full"), /the disk is full; .* \(database or disk is full\)$/],
      [new Error("unable to open database file: /q"), /it cannot be opened; .*: \/q\)$/],
      [new Deno.errors.NotFound("os error 2"), /"\/q": os error 2$/],
      [
        Object.assign(new Error("os error 2"), { code: "ENOENT" }),
        /its folder does not exist; .* \(os error 2\)$/,
      ],
      // Nothing is known: its own words alone.
      [sqliteError(1, "no such table: x"), /^Cannot use the queue "\/q": no such table: x$/],
      ["thrown text", /^Cannot use the queue "\/q": thrown text$/],
      [null, /^Cannot use the queue "\/q": null$/],
    ] as const
  ) {
    const unavailable = unavailableError("/q", error);
    assert.equal(unavailable.code, "QUEUE_UNAVAILABLE");
    assert.match(unavailable.message, expected);
    assert.equal(unavailable.cause, error);
  }
  const ours = new QueueError("LEASE_LOST", "Lost");
  assert.equal(unavailableError("/q", ours), ours);
});

Deno.test("read() rejects when the look throws, and never throws itself", async () => {
  assert.equal(await read(fileAt("/q"), () => 7), 7);
  await assert.rejects(
    read(fileAt("/q"), () => {
      throw new Error("no such table: x");
    }),
    { code: "QUEUE_UNAVAILABLE", message: 'Cannot use the queue "/q": no such table: x' },
  );
});
