import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { bytes, rejectsWith, soon, takeNow, takeOne, textOf } from "../../../conformance/driver_broker.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { OtherProcess } from "./process.ts";
import { ACK } from "../../../support/verdicts.ts";

Deno.test("SqliteDriver.push() waits for another process's lock without blocking this one", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using driver = openSqlite(path, { busyTimeoutMs: 600_000 });
  await using locker = OtherProcess.command("lock", [path]);
  assert.equal(await locker.line(), "locked");
  let isPushed = false;
  const pushing = driver.push("q", bytes("patient")).then(() => isPushed = true);
  // Were this process blocked, the other one would never be told to let go.
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(isPushed, false);
  assert.equal((await driver.depth("q")).ready, 0, "reading goes on");
  await locker.tell("let go");
  assert.equal(await locker.line(), "released");
  await soon("the push", pushing);
  assert.equal(textOf(await takeOne(driver)), "patient");
});

Deno.test("SqliteDriver rejects with QUEUE_UNAVAILABLE when a lock outlasts busyTimeoutMs, and works after it", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using driver = openSqlite(path, { busyTimeoutMs: 30 });
  await driver.push("q", bytes("before"));
  const held = await takeOne(driver);
  await driver.push("q", bytes("ready"));
  const locker = new DatabaseSync(path);
  locker.exec("BEGIN IMMEDIATE");
  await assert.rejects(driver.push("q", bytes("no")), {
    code: "QUEUE_UNAVAILABLE",
    message: /queue\.sqlite": it is locked by another process.*busy_timeout_ms.*\(database is locked\)$/,
  });
  await rejectsWith("QUEUE_UNAVAILABLE", held.settle(ACK));
  await rejectsWith("QUEUE_UNAVAILABLE", takeOne(driver));
  await rejectsWith("QUEUE_UNAVAILABLE", driver.dead.remove("all"));
  locker.exec("COMMIT");
  locker.close();
  // Nothing was done, and the same calls may be made again.
  assert.deepEqual(await driver.depth("q"), { ready: 1, delayed: 0, reserved: 1, dead: 0 });
  await held.settle(ACK);
  await driver.push("q", bytes("after"));
  assert.equal(textOf(await takeOne(driver)), "ready");
  assert.equal(textOf(await takeOne(driver)), "after");
});

Deno.test("SqliteDriver.close() waits for a push that waits for a lock", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  const driver = openSqlite(path, { busyTimeoutMs: 600_000 });
  const locker = new DatabaseSync(path);
  locker.exec("BEGIN IMMEDIATE");
  const pushing = driver.push("q", bytes("a job"));
  const closing = driver.close();
  await new Promise((resolve) => setTimeout(resolve, 1));
  locker.exec("COMMIT");
  locker.close();
  await soon("the end", Promise.all([pushing, closing]));
});

Deno.test("A settle after the lease ended counts as long as nobody else has taken the job", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  const clock = new MovableClock();
  await using driver = openSqlite(path, { clock, leaseMs: 10_000 });
  await using another = openSqlite(path, { clock });
  await driver.push("q", bytes("a job"));
  const late = await takeOne(driver);
  clock.moveAhead(10_000);
  // Makes the job ready again, and takes none.
  assert.deepEqual(await takeNow(another, { queues: ["other"] }), []);
  assert.equal((await driver.depth("q")).ready, 1);
  await late.extend!();
  assert.deepEqual(await takeNow(another), []);
  await late.settle(ACK);
  assert.deepEqual(await driver.queues(), []);
});

Deno.test("Two drivers of the same owner name never have the same lease", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using one = openSqlite(path);
  await using other = openSqlite(path);
  for (const driver of [one, other]) {
    await driver.push("q", bytes("a job"));
    await takeOne(driver);
  }
  const db = new DatabaseSync(path);
  const leases = db.prepare("SELECT lease FROM fervo_jobs").all().map((row) => row["lease"]);
  db.close();
  assert.equal(new Set(leases).size, 2, `${leases}`);
});

Deno.test("The write-ahead log of a busy queue does not grow without end", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using driver = openSqlite(path);
  await using another = openSqlite(path);
  const waiting = new AbortController();
  const idle = another.receive({ queues: ["idle"], max: 1, waitMs: 600_000, signal: waiting.signal });
  const payload = new Uint8Array(30_000);
  for (let i = 0; i < 60; i++) {
    await Promise.all(Array.from({ length: 20 }, () => driver.push("q", payload)));
    for (let j = 0; j < 20; j++) await (await takeOne(driver)).settle(ACK);
  }
  waiting.abort();
  await idle;
  // 36 MB went through twice; SQLite begins the log anew after about 16 MB.
  const { size } = await Deno.stat(`${path}-wal`);
  assert.ok(size < 20_000_000, `${size} bytes`);
});
