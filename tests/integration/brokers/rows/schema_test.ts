import assert from "node:assert/strict";
import { migrate, schemaVersion } from "../../../../src/brokers/rows/fervo/schema/migrate.ts";
import { type Migration, MIGRATIONS } from "../../../../src/brokers/rows/fervo/schema/versions.ts";
import { type FervoTables, fervoTables } from "../../../../src/brokers/rows/fervo/tables.ts";
import type { SqlClient } from "../../../../src/sql/driver.ts";
import { SqlFailure } from "../../../../src/sql/failure.ts";
import { bytes, rejectsWith, takeOne, textOf } from "../../../conformance/fixture.ts";
import { soon } from "../../../support/soon.ts";
import { Database, KINDS } from "./servers.ts";

/** Two versions after ours: a further column, and a table with a row. */
const NEXT: readonly Migration[] = [
  ...MIGRATIONS,
  (
    _product,
    { jobs },
  ) => [`ALTER TABLE ${jobs.quoted} ADD COLUMN colour VARCHAR(10) NOT NULL DEFAULT 'blue'`],
  () => [
    "CREATE TABLE IF NOT EXISTS fervo_notes (note VARCHAR(20))",
    "INSERT INTO fervo_notes VALUES ('made once')",
  ],
];

for (const [product, kind] of Object.entries(KINDS)) {
  const { driver } = kind;
  const tables = fervoTables(driver.dialect, "fervo_");
  const test = (claim: string, run: (database: Database) => Promise<void>) =>
    Deno.test(`migrate() on ${product} ${claim}`, async () => {
      await using database = await Database.create(kind);
      await run(database);
    });

  test("creates the tables once, and changes nothing from then on", async (database) => {
    const client = await database.connect();
    assert.equal(await schemaVersion(client, tables), 0);
    await migrate(client, tables, true);
    assert.equal(await schemaVersion(client, tables), MIGRATIONS.length);
    await migrate(client, tables, true);
    await migrate(client, tables, false);
    assert.deepEqual(await database.versions(), MIGRATIONS.map((_, i) => i + 1));
  });

  test("brings older tables to the newest version, and keeps their jobs", async (database) => {
    {
      await using broker = database.open();
      for (let i = 0; i < 5; i++) await broker.push("q", bytes(`job ${i}`), { priority: i, unique: `${i}` });
      await takeOne(broker);
    }
    const client = await database.connect();
    const rows = async () =>
      (await client.run(
        "SELECT id, queue, payload, priority, state, attempts, lease, unique_key, taken_key FROM fervo_jobs ORDER BY id",
      )).rows;
    const before = await rows();
    assert.equal(before.length, 5);
    await migrate(client, tables, true, NEXT);
    await migrate(client, tables, true, NEXT);
    assert.deepEqual(await rows(), before);
    assert.equal(await schemaVersion(client, tables), NEXT.length);
    assert.equal(await database.count("fervo_jobs WHERE colour = 'blue'"), 5);
    assert.equal(await database.count("fervo_notes"), 1);
  });

  test("by several workers at once is done once", async (database) => {
    for (const migrations of [MIGRATIONS, NEXT]) {
      const clients = await Promise.all(Array.from({ length: 6 }, () => database.connect()));
      await soon(
        "all migrations",
        Promise.all(clients.map((client) => migrate(client, tables, true, migrations))),
      );
    }
    assert.deepEqual(await database.versions(), NEXT.map((_, i) => i + 1));
    assert.equal(await database.count("fervo_notes"), 1);
  });

  test("waits for no worker that migrates another database or tables of another name", async (database) => {
    await using other = await Database.create(kind);
    const otherTables = fervoTables(driver.dialect, "other_");
    const reached = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const client = await database.connect();
    const slow = before(client, async (text) => {
      if (!text.startsWith("CREATE TABLE")) return;
      reached.resolve();
      await goOn.promise;
    });
    const migrating = migrate(slow, tables, true);
    await soon("the migration", reached.promise);
    await soon("tables of another name", migrate(await database.connect(), otherTables, true));
    await soon("tables of another database", migrate(await other.connect(), tables, true));
    goOn.resolve();
    await migrating;
    assert.equal(await schemaVersion(client, tables), MIGRATIONS.length);
  });

  test("refuses tables of a newer fervo-worker, and leaves them", async (database) => {
    await migrate(await database.connect(), tables, true, NEXT);
    for (const mayMigrate of [true, false]) {
      await assert.rejects(migrate(await database.connect(), tables, mayMigrate), {
        kind: "schema",
        message: `the tables have version 3, and this fervo-worker supports up to 1`,
        advice: "upgrade fervo-worker",
      });
    }
    await using broker = database.open();
    await rejectsWith("QUEUE_UNAVAILABLE", broker.push("q", bytes("job")));
    assert.equal(await database.count("fervo_jobs"), 0);
  });

  test("refuses to create or to migrate where it may not, and says what is missing", async (database) => {
    const client = await database.connect();
    await assert.rejects(migrate(client, tables, false), /the table fervo_schema does not exist/);
    await migrate(client, tables, true);
    await assert.rejects(migrate(client, tables, false, NEXT), /the tables have version 1, and 3 is needed/);
    assert.equal(await schemaVersion(client, tables), 1);
  });

  for (const table of ["fervo_jobs", "fervo_paused", "fervo_schedule", "fervo_schema"]) {
    test(`refuses another program's table ${table}, and leaves it alone`, async (database) => {
      const client = await database.connect();
      await client.run(`CREATE TABLE ${table} (id INTEGER, colour VARCHAR(10))`);
      await client.run(`INSERT INTO ${table} VALUES (7, 'blue')`);
      await assert.rejects(migrate(client, tables, true), (error) => {
        assert.ok(error instanceof SqlFailure && error.kind === "schema");
        assert.match(
          `${error.message}; ${error.advice}`,
          new RegExp(
            `^the table ${table} has no column \\w+: it belongs to another program, .*another table_prefix`,
          ),
        );
        return true;
      });
      assert.deepEqual((await client.run(`SELECT * FROM ${table}`)).rows, [{ id: 7, colour: "blue" }]);
      assert.deepEqual(await database.tables(), [table]);
      // Another prefix is a way out.
      await migrate(client, fervoTables(driver.dialect, "jobs_"), true);
    });
  }

  test("can be repeated from wherever a worker died in it, and loses no row", async (database) => {
    {
      await using broker = database.open();
      await broker.push("q", bytes("a job"));
    }
    const died = await migrateUntilDone(database, tables, NEXT);
    assert.ok(died >= 2, `died ${died} times`);
    assert.equal(await schemaVersion(await database.connect(), tables), NEXT.length);
    assert.equal(await database.count("fervo_jobs WHERE colour = 'blue'"), 1);
  });

  test("creates all tables although a worker died after any statement of it", async (database) => {
    assert.ok(await migrateUntilDone(database, tables, MIGRATIONS) >= 4);
    assert.deepEqual(await database.versions(), [1]);
    await using broker = database.open();
    const id = await broker.push("q", bytes("a job"), { unique: "k" });
    assert.equal(await broker.push("q", bytes("another"), { unique: "k" }), id);
    assert.equal(textOf(await takeOne(broker)), "a job");
  });
}

/** Migrates again and again, in each try one statement further, and then the worker dies. Returns how many have died. */
async function migrateUntilDone(
  database: Database,
  tables: FervoTables,
  migrations: readonly Migration[],
): Promise<number> {
  for (let died = 0;; died++) {
    const client = await database.connect();
    let made = 0;
    const dying = before(client, (text) => {
      if (/^(CREATE|ALTER|INSERT|DROP)/.test(text) && ++made > died) client.destroy();
    });
    const isDone = await migrate(dying, tables, true, migrations).then(() => true, () => false);
    if (isDone) return died;
    assert.equal(client.isLost, true, "it ended by its death");
  }
}

/** A client that calls `hook` with each statement, before it runs. */
function before(client: SqlClient, hook: (text: string) => Promise<void> | void): SqlClient {
  return new Proxy(client, {
    get(target, name) {
      if (name === "run") {
        return async (...args: Parameters<SqlClient["run"]>) => {
          await hook(args[0]);
          return await target.run(...args);
        };
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
