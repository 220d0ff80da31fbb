import assert from "node:assert/strict";
import type { RowsBroker } from "../../../../../src/brokers/rows/broker.ts";
import type { Finding } from "../../../../../src/core/finding.ts";
import { POSTGRES } from "../../../../../src/sql/postgres.ts";
import { bytes } from "../../../../conformance/fixture.ts";
import { eventually } from "../../../../support/eventually.ts";
import { MovableClock } from "../../../../support/movable_clock.ts";
import { PgBouncer } from "../../../../support/pgbouncer.ts";
import { ADMINISTRATOR } from "../../../../support/postgres_programs.ts";
import { type PostgresDatabase, PostgresServer } from "../../../../support/postgres_server.ts";
import { openRows, type OpenRowsOptions } from "../broker.ts";

const server = await PostgresServer.start({ syncs: true, hasMovableClock: true });
Deno.test.afterAll(() => server[Symbol.asyncDispose]());

function open(database: PostgresDatabase, options: OpenRowsOptions = {}, user = ADMINISTRATOR): RowsBroker {
  return openRows(POSTGRES, { address: database.server.address, user, database: database.name }, options);
}

async function findingsOf(broker: RowsBroker): Promise<Finding[]> {
  return await broker.admin.findings!(["q"]);
}

/** The findings that are not in order. */
async function troubles(broker: RowsBroker): Promise<Omit<Finding, "why">[]> {
  return (await findingsOf(broker)).filter(({ severity }) => severity !== "ok")
    .map(({ why: _, ...finding }) => finding);
}

Deno.test("findings() on PostgreSQL tell that a server and its table are set up well", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  assert.deepEqual((await findingsOf(broker)).map(({ id, severity }) => `${id} ${severity}`), [
    "postgres.version ok",
    "postgres.isolation ok",
    "postgres.columns ok",
    "postgres.indexes ok",
    "postgres.durability ok",
    "postgres.autovacuum ok",
    "postgres.clock ok",
    "postgres.rights ok",
  ]);
});

Deno.test("findings() on PostgreSQL name each index that is missing, with a statement that works", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  await database.sql("DROP INDEX fervo_jobs_ready, fervo_jobs_due, fervo_jobs_unique_key");
  const found = await troubles(broker);
  assert.deepEqual(
    found.map(({ id, severity, what, fix }) => [id, severity, what, fix]),
    [
      [
        "postgres.indexes",
        "error",
        "the table fervo_jobs lacks the index fervo_jobs_ready",
        `CREATE INDEX CONCURRENTLY "fervo_jobs_ready" ON "fervo_jobs" (queue, priority DESC, id) WHERE state = 'ready'`,
      ],
      [
        "postgres.indexes",
        "error",
        "the table fervo_jobs lacks the index fervo_jobs_due",
        `CREATE INDEX CONCURRENTLY "fervo_jobs_due" ON "fervo_jobs" (state, queue, due_at, id) WHERE state <> 'ready'`,
      ],
      [
        "postgres.indexes",
        "warning",
        "the table fervo_jobs lacks the index fervo_jobs_unique_key",
        `CREATE UNIQUE INDEX CONCURRENTLY "fervo_jobs_unique_key" ON "fervo_jobs" (queue, unique_key) WHERE unique_key IS NOT NULL`,
      ],
    ],
  );
  for (const { fix } of found) await database.sql(fix!);
  assert.deepEqual(await troubles(broker), []);
});

Deno.test("findings() on PostgreSQL tell of an index of other columns, and accept one of another name", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  await database.sql("ALTER INDEX fervo_jobs_due RENAME TO by_due_at");
  await database.sql("DROP INDEX fervo_jobs_ready");
  await database.sql(
    "CREATE INDEX fervo_jobs_ready ON fervo_jobs (queue, priority, id) WHERE state = 'ready'",
  );
  const [finding, ...none] = await troubles(broker);
  assert.deepEqual(none, []);
  assert.match(
    finding!.what,
    /^the index fervo_jobs_ready is of \(queue, priority, id\) WHERE .*, and \(queue, priority DESC, id\) WHERE state = 'ready' is needed$/,
  );
  for (const statement of finding!.fix!.split("; then ")) await database.sql(statement);
  assert.deepEqual(await troubles(broker), []);
});

Deno.test("findings() on PostgreSQL tell of an index that was not built to its end", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  await database.sql("DROP INDEX fervo_jobs_ready");
  await database.sql(
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'fervo_jobs_due'::regclass",
  );
  assert.deepEqual((await troubles(broker)).map(({ what }) => what), [
    "the table fervo_jobs lacks the index fervo_jobs_ready",
    "the server does not use the index fervo_jobs_due: it is not complete, or was hidden",
  ]);
});

Deno.test("findings() on PostgreSQL name columns that are missing, of another type, or may be NULL", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  await database.sql("ALTER TABLE fervo_jobs DROP COLUMN errors, ALTER COLUMN headers TYPE varchar(10)");
  await database.sql(
    "ALTER TABLE fervo_jobs ALTER COLUMN queue DROP NOT NULL, ALTER COLUMN lease TYPE varchar(20)",
  );
  const found = await troubles(broker);
  assert.deepEqual(found.map(({ severity, what }) => [severity, what]), [
    ["error", "the table fervo_jobs has no column errors"],
    ["error", "the column headers of fervo_jobs is character varying(10)"],
    ["error", "the column lease of fervo_jobs is character varying(20)"],
    ["warning", "the column queue of fervo_jobs may be NULL"],
  ]);
  assert.equal(found[3]!.fix, 'ALTER TABLE "fervo_jobs" ALTER COLUMN queue SET NOT NULL');
});

Deno.test("findings() on PostgreSQL tell what a crash of the server loses", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  await database.sql("ALTER TABLE fervo_jobs SET UNLOGGED");
  const [unlogged] = await troubles(broker);
  assert.deepEqual([unlogged!.id, unlogged!.what], [
    "postgres.durability",
    "the table fervo_jobs is unlogged",
  ]);
  await database.sql(unlogged!.fix!);
  assert.deepEqual(await troubles(broker), []);
  await database.sql(`ALTER DATABASE ${database.name} SET synchronous_commit = off`);
  await using later = open(database);
  assert.deepEqual((await troubles(later)).map(({ what }) => what), ["synchronous_commit is off"]);
});

Deno.test("findings() on PostgreSQL tell of a server without fsync, and of one without autovacuum", async () => {
  await using careless = await PostgresServer.start({ config: ["autovacuum = off"] });
  await using database = await careless.database();
  await using broker = open(database);
  assert.deepEqual((await troubles(broker)).map(({ id, what, fix }) => [id, what, fix]), [
    ["postgres.durability", "fsync is off", "in postgresql.conf: fsync = on"],
    [
      "postgres.autovacuum",
      "autovacuum does not run on fervo_jobs: autovacuum is off",
      "in postgresql.conf: autovacuum = on",
    ],
  ]);
});

Deno.test("findings() on PostgreSQL tell of dead rows, and of a table without autovacuum", async () => {
  await using database = await server.database();
  await using broker = open(database);
  await broker.push("q", bytes("x"));
  await database.sql("ALTER TABLE fervo_jobs SET (autovacuum_enabled = off)");
  await database.sql(
    "INSERT INTO fervo_jobs (queue, payload) SELECT 'q', 'x' FROM generate_series(1, 110000)",
  );
  await database.sql("DELETE FROM fervo_jobs WHERE id > 1");
  let found: Omit<Finding, "why">[] = [];
  await eventually("the server has counted", async () => (found = await troubles(broker)).length === 2);
  assert.equal(
    found[0]!.what,
    "autovacuum does not run on fervo_jobs: autovacuum_enabled of the table is off",
  );
  assert.match(found[1]!.what, /^the table fervo_jobs has 110000 dead rows and \d live$/);
  for (const { fix } of found) {
    for (const statement of fix!.split("; and ")) await database.sql(statement);
  }
  await eventually("the server has counted", async () => (await troubles(broker)).length === 0);
});

Deno.test("findings() on PostgreSQL tell of an old transaction that VACUUM waits for, and of clocks that differ", async () => {
  await using database = await server.database();
  const clock = new MovableClock();
  await using broker = open(database, { clock });
  await broker.push("q", bytes("x"));
  await using idle = openTransaction(database);
  await idle.begun;
  assert.deepEqual(await troubles(broker), []);
  await server.passTime(2 * 3_600_000);
  try {
    const found = await troubles(broker);
    assert.deepEqual(found.map(({ id, severity }) => `${id} ${severity}`), [
      "postgres.xmin_horizon warning",
      "postgres.clock warning",
    ]);
    assert.match(found[0]!.what, /^the transaction of process \d+ \("psql"\) is 72\d\d seconds old$/);
    assert.match(found[1]!.what, /^its clock is 7(?:199|200|201) seconds ahead of ours$/);
    const [terminate] = /SELECT pg_terminate_backend\(\d+\)/.exec(found[0]!.fix!)!;
    await database.sql(terminate!);
    clock.moveAhead(2 * 3_600_000);
    await eventually("it is gone", async () => (await troubles(broker)).length === 0);
  } finally {
    await server.passTime(-2 * 3_600_000);
  }
});

/** Another program, whose transaction has written and does nothing more. */
function openTransaction(database: PostgresDatabase) {
  const args = [
    "--no-psqlrc",
    "--quiet",
    `--host=${database.server.folder}`,
    "--port=5432",
    `--username=${ADMINISTRATOR}`,
    `--dbname=${database.name}`,
  ];
  const child = new Deno.Command("psql", { args, stdin: "piped", stdout: "null", stderr: "null" }).spawn();
  const writer = child.stdin.getWriter();
  const text = new TextEncoder().encode(
    "BEGIN; INSERT INTO fervo_jobs (queue, payload) VALUES ('other', 'x');\n",
  );
  const begun = writer.write(text).then(() =>
    eventually(
      "it has begun",
      async () =>
        await database.sql(
          "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql' AND state = 'idle in transaction'",
        ) === "1",
    )
  );
  return {
    begun,
    async [Symbol.asyncDispose]() {
      await writer.close().catch(() => {});
      await child.status;
    },
  };
}

Deno.test("findings() on PostgreSQL tell of each right that is missing, with the statement that grants it", async () => {
  await using database = await server.database();
  await using owner = open(database);
  await owner.push("q", bytes("x"));
  const role = `worker_${database.name}`;
  await database.sql(`CREATE ROLE ${role} LOGIN`);
  try {
    await database.sql(`GRANT SELECT ON fervo_schema TO ${role}`);
    await using broker = open(database, { createTables: false }, role);
    const found = await troubles(broker);
    assert.deepEqual(
      found.map(({ what }) => what.replace("the user lacks the right ", "")),
      [
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
      ],
    );
    for (const { fix } of found) {
      await database.sql(/GRANT .*/.exec(fix!)![0].replace("the user of [brokers.NAME]", role));
    }
    assert.deepEqual(await troubles(broker), []);
    await broker.push("q", bytes("y"));
    await using creating = open(database, { createTables: true }, role);
    assert.deepEqual((await troubles(creating)).map(({ severity, what }) => [severity, what]), [
      ["notice", "the user lacks the right CREATE on the schema of the tables"],
    ]);
    // A sequence, unlike an identity column, has rights of its own.
    await database.sql(
      "ALTER TABLE fervo_jobs ALTER COLUMN id DROP IDENTITY; CREATE SEQUENCE ids START 100 OWNED BY fervo_jobs.id; " +
        "ALTER TABLE fervo_jobs ALTER COLUMN id SET DEFAULT nextval('ids')",
    );
    assert.deepEqual((await troubles(broker)).map(({ severity, what }) => [severity, what]), [
      ["error", "the user lacks the right USAGE on the sequence of fervo_jobs.id"],
    ]);
  } finally {
    await database.sql(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});

Deno.test("findings() behind PgBouncer say so, and are otherwise the server's", async () => {
  await using database = await server.database();
  await using bouncer = await PgBouncer.start(server);
  await using broker = openRows(POSTGRES, {
    address: bouncer.address,
    user: ADMINISTRATOR,
    database: database.name,
  });
  await database.sql(`ALTER DATABASE ${database.name} SET default_transaction_isolation = 'serializable'`);
  assert.deepEqual((await findingsOf(broker)).map(({ id, severity }) => `${id} ${severity}`), [
    "postgres.version ok",
    "postgres.pooler notice",
    "postgres.isolation ok",
    "postgres.columns ok",
    "postgres.indexes ok",
    "postgres.durability ok",
    "postgres.autovacuum ok",
    "postgres.clock ok",
    "postgres.rights ok",
  ]);
});

Deno.test("findings() on PostgreSQL tell when few connections are left, of the server or of the database", async () => {
  await using small = await PostgresServer.start({ syncs: true, config: ["max_connections = 9"] });
  await using database = await small.database();
  const brokers = await Promise.all([1, 2, 3].map(async () => {
    const broker = open(database);
    await broker.push("q", bytes("x"));
    return broker;
  }));
  try {
    await database.sql(`ALTER DATABASE ${database.name} CONNECTION LIMIT 5`);
    // One connection each, and those of the question and of a process of the server.
    const found = await troubles(brokers[0]!);
    assert.ok(found.length > 0);
    for (const { id, what } of found) {
      assert.equal(id, "postgres.connections");
      assert.match(what, /^\d of [56] connections are in use$/);
    }
  } finally {
    for (const broker of brokers) await broker.close();
  }
});
