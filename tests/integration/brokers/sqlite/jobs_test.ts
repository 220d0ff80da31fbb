/** Pages of jobs of the embedded queue beyond the conformance suite: what others have written, and what a page costs. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { JobState } from "../../../../src/core/admin.ts";
import { makeFolder, openSqlite } from "./broker.ts";

Deno.test("jobs() tells ready jobs by priority and id, page by page, whatever the priorities are", async () => {
  await using t = await queueOf(
    "INSERT INTO fervo_jobs (id, queue, payload, priority) VALUES (?, 'q', 'x', ?)",
    [
      [1, 0],
      [2, 5],
      [3, -1],
      [4, 5],
      [-5, 0],
      [6, 1.5],
      [7, 9_007_199_254_740_993n],
      [9_007_199_254_740_993n, 0],
      [8, "high"],
    ],
  );
  const order = ["8", "7", "2", "4", "6", "-5", "1", "9007199254740993", "3"];
  for (const limit of [1, 2, 100]) assert.deepEqual((await t.all("ready", limit)).ids, order);
});

Deno.test("jobs() reads a bounded part of what is delayed in all queues, and tells where to go on", async () => {
  const many = Array.from({ length: 25_000 }, (_, i) => ["many", 4_000_000_000_000 + Math.trunc(i / 12_000)]);
  await using t = await queueOf("INSERT INTO fervo_jobs (queue, payload, due_at) VALUES (?, 'x', ?)", [
    ...many,
    ["q", 4_000_000_000_000],
    ["q", 4_000_000_000_001],
    ["zz", 4_000_000_000_002],
    ["a:b c", 4_000_000_000_001],
  ]);
  const of = (queue: string, limit = 10) => t.all("delayed", limit, queue);
  assert.deepEqual(await of("q"), { ids: ["25001", "25002"], pages: 3 });
  assert.deepEqual((await of("q", 1)).ids, ["25001", "25002"]);
  assert.deepEqual((await of("zz")).ids, ["25003"]);
  assert.deepEqual((await of("a:b c", 1)).ids, ["25004"]);
  assert.equal((await of("many", 1_000)).ids.length, 25_000);
  assert.deepEqual((await t.all("reserved", 10, "q")).ids, []);
});

/** A queue with rows as others write them. */
async function queueOf(sql: string, rows: readonly (readonly (string | number | bigint)[])[]) {
  const folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  const broker = openSqlite(path);
  {
    using db = new DatabaseSync(path);
    const insert = db.prepare(sql);
    db.exec("BEGIN");
    for (const row of rows) insert.run(...row);
    db.exec("COMMIT");
  }
  return {
    async all(state: JobState, limit: number, queue = "q") {
      const ids: string[] = [];
      for (let after: string | undefined, pages = 1;; pages++) {
        const { jobs, next } = await broker.admin.jobs(queue, state, { limit, after });
        ids.push(...jobs.map(({ id }) => id));
        if (next === undefined) return { ids, pages };
        assert.match(next, /^\S+$/);
        after = next;
      }
    },
    async [Symbol.asyncDispose]() {
      await broker.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}
