/** What any producer and any person can write into a table that others have made, without our constraints. */
import assert from "node:assert/strict";
import type { RowsBroker } from "../../../../src/brokers/rows/broker.ts";
import { JobError } from "../../../../src/core/errors.ts";
import { LATEST_MS } from "../../../../src/core/schedule_claims.ts";
import {
  bytes,
  problemOf,
  pushAll,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "../../../conformance/fixture.ts";
import { ACK, bury, RELEASE, retry } from "../../../support/verdicts.ts";
import { Database, KINDS } from "./servers.ts";

const HIGHEST = "9223372036854775807";
const LOWEST = "-9223372036854775808";
const BEYOND = "9007199254740993";

/** Values in SQL; and why the row cannot run. */
const ODD: readonly (readonly [column: string, value: string, reason?: RegExp])[] = [
  ["payload", "NULL", /"payload" is NULL/],
  ["attempts", "NULL", /"attempts" is null/],
  ["attempts", HIGHEST, /"attempts" is 9223372036854775807, and must be a whole number from 0 to/],
  ["attempts", LOWEST, /"attempts" is -9223372036854775808/],
  ["attempts", BEYOND, /"attempts" is 9007199254740993/],
  ["attempts", "-1", /"attempts" is -1/],
  ["max_attempts", "0", /"max_attempts" is 0, and must be a whole number from 1 to/],
  ["max_attempts", HIGHEST, /"max_attempts" is 9223372036854775807/],
  ["created_at", "NULL"],
  ["created_at", LOWEST],
  ["created_at", HIGHEST],
  ["due_at", "NULL"],
  ["due_at", "-1"],
  ["due_at", LOWEST],
  ["priority", "NULL"],
  ["priority", HIGHEST],
  ["priority", LOWEST],
  ["headers", "'no JSON'", /headers/],
  ["headers", "''", /headers/],
  ["headers", "'[1]'", /headers/],
  ["headers", `'{"a": 7}'`, /headers/],
  ["headers", `concat('{"a": "', repeat('x', 2000000), '"}')`, /headers/],
  ["headers", `concat(repeat('{"a":', 100000), '1', repeat('}', 100000))`, /headers/],
  ["lease", "'of a stranger'"],
  ["error", "'no JSON'"],
  ["errors", "repeat('[', 100000)"],
  ["errors", `'{"a": 1}'`],
  ["unique_key", "''"],
  ["taken_key", "'left behind'"],
  ["id", "-5"],
  ["id", "9223372036854775800"],
];

for (const [product, kind] of Object.entries(KINDS)) {
  const created = async () => {
    const database = await Database.create(kind);
    const broker = database.open({ maxPayloadBytes: 1_500_000 });
    await broker.admin.queues!();
    await loosen(product, database);
    return { database, broker };
  };

  for (const [column, value, reason] of ODD) {
    const told = value.length > 30 ? `${value.slice(0, 30)}…` : value;
    const outcome = reason ? "is a dead letter with the reason" : "runs";
    Deno.test(`${product}: a row with ${column} = ${told} ${outcome}, and hinders no other`, async () => {
      const { database, broker } = await created();
      await using _database = database;
      await using _broker = broker;
      await broker.push("q", bytes("before"));
      await insert(database, { [column]: value });
      if (value !== "9223372036854775800") await broker.push("q", bytes("after"));
      await meetsAll(broker, reason);
    });
  }

  Deno.test(`${product}: odd rows do not hinder a receive of one job`, async () => {
    const { database, broker } = await created();
    await using _database = database;
    await using _broker = broker;
    for (const [column, value] of ODD.filter(([column]) => !["id", "priority"].includes(column))) {
      await insert(database, { [column]: value });
    }
    await broker.push("q", bytes("after"));
    const odd = ODD.length - 5;
    for (let i = 0; i < odd; i++) {
      const delivery = await takeOne(broker, { max: 1 });
      const problem = problemOf(delivery);
      await delivery.settle(problem ? bury(problem) : ACK);
    }
    assert.equal(textOf(await takeOne(broker, { max: 1 })), "after");
  });

  Deno.test(`${product}: rows of no queue or of an unknown state are never taken, and hinder no other`, async () => {
    const { database, broker } = await created();
    await using _database = database;
    await using _broker = broker;
    await insert(database, { queue: "NULL" });
    await insert(database, { state: "NULL" });
    await insert(database, { state: "'odd'" });
    await insert(database, { queue: "NULL", state: "'dead'" });
    await broker.push("q", bytes("a job"));
    const [delivery, ...none] = await takeNow(broker);
    assert.deepEqual(none, []);
    assert.equal(textOf(delivery!), "a job");
    assert.deepEqual(await broker.admin.queues!(), ["q"]);
    assert.deepEqual(await broker.admin.dead!.list({ limit: 10 }), []);
    await delivery!.settle(ACK);
    assert.equal(await database.sql("SELECT count(*) FROM fervo_jobs"), "4");
  });

  Deno.test(`${product}: a delayed job whose time is absurd hinders no other`, async () => {
    const { database, broker } = await created();
    await using _database = database;
    await using _broker = broker;
    for (const due_at of [HIGHEST, BEYOND, "NULL"]) await insert(database, { state: "'delayed'", due_at });
    for (const due_at of [HIGHEST, BEYOND]) await insert(database, { due_at });
    await broker.push("q", bytes("a job"));
    assert.equal(textOf(await takeOne(broker)), "a job");
    assert.deepEqual(await takeNow(broker), []);
    assert.deepEqual(await broker.admin.depth!("q"), { ready: 0, delayed: 5, reserved: 1, dead: 0 });
    const { jobs } = await broker.admin.jobs!("q", "delayed", { limit: 10 });
    assert.equal(jobs.length, 5);
  });

  Deno.test(`${product}: 5,000 ready jobs of a later time in front of others do not hinder these`, async () => {
    const { database, broker } = await created();
    await using _database = database;
    await using _broker = broker;
    const statement =
      `INSERT INTO fervo_jobs (queue, payload, due_at, priority) VALUES ('q', 'later', ${BEYOND}, 1)`;
    await database.sql(
      Array.from({ length: 50 }, () => statement + `, ('q', 'later', ${BEYOND}, 1)`.repeat(99)).join(";"),
    );
    const names = Array.from({ length: 20 }, (_, i) => `job ${i}`);
    await pushAll(broker, names);
    const received: string[] = [];
    await soon(
      "the ready jobs",
      (async () => {
        while (received.length < names.length) {
          for (const delivery of await take(broker, { max: 5 })) {
            received.push(textOf(delivery));
            await delivery.settle(ACK);
          }
        }
      })(),
    );
    assert.deepEqual(received, names);
    // A receive finds no more, and leaves none of them in the way.
    assert.deepEqual(await takeNow(broker), []);
    assert.deepEqual(await broker.admin.depth!("q"), { ready: 0, delayed: 5_000, reserved: 0, dead: 0 });
  });

  Deno.test(`${product}: dead.list() shows dead letters as they can be, whatever is in their columns`, async () => {
    const { database, broker } = await created();
    await using _database = database;
    await using _broker = broker;
    const dead = { state: "'dead'" };
    await insert(database, { ...dead, id: "-7", due_at: LOWEST, attempts: "NULL", error: "'no JSON'" });
    await insert(database, { ...dead, id: "7", due_at: HIGHEST, payload: "NULL", errors: "'[7]'" });
    await insert(database, { ...dead, id: "8", due_at: "NULL", created_at: "NULL", headers: "'[7]'" });
    const letters = await broker.admin.dead!.list({ limit: 10 });
    assert.deepEqual(letters.map(({ id }) => id), ["7", "8", "-7"]);
    assert.deepEqual(letters.map(({ error }) => error.message), [
      "No error was recorded",
      "No error was recorded",
      "no JSON",
    ]);
    assert.deepEqual(
      (await broker.admin.dead!.list({ limit: 10, after: letters[0]!.place })).at(-1)!.id,
      "-7",
    );
    for (const id of ["", "x", "1e3", "99999999999999999999", "--7", "0x7", "9223372036854775808"]) {
      assert.equal(await broker.admin.dead!.get(id), undefined);
      assert.equal(await broker.admin.dead!.remove([id]), 0);
    }
    assert.equal(await broker.admin.dead!.remove(letters.map(({ id }) => id)), 3);
  });

  Deno.test(`${product}: pauses and schedules that a person wrote are read as they can be`, async () => {
    const { database, broker } = await created();
    await using _database = database;
    await using _broker = broker;
    await database.sql(
      `INSERT INTO fervo_paused (queue, paused_at, until_at, reason) VALUES ('late', 1, ${HIGHEST}, 'no JSON'), ('over', 1, ${LOWEST}, NULL);` +
        `INSERT INTO fervo_schedule (name, rule, claimed_to, spans) VALUES ('s', 'rule', ${HIGHEST}, 'no spans')`,
    );
    const [pause, ...none] = await broker.admin.pauses!.list();
    assert.deepEqual(none, []);
    assert.deepEqual([pause!.queue, pause!.reason], ["late", "no JSON"]);
    assert.deepEqual(
      await broker.admin.schedule!.begin({ schedule: "s", rule: "rule", nowMs: 7 }),
      { claimedToMs: undefined, ahead: { untilMs: LATEST_MS, isAside: false } },
    );
  });
}

/** Takes the constraints from the table, and the defaults stay. */
async function loosen(product: string, database: Database): Promise<void> {
  if (product === "PostgreSQL") {
    await database.sql(
      `DO $$ DECLARE c name; BEGIN FOR c IN SELECT conname FROM pg_constraint
         WHERE conrelid = 'fervo_jobs'::regclass AND contype = 'c' LOOP
         EXECUTE 'ALTER TABLE fervo_jobs DROP CONSTRAINT ' || quote_ident(c); END LOOP; END $$`,
    );
    const columns = ["queue", "payload", "state", "priority", "created_at", "due_at", "attempts"];
    await database.sql(
      `ALTER TABLE fervo_jobs ${columns.map((column) => `ALTER COLUMN ${column} DROP NOT NULL`).join()}`,
    );
    return;
  }
  const now = "(CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED))";
  await database.sql(
    `ALTER TABLE fervo_jobs MODIFY queue VARCHAR(255) COLLATE utf8mb4_nopad_bin, MODIFY payload LONGBLOB,
       MODIFY state VARCHAR(8) DEFAULT 'ready', MODIFY priority BIGINT DEFAULT 0, MODIFY attempts BIGINT DEFAULT 0,
       MODIFY max_attempts BIGINT, MODIFY created_at BIGINT DEFAULT ${now}, MODIFY due_at BIGINT DEFAULT ${now}`,
  );
}

/** All that a job can meet, until it is a dead letter, is looked at, is retried, and is removed. */
async function meetsAll(broker: RowsBroker, reason: RegExp | undefined): Promise<void> {
  assert.ok(await broker.admin.latencyMs!("q") as number >= 0);
  assert.ok((await broker.admin.jobs!("q", "ready", { limit: 10 })).jobs.length >= 2);
  const census = await broker.admin.census!(["q"]);
  const deliveries = await takeNow(broker);
  assert.equal(census.ready.get("q"), deliveries.length);
  const odd = deliveries.filter((delivery) => !["before", "after"].includes(textOf(delivery)));
  assert.equal(odd.length, 1);
  for (const delivery of deliveries) {
    const problem = problemOf(delivery);
    assert.equal(problem?.code, delivery === odd[0] && reason ? "JOB_MALFORMED" : undefined);
    if (problem) assert.match(problem.message, reason!);
    assert.ok(Number.isSafeInteger(delivery.attempt) && delivery.attempt! >= 1);
    await delivery.lease!.extend();
  }
  assert.equal((await broker.admin.jobs!("q", "reserved", { limit: 10 })).jobs.length, deliveries.length);
  for (const delivery of deliveries) {
    const problem = problemOf(delivery);
    await delivery.settle(problem ? bury(problem) : RELEASE);
  }
  for (const delivery of await takeNow(broker)) {
    await delivery.settle(retry(0, new JobError("JOB_FAILED", "once")));
  }
  for (const delivery of await takeNow(broker)) {
    if (delivery.id === odd[0]!.id) await delivery.settle(bury(new JobError("JOB_FAILED", "twice")));
    else await delivery.settle(ACK);
  }
  assert.deepEqual(await broker.admin.depth!("q"), { ready: 0, delayed: 0, reserved: 0, dead: 1 });
  const dead = broker.admin.dead!;
  const [letter, ...none] = await dead.list({ queue: "q", limit: 10 });
  assert.deepEqual(none, []);
  assert.equal(letter!.id, odd[0]!.id);
  assert.match(letter!.error.message, reason ?? /twice/);
  assert.deepEqual(await dead.get(letter!.id), letter);
  assert.deepEqual(await dead.list({ after: letter!.place, limit: 10 }), []);
  assert.equal(await dead.retry([letter!.id]), 1);
  const again = await takeOne(broker);
  assert.equal(again.id, letter!.id);
  assert.equal(again.attempt, 1);
  await again.settle(bury(new JobError("JOB_FAILED", "again")));
  assert.equal(await dead.remove([letter!.id]), 1);
  assert.deepEqual(await broker.admin.queues!(), []);
}

/** Inserts as a producer does. */
async function insert(database: Database, columns: Readonly<Record<string, string>>): Promise<void> {
  const values = { queue: "'q'", payload: "'odd'", ...columns };
  await database.sql(
    `INSERT INTO fervo_jobs (${Object.keys(values).join()}) VALUES (${Object.values(values).join()})`,
  );
}
