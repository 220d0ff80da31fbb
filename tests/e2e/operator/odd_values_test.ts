/** Others write what no one expects: one odd value must not keep a command from showing it, and all the others. */
import assert from "node:assert/strict";
import { Site } from "../../support/fervo_worker.ts";
import { RedisServer } from "../../support/redis_server.ts";

/** A long queue's name for each kind of characters that take no, one or two columns. */
const LONG_NAMES = ["q", "e\u0301", "日", "🚀", "\u200d", "\u202e"].map((char) => char.repeat(300_000));

Deno.test("Commands cut long names and ids in their tables, and show all of them in JSON", async () => {
  await using site = await Site.create();
  await site.push("{}");
  for (const name of LONG_NAMES) {
    site.queueRows(
      "INSERT INTO fervo_jobs (queue, payload, state, error) VALUES (?, 'x', 'dead', ?)",
      name,
      "{}",
    );
  }
  for (const args of [["queues"], ["dead", "list"], ["dead", "remove", "--all", "--dry-run"]]) {
    const said = await site.runOk(args);
    assert.ok(said.includes("…"), args.join(" "));
    for (const line of said.split("\n")) assert.ok(line.length < 2_000, `${args.join(" ")}: ${line.length}`);
  }
  const rows: { queue: string }[] = JSON.parse(await site.runOk(["queues", "--json"]));
  const letters: { queue: string }[] = JSON.parse(await site.runOk(["dead", "list", "--json"]));
  for (const name of LONG_NAMES) {
    assert.ok(rows.some(({ queue }) => queue === name) && letters.some(({ queue }) => queue === name));
  }
});

Deno.test("Commands show as many queues and dead letters as there are", async () => {
  await using site = await Site.create();
  await site.push("{}");
  site.queueRows(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
     INSERT INTO fervo_jobs (queue, payload, state) SELECT 'q' || (i % 3000), 'x', 'dead' FROM n`,
  );
  assert.equal((await site.runOk(["queues"])).trimEnd().split("\n").length, 3_002);
  const said = await site.runOk(["dead", "retry", "--match", "x", "--dry-run"]);
  assert.match(said, /Would retry 30000 jobs; nothing was changed\n$/);
});

Deno.test("Commands show times that no date can hold (SQLite)", async () => {
  await using site = await Site.create();
  await site.push("{}");
  site.queueRows(
    "UPDATE fervo_jobs SET state = 'dead', created_at = ?, due_at = ?, error = ?",
    Number.MAX_SAFE_INTEGER,
    Number.MAX_SAFE_INTEGER - 1,
    JSON.stringify({ code: "JOB_FAILED", message: "no", atMs: 1e300 }),
  );
  const [letter] = JSON.parse(await site.runOk(["dead", "list", "--json"]));
  assert.equal(letter.enqueued_at, "9007199254740991");
  assert.equal(letter.died_at, "9007199254740990");
  assert.match(await site.runOk(["dead", "list"]), /9007199254740990/);
  assert.match(
    await site.runOk(["dead", "show", "1"]),
    /Pushed: +9007199254740991\nDied: +9007199254740990\n/,
  );
});

Deno.test("Commands show times that no date can hold (Redis)", async () => {
  await using redis = await RedisServer.start();
  await using site = await Site.create(undefined, { broker: { driver: "redis", url: redis.url } });
  const times = ["1e300", "-1e300", "1e22", "8640000000001"];
  for (const [i, time] of times.entries()) {
    const job =
      `{"class":"X","args":[],"jid":"odd${i}","queue":"jobs","created_at":${time},"failed_at":${time}}`;
    await redis.cli("ZADD", "dead", String(1_790_000_000 + i), job);
  }
  await redis.cli("ZADD", "dead", "1e300", '{"class":"X","args":[],"jid":"far","queue":"jobs"}');
  await redis.cli("ZADD", "dead", "inf", '{"class":"X","args":[],"jid":"never","queue":"jobs"}');
  const letters: { id: string }[] = JSON.parse(await site.runOk(["dead", "list", "--json"]));
  assert.deepEqual(letters.map(({ id }) => id), ["never", "far", "odd3", "odd2", "odd1", "odd0"]);
  assert.equal((await site.runOk(["dead", "list"])).split("\n").length, 8);
  for (const { id } of letters) {
    assert.match(await site.runOk(["dead", "show", id]), new RegExp(`Job: +${id}\n`));
  }
});
