/** MariaDB before 10.6 and MySQL before 8.0.1 have no SKIP LOCKED: here a newer MariaDB is taken for such a server. */
import assert from "node:assert/strict";
import type { SqlClient, SqlDriver } from "../../../../src/sql/driver.ts";
import { MYSQL } from "../../../../src/sql/mysql.ts";
import { bytes, pushAll, soon, take, takeNow, textOf } from "../../../conformance/fixture.ts";
import { MariadbServer } from "../../../support/mariadb_server.ts";
import { ACK } from "../../../support/verdicts.ts";
import { openRows } from "./broker.ts";

const server = await MariadbServer.start();
Deno.test.afterAll(() => server[Symbol.asyncDispose]());

/** Like MYSQL, on a server without SKIP LOCKED. */
const OLD: SqlDriver = {
  ...MYSQL,
  async connect(...args) {
    const client = await MYSQL.connect(...args);
    return new Proxy(client, {
      get(target, name: keyof SqlClient) {
        if (name === "facts") return { ...target.facts, hasSkipLocked: false };
        const value: unknown = target[name];
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  },
};

function open(database: string) {
  return openRows(OLD, { address: server.address, user: "root", database });
}

const deadlocks = async () =>
  (await server.sql("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")).split("\t").at(-1);

Deno.test("Without SKIP LOCKED several workers take each job once, all of them some, without a deadlock", async () => {
  await using database = await server.database();
  await using stack = new AsyncDisposableStack();
  const brokers = Array.from({ length: 4 }, () => stack.use(open(database.name)));
  const before = await deadlocks();
  const taken = brokers.map(() => [] as string[]);
  const isOver = () => taken.every((names) => names.length >= 30);
  let pushed = 0;
  const pushing = (async () => {
    while (!isOver()) {
      await pushAll(brokers[0]!, Array.from({ length: 10 }, () => `job ${pushed++}`));
    }
  })();
  const working = Promise.all(brokers.map(async (broker, i) => {
    for (;;) {
      const deliveries = await take(broker, { max: 5, waitMs: 100 });
      if (deliveries.length === 0 && isOver()) return;
      taken[i]!.push(...deliveries.map(textOf));
      await Promise.all(deliveries.map((delivery) => delivery.settle(ACK)));
    }
  }));
  await soon("the pushes", pushing);
  await soon("the jobs", working);
  const all = taken.flat();
  assert.equal(all.length, pushed);
  assert.equal(new Set(all).size, pushed);
  assert.equal(await deadlocks(), before);
});

Deno.test("Without SKIP LOCKED a worker takes nothing from a queue while another one claims from it, and waits for nothing", async () => {
  await using database = await server.database();
  await using broker = open(database.name);
  await broker.push("busy", bytes("busy"));
  await broker.push("free", bytes("free"));
  const other = await MYSQL.connect(
    server.address,
    { username: "root", password: undefined, database: database.name, tls: undefined },
    { name: "test", connectTimeoutMs: 10_000, lockTimeoutMs: 10_000 },
    () => {},
  );
  const name = `CONCAT('fervo ', MD5('${database.name} fervo_jobs busy'))`;
  const { rows } = await other.run(`SELECT GET_LOCK(${name}, 0) AS is_ours`);
  assert.equal(rows[0]!["is_ours"], 1);
  const queues = ["busy", "free"];
  assert.deepEqual((await takeNow(broker, { queues })).map(textOf), ["free"]);
  assert.deepEqual(await takeNow(broker, { queues }), []);
  await other.run(`SELECT RELEASE_LOCK(${name}) AS released`);
  assert.deepEqual((await takeNow(broker, { queues })).map(textOf), ["busy"]);
  // It has given the lock back.
  const again = await other.run(`SELECT GET_LOCK(${name}, 0) AS is_ours`);
  assert.equal(again.rows[0]!["is_ours"], 1);
  other.destroy();
});
