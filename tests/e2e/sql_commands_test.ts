/** The commands for jobs in a database: `schema` and `push --unique`. */
import assert from "node:assert/strict";
import type { SocketAddress } from "../../src/net/address.ts";
import { formatAddress } from "../../src/net/address.ts";
import { Site } from "../support/fervo_worker.ts";
import { MariadbServer } from "../support/mariadb_server.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { PostgresServer } from "../support/postgres_server.ts";

interface Case {
  readonly driver: string;
  readonly product: string;
  readonly administrator: string;
  start(): Promise<
    AsyncDisposable & {
      readonly address: SocketAddress;
      database(): Promise<AsyncDisposable & { readonly name: string; sql(text: string): Promise<string> }>;
    }
  >;
  /** Makes the worker's user, before there are tables, and gives it the rights to them. */
  readonly createUser: string;
  readonly grants: string;
}

const CASES: readonly Case[] = [
  {
    driver: "postgres",
    product: "postgresql",
    administrator: "postgres",
    start: () => PostgresServer.start({ tcp: true }),
    createUser: "CREATE ROLE worker LOGIN",
    grants: `GRANT SELECT ON jobs_schema TO worker;
      GRANT SELECT, INSERT, UPDATE, DELETE ON jobs_jobs, jobs_schedule, jobs_paused TO worker;`,
  },
  {
    driver: "mysql",
    product: "mariadb",
    administrator: "root",
    start: () => MariadbServer.start({ tcp: true }),
    createUser: "CREATE USER worker@'%'",
    grants: ["schema", "jobs", "schedule", "paused"].map((table) =>
      `GRANT SELECT, INSERT, UPDATE, DELETE ON jobs_${table} TO worker@'%';`
    ).join("\n"),
  },
];

for (const { driver, product, administrator, start, createUser, grants } of CASES) {
  Deno.test(`schema prints what the ${product} client takes as it is, and a worker runs that may not create tables`, async () => {
    await using server = await start();
    await using database = await server.database();
    await using fpm = await PhpFpm.start();
    await using site = await Site.create(fpm);
    const brokerOf = (user: string) => ({
      driver,
      url: `${driver}://${user}@${formatAddress(server.address)}/${database.name}`,
      table_prefix: "jobs_",
      create_tables: false,
    });
    await site.configure({ broker: brokerOf(administrator) });

    const missing = await site.run(["push", "jobs", "payload"]);
    assert.equal(missing.code, 4);
    assert.match(
      missing.stderr,
      /jobs_schema does not exist.*run the output of `fervo-worker schema`|run the output of `fervo-worker schema`.*jobs_schema does not exist/,
    );

    const script = await site.runOk(["schema"]);
    assert.equal(await site.runOk(["schema", "default"]), script);
    assert.equal(await site.runOk(["schema", "--from", "0", "--product", product]), script);
    await database.sql(createUser);
    await database.sql(script);
    // It can be run again.
    await database.sql(script);
    await database.sql(grants);

    await site.configure({ broker: brokerOf("worker") });
    const nothing = await site.runOk(["schema"]);
    assert.match(nothing, /^-- [^\n]*: version 1 is the newest one\.\n$/);
    await database.sql(nothing);
    await site.runOk(["push", "jobs", "payload"]);
    await site.runOk(["run", "--until-empty"]);
    assert.deepEqual(site.payloads(), ["payload"]);

    await database.sql("DROP TABLE jobs_jobs");
    assert.equal(await site.runOk(["schema"]), script);
    await database.sql(script);
    await database.sql(grants);
    await site.runOk(["push", "jobs", "another"]);

    await database.sql("INSERT INTO jobs_schema (version) VALUES (9)");
    const newer = await site.run(["schema"]);
    assert.equal(newer.code, 4);
    assert.match(
      newer.stderr,
      /The tables have version 9, and this fervo-worker supports up to 1: upgrade fervo-worker/,
    );
  });

  Deno.test(`push --unique pushes one waiting job with a key, and says so: ${product}`, async () => {
    await using server = await start();
    await using database = await server.database();
    await using site = await Site.create();
    await site.configure({
      broker: {
        driver,
        url: `${driver}://${administrator}@${formatAddress(server.address)}/${database.name}`,
      },
    });
    const push = (...args: readonly string[]) => site.runOk(["push", "jobs", "{}", "--unique", ...args]);
    assert.equal(await push("k 1"), 'Pushed job 1 to "jobs"\n');
    assert.equal(await push("k 1"), 'Pushed nothing to "jobs": job 1 with the same key waits already\n');
    assert.deepEqual(JSON.parse(await push("k 1", "--json")), {
      queue: "jobs",
      count: 0,
      ids: ["1"],
      was_waiting: true,
    });
    const { ids, ...told } = JSON.parse(await push("k 2", "--json", "--delay", "1h"));
    assert.deepEqual(told, { queue: "jobs", count: 1, was_waiting: false });
    assert.deepEqual(JSON.parse(await push("k 2", "--json")).ids, ids);
    const [row] = JSON.parse(await site.runOk(["queues", "--json"]));
    assert.deepEqual([row.ready, row.delayed], [1, 1]);
  });
}

Deno.test("schema without a server says which options it needs then, and with them needs none", async () => {
  await using site = await Site.create();
  for (
    const [driver, products, options] of [
      ["postgres", ["postgresql"], "--from VERSION"],
      ["mysql", ["mariadb", "mysql"], "--from VERSION and --product PRODUCT"],
    ] as const
  ) {
    await site.configure({ broker: { driver, url: `${driver}://nobody@127.0.0.1:1/shop` } });
    const { code, stderr, stdout } = await site.run(["schema"]);
    assert.deepEqual([code, stdout], [4, ""]);
    assert.match(
      stderr,
      new RegExp(`Cannot use .*127\\.0\\.0\\.1:1.*\\. Without the server, give ${options}\\n$`),
    );
    for (const product of products) {
      const script = await site.runOk(["schema", "--from", "0", "--product", product]);
      assert.match(script, /CREATE TABLE IF NOT EXISTS .fervo_jobs. /);
      assert.equal(script.includes("utf8mb4_0900_bin"), product === "mysql");
      assert.match(
        await site.runOk(["schema", "--from", "1", "--product", product]),
        /^--[^\n]*newest one\.\n$/,
      );
    }
    const wrong = driver === "mysql" ? "postgresql" : "mysql";
    for (const args of [["--product", wrong], ["--product", "oracle"], ["--from", "2"], ["--from", "-1"]]) {
      assert.equal((await site.run(["schema", ...args])).code, 2, args.join(" "));
    }
  }
});

Deno.test("schema and push --unique of a broker that has neither say so", async () => {
  await using site = await Site.create();
  const schema = await site.run(["schema"]);
  assert.equal(schema.code, 3);
  assert.match(
    schema.stderr,
    /Cannot be done with the broker "default": it has driver = "sqlite", which needs no tables of an administrator/,
  );
  const unknown = await site.run(["schema", "other"]);
  assert.equal(unknown.code, 3);
  assert.match(unknown.stderr, /has no broker "other"; it has "default"/);
  const push = await site.run(["push", "jobs", "{}", "--unique", "k"]);
  assert.equal(push.code, 1);
  assert.match(
    push.stderr,
    /Cannot push to queue "jobs" with a unique key: this broker stores none; leave out the key/,
  );
  for (const args of [["--unique", ""], ["--unique", "x".repeat(256)], ["--unique", "k", "--count", "2"]]) {
    assert.equal((await site.run(["push", "jobs", "{}", ...args])).code, 2, args.join(" "));
  }
  assert.deepEqual(site.queueRows("SELECT * FROM fervo_jobs"), []);
});

Deno.test("A database that is stopped is told alike each time: its socket is missing", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm);
  const told = new Set<string>();
  for (const [driver, parameter] of [["postgres", "host"], ["mysql", "socket"]] as const) {
    await site.configure({ broker: { driver, url: `${driver}://app@/shop?${parameter}=/missing/socket` } });
    for (let i = 0; i < 10; i++) {
      const { code, stderr } = await site.run(["push", "default", "job"]);
      assert.notEqual(code, 0);
      told.add(stderr.replace(/^.*": /s, ""));
    }
  }
  assert.deepEqual([...told], ["no such socket; is the server running, with this socket?\n"]);
});
