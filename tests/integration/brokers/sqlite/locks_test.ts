import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { bytes, rejectsWith, soon, take, takeNow, takeOne, textOf } from "../../../conformance/fixture.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { OtherProcess } from "./process.ts";
import { ACK } from "../../../support/verdicts.ts";

Deno.test("SqliteBroker.push() waits for another process's lock without blocking this one", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path, { busyTimeoutMs: 600_000 });
  await using locker = OtherProcess.command("lock", [path]);
  assert.equal(await locker.line(), "locked");
  let isPushed = false;
  const pushing = broker.push("q", bytes("patient")).then(() => isPushed = true);
  // Were this process blocked, the other one would never be told to let go.
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(isPushed, false);
  assert.equal((await broker.admin.depth("q")).ready, 0, "reading goes on");
  await locker.tell("let go");
  assert.equal(await locker.line(), "released");
  await soon("the push", pushing);
  assert.equal(textOf(await takeOne(broker)), "patient");
});

Deno.test("SqliteBroker rejects with QUEUE_UNAVAILABLE when a lock outlasts busyTimeoutMs, and works after it", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path, { busyTimeoutMs: 30 });
  await broker.push("q", bytes("before"));
  const held = await takeOne(broker);
  await broker.push("q", bytes("ready"));
  const locker = new DatabaseSync(path);
  locker.exec("BEGIN IMMEDIATE");
  await assert.rejects(broker.push("q", bytes("no")), {
    code: "QUEUE_UNAVAILABLE",
    message: /queue\.sqlite": another process has locked it.*busy_timeout_ms.*\(database is locked\)$/,
  });
  await rejectsWith("QUEUE_UNAVAILABLE", held.settle(ACK));
  await rejectsWith("QUEUE_UNAVAILABLE", takeOne(broker));
  await rejectsWith("QUEUE_UNAVAILABLE", broker.admin.dead.remove("all"));
  locker.exec("COMMIT");
  locker.close();
  // Nothing was done, and the same calls may be made again.
  assert.deepEqual(await broker.admin.depth("q"), { ready: 1, delayed: 0, reserved: 1, dead: 0 });
  await held.settle(ACK);
  await broker.push("q", bytes("after"));
  assert.equal(textOf(await takeOne(broker)), "ready");
  assert.equal(textOf(await takeOne(broker)), "after");
});

Deno.test("SqliteBroker.close() waits for a push that waits for a lock", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  const broker = openSqlite(path, { busyTimeoutMs: 600_000 });
  const locker = new DatabaseSync(path);
  locker.exec("BEGIN IMMEDIATE");
  const pushing = broker.push("q", bytes("a job"));
  const closing = broker.close();
  await new Promise((resolve) => setTimeout(resolve, 1));
  locker.exec("COMMIT");
  locker.close();
  await soon("the end", Promise.all([pushing, closing]));
});

Deno.test("A settle after the lease ended counts as long as nobody else has taken the job", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  const clock = new MovableClock();
  await using broker = openSqlite(path, { clock, leaseMs: 10_000 });
  await using another = openSqlite(path, { clock });
  await broker.push("q", bytes("a job"));
  const late = await takeOne(broker);
  clock.moveAhead(10_000);
  // Makes the job ready again, and takes none.
  assert.deepEqual(await takeNow(another, { queues: ["other"] }), []);
  assert.equal((await broker.admin.depth("q")).ready, 1);
  await late.lease!.extend();
  assert.deepEqual(await takeNow(another), []);
  await late.settle(ACK);
  assert.deepEqual(await broker.admin.queues(), []);
});

Deno.test("Two drivers of the same owner name never have the same lease", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using one = openSqlite(path);
  await using other = openSqlite(path);
  for (const broker of [one, other]) {
    await broker.push("q", bytes("a job"));
    await takeOne(broker);
  }
  const db = new DatabaseSync(path);
  const leases = db.prepare("SELECT lease FROM fervo_jobs").all().map((row) => row["lease"]);
  db.close();
  assert.equal(new Set(leases).size, 2, `${leases}`);
});

Deno.test("The write-ahead log of a busy queue does not grow without end", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  await using another = openSqlite(path);
  const waiting = new AbortController();
  const idle = take(another, { queues: ["idle"], waitMs: 600_000, signal: waiting.signal });
  const payload = new Uint8Array(30_000);
  for (let i = 0; i < 60; i++) {
    await Promise.all(Array.from({ length: 20 }, () => broker.push("q", payload)));
    for (let j = 0; j < 20; j++) await (await takeOne(broker)).settle(ACK);
  }
  waiting.abort();
  await idle;
  // 36 MB went through twice; SQLite begins the log anew after about 16 MB.
  const { size } = await Deno.stat(`${path}-wal`);
  assert.ok(size < 20_000_000, `${size} bytes`);
});
