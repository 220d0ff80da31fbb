/** The driver of MariaDB and MySQL, on a real MariaDB. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { SocketAddress } from "../../../src/net/address.ts";
import { MYSQL } from "../../../src/sql/mysql.ts";
import { MariadbServer } from "../../support/mariadb_server.ts";
import { eventually } from "../../support/eventually.ts";
import { soon } from "../../support/soon.ts";
import { failsWith, largePayload, openSql, single, type SqlClientOptions } from "../../support/sql_client.ts";

const LOGIN = { username: "root", database: "mysql" };
const connect = (server: { address: SocketAddress }, options: SqlClientOptions = {}) =>
  openSql(MYSQL, server.address, { ...LOGIN, ...options });

/** A server, a database with the given character set, and a connection to it. */
async function start(config: readonly string[] = []): Promise<AsyncDisposable & { server: MariadbServer }> {
  const server = await MariadbServer.start({ config });
  await server.sql("CREATE DATABASE app CHARACTER SET utf8mb4");
  return { server, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const APP: SqlClientOptions = { database: "app" };

Deno.test("MYSQL prepares the session and knows the server", async () => {
  await using started = await start([
    "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
    "transaction_isolation = SERIALIZABLE",
    "default_time_zone = '+05:00'",
    "autocommit = 0",
    "character_set_server = latin1",
    "skip_character_set_client_handshake",
  ]);
  await using opened = await connect(started.server, { ...APP, lockTimeoutMs: 1_234 });
  const { client } = opened;
  const { version, ...facts } = client.facts;
  assert.deepEqual(facts, { product: "MariaDB", isReadOnly: false, hasSkipLocked: true, hasPooler: false });
  const told = String(await single(client, "SELECT version()"));
  assert(told.startsWith(`${version.major}.${version.minor}.`), told);
  const settings = {
    tx_isolation: "READ-COMMITTED",
    sql_mode: "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
    time_zone: "+00:00",
    autocommit: 1,
    innodb_lock_wait_timeout: 2,
    lock_wait_timeout: 2,
    idle_transaction_timeout: 60,
    character_set_client: "utf8mb4",
    character_set_results: "utf8mb4",
    character_set_connection: "utf8mb4",
  };
  for (const [name, value] of Object.entries(settings)) {
    assert.equal(await single(client, `SELECT @@${name}`), value, name);
  }
  const attribute = "SELECT 'a\\'b', \"c\"";
  assert.deepEqual(Object.values((await client.run(attribute)).rows[0]!), ["a'b", "c"]);
});

Deno.test("MysqlClient.run() sends and reads every type of value", async () => {
  await using started = await start();
  await using opened = await connect(started.server, APP);
  const { client } = opened;
  await client.run(
    "CREATE TABLE t (id bigint, u bigint unsigned, b longblob, s longtext, i int, n decimal(20, 5), f double, j json, " +
      "at datetime(6), is_on tinyint(1))",
  );
  const columns = "id, u, b, s, i, n, f, j, at, is_on";
  const values = [
    [
      9_007_199_254_740_993n,
      18_446_744_073_709_551_615n,
      Uint8Array.of(0, 39, 92, 255),
      "€😀'\\\"?\0",
      -5,
      1.5,
      0.1,
      '{"a": [1]}',
      "2026-01-02 03:04:05.678901",
      1,
    ],
    [
      9_007_199_254_740_991,
      0,
      new Uint8Array(),
      "",
      2_147_483_647,
      0,
      -1e-300,
      "null",
      "1999-12-31 00:00:00.500000",
      0,
    ],
    [-9_223_372_036_854_775_808n, null, null, null, null, null, null, null, null, null],
  ];
  for (const row of values) {
    const insert = `INSERT INTO t (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
    assert.equal((await client.run(insert, row)).changes, 1);
  }
  // The text protocol, and the binary one of prepared statements.
  for (const values_ of [[], [0]]) {
    const condition = values_.length === 0 ? "0 = 0" : "0 = ?";
    const { rows, changes } = await client.run(
      `SELECT ${columns} FROM t WHERE ${condition} ORDER BY abs(CAST(id AS decimal(30)) - 9007199254740993)`,
      values_,
    );
    assert.equal(changes, 3);
    assert.deepEqual(rows.map((row) => Object.values(row)), values);
  }
  // As a whole number: a float would be another one.
  assert.equal(await single(client, "SELECT ? + 0", [9_007_199_254_740_993n]), 9_007_199_254_740_993n);
  assert.equal((await client.run("SELECT id FROM t LIMIT ?", [2])).rows.length, 2);
});

Deno.test("MysqlClient.run() counts the rows that were matched", async () => {
  await using started = await start();
  await using opened = await connect(started.server, APP);
  const { client } = opened;
  await client.run("CREATE TABLE t (id int, v int)");
  assert.equal((await client.run("INSERT INTO t VALUES (1, 1), (2, 1), (3, 1)")).changes, 3);
  assert.equal((await client.run("UPDATE t SET v = 1 WHERE id > ?", [1])).changes, 2);
  assert.deepEqual(await client.run("DELETE FROM t WHERE id = ? RETURNING id", [1]), {
    rows: [{ id: 1 }],
    changes: 1,
  });
  assert.deepEqual(await client.run("DELETE FROM t WHERE id = ?", [1]), { rows: [], changes: 0 });
});

Deno.test("MysqlClient.run() keeps the order of calls that do not wait for each other", async () => {
  await using started = await start();
  await using opened = await connect(started.server, APP);
  const { client } = opened;
  await client.run("CREATE TABLE t (n int AUTO_INCREMENT PRIMARY KEY, v text)");
  const calls = Array.from({ length: 900 }, (_, i) => {
    if (i % 3 === 0) return client.run("INSERT INTO t (v) VALUES (?)", [String(i)]);
    if (i % 3 === 1) return client.run(`INSERT INTO t (v) VALUES ('${i}')`);
    return client.run(`INSERT INTO t (v) VALUES (?${" ".repeat(i % 50)})`, [String(i)]);
  });
  await Promise.all(calls);
  const { rows } = await client.run("SELECT v FROM t ORDER BY n");
  assert.deepEqual(rows.map(({ v }) => v), calls.map((_, i) => String(i)));
});

Deno.test("MysqlClient keeps few prepared statements on the server", async () => {
  await using started = await start();
  await using opened = await connect(started.server, APP);
  for (let i = 0; i < 300; i++) await opened.client.run(`SELECT ?, ${i}`, [i]);
  const { rows } = await opened.client.run("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'");
  assert(Number(rows[0]!["Value"]) <= 201, String(rows[0]!["Value"]));
});

Deno.test("MysqlClient.run() refuses what cannot be sent, and goes on", async () => {
  await using started = await start(["max_allowed_packet = 1M"]);
  await using opened = await connect(started.server, APP);
  const { client } = opened;
  await assert.rejects(client.run("SELECT ?", []), TypeError);
  await client.run("CREATE TABLE t (b longblob, s longtext)");
  const large = new Uint8Array(1_024 * 1_024);
  await failsWith(
    client.run("INSERT INTO t (b) VALUES (?)", [large]),
    "refused",
    /max_allowed_packet is 1048576/,
  );
  await failsWith(
    client.run("INSERT INTO t (s) VALUES (?)", ["x".repeat(large.length)]),
    "refused",
    /max_allowed_packet/,
  );
  // It is longer as UTF-8.
  await failsWith(
    client.run("INSERT INTO t (s) VALUES (?)", ["€".repeat(500_000)]),
    "refused",
    /max_allowed_packet/,
  );
  assert.equal(await single(client, "SELECT count(*) FROM t"), 0);
});

Deno.test("MysqlClient.run() does not give a server files of this machine", async () => {
  await using started = await start(["local_infile = ON"]);
  await using opened = await connect(started.server, APP);
  await opened.client.run("CREATE TABLE t (s text)");
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "secret\n");
  await failsWith(opened.client.run(`LOAD DATA LOCAL INFILE '${file}' INTO TABLE t`), "other", /./);
  assert.equal(await single(opened.client, "SELECT count(*) FROM t"), 0);
  await failsWith(opened.client.run("SELECT 1; SELECT 2"), "refused", /several statements/);
  await Deno.remove(file);
});

Deno.test("MysqlClient.run() stores and reads 20 MB", async () => {
  await using started = await start(["max_allowed_packet = 64M"]);
  await using opened = await connect(started.server, APP);
  const payload = largePayload();
  await opened.client.run("CREATE TABLE t (b longblob)");
  await opened.client.run("INSERT INTO t VALUES (?)", [payload]);
  const read = await single(opened.client, "SELECT b FROM t");
  assert(read instanceof Uint8Array);
  assert.equal(Buffer.compare(read, payload), 0);
});

Deno.test("MysqlClient.run() says what failed, by the server's codes", async () => {
  await using started = await start();
  const { server } = started;
  await using opened = await connect(server, APP);
  const { client } = opened;
  await client.run(
    "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL CHECK (v > 0), s varchar(2) CHARACTER SET utf8mb3)",
  );
  await client.run("INSERT INTO t VALUES (1, 1, '')");
  await client.run("CREATE USER reader@'%'");
  await client.run("GRANT SELECT ON app.t TO reader@'%'");
  await failsWith(client.run("SELECT * FROM missing"), "schema", /a table is missing/);
  await failsWith(client.run("SELECT missing FROM t WHERE id = ?", [1]), "schema", /a column is missing/);
  await failsWith(client.run("UPDATE t SET v = ?", ["x"]), "refused", /does not fit/);
  await failsWith(client.run("UPDATE t SET s = ?", ["😀"]), "refused", /utf8mb4/);
  await failsWith(client.run("UPDATE t SET s = ?", ["abc"]), "refused", /longer than its column/);
  await failsWith(client.run("UPDATE t SET v = ?", [5_000_000_000]), "refused", /does not fit/);
  await failsWith(client.run("INSERT INTO t VALUES (?, 1, '')", [1]), "duplicate", /PRIMARY/);
  await failsWith(client.run("INSERT INTO t VALUES (2, ?, '')", [0]), "refused", /constraint/);
  await failsWith(client.run("INSERT INTO t (id) VALUES (3)"), "refused", /requires a value/);
  await failsWith(client.run("SELEC"), "other", /SQL syntax/);
  await client.run("SET max_statement_time = 0.01");
  await failsWith(
    client.run("SELECT sleep(60)"),
    "other",
    /longer than the server allows/,
  );
  await using reader = await connect(server, { ...APP, username: "reader" });
  await failsWith(reader.client.run("DELETE FROM t"), "denied", /lacks a right/);
  await server.sql("SET GLOBAL read_only = ON");
  await using writer = await connect(server, APP);
  assert.equal(writer.client.facts.isReadOnly, true);
  await client.run("GRANT ALL ON app.* TO reader@'%'");
  await using late = await connect(server, { ...APP, username: "reader" });
  await failsWith(late.client.run("DELETE FROM t"), "read_only", /name the primary/);
});

Deno.test("MysqlClient.run() may be repeated after lock timeouts and deadlocks", async () => {
  await using started = await start();
  await using first = await connect(started.server, { ...APP, lockTimeoutMs: 1 });
  await using second = await connect(started.server, APP);
  const [a, b] = [first.client, second.client];
  await a.run("CREATE TABLE t (id int PRIMARY KEY, v int)");
  await a.run("INSERT INTO t VALUES (1, 0), (2, 0)");
  const change = "UPDATE t SET v = v + 1 WHERE id = ?";

  for (const client of [a, b]) await client.run("BEGIN");
  await b.run(change, [1]);
  await failsWith(a.run(change, [1]), "again", /holds a lock for too long/);
  for (const client of [a, b]) await client.run("ROLLBACK");

  await a.run("SET innodb_lock_wait_timeout = 60");
  for (const client of [a, b]) await client.run("BEGIN");
  await a.run(change, [1]);
  await b.run(change, [2]);
  const outcomes = await Promise.allSettled([a.run(change, [2]), b.run(change, [1])]);
  const victim = outcomes.find(({ status }) => status === "rejected");
  await failsWith(Promise.reject((victim as PromiseRejectedResult).reason), "again", /each other's locks/);
});

Deno.test("a MysqlClient whose connection was ended is lost, once", async () => {
  await using started = await start();
  await using opened = await connect(started.server, APP);
  const { client } = opened;
  const id = await single(client, "SELECT connection_id()");
  await client.run("SELECT ?", [1]);
  const pending = [
    client.run("SELECT sleep(60)"),
    client.run("SELECT ?", [1]),
    client.run("SELECT ?, 2", [1]),
  ]
    .map((run) => failsWith(run, "lost", /has closed the connection|ended the connection/));
  const runs = async () =>
    /sleep/.test(
      await started.server.sql(`SELECT info FROM information_schema.processlist WHERE id = ${id}`),
    );
  await eventually("the statement runs", runs);
  await started.server.sql(`KILL ${id}`);
  await Promise.all(pending);
  await soon("the loss is reported", opened.lost);
  assert.equal(client.isLost, true);
  await failsWith(client.run("SELECT 1"), "lost", /has closed the connection/);
  client.destroy();
  assert.equal(opened.losses, 1);
});

Deno.test("a MysqlClient is lost when nothing runs and the server is killed", async () => {
  await using started = await start();
  await using opened = await connect(started.server, APP);
  await started.server.kill();
  await soon("the loss is reported", opened.lost);
  await failsWith(opened.client.run("SELECT 1"), "lost", /has closed the connection/);
});

Deno.test("a destroyed MysqlClient is lost without a report, and says goodbye", async () => {
  await using started = await start();
  const { server } = started;
  await using idle = await connect(server, APP);
  const id = await single(idle.client, "SELECT connection_id()");
  idle.client.destroy();
  await failsWith(idle.client.run("SELECT 1"), "lost", /this worker has closed/);
  const gone = async () =>
    await server.sql(`SELECT count(*) FROM information_schema.processlist WHERE id = ${id}`) === "0";
  await eventually("the connection has ended", gone);
  assert.doesNotMatch(await server.log(), /Got an error/);

  await using busy = await connect(server, APP);
  const pending = [
    busy.client.run("SELECT sleep(60)"),
    busy.client.run("SELECT ?", [1]),
    busy.client.run("BEGIN"),
  ];
  busy.client.destroy();
  for (const run of pending) await failsWith(run, "lost", /this worker has closed/);
  assert.deepEqual([idle.losses, busy.losses, idle.client.isLost, busy.client.isLost], [0, 0, true, true]);
});

/** A server that asks for a login by a plugin; the server itself has none that the library lacks. */
function askForPlugin(
  real: SocketAddress,
  plugin: string,
): AsyncDisposable & { readonly address: SocketAddress } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serve = async () => {
    using client = await listener.accept();
    using server = await Deno.connect(real as Deno.ConnectOptions);
    const packet = new Uint8Array(4_096);
    await client.write(packet.subarray(0, (await server.read(packet))!));
    await client.read(packet);
    // AuthSwitchRequest: the length, the number of the packet, 0xfe, the plugin, and data for it.
    const body = new TextEncoder().encode(`${plugin}\0${"x".repeat(32)}`);
    await client.write(new Uint8Array([body.length + 1, 0, 0, 2, 0xfe, ...body]));
    await client.read(packet);
  };
  const served = serve();
  return {
    address: { ...listener.addr, transport: "tcp" } as SocketAddress,
    async [Symbol.asyncDispose]() {
      await served;
      listener.close();
    },
  };
}

Deno.test("MYSQL says why it cannot log in", async () => {
  await using server = await MariadbServer.start({ tcp: true, config: ["max_connections = 10"] });
  await server.sql(`
    CREATE USER known@'%' IDENTIFIED BY 'correct' WITH MAX_USER_CONNECTIONS 1
  `);
  const refused = (options: SqlClientOptions, kind: "denied" | "lost", words: RegExp) =>
    failsWith(connect(server, options), kind, words);
  const wrong = await refused({ username: "known", password: "guessed" }, "denied", /password is wrong/);
  assert.doesNotMatch(`${wrong.message} ${wrong.advice} ${wrong.stack}`, /guessed/);
  await refused(
    { username: "known", database: "mysql", password: "correct" },
    "denied",
    /may not use this database/,
  );
  await refused({ username: "missing" }, "denied", /password is wrong/);
  await using plugin = askForPlugin(server.address, "client_ed25519");
  await failsWith(connect(plugin), "denied", /cannot log in by the user's plugin/);
  await refused({ database: "missing" }, "denied", /no such database/);
  await server.sql("GRANT SELECT ON mysql.* TO known@'%'");
  await using known = await connect(server, { username: "known", password: "correct" });
  assert.match(String(await single(known.client, "SELECT current_user()")), /^known@/);
  await refused({ username: "known", password: "correct" }, "lost", /limit of its account/);
  const taken = [];
  try {
    // The last one is reserved for an administrator, who this one is.
    while (taken.length < 10) taken.push(await connect(server));
    await refused({}, "lost", /too many connections/);
  } finally {
    for (const { client } of taken) client.destroy();
  }
});

Deno.test("MYSQL says why it cannot connect", async () => {
  const to = (address: SocketAddress, options: SqlClientOptions = {}) =>
    openSql(MYSQL, address, { ...LOGIN, ...options });
  await failsWith(to({ transport: "unix", path: "/missing/socket" }), "lost", /no such socket/);
  await failsWith(to({ transport: "tcp", hostname: "127.0.0.1", port: 1 }), "lost", /connection refused/);

  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = { ...silent.addr, transport: "tcp" } as const;
  const taken = silent.accept();
  await failsWith(to(address, { connectTimeoutMs: 50 }), "lost", /no answer in 50 ms/);
  using socket = await taken;
  // The late connection ends.
  assert.equal(await soon("the connection ends", socket.read(new Uint8Array(1_000))), null);

  const closed = to(address);
  (await silent.accept()).close();
  await failsWith(closed, "lost", /has closed the connection|was reset/);
});
