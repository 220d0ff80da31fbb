import assert from "node:assert/strict";
import type { RowsBroker } from "../../../../../src/brokers/rows/broker.ts";
import type { Finding } from "../../../../../src/core/finding.ts";
import { MYSQL } from "../../../../../src/sql/mysql.ts";
import { bytes, rejectsWith } from "../../../../conformance/fixture.ts";
import { type MariadbDatabase, MariadbServer } from "../../../../support/mariadb_server.ts";
import { openRows, type OpenRowsOptions } from "../broker.ts";

const PACKET = "max_allowed_packet = 64M";
const server = await MariadbServer.start({ syncs: true, hasMovableClock: true, config: [PACKET] });
Deno.test.afterAll(() => server[Symbol.asyncDispose]());

function open(database: MariadbDatabase, options: OpenRowsOptions = {}, user = "root"): RowsBroker {
  return openRows(MYSQL, { address: database.server.address, user, database: database.name }, options);
}

async function findingsOf(broker: RowsBroker): Promise<Finding[]> {
  return await broker.admin.findings!(["q"]);
}

/** The findings that are not in order. */
async function troubles(broker: RowsBroker): Promise<Finding[]> {
  return (await findingsOf(broker)).filter(({ severity }) => severity !== "ok");
}

Deno.test("findings() on MariaDB tell that a server and its table are set up well", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  assert.deepEqual((await findingsOf(broker)).map(({ id, severity }) => `${id} ${severity}`), [
    "mysql.version ok",
    "mysql.isolation ok",
    "mysql.strictness ok",
    "mysql.columns ok",
    "mysql.indexes ok",
    "mysql.durability ok",
    "mysql.clock ok",
    "mysql.rights ok",
  ]);
});

Deno.test("findings() on MariaDB name each index that is missing or of other columns, with a statement that works", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  await database.sql("ALTER TABLE fervo_jobs DROP INDEX ready, DROP INDEX due, DROP INDEX unique_key");
  await database.sql("ALTER TABLE fervo_jobs ADD INDEX ready (state, queue(10), priority, id)");
  const found = await troubles(broker);
  assert.deepEqual(found.map(({ id, severity, what, fix }) => [id, severity, what, fix]), [
    [
      "mysql.indexes",
      "error",
      "the index ready is of (state, queue(10), priority, id), and (state, queue, priority DESC, id) is needed",
      "ALTER TABLE `fervo_jobs` DROP INDEX ready; then ALTER TABLE `fervo_jobs` ADD INDEX ready (state, queue, priority DESC, id)",
    ],
    [
      "mysql.indexes",
      "error",
      "the table fervo_jobs lacks the index due",
      "ALTER TABLE `fervo_jobs` ADD INDEX due (state, queue, due_at, id)",
    ],
    [
      "mysql.indexes",
      "warning",
      "the table fervo_jobs lacks the index unique_key",
      "ALTER TABLE `fervo_jobs` ADD UNIQUE INDEX unique_key (queue, unique_key)",
    ],
  ]);
  for (const { fix } of found) {
    for (const statement of fix!.split("; then ")) await database.sql(statement);
  }
  assert.deepEqual(await troubles(broker), []);
  await database.sql("ALTER TABLE fervo_jobs ALTER INDEX due IGNORED");
  assert.deepEqual((await troubles(broker)).map(({ what }) => what), [
    "the server does not use the index due: it is not complete, or was hidden",
  ]);
});

Deno.test("findings() on MariaDB name columns that are missing, of another type, or may be NULL", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.admin.queues!();
  await database.sql(
    "ALTER TABLE fervo_jobs DROP COLUMN errors, MODIFY payload BLOB NOT NULL, MODIFY priority BIGINT NULL, " +
      "MODIFY queue VARCHAR(255) COLLATE utf8mb4_general_ci NOT NULL, MODIFY due_at BIGINT UNSIGNED NOT NULL",
  );
  assert.deepEqual((await troubles(broker)).map(({ severity, what }) => [severity, what]), [
    ["error", "the table fervo_jobs has no column errors"],
    ["error", "the column queue of fervo_jobs is varchar(255) utf8mb4_general_ci"],
    ["error", "the column payload of fervo_jobs is blob"],
    ["error", "the column due_at of fervo_jobs is bigint(20) unsigned"],
    ["warning", "the column priority of fervo_jobs may be NULL"],
  ]);
});

Deno.test("findings() on MariaDB tell of a table without transactions", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  await database.sql("ALTER TABLE fervo_jobs ENGINE = Aria");
  const [finding, ...none] = await troubles(broker);
  assert.deepEqual(none, []);
  assert.deepEqual([finding!.id, finding!.what], [
    "mysql.engine",
    "the engine of the table fervo_jobs is Aria",
  ]);
  await database.sql(finding!.fix!);
  assert.deepEqual(await troubles(broker), []);
});

Deno.test("findings() on MariaDB tell of settings that lose or refuse jobs", async () => {
  await using careless = await MariadbServer.start({ config: ["max_allowed_packet = 16M"] });
  await using database = await careless.database();
  await using broker = open(database);
  assert.deepEqual((await troubles(broker)).map(({ id, severity, what }) => [id, severity, what]), [
    ["mysql.durability", "warning", "innodb_flush_log_at_trx_commit is 2"],
    [
      "mysql.max_allowed_packet",
      "notice",
      "max_allowed_packet is 16777216, and max_payload_bytes is 67108864",
    ],
  ]);
  await careless.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 0");
  await using small = open(database, { maxPayloadBytes: 16_777_216 });
  assert.deepEqual((await troubles(small)).map(({ what }) => what), [
    "innodb_flush_log_at_trx_commit is 0",
  ]);
});

Deno.test("findings() on MariaDB tell of a binary log that refuses the worker's writes", async () => {
  await using logging = await MariadbServer.start({
    syncs: true,
    config: [PACKET, "log_bin = binlog", "binlog_format = ROW"],
  });
  await using database = await logging.database();
  await using before = open(database);
  await before.push("q", bytes("x"));
  assert.deepEqual(await troubles(before), []);
  await logging.sql("SET GLOBAL binlog_format = 'STATEMENT'");
  await using after = open(database);
  assert.deepEqual((await troubles(after)).map(({ id, severity, what }) => [id, severity, what]), [
    ["mysql.binlog_format", "error", "binlog_format is STATEMENT"],
  ]);
  await assert.rejects(after.push("q", bytes("y")), {
    code: "QUEUE_UNAVAILABLE",
    message: /set binlog_format = ROW or MIXED/,
  });
  await using other = await logging.database();
  await using creating = open(other);
  await rejectsWith("QUEUE_UNAVAILABLE", findingsOf(creating));
});

Deno.test("findings() on MariaDB tell of clocks that differ", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await server.passTime(-60_000);
  try {
    const [finding, ...none] = await troubles(broker);
    assert.deepEqual(none, []);
    assert.match(finding!.what, /^its clock is (?:59|60|61) seconds behind ours$/);
  } finally {
    await server.passTime(60_000);
  }
});

Deno.test("findings() on MariaDB tell of each right that is missing, with the statement that grants it", async () => {
  await using database = await server.database();
  await using owner = open(database);
  await owner.push("q", bytes("x"));
  const user = `'w_${database.name}'@'%'`;
  await database.sql(`CREATE USER ${user}; GRANT SELECT ON fervo_schema TO ${user}`);
  try {
    await using broker = open(database, { createTables: false }, `w_${database.name}`);
    const found = await troubles(broker);
    const rights = found.filter(({ id }) => id === "mysql.rights");
    assert.deepEqual(rights.map(({ what }) => what.replace("the user lacks the right ", "")), [
      "SELECT on fervo_jobs",
      "INSERT on fervo_jobs",
      "UPDATE on fervo_jobs",
      "DELETE on fervo_jobs",
      "SELECT on fervo_paused",
      "INSERT on fervo_paused",
      "DELETE on fervo_paused",
      "SELECT on fervo_schedule",
      "INSERT on fervo_schedule",
      "UPDATE on fervo_schedule",
      "DELETE on fervo_schedule",
    ]);
    for (const { fix } of rights) {
      await database.sql(/GRANT .*/.exec(fix!)![0].replace("the user of [brokers.NAME]", user));
    }
    assert.deepEqual(await troubles(broker), []);
    await using creating = open(database, { createTables: true }, `w_${database.name}`);
    assert.deepEqual((await troubles(creating)).map(({ severity, what }) => [severity, what]), [
      ["notice", "the user lacks the right CREATE on the database"],
    ]);
  } finally {
    await database.sql(`DROP USER ${user}`);
  }
});

Deno.test("findings() on MariaDB tell when few connections are left", async () => {
  await using small = await MariadbServer.start({ syncs: true, config: [PACKET, "max_connections = 10"] });
  await using database = await small.database();
  const brokers = Array.from({ length: 9 }, () => open(database));
  try {
    for (const broker of brokers.slice(1)) await broker.push("q", bytes("x"));
    assert.deepEqual((await troubles(brokers[0]!)).map(({ id, what }) => [id, what]), [
      ["mysql.connections", "9 of 10 connections are in use"],
    ]);
  } finally {
    for (const broker of brokers) await broker.close();
  }
});
