/**
 * The SQL of docs/brokers/postgresql.md and mysql.md, run as it stands there: a worker and a producer with the documented rights,
 * and no others; and what an administrator runs.
 */
import assert from "node:assert/strict";
import type { SocketAddress } from "../../../src/net/address.ts";
import type { SqlDriver } from "../../../src/sql/driver.ts";
import { MYSQL } from "../../../src/sql/mysql.ts";
import { POSTGRES } from "../../../src/sql/postgres.ts";
import { docBlocks } from "../../support/doc_blocks.ts";
import { eventually } from "../../support/eventually.ts";
import { Site } from "../../support/fervo_worker.ts";
import { MariadbServer } from "../../support/mariadb_server.ts";
import { ADMINISTRATOR } from "../../support/postgres_programs.ts";
import { PostgresServer } from "../../support/postgres_server.ts";
import { failsWith, openSql, single } from "../../support/sql_client.ts";

/** The password of the pages. */
const PASSWORD = "SECRET";
/** Milliseconds. */
const A_MINUTE = 60_000;

interface Case {
  readonly page: string;
  readonly driver: SqlDriver;
  readonly administrator: string;
  start(): Promise<
    AsyncDisposable & {
      readonly address: SocketAddress;
      database(): Promise<AsyncDisposable & { readonly name: string; sql(text: string): Promise<string> }>;
    }
  >;
  /** Makes the application's user. */
  readonly createProducer: string;
  /** A push that does nothing when the key waits. */
  readonly pushOnce: string;
}

const CASES: readonly Case[] = [
  {
    page: "docs/brokers/postgresql.md",
    driver: POSTGRES,
    administrator: ADMINISTRATOR,
    start: () => PostgresServer.start({ tcp: true }),
    createProducer: `CREATE ROLE app LOGIN PASSWORD '${PASSWORD}'; GRANT USAGE ON SCHEMA public TO app`,
    pushOnce: `INSERT INTO fervo_jobs (queue, payload, unique_key) VALUES ('other', 'x', 'key')
      ON CONFLICT (queue, unique_key) WHERE unique_key IS NOT NULL DO NOTHING`,
  },
  {
    page: "docs/brokers/mysql.md",
    driver: MYSQL,
    administrator: "root",
    start: () => MariadbServer.start({ tcp: true, config: ["log_bin = binlog"] }),
    createProducer: `CREATE USER 'app'@'%' IDENTIFIED BY '${PASSWORD}'`,
    pushOnce: `INSERT INTO fervo_jobs (queue, payload, unique_key) VALUES ('other', 'x', 'key')
      ON DUPLICATE KEY UPDATE id = id`,
  },
];

/** What neither user may do. */
const FORBIDDEN = [
  "DROP TABLE fervo_jobs",
  "ALTER TABLE fervo_jobs ADD COLUMN more INTEGER",
  "CREATE TABLE more (id INTEGER)",
  "UPDATE fervo_schema SET version = 0",
  "UPDATE fervo_paused SET queue = 'other'",
  "SELECT * FROM orders",
];

for (const { page, driver, administrator, start, createProducer, pushOnce } of CASES) {
  /** A block of the page, of the database of this test. */
  const documented = (first: string, database: string): string => {
    const block = docBlocks().find(({ file, text }) => file === page && text.startsWith(first));
    assert(block !== undefined, `${page} has no block that begins with ${first}`);
    return block.text.replaceAll(/\bshop\b/g, database);
  };

  /** What the page's command prints for an administrator, without the client that takes it. */
  const documentedTables = (site: Site): Promise<string> => {
    const console = docBlocks().find(({ file, text }) =>
      file === page && text.startsWith("$ fervo-worker schema")
    );
    const [, args] = /^\$ fervo-worker ([^|]+) \|/.exec(console!.text)!;
    return site.runOk(args!.split(" "));
  };

  Deno.test(`All that a worker does goes with the rights of ${page}, and nothing else does`, async () => {
    await using server = await start();
    await using database = await server.database();
    const { address } = server;
    assert(address.transport === "tcp");
    const scheme = driver === POSTGRES ? "postgres" : "mysql";
    const url = `${scheme}://jobs@${address.hostname}:${address.port}/${database.name}`;
    await using site = await Site.create(undefined, {
      broker: { driver: scheme, url, password: PASSWORD, create_tables: false, lease_ms: 1_000 },
      schedule: { every_ms: 1_000, payload: "timed", attempts: 1 },
      process: { command: ["false"] },
    });
    await database.sql(await documentedTables(site));
    await database.sql("CREATE TABLE orders (id INTEGER)");
    await database.sql(documented("CREATE ", database.name));
    assert.match(await site.runOk(["schema"]), /newest one/);

    await site.runOk(["push", "jobs", "one", "--attempts", "1"]);
    await site.runOk(["push", "jobs", "later", "--delay", "100ms", "--attempts", "3"]);
    // Of a worker that died.
    await database.sql(`INSERT INTO fervo_jobs (queue, payload, max_attempts, attempts, state, due_at, lease)
      VALUES ('jobs', 'taken back', 1, 0, 'reserved', 1, 'gone')`);
    await using worker = site.start(["run"]);
    await eventually("jobs of all kinds have failed", async () => {
      const letters = JSON.parse(await site.runOk(["dead", "list", "--json"])) as { payload: string }[];
      const payloads = letters.map(({ payload }) => payload);
      return ["one", "later", "taken back", "timed"].every((payload) => payloads.includes(payload));
    }, A_MINUTE);
    await site.runOk(["pause", "jobs", "--for", "1h", "--reason", "moved"]);
    await site.runOk(["resume", "jobs"]);
    for (const state of ["ready", "delayed", "reserved"]) {
      await site.runOk(["jobs", "jobs", "--state", state]);
    }
    await site.runOk(["dead", "groups"]);
    const [letter] = JSON.parse(await site.runOk(["dead", "list", "--json"]));
    await site.runOk(["dead", "show", letter.id]);
    await site.runOk(["dead", "retry", letter.id]);
    worker.kill("SIGTERM");
    assert.equal((await worker.ended).code, 0);
    assert.doesNotMatch(worker.stderr, /denied|right|QUEUE_UNAVAILABLE/);
    await site.runOk(["push", "jobs", "wrong"]);
    await site.runOk(["purge", "jobs", "--yes"]);
    await site.runOk(["dead", "remove", "--all", "--yes"]);
    assert.match(await site.runOk(["queues"]), /jobs|No queue/);
    const check = await site.run(["check"]);
    assert.doesNotMatch(check.stdout + check.stderr, /denied|lacks|QUEUE_UNAVAILABLE/);

    const access = { username: "jobs", password: PASSWORD, database: database.name };
    await using user = await openSql(driver, address, access);
    for (const statement of FORBIDDEN) {
      await failsWith(user.client.run(statement), "denied", /./);
    }
  });

  Deno.test(`A producer pushes with the rights of ${page}, and reads and changes no job`, async () => {
    await using server = await start();
    await using database = await server.database();
    const { address } = server;
    assert(address.transport === "tcp");
    const scheme = driver === POSTGRES ? "postgres" : "mysql";
    const url = `${scheme}://${administrator}@${address.hostname}:${address.port}/${database.name}`;
    await using site = await Site.create(undefined, { broker: { driver: scheme, url } });
    // Makes the tables.
    await site.runOk(["queues"]);
    await database.sql("CREATE TABLE orders (id INTEGER)");
    await database.sql(createProducer);
    const [push, unique] = documented("GRANT INSERT ", database.name).trim().split("\n");
    await database.sql(push!);

    const access = { username: "app", password: PASSWORD, database: database.name };
    await using user = await openSql(driver, address, access);
    await user.client.run("INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', 'x')");
    for (
      const statement of [
        ...FORBIDDEN,
        "SELECT payload FROM fervo_jobs",
        "DELETE FROM fervo_jobs",
        "UPDATE fervo_jobs SET queue = 'other'",
      ]
    ) await failsWith(user.client.run(statement), "denied", /./);

    await failsWith(user.client.run(pushOnce), "denied", /./);
    await database.sql(unique!);
    await user.client.run(pushOnce);
    await user.client.run(pushOnce);
    assert.equal(
      Number(await single(user.client, "SELECT count(*) AS jobs FROM fervo_jobs WHERE queue = 'other'")),
      1,
    );
    await failsWith(user.client.run("DELETE FROM fervo_jobs"), "denied", /./);
  });

  Deno.test(`A worker creates its tables with the right of ${page}, and not without it`, async () => {
    await using server = await start();
    await using database = await server.database();
    const { address } = server;
    assert(address.transport === "tcp");
    const scheme = driver === POSTGRES ? "postgres" : "mysql";
    const url = `${scheme}://jobs@${address.hostname}:${address.port}/${database.name}`;
    await using site = await Site.create(undefined, { broker: { driver: scheme, url, password: PASSWORD } });
    const [createUser] = documented("CREATE ", database.name).split("\n");
    await database.sql(createUser!);
    assert.notEqual((await site.run(["push", "jobs", "x"])).code, 0);
    await database.sql(documented("GRANT CREATE", database.name));
    await site.runOk(["push", "jobs", "x"]);
    assert.match(await site.runOk(["schema"]), /newest one/);
  });

  Deno.test(`An administrator can run the other SQL of ${page}`, async () => {
    await using server = await start();
    await using database = await server.database();
    const { address } = server;
    assert(address.transport === "tcp");
    const scheme = driver === POSTGRES ? "postgres" : "mysql";
    const url = `${scheme}://${administrator}@${address.hostname}:${address.port}/${database.name}`;
    await using site = await Site.create(undefined, { broker: { driver: scheme, url } });
    // Makes the tables.
    await site.runOk(["queues"]);
    await database.sql(documented("CREATE ", database.name));
    const text = await Deno.readTextFile(new URL(`../../../${page}`, import.meta.url));
    const spans = [...text.matchAll(/`((?:SELECT|SHOW|ALTER) [^`]+)`/g)].map(([, sql]) => sql!);
    const blocks = docBlocks().filter(({ file, text }) => file === page && text.startsWith("ALTER "));
    const all = [...spans, ...blocks.map(({ text }) => text)];
    assert.ok(all.length >= 5, `${all.length}`);
    // Named as a kind of statement, too.
    for (const sql of all.filter((sql) => sql !== "ALTER TABLE")) await database.sql(sql);
  });
}
