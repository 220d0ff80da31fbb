/** Groups of very many dead letters: the newest are counted, and that is told. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { RedisServer } from "../../support/redis_server.ts";
import { openRedis } from "./sidekiq/broker.ts";
import { makeFolder, openSqlite } from "./sqlite/broker.ts";

/** More than are counted. */
const LETTERS = 10_050;

Deno.test("dead.groups() on SQLite counts the newest of all queues, whatever these are called", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  {
    using db = new DatabaseSync(path);
    const insert = db.prepare(
      "INSERT INTO fervo_jobs (queue, payload, state, due_at, error) VALUES (CAST(? AS TEXT), 'x', 'dead', ?, ?)",
    );
    const error = JSON.stringify({ code: "JOB_TIMEOUT", message: "Took 5 s" });
    db.exec("BEGIN");
    for (let i = 1; i <= LETTERS; i++) insert.run(i % 2 === 0 ? "even" : "odd", i, error);
    insert.run(new Uint8Array([0x6d, 0xff, 0x00, 0x6c]), LETTERS + 1, "by hand");
    db.exec("COMMIT");
  }
  const { groups, ...all } = await broker.admin.dead.groups!({});
  assert.deepEqual(all, { counted: 10_000, isWhole: false });
  assert.deepEqual(groups, [
    {
      code: "JOB_TIMEOUT",
      message: "Took # s",
      count: 9_999,
      exampleId: String(LETTERS),
      newestMs: LETTERS,
      oldestMs: 52,
    },
    {
      code: "JOB_FAILED",
      message: "by hand",
      count: 1,
      exampleId: String(LETTERS + 1),
      newestMs: LETTERS + 1,
      oldestMs: LETTERS + 1,
    },
  ]);
  const ofOne = await broker.admin.dead.groups!({ queue: "even" });
  assert.deepEqual([ofOne.counted, ofOne.isWhole], [LETTERS / 2, true]);
});

Deno.test("dead.groups() on SQLite reads no more of long jobs than may be read at once", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  {
    using db = new DatabaseSync(path);
    const insert = db.prepare(
      "INSERT INTO fervo_jobs (queue, payload, state) VALUES ('q', zeroblob(?), 'dead')",
    );
    for (let i = 0; i < 5; i++) insert.run(20 * 2 ** 20);
  }
  const { counted, isWhole } = await broker.admin.dead.groups!({});
  assert.deepEqual([counted, isWhole], [3, false]);
});

Deno.test("dead.groups() on Redis counts the newest", async () => {
  await using server = await RedisServer.start();
  await using broker = openRedis(server);
  const letter = (i: number) =>
    `{"class":"Suite","args":[],"jid":"j${i}","queue":"q","error_class":"JOB_TIMEOUT","error_message":"Took ${i} s"}`;
  await server.cli(
    "ZADD",
    "dead",
    ...Array.from({ length: LETTERS }, (_, i) => [String(i), letter(i)]).flat(),
  );
  const { groups: [group, ...more], counted, isWhole } = await broker.admin.dead.groups!({});
  assert.deepEqual([counted, isWhole, more], [10_000, false, []]);
  assert.deepEqual([group!.count, group!.message, group!.exampleId], [10_000, "Took # s", `j${LETTERS - 1}`]);
});
