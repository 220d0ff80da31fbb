/** What a database refuses: each a clear error, nothing is lost, and no other row is held up. */
import assert from "node:assert/strict";
import { schemaStatements } from "../../../../src/brokers/rows/fervo/schema/migrate.ts";
import { fervoTables } from "../../../../src/brokers/rows/fervo/tables.ts";
import {
  bytes,
  FAILED,
  pushAll,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "../../../conformance/fixture.ts";
import { eventually } from "../../../support/eventually.ts";
import { ACK, bury } from "../../../support/verdicts.ts";
import { Database, KINDS } from "./servers.ts";

const MIB = 1_048_576;
const NOTHING = { ready: 0, delayed: 0, reserved: 0, dead: 0 };

/** Rejects, and tells why. */
async function fails(why: RegExp, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error: Error & { code: string }) => {
    assert.equal(error.code, "QUEUE_UNAVAILABLE");
    assert.match(error.message, why);
    return true;
  });
}

for (const [product, kind] of Object.entries(KINDS)) {
  const isPostgres = product === "PostgreSQL";
  /** Waits until a statement of ours waits for a lock. */
  Deno.test(`${product}: a table that is missing is told, and the broker works once it is there`, async () => {
    await using database = await Database.create(kind);
    await using broker = database.open();
    await broker.push("q", bytes("before"));
    await database.sql("DROP TABLE fervo_jobs");
    for (const call of [() => broker.push("q", bytes("no")), () => takeNow(broker)]) {
      await fails(/a table is missing.*fervo_jobs/, call());
    }
    await fails(/a table is missing.*fervo_jobs/, broker.admin.depth!("q"));
    const tables = fervoTables(kind.driver.dialect, "fervo_");
    for (const statement of schemaStatements(product as "MariaDB", tables)) await database.sql(statement);
    await broker.push("q", bytes("after"));
    assert.equal(textOf(await takeOne(broker)), "after");
  });

  Deno.test(`${product}: a column that is missing is told, and is used once it is there`, async () => {
    await using database = await Database.create(kind);
    await using broker = database.open();
    await broker.push("q", bytes("before"));
    await database.sql("ALTER TABLE fervo_jobs DROP COLUMN taken_key");
    await fails(/a column is missing: compare the table.*taken_key/, takeNow(broker));
    await database.sql("ALTER TABLE fervo_jobs ADD COLUMN taken_key VARCHAR(255)");
    assert.equal(textOf(await takeOne(broker)), "before");
  });

  Deno.test(`${product}: a column of texts for payloads is read as it is, and never written as another text`, async () => {
    await using database = await Database.create(kind);
    await using before = database.open();
    await before.push("q", bytes("before"));
    // Its second connection, too, is one of before.
    await before.admin.queues!();
    await database.sql(
      isPostgres
        ? "ALTER TABLE fervo_jobs ALTER COLUMN payload TYPE text USING convert_from(payload, 'UTF8')"
        : "ALTER TABLE fervo_jobs MODIFY payload LONGTEXT",
    );
    const deliveries = await takeNow(before);
    assert.deepEqual(deliveries.map(textOf), ["before"]);
    for (const delivery of deliveries) await delivery.settle(bury(FAILED));
    const [letter] = await before.admin.dead!.list({ limit: 9 });
    assert.deepEqual(letter!.payload, bytes("before"));
    await using broker = database.open();
    const pushing = broker.push("q", bytes("after"));
    if (isPostgres) await fails(/the column payload of fervo_jobs is text, and must be bytea/, pushing);
    else await pushing;
  });

  Deno.test(`${product}: a locked table is told after the lock timeout, and nothing is lost`, async () => {
    await using database = await Database.create(kind);
    await using broker = database.open({ lockTimeoutMs: 100 });
    await broker.push("q", bytes("held"));
    const held = await takeOne(broker);
    await broker.push("q", bytes("ready"));
    const locker = await database.connect();
    if (isPostgres) await locker.run("BEGIN");
    await locker.run(isPostgres ? "LOCK TABLE fervo_jobs" : "LOCK TABLES fervo_jobs WRITE");
    const why = /another transaction holds a lock for too long/;
    await fails(why, broker.push("q", bytes("no")));
    await fails(why, held.settle(ACK));
    await fails(why, takeNow(broker));
    await locker.run(isPostgres ? "COMMIT" : "UNLOCK TABLES");
    await held.settle(ACK);
    assert.equal(textOf(await takeOne(broker)), "ready");
    assert.deepEqual(await broker.admin.depth!("q"), { ...NOTHING, reserved: 1 });
  });

  Deno.test(`${product}: a running job that somebody has locked ends no lease, neither its own nor those of others`, async () => {
    await using database = await Database.create(kind);
    await using broker = database.open({ lockTimeoutMs: 100 });
    await using other = database.open();
    await pushAll(broker, ["a", "b"]);
    const [a, b] = await take(broker, { max: 2 });
    await database.sql("UPDATE fervo_jobs SET due_at = 1");
    const locker = await database.connect();
    await locker.run("BEGIN");
    await locker.run(`SELECT payload FROM fervo_jobs WHERE id = ${a!.id} FOR UPDATE`);
    await Promise.all([a!.lease!.extend(), b!.lease!.extend()]);
    assert.equal(await database.count("fervo_jobs WHERE due_at > 1"), 1);
    assert.deepEqual(await takeNow(other), []);
    await locker.run("ROLLBACK");
    await a!.lease!.extend();
    assert.equal(await database.count("fervo_jobs WHERE due_at > 1"), 2);
    // One that is locked and no longer ours is lost.
    await database.sql("UPDATE fervo_jobs SET lease = 'another worker'");
    await locker.run("BEGIN");
    await locker.run(`SELECT payload FROM fervo_jobs WHERE id = ${a!.id} FOR UPDATE`);
    await rejectsWith("LEASE_LOST", a!.lease!.extend());
    await locker.run("ROLLBACK");
  });

  Deno.test(`${product}: an acknowledgement waits for a lock for a short part of a lease, for renewals wait behind it`, async () => {
    await using database = await Database.create(kind);
    await using broker = database.open({ leaseMs: 5_000, lockTimeoutMs: 600_000 });
    await pushAll(broker, ["a"]);
    const a = await takeOne(broker);
    const locker = await database.connect();
    await locker.run("BEGIN");
    await locker.run(`SELECT payload FROM fervo_jobs WHERE id = ${a.id} FOR UPDATE`);
    await soon("the failure", rejectsWith("QUEUE_UNAVAILABLE", a.settle(ACK)));
    await locker.run("ROLLBACK");
    await a.settle(ACK);
  });

  Deno.test(`${product}: rows that somebody has locked hold up no other row`, async () => {
    await using database = await Database.create(kind);
    await using broker = database.open({ lockTimeoutMs: 100 });
    await pushAll(broker, ["a", "b", "c", "d"]);
    const [a, b] = await take(broker, { max: 2 });
    const locker = await database.connect();
    await locker.run("BEGIN");
    for (const id of [a!.id, Number(b!.id) + 1]) {
      await locker.run(`SELECT payload FROM fervo_jobs WHERE id = ${id} FOR UPDATE`);
    }
    // Of ready jobs, the locked one is passed over.
    const [d, ...none] = await takeNow(broker);
    assert.deepEqual(none, []);
    assert.equal(textOf(d!), "d");
    // Acknowledgements of a turn fail together, and other changes of it do not.
    const [ackA, ackD, push] = await Promise.allSettled([
      a!.settle(ACK),
      d!.settle(ACK),
      broker.push("q", bytes("e")),
    ]);
    assert.ok(ackA.status === "rejected");
    assert.equal(ackA.reason.code, "QUEUE_UNAVAILABLE");
    assert.match(ackA.reason.message, /another transaction holds a lock for too long/);
    assert.equal(push.status, "fulfilled");
    // When it is made again beside the locked one, it no longer fails with it.
    const again = rejectsWith("QUEUE_UNAVAILABLE", a!.settle(ACK));
    if (ackD.status === "rejected") await d!.settle(ACK);
    await again;
    await locker.run("ROLLBACK");
    await a!.settle(ACK);
    await b!.settle(ACK);
    assert.deepEqual((await takeNow(broker)).map(textOf), ["c", "e"]);
  });

  Deno.test(`${product}: a deadlock is not told: the change is made again`, async () => {
    await using database = await Database.create(kind);
    await using broker = database.open({ lockTimeoutMs: 30_000 });
    await pushAll(broker, ["a", "b"]);
    const [a, b] = await take(broker, { max: 2 });
    const other = await database.connect();
    await other.run("BEGIN");
    await other.run(`UPDATE fervo_jobs SET priority = 1 WHERE id = ${b!.id}`);
    // Waits for b, and has a.
    const settling = Promise.all([a!.settle(ACK), b!.settle(ACK)]);
    await database.lockWait();
    // The server ends one of both.
    await other.run(`UPDATE fervo_jobs SET priority = 1 WHERE id = ${a!.id}`).catch((error) =>
      assert.equal(error.kind, "again")
    );
    await other.run("ROLLBACK");
    await soon("the settles", settling);
    assert.equal(await database.sql("SELECT count(*) FROM fervo_jobs"), "0");
  });

  Deno.test(`${product}: a statement timeout of the server is told, and nothing is lost`, async () => {
    await using server = await kind.start();
    await using database = await Database.create(kind, server);
    await using before = database.open();
    await before.push("q", bytes("a job"));
    await database.sql(
      isPostgres
        ? `ALTER DATABASE ${database.name} SET statement_timeout = '100ms'`
        : "SET GLOBAL max_statement_time = 0.1",
    );
    await using broker = database.open({ lockTimeoutMs: 20_000 });
    const delivery = await takeOne(broker);
    const locker = await database.connect();
    await locker.run("BEGIN");
    await locker.run("SELECT id FROM fervo_jobs FOR UPDATE");
    await fails(/the statement (?:was canceled: it )?took longer/, delivery.settle(ACK));
    await locker.run("ROLLBACK");
    await delivery.settle(ACK);
    assert.deepEqual(await broker.admin.depth!("q"), NOTHING);
  });

  Deno.test(`${product}: a server that is set read-only is told, and used again once it takes writes`, async () => {
    await using server = await kind.start();
    await using database = await Database.create(kind, server);
    const user = `w_${database.name}`;
    await database.sql(
      isPostgres
        ? `CREATE ROLE ${user} LOGIN; ALTER DATABASE ${database.name} OWNER TO ${user}; GRANT ALL ON SCHEMA public TO ${user}`
        : `CREATE USER ${user}; GRANT ALL ON ${database.name}.* TO ${user}`,
    );
    await using broker = database.open({ place: { user } });
    await broker.push("q", bytes("before"));
    const held = await takeOne(broker);
    await database.sql(
      isPostgres
        ? `ALTER DATABASE ${database.name} SET default_transaction_read_only = on;
           SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${user}'`
        : "SET GLOBAL read_only = 1",
    );
    await eventually("it is told", async () => {
      const error = await broker.push("q", bytes("no")).catch((error) => error);
      return /it is read-only|it is a replica, or set to be read-only/.test(error.message);
    });
    await rejectsWith("QUEUE_UNAVAILABLE", held.settle(ACK));
    await database.sql(
      isPostgres
        ? `SET default_transaction_read_only = off; ALTER DATABASE ${database.name} RESET default_transaction_read_only`
        : "SET GLOBAL read_only = 0",
    );
    await eventually("it is used", () => held.settle(ACK).then(() => true, () => false));
    assert.deepEqual(await broker.admin.depth!("q"), NOTHING);
  });

  Deno.test(`${product}: the limit of connections is told, and jobs go on over the one that is there`, async () => {
    await using server = await kind.start();
    await using database = await Database.create(kind, server);
    const user = `w_${database.name}`;
    await database.sql(
      isPostgres
        ? `CREATE ROLE ${user} LOGIN CONNECTION LIMIT 1; ALTER DATABASE ${database.name} OWNER TO ${user}; GRANT ALL ON SCHEMA public TO ${user}`
        : `CREATE USER ${user} WITH MAX_USER_CONNECTIONS 1; GRANT ALL ON ${database.name}.* TO ${user}`,
    );
    await using broker = database.open({ place: { user } });
    await broker.push("q", bytes("a job"));
    await fails(
      /too many connections|has reached a limit of its account, such as max_user_connections/,
      broker.admin.depth!("q"),
    );
    const delivery = await takeOne(broker);
    await delivery.settle(ACK);
    await database.sql(
      isPostgres ? `ALTER ROLE ${user} CONNECTION LIMIT 2` : `ALTER USER ${user} WITH MAX_USER_CONNECTIONS 2`,
    );
    assert.deepEqual(await broker.admin.depth!("q"), NOTHING);
  });

  Deno.test(`${product}: a payload of 20 MB is pushed, run, retried as another one and settled`, async () => {
    await using server = await kind.start(isPostgres ? {} : { config: ["max_allowed_packet = 64M"] });
    await using database = await Database.create(kind, server);
    await using broker = database.open();
    const large = crypto.getRandomValues(new Uint8Array(65_536));
    const payload = new Uint8Array(20 * MIB);
    for (let i = 0; i < payload.length; i += large.length) payload.set(large, i);
    await Promise.all([broker.push("q", payload), broker.push("q", bytes("small"))]);
    const deliveries = await takeNow(broker, { max: 2 });
    assert.equal(deliveries.length, 2);
    const [first, second] = deliveries;
    assert.deepEqual(first!.message.body, payload);
    assert.equal(textOf(second!), "small");
    await first!.settle({
      kind: "replace",
      message: { body: payload.toReversed(), headers: {} },
      delayMs: 0,
      error: FAILED,
    });
    const again = await takeOne(broker);
    assert.deepEqual(again.message.body, payload.toReversed());
    await again.settle(ACK);
    await second!.settle(ACK);
    assert.deepEqual(await broker.admin.depth!("q"), NOTHING);
  });
}

Deno.test("MariaDB: a payload beyond max_allowed_packet is refused, and the other changes of its turn are made", async () => {
  await using server = await KINDS["MariaDB"]!.start({ config: ["max_allowed_packet = 16M"] });
  await using database = await Database.create(KINDS["MariaDB"]!, server);
  await using broker = database.open();
  await broker.push("q", bytes("held"));
  const held = await takeOne(broker);
  const [large, small, ack] = await Promise.allSettled([
    broker.push("q", new Uint8Array(20 * MIB)),
    broker.push("q", bytes("small")),
    held.settle(ACK),
  ]);
  assert.ok(large.status === "rejected");
  assert.match(
    large.reason.message,
    /the statement is larger than the server accepts: raise its max_allowed_packet \(.*max_allowed_packet is 16777216\)/,
  );
  assert.deepEqual([small.status, ack.status], ["fulfilled", "fulfilled"]);
  assert.equal(textOf(await takeOne(broker)), "small");
});
