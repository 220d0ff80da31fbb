/** The driver of PostgreSQL, on a real server. */
import { Buffer } from "node:buffer";
import assert from "node:assert/strict";
import { POSTGRES } from "../../../src/sql/postgres.ts";
import type { SocketAddress } from "../../../src/net/address.ts";
import { eventually } from "../../support/eventually.ts";
import { PgBouncer } from "../../support/pgbouncer.ts";
import { PostgresServer } from "../../support/postgres_server.ts";
import { soon } from "../../support/soon.ts";
import { failsWith, largePayload, openSql, single, type SqlClientOptions } from "../../support/sql_client.ts";

const LOGIN = { username: "postgres", database: "postgres" };
const connect = (server: { address: SocketAddress }, options: SqlClientOptions = {}) =>
  openSql(POSTGRES, server.address, { ...LOGIN, ...options });

Deno.test("POSTGRES prepares the session and knows the server", async () => {
  await using server = await PostgresServer.start({
    config: ["default_transaction_isolation = 'serializable'", "bytea_output = 'escape'"],
  });
  await using opened = await connect(server, { lockTimeoutMs: 1_234 });
  const { client } = opened;
  const { version, ...facts } = client.facts;
  assert.deepEqual(facts, {
    product: "PostgreSQL",
    isReadOnly: false,
    hasSkipLocked: true,
    hasPooler: false,
  });
  assert.equal(
    `${version.major}.${version.minor}`,
    await single(client, "SHOW server_version").then((text) => /^\d+\.\d+/.exec(String(text))?.[0]),
  );
  const settings = {
    transaction_isolation: "read committed",
    lock_timeout: "1234ms",
    idle_in_transaction_session_timeout: "1min",
    statement_timeout: "0",
    client_min_messages: "warning",
    client_encoding: "UTF8",
    application_name: "fervo-test",
  };
  for (const [name, value] of Object.entries(settings)) {
    assert.equal(await single(client, `SHOW ${name}`), value, name);
  }
  assert.deepEqual(await single(client, "SELECT '\\x00ff'::bytea"), Uint8Array.of(0, 255));
});

Deno.test("POSTGRES does not obey variables of PostgreSQL's own programs", async () => {
  await using server = await PostgresServer.start({
    tcp: true,
    access: ["host all known all scram-sha-256", "host all all all trust"],
  });
  await server.sql("CREATE USER known PASSWORD 'correct'");
  const variables = {
    PGTARGETSESSIONATTRS: "any",
    PGPASSWORD: "correct",
    PGAPPNAME: "other",
    PGDATABASE: "missing",
    PGUSER: "known",
    PGUSERNAME: "known",
  };
  for (const [name, value] of Object.entries(variables)) Deno.env.set(name, value);
  try {
    await using opened = await connect(server);
    assert.equal(await single(opened.client, "SHOW application_name"), "fervo-test");
    await failsWith(connect(server, { username: "known" }), "denied", /password is wrong/);
    await failsWith(connect(server, { username: undefined }), "denied", /no user: set username/);
    assert.equal(Deno.env.get("PGTARGETSESSIONATTRS"), "any");
  } finally {
    for (const name of Object.keys(variables)) Deno.env.delete(name);
  }
});

Deno.test("POSTGRES finds the socket in a folder of sockets", async () => {
  await using server = await PostgresServer.start();
  await using opened = await openSql(POSTGRES, { transport: "unix", path: server.folder }, LOGIN);
  assert.equal(await single(opened.client, "SELECT 1"), 1);
});

Deno.test("PostgresClient.run() sends and reads every type of value", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const { client } = opened;
  await client.run(
    `CREATE TEMP TABLE t (id bigint, b bytea, s text, i int, n numeric, f float8, j jsonb, at timestamptz, is_on boolean)`,
  );
  const columns = "id, b, s, i, n, f, j, at, is_on";
  const values = [
    [
      9_007_199_254_740_993n,
      Uint8Array.of(0, 39, 92, 255),
      "€😀'\\\"?$1",
      -5,
      1.5,
      0.1,
      '{"a": [1]}',
      "2026-01-02 03:04:05.678901+00",
      1,
    ],
    [
      9_007_199_254_740_991,
      new Uint8Array(),
      "",
      2_147_483_647,
      1e20,
      -1e-300,
      "null",
      "1999-12-31 00:00:00+00",
      0,
    ],
    [-9_223_372_036_854_775_808n, null, null, null, null, null, null, null, null],
  ];
  for (const row of values) {
    const { changes } = await client.run(
      `INSERT INTO t (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      row,
    );
    assert.equal(changes, 1);
  }
  const { rows, changes } = await client.run(
    `SELECT ${columns} FROM t ORDER BY abs(id::numeric - 9007199254740993)`,
  );
  assert.equal(changes, 3);
  assert.deepEqual(rows.map((row) => Object.values(row)), values);
  const ids = await client.run("SELECT id FROM t WHERE id = ANY (?::bigint[])", ["{9007199254740993,5}"]);
  assert.deepEqual(ids.rows, [{ id: 9_007_199_254_740_993n }]);
});

Deno.test("PostgresClient.run() counts the rows that were matched", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const { client } = opened;
  await client.run("CREATE TEMP TABLE t (id int, v int)");
  assert.equal((await client.run("INSERT INTO t SELECT i, 1 FROM generate_series(1, 5) i")).changes, 5);
  assert.equal((await client.run("UPDATE t SET v = 1 WHERE id > ?", [2])).changes, 3);
  assert.deepEqual(await client.run("DELETE FROM t WHERE id = ? RETURNING id", [1]), {
    rows: [{ id: 1 }],
    changes: 1,
  });
  assert.deepEqual(await client.run("DELETE FROM t WHERE id = ?", [1]), { rows: [], changes: 0 });
});

Deno.test("PostgresClient.run() keeps the order of calls that do not wait for each other", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const { client } = opened;
  await client.run("CREATE TEMP TABLE t (n serial, v text)");
  // Statements that are new to the connection and known ones, with and without values, and more than travel at once.
  const calls = Array.from({ length: 3_000 }, (_, i) => {
    if (i % 3 === 0) return client.run("INSERT INTO t (v) VALUES (?)", [String(i)]);
    if (i % 3 === 1) return client.run(`INSERT INTO t (v) VALUES ('${i}')`);
    return client.run(`INSERT INTO t (v) VALUES (?${" ".repeat(i % 50)})`, [String(i)]);
  });
  await Promise.all(calls);
  const { rows } = await client.run("SELECT v FROM t ORDER BY n");
  assert.deepEqual(rows.map(({ v }) => v), calls.map((_, i) => String(i)));
});

Deno.test("PostgresClient.run() sends a known statement before the one before it is answered", async () => {
  await using server = await PostgresServer.start({ tcp: true });
  await using between = overhear(server.address);
  await using opened = await connect(between);
  await using other = await connect(server);
  const { client } = opened;
  const lock = "SELECT pg_advisory_lock(?::int), ?::text";
  await client.run(lock, [1, "first"]);
  await other.client.run("SELECT pg_advisory_lock(2)");
  const both = Promise.all([client.run(lock, [2, "waits"]), client.run(lock, [3, "is sent"])]);
  await eventually("the second statement is sent", () => between.heard.includes("is sent"));
  assert.equal(
    await single(other.client, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"),
    2,
  );
  await other.client.run("SELECT pg_advisory_unlock(2)");
  await both;
});

/** Passes connections on, and hears what clients send. */
function overhear(
  to: SocketAddress,
): AsyncDisposable & { readonly address: SocketAddress; readonly heard: string } {
  if (to.transport !== "tcp") throw new TypeError("expected a TCP address");
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let heard = "";
  const running = (async () => {
    for await (const client of listener) {
      const server = await Deno.connect(to);
      const ear = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
        transform(bytes, passed) {
          heard += new TextDecoder("latin1").decode(bytes);
          passed.enqueue(bytes);
        },
      });
      await Promise.allSettled([
        client.readable.pipeThrough(ear).pipeTo(server.writable),
        server.readable.pipeTo(client.writable),
      ]);
    }
  })();
  return {
    address: { transport: "tcp", hostname: "127.0.0.1", port: listener.addr.port },
    get heard() {
      return heard;
    },
    async [Symbol.asyncDispose]() {
      listener.close();
      await running;
    },
  };
}

Deno.test("PostgresClient.run() refuses what cannot be sent, and goes on", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const { client } = opened;
  await assert.rejects(client.run("SELECT ?", []), TypeError);
  await failsWith(
    client.run(`SELECT ${Array(65_534).fill("?").join(", ")}`, Array(65_534).fill(1)),
    "refused",
    /65534 values are too many/,
  );
  await failsWith(client.run("SELECT ?::text", ["a\0b"]), "refused", /NUL byte.*column of type bytea/);
  assert.equal(await single(client, "SELECT 1"), 1);
});

Deno.test("PostgresClient.run() tells a COMMIT that the server has turned into a rollback", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const { client } = opened;
  await client.run("CREATE TEMP TABLE t (id int PRIMARY KEY)");
  const insert = () => client.run("INSERT INTO t VALUES (?)", [1]);
  await insert();
  const outcomes = await Promise.allSettled([
    client.run("BEGIN"),
    insert(),
    client.run("SELECT 1"),
    client.run("COMMIT"),
  ]);
  assert.deepEqual(outcomes.map(({ status }) => status), ["fulfilled", "rejected", "rejected", "rejected"]);
  await client.run("BEGIN");
  await client.run("ROLLBACK");
});

Deno.test("PostgresClient.run() stores and reads 20 MB", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const payload = largePayload();
  await opened.client.run("CREATE TEMP TABLE t (b bytea)");
  await opened.client.run("INSERT INTO t VALUES (?)", [payload]);
  const read = await single(opened.client, "SELECT b FROM t");
  assert(read instanceof Uint8Array);
  assert.equal(Buffer.compare(read, payload), 0);
});

Deno.test("PostgresClient.run() says what failed, by the server's codes", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const { client } = opened;
  await client.run("CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL CHECK (v > 0))");
  await client.run("CREATE USER reader");
  await client.run("INSERT INTO t VALUES (1, 1)");
  await failsWith(client.run("SELECT * FROM missing"), "schema", /a table is missing.*missing/);
  await failsWith(client.run("SELECT missing FROM t"), "schema", /a column is missing/);
  await failsWith(client.run("UPDATE t SET v = now()"), "schema", /another type/);
  await failsWith(client.run("UPDATE t SET v = ?", ["x"]), "refused", /does not fit/);
  await failsWith(client.run("INSERT INTO t VALUES (1, 1)"), "duplicate", /t_pkey/);
  await failsWith(client.run("INSERT INTO t VALUES (2, ?)", [0]), "refused", /constraint/);
  await failsWith(client.run("INSERT INTO t (id) VALUES (3)"), "refused", /requires a value/);
  await failsWith(client.run("SELEC"), "other", /syntax error/);
  await client.run("SET statement_timeout = '1ms'");
  await failsWith(client.run("SELECT pg_sleep(60)"), "other", /statement_timeout/);
  await client.run("RESET statement_timeout");
  await client.run("SET default_transaction_read_only = on");
  await failsWith(client.run("DELETE FROM t"), "read_only", /name the primary/);
  await using reader = await connect(server, { username: "reader" });
  await failsWith(reader.client.run("SELECT * FROM t"), "denied", /lacks a right/);
});

Deno.test("PostgresClient.run() may be repeated after lock timeouts, deadlocks and conflicts", async () => {
  await using server = await PostgresServer.start({ config: ["deadlock_timeout = '10ms'"] });
  await using first = await connect(server, { lockTimeoutMs: 20 });
  await using second = await connect(server);
  const [a, b] = [first.client, second.client];
  await a.run("CREATE TABLE t (id int PRIMARY KEY, v int)");
  await a.run("INSERT INTO t VALUES (1, 0), (2, 0)");
  const change = "UPDATE t SET v = v + 1 WHERE id = ?";

  for (const client of [a, b]) await client.run("BEGIN");
  await b.run(change, [1]);
  await failsWith(a.run(change, [1]), "again", /holds a lock for too long/);
  for (const client of [a, b]) await client.run("ROLLBACK");

  await a.run("SET lock_timeout = 0");
  for (const client of [a, b]) await client.run("BEGIN");
  await a.run(change, [1]);
  await b.run(change, [2]);
  const outcomes = await Promise.allSettled([a.run(change, [2]), b.run(change, [1])]);
  const victim = outcomes.find(({ status }) => status === "rejected");
  await failsWith(Promise.reject((victim as PromiseRejectedResult).reason), "again", /each other's locks/);
  for (const client of [a, b]) await client.run("ROLLBACK");

  await a.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
  await a.run("SELECT * FROM t");
  await b.run(change, [1]);
  await failsWith(a.run(change, [1]), "again", /conflicted/);
});

Deno.test("PostgresClient knows statements of a table that was changed meanwhile", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const { client } = opened;
  await client.run("CREATE TABLE t (id int)");
  await client.run("INSERT INTO t VALUES (?)", [1]);
  await client.run("SELECT * FROM t WHERE id = ?", [1]);
  await server.sql("ALTER TABLE t ADD v int");
  assert.deepEqual((await client.run("SELECT * FROM t WHERE id = ?", [1])).rows, [{ id: 1, v: null }]);
  await client.run("BEGIN");
  await server.sql("ALTER TABLE t ADD w int");
  await failsWith(client.run("SELECT * FROM t WHERE id = ?", [1]), "again", /cached plan/);
  await client.run("ROLLBACK");
  assert.deepEqual((await client.run("SELECT * FROM t WHERE id = ?", [1])).rows, [{
    id: 1,
    v: null,
    w: null,
  }]);
});

Deno.test("PostgresClient.listen() gets notifications of other connections", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const heard: string[] = [];
  const both = Promise.withResolvers<void>();
  await opened.client.listen!('a "b"', (payload) => {
    heard.push(payload);
    if (heard.length === 2) both.resolve();
  });
  await server.sql(`NOTIFY "a ""b""", 'one'; NOTIFY other, 'x'; NOTIFY "a ""b""", 'two'`);
  await both.promise;
  assert.deepEqual(heard, ["one", "two"]);
});

Deno.test("a PostgresClient whose connection was ended is lost, once, for the server's reason", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  const { client } = opened;
  const pid = await single(client, "SELECT pg_backend_pid()");
  await client.run("SELECT ?::int", [1]);
  const pending = [
    client.run("SELECT pg_sleep(60)"),
    client.run("SELECT ?::int", [1]),
    client.run("SELECT ?::text", ["new to the connection"]),
    // They are not sent before the one that is new is known.
    ...["date", "time", "bool"].map((type) => client.run(`SELECT ?::${type}`, [null])),
  ].map((run) => failsWith(run, "lost", /by an administrator/));
  await server.sql(`SELECT pg_terminate_backend(${pid})`);
  await soon("pending statements reject", Promise.all(pending));
  await soon("the loss is reported", opened.lost);
  assert.equal(client.isLost, true);
  await failsWith(client.run("SELECT 1"), "lost", /by an administrator/);
  client.destroy();
  assert.equal(opened.losses, 1);
});

Deno.test("a PostgresClient is lost when nothing runs and the server is killed", async () => {
  await using server = await PostgresServer.start();
  await using opened = await connect(server);
  await server.kill();
  await soon("the loss is reported", opened.lost);
  await failsWith(opened.client.run("SELECT 1"), "lost", /has closed the connection|was reset/);
});

Deno.test("a destroyed PostgresClient is lost without a report, and says goodbye", async () => {
  await using server = await PostgresServer.start({
    config: ["log_disconnections = on", "log_connections = on"],
  });
  await using idle = await connect(server);
  idle.client.destroy();
  await failsWith(idle.client.run("SELECT 1"), "lost", /this worker has closed/);
  await using busy = await connect(server);
  const pending = [
    busy.client.run("SELECT pg_sleep(60)"),
    busy.client.run("SELECT ?::int", [1]),
    busy.client.run("BEGIN"),
  ];
  busy.client.destroy();
  for (const run of pending) await failsWith(run, "lost", /this worker has closed/);
  assert.deepEqual([idle.losses, busy.losses, idle.client.isLost, busy.client.isLost], [0, 0, true, true]);
  assert.doesNotMatch(await server.log(), /unexpected EOF|could not receive/);
});

Deno.test("POSTGRES says why it cannot log in", async () => {
  await using server = await PostgresServer.start({
    tcp: true,
    config: ["max_connections = 5", "superuser_reserved_connections = 0"],
    access: [
      "host all known all scram-sha-256",
      "host all nobody all reject",
      "host all postgres,closed all trust",
    ],
  });
  await server.sql(
    "CREATE USER known PASSWORD 'correct'; CREATE USER nobody; CREATE USER other; CREATE ROLE closed NOLOGIN",
  );
  const refused = (options: SqlClientOptions, kind: "denied" | "lost", words: RegExp) =>
    failsWith(connect(server, options), kind, words);
  await using known = await connect(server, { username: "known", password: "correct" });
  assert.equal(await single(known.client, "SELECT current_user"), "known");
  const wrong = await refused({ username: "known", password: "guessed" }, "denied", /password is wrong/);
  assert.doesNotMatch(`${wrong.message} ${wrong.advice} ${wrong.stack}`, /guessed/);
  await refused({ username: "known" }, "denied", /password is wrong/);
  await refused({ username: "nobody" }, "denied", /pg_hba\.conf/);
  await refused({ username: "missing", password: "x" }, "denied", /there is no such user/);
  await refused({ username: "closed" }, "denied", /the user may not log in/);
  await refused({ database: "missing" }, "denied", /no such database/);
  await using _1 = await connect(server);
  await using _2 = await connect(server);
  await using _3 = await connect(server);
  await using _4 = await connect(server);
  await refused({}, "lost", /too many connections/);
});

Deno.test("POSTGRES says why it cannot connect", async () => {
  const to = (address: SocketAddress, options: SqlClientOptions = {}) =>
    openSql(POSTGRES, address, { ...LOGIN, ...options });
  const folder = await Deno.makeTempDir();
  await failsWith(to({ transport: "unix", path: folder }), "lost", /no such socket/);
  await failsWith(to({ transport: "tcp", hostname: "127.0.0.1", port: 1 }), "lost", /connection refused/);
  await failsWith(to({ transport: "tcp", hostname: "missing.invalid", port: 1 }), "lost", /no such host/);
  await Deno.remove(folder);

  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = { ...silent.addr, transport: "tcp" } as const;
  const taken = silent.accept();
  await failsWith(to(address, { connectTimeoutMs: 50 }), "lost", /no answer in 50 ms/);
  using socket = await taken;
  // The late connection ends.
  const ended = async () => {
    const bytes = new Uint8Array(1_000);
    while (await socket.read(bytes) !== null);
  };
  await soon("the connection ends", ended());

  const closed = to(address);
  (await silent.accept()).close();
  await failsWith(closed, "lost", /has closed the connection|was reset/);
});

Deno.test("POSTGRES sees a replica and a read-only database", async () => {
  await using server = await PostgresServer.start();
  await using replica = await server.replica();
  await using opened = await connect(replica);
  assert.equal(opened.client.facts.isReadOnly, true);
  await failsWith(opened.client.run("CREATE TABLE t ()"), "read_only", /name the primary/);
  await using database = await server.database();
  await server.sql(`ALTER DATABASE ${database.name} SET default_transaction_read_only = on`);
  await using second = await connect(server, { database: database.name });
  assert.equal(second.client.facts.isReadOnly, true);
});

Deno.test("POSTGRES behind a PgBouncer keeps nothing in the session", async () => {
  await using server = await PostgresServer.start({
    config: ["default_transaction_isolation = serializable"],
  });
  await using bouncer = await PgBouncer.start(server, { config: ["default_pool_size = 2"] });
  const clients = await Promise.all(
    Array.from({ length: 8 }, () => connect(bouncer, { lockTimeoutMs: 1_234 })),
  );
  try {
    const { facts, listen } = clients[0]!.client;
    assert.deepEqual([facts.hasPooler, listen], [true, undefined]);
    await clients[0]!.client.run("CREATE TABLE t (id int PRIMARY KEY, b bytea)");
    await Promise.all(clients.map(async ({ client }, c) => {
      for (let i = 0; i < 20; i++) {
        const id = c * 100 + i;
        const [, found] = await Promise.all([
          client.run("SELECT 1"),
          client.run("SELECT ?::int AS id", [id]),
          client.run("BEGIN"),
          client.run("INSERT INTO t VALUES (?, ?)", [id, Uint8Array.of(i)]),
          client.run(i % 2 === 0 ? "COMMIT" : "ROLLBACK"),
        ]);
        assert.deepEqual(found.rows, [{ id }]);
        const { rows } = await client.run("SELECT b FROM t WHERE id = ?", [id]);
        assert.deepEqual(rows, i % 2 === 0 ? [{ b: Uint8Array.of(i) }] : []);
      }
    }));
    assert.equal(await single(clients[1]!.client, "SELECT count(*) FROM pg_prepared_statements"), 0);
    const settings = async () => {
      const names = ["lock_timeout", "idle_in_transaction_session_timeout", "transaction_isolation"];
      return await Promise.all(names.map((name) => single(clients[1]!.client, `SHOW ${name}`)));
    };
    assert.deepEqual(await settings(), ["0", "0", "serializable"]);
    await clients[1]!.client.run("BEGIN");
    assert.deepEqual(await settings(), ["1234ms", "1min", "read committed"]);
    await clients[1]!.client.run("ROLLBACK");
    await failsWith(clients[2]!.client.run("SELECT ?::int", ["x"]), "refused", /does not fit/);
    assert.equal(await single(clients[2]!.client, "SELECT ?::int", ["3"]), 3);
    assert.equal(await server.sql("SELECT count(*) FROM t"), "80");
  } finally {
    for (const { client } of clients) client.destroy();
  }
});
