import assert from "node:assert/strict";
import { SqlDatabase } from "../../../src/sql/database.ts";
import { SQLITE_DIALECT } from "../../../src/sql/dialect.ts";
import type { SqlClient, SqlDriver } from "../../../src/sql/driver.ts";
import { type FailureKind, SqlFailure } from "../../../src/sql/failure.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const [FIRST, SECOND] = ["/first", "/second"].map((path) => ({ transport: "unix", path }) as const);

/** What a server does at each connect, by its path. */
type Server = () => "down" | "read-only" | "fine";

interface Uses {
  /** Instead of an answer to a statement. */
  readonly run?: SqlClient["run"];
  readonly onConnect?: (client: SqlClient) => Promise<void>;
  readonly onLost?: () => void;
}

function start(servers: Readonly<Record<string, Server>>, { run, ...uses }: Uses = {}) {
  const clock = new FakeClock();
  const connects: string[] = [];
  const clients: { isLost: boolean }[] = [];
  /** Rejects when this process ends a connection. */
  const lost = Promise.withResolvers<never>();
  lost.promise.catch(() => {});
  const driver: SqlDriver = {
    dialect: SQLITE_DIALECT,
    product: "Test",
    connect(endpoint) {
      const path = endpoint.transport === "unix" ? endpoint.path : "";
      connects.push(path);
      const state = servers[path]!();
      if (state === "down") {
        return Promise.reject(
          new SqlFailure("lost", { cause: new Error("refused"), advice: "connection refused" }),
        );
      }
      const client: SqlClient & { isLost: boolean } = {
        dialect: SQLITE_DIALECT,
        facts: {
          product: "SQLite",
          version: { major: 1, minor: 0 },
          isReadOnly: state === "read-only",
          hasSkipLocked: true,
          hasPooler: false,
        },
        isLost: false,
        run: run ?? (() => Promise.resolve({ rows: [{ path }], changes: 1 })),
        destroy: () => {
          client.isLost = true;
          lost.reject(new SqlFailure("lost", { cause: new Error("destroyed") }));
        },
      };
      clients.push(client);
      return Promise.resolve(client);
    },
  };
  const database = new SqlDatabase({ driver, clock, ...uses }, {
    endpoints: [FIRST!, SECOND!].slice(0, Object.keys(servers).length),
    access: () => Promise.resolve({ username: undefined, password: undefined, database: "", tls: undefined }),
    name: "test",
    connectTimeoutMs: 1_000,
    lockTimeoutMs: 1_000,
    statementTimeoutMs: 60_000,
    keepaliveMs: 0,
  });
  return { clock, connects, clients, database, lost: lost.promise };
}

Deno.test("SqlDatabase connects once for all calls that wait, and rejects them together when it cannot", async () => {
  const { clock, connects, database } = start({ "/first": () => "down" });
  const calls = Array.from(
    { length: 20 },
    () => assert.rejects(database.run("SELECT 1"), /connection refused/),
  );
  await Promise.all(calls);
  assert.equal(connects.length, 1);
  const later = assert.rejects(database.run("SELECT 1"), /connection refused/);
  // After a pause.
  await clock.advance(39);
  assert.equal(connects.length, 1);
  await clock.advance(30);
  await later;
  assert.equal(connects.length, 2);
});

Deno.test("SqlDatabase uses the first server that accepts writes, and looks for it again after a loss", async () => {
  let primary = "/first";
  const state = (path: string) => () => primary === path ? "fine" : "read-only" as const;
  const { connects, clients, database } = start({ "/first": state("/first"), "/second": state("/second") });
  const where = async () => (await database.run("SELECT 1")).rows[0]!["path"];
  assert.equal(await where(), "/first");
  primary = "/second";
  assert.equal(await where(), "/first");
  clients[0]!.isLost = true;
  assert.equal(await where(), "/second");
  assert.deepEqual(connects, ["/first", "/first", "/second"]);
  assert.deepEqual(clients.map(({ isLost }) => isLost), [true, true, false]);
});

Deno.test("SqlDatabase says that a server is read-only, and not that another one is down", async () => {
  const { database } = start({ "/first": () => "read-only", "/second": () => "down" });
  await assert.rejects(
    database.run("SELECT 1"),
    /Cannot use Test at "\/first": it is a replica, or set to be read-only/,
  );
});

Deno.test("SqlDatabase.transaction() commits what resolves and rolls back what rejects", async () => {
  const { database } = start({ "/first": () => "fine" });
  assert.equal(await database.transaction(async ({ run }) => (await run("SELECT 2")).changes), 1);
  await assert.rejects(database.transaction(() => Promise.reject(new RangeError("mine"))), RangeError);
  await database.close();
  await assert.rejects(database.run("SELECT 1"), /this worker has closed it/);
});

Deno.test("SqlDatabase gives up a connection whose preparation hangs, and connects again", async () => {
  let connects = 0;
  const { clock, clients, database, lost } = start({ "/first": () => "fine" }, {
    onConnect: () => ++connects === 1 ? lost : Promise.resolve(),
  });
  const hanging = assert.rejects(database.run("SELECT 1"), /destroyed/);
  await clock.advance(90_000);
  await hanging;
  const later = database.run("SELECT 1");
  await clock.advance(2_000);
  assert.equal((await later).changes, 1);
  assert.deepEqual(clients.map(({ isLost }) => isLost), [true, false]);
});

Deno.test("SqlDatabase tells that its connection is lost when it gives it up itself", async () => {
  let losses = 0;
  const { clock, database, lost } = start({ "/first": () => "fine" }, {
    run: () => lost,
    onLost: () => losses++,
  });
  const hanging = assert.rejects(database.run("SELECT 1"), /destroyed/);
  await clock.advance(90_000);
  await hanging;
  assert.equal(losses, 1);
  await database.close();
  assert.equal(losses, 1);
});

Deno.test("SqlDatabase leaves a server that says it is of no use, although the connection stays open", async () => {
  const failure = (kind: FailureKind) => new SqlFailure(kind, { cause: new Error(`it is ${kind}`) });
  for (const [kind, isLeft] of [["lost", true], ["read_only", true], ["refused", false]] as const) {
    let losses = 0;
    const { clients, database } = start({ "/first": () => "fine" }, {
      run: () => Promise.reject(failure(kind)),
      onLost: () => losses++,
    });
    await assert.rejects(database.run("SELECT 1"), new RegExp(`it is ${kind}`));
    assert.deepEqual([clients[0]!.isLost, losses], isLeft ? [true, 1] : [false, 0], kind);
  }
});
