/** What any producer and any person can write into the table, as SQLite keeps in a column whatever it is given. */
import assert from "node:assert/strict";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { bytes, problemOf, takeNow, takeOne, textOf } from "../../../conformance/fixture.ts";
import { LATEST_MS } from "../../../../src/core/schedule_claims.ts";
import { JobError } from "../../../../src/core/errors.ts";
import { eventually } from "../../../support/eventually.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { ACK, bury, RELEASE, retry } from "../../../support/verdicts.ts";

const HIGHEST_ID = 9_223_372_036_854_775_807n;
const BEYOND = 9_007_199_254_740_993n;
const NO_UTF8 = new Uint8Array([0x6d, 0xff, 0x00, 0x6c]);

/** Inserts as a producer does, with a connection of its own, and as one that looks at no constraint. */
function insert(path: string, columns: Readonly<Record<string, SQLInputValue>>): void {
  using db = new DatabaseSync(path);
  db.exec("PRAGMA ignore_check_constraints = ON");
  const names = Object.keys(columns);
  db.prepare(`INSERT INTO fervo_jobs (${names.join()}) VALUES (${names.map(() => "?").join()})`)
    .run(...Object.values(columns));
}

function exec(path: string, sql: string, ...values: SQLInputValue[]): void {
  using db = new DatabaseSync(path);
  db.prepare(sql).run(...values);
}

const ODD: readonly (readonly [column: string, value: SQLInputValue, reason?: RegExp])[] = [
  ["id", BEYOND],
  ["id", 1_795_998_200_671_000_001n],
  ["id", HIGHEST_ID],
  ["id", -5],
  ["id", -HIGHEST_ID],
  ["attempts", BEYOND, /"attempts" is 9007199254740993, and must be a whole number from 0 to/],
  ["attempts", HIGHEST_ID, /"attempts" is 9223372036854775807/],
  ["attempts", -1, /"attempts" is -1/],
  ["attempts", 1e300, /"attempts" is 1e\+300/],
  ["attempts", "many", /"attempts" is "many"/],
  ["attempts", NO_UTF8, /"attempts" is 4 bytes/],
  ["attempts", 1.5],
  ["max_attempts", BEYOND, /"max_attempts" is 9007199254740993, and must be a whole number from 1 to/],
  ["max_attempts", 0, /"max_attempts" is 0/],
  ["max_attempts", "x".repeat(1_000_000), /"max_attempts" is "x{59}…, and/],
  ["max_attempts", 2.9],
  ["created_at", BEYOND],
  ["created_at", "yesterday"],
  ["created_at", 1.7e12 + 0.25],
  ["created_at", 1e300],
  ["created_at", -1],
  ["due_at", -HIGHEST_ID],
  ["due_at", 1.7e12 + 0.25],
  ["due_at", -1e300],
  ["priority", HIGHEST_ID],
  ["priority", -HIGHEST_ID],
  ["priority", "high"],
  ["priority", NO_UTF8],
  ["payload", 7],
  ["payload", NO_UTF8],
  ["headers", NO_UTF8, /headers/],
  ["headers", bytes('{"a":"b"}\0'), /headers/],
  ["headers", 7, /headers/],
  ["headers", "[".repeat(500_000) + "]".repeat(500_000), /headers/],
  ["headers", `{"a":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}`, /headers/],
  ["headers", `{"a":"${"x".repeat(2_000_000)}"}`, /headers/],
  ["lease", BEYOND],
  ["lease", NO_UTF8],
  ["error", NO_UTF8],
  ["errors", BEYOND],
  ["errors", "[".repeat(500_000)],
];

for (const [column, value, reason] of ODD) {
  const name = `${column} = ${
    typeof value === "string" && value.length > 30 ? "a long text" : String(value)
  }`;
  Deno.test(`A row with ${name} ${reason ? "is a dead letter with the reason" : "runs"}, and hinders no other`, async () => {
    await using folder = await makeFolder();
    const path = `${folder.path}/queue.sqlite`;
    await using broker = openSqlite(path, { maxPayloadBytes: 1_500_000 });
    const before = await broker.push("q", bytes("before"));
    insert(path, { queue: "q", payload: bytes("odd"), [column]: value });
    if (value !== HIGHEST_ID || column !== "id") await broker.push("q", bytes("after"));
    const deliveries = await takeNow(broker);
    const odd = deliveries.filter((delivery) => !["before", "after"].includes(textOf(delivery)));
    assert.equal(odd.length, 1);
    for (const delivery of deliveries) {
      assert.equal(problemOf(delivery)?.code, delivery === odd[0] && reason ? "JOB_MALFORMED" : undefined);
      const problem = problemOf(delivery);
      if (problem) assert.match(problem.message, reason!);
      assert.ok(Number.isSafeInteger(delivery.attempt) && delivery.attempt! >= 1);
      // All that a job can meet.
      await delivery.lease!.extend();
      if (problem) await delivery.settle(bury(problem));
      else await delivery.settle(RELEASE);
    }
    for (const delivery of await takeNow(broker)) {
      await delivery.settle(retry(0, new JobError("JOB_FAILED", "once")));
    }
    for (const delivery of await takeNow(broker)) {
      if (delivery.id === odd[0]!.id) await delivery.settle(bury(new JobError("JOB_FAILED", "twice")));
      else await delivery.settle(ACK);
    }
    assert.deepEqual(await broker.admin.depth("q"), { ready: 0, delayed: 0, reserved: 0, dead: 1 });

    const [letter, ...none] = await broker.admin.dead.list({ queue: "q", limit: 10 });
    assert.deepEqual(none, []);
    assert.equal(letter!.id, odd[0]!.id);
    assert.match(letter!.error.message, reason ?? /twice/);
    assert.deepEqual(await broker.admin.dead.get(letter!.id), letter);
    assert.deepEqual(await broker.admin.dead.list({ after: letter!.place, limit: 10 }), []);
    assert.equal(await broker.admin.dead.retry([letter!.id]), 1);
    const again = await takeOne(broker);
    assert.equal(again.id, letter!.id);
    assert.equal(again.attempt, 1);
    await again.settle(bury(new JobError("JOB_FAILED", "again")));
    assert.equal(await broker.admin.dead.remove([letter!.id]), 1);
    assert.notEqual(before, letter!.id);
    assert.deepEqual(await broker.admin.queues(), []);
  });
}

Deno.test("A delayed job whose time is no time is taken when it comes, and hinders no other", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  for (const due_at of [BEYOND, "soon", 1e300]) {
    insert(path, { queue: "q", payload: "never", state: "delayed", due_at });
  }
  const id = await broker.push("q", bytes("now"));
  assert.equal((await takeOne(broker)).id, id);
  assert.equal((await broker.admin.depth("q")).delayed, 3);
});

Deno.test("A reserved job that no worker can have reserved so is ready when a lease has passed", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  const clock = new MovableClock();
  await using broker = openSqlite(path, { clock });
  const leases = [null, BEYOND, NO_UTF8, "host:1:x#1#7", "host:1:x#1#999999999999ms"];
  const dues = [0, BEYOND, "soon", 1e300, 1.5, clock.nowMs() + 3_600_000];
  for (const lease of leases) {
    for (const due_at of dues) insert(path, { queue: "q", payload: "x", state: "reserved", lease, due_at });
  }
  let taken = 0;
  await eventually("all are ready", async () => {
    clock.moveAhead(500);
    const deliveries = await takeNow(broker);
    taken += deliveries.length;
    await Promise.all(deliveries.map((delivery) => delivery.settle(ACK)));
    return taken === leases.length * dues.length;
  });
});

Deno.test("dead.list() shows dead letters as they can be, whatever is in their columns", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  const odd = {
    id: -7,
    attempts: "many",
    created_at: 1e300,
    due_at: BEYOND,
    error: NO_UTF8,
    errors: NO_UTF8,
  };
  insert(path, { queue: "q", payload: "odd", state: "dead", ...odd });
  insert(path, {
    queue: "q",
    payload: "deep",
    state: "dead",
    error: '{"code":'.repeat(100_000),
    errors: "[".repeat(100_000),
  });
  const letters = await broker.admin.dead.list({ limit: 10 });
  assert.equal(letters.length, 2);
  for (const [i, { place }] of letters.entries()) {
    assert.equal((await broker.admin.dead.list({ limit: 10, after: place })).length, 1 - i);
  }
  const letter = letters.find(({ id }) => id === "-7")!;
  assert.deepEqual(
    { ...letter, payload: new TextDecoder().decode(letter.payload) },
    {
      id: "-7",
      place: "9007199254740993:-7",
      queue: "q",
      payload: "odd",
      headers: {},
      attempts: NaN,
      enqueuedAtMs: 1e300,
      diedAtMs: Number(BEYOND),
      error: { code: "JOB_FAILED", message: "m\ufffd\0l" },
      earlierErrors: [],
    },
  );
  for (const id of ["", "x", "1e3", "99999999999999999999", "--7", "0x7"]) {
    assert.equal(await broker.admin.dead.get(id), undefined);
    assert.equal(await broker.admin.dead.remove([id]), 0);
  }
});

Deno.test("Names that are no text are told as they can be, and hinder no other", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  exec(path, "INSERT INTO fervo_jobs (queue, payload) VALUES (CAST(? AS TEXT), 'x')", NO_UTF8);
  exec(path, "INSERT INTO fervo_paused (queue, paused_at) VALUES (?, 'x')", NO_UTF8);
  exec(path, "INSERT INTO fervo_paused (queue, paused_at) VALUES ('paused', 1e300)");
  exec(path, "INSERT INTO fervo_paused VALUES ('text', 1, 'tomorrow', CAST(? AS TEXT))", NO_UTF8);
  exec(path, "INSERT INTO fervo_paused VALUES ('late', 1, ?, 5)", BEYOND);
  exec(path, "INSERT INTO fervo_schedule (name, rule, claimed_to) VALUES ('s', 'rule', ?)", BEYOND);
  await broker.push("q", bytes("a job"));
  await broker.push("with\0NUL", bytes("a job"));
  assert.deepEqual(await broker.admin.queues(), ["m\ufffd\0l", "q", "with\0NUL"]);
  assert.equal((await broker.admin.depth("with\0NUL")).ready, 1);
  assert.deepEqual(await broker.admin.pauses.list(), [
    { queue: "late", reason: "5" },
    { queue: "paused" },
    { queue: "text", reason: "m\ufffd\0l" },
    { queue: "m\ufffd\0l" },
  ]);
  assert.equal((await takeNow(broker, { queues: ["q", "with\0NUL", "paused"] })).length, 2);
  assert.deepEqual(await broker.admin.schedule.begin({ schedule: "s", rule: "rule", nowMs: 7 }), {
    claimedToMs: undefined,
    ahead: { untilMs: LATEST_MS, isAside: false },
  });
});

Deno.test("Ids go on exactly above the highest that a producer has given", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  insert(path, { id: 1_795_998_200_671_000_001n, queue: "q", payload: "snowflake" });
  const id = await broker.push("q", bytes("next"));
  assert.equal(id, "1795998200671000002");
  assert.deepEqual((await takeNow(broker)).map((delivery) => delivery.id), ["1795998200671000001", id]);
});

Deno.test("A push above the highest id says what is the matter, harms no other change, and works as it says", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  await broker.push("q", bytes("first"));
  insert(path, { id: HIGHEST_ID, queue: "q", payload: "highest" });
  const [first, highest] = await takeNow(broker);
  const [pushed, acked] = await Promise.allSettled([broker.push("q", bytes("more")), first!.settle(ACK)]);
  assert.equal(acked.status, "fulfilled");
  assert.ok(pushed.status === "rejected");
  assert.equal(pushed.reason.code, "QUEUE_UNAVAILABLE");
  assert.match(pushed.reason.message, /a job has the id 9223372036854775807, the highest possible/);
  const [, fix] = /sqlite3 FILE "(.*)"/.exec(pushed.reason.message)!;
  await highest!.settle(ACK);
  exec(path, fix!);
  assert.equal(await broker.push("q", bytes("more")), "1");
});
