/** Commands on the table of Symfony Messenger, in the application's own SQLite file. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { main } from "../../../src/cli/main.ts";
import { FakeIo } from "../../unit/cli/fake_io.ts";

const TABLE =
  "CREATE TABLE messenger_messages (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, body CLOB NOT NULL, " +
  "headers CLOB NOT NULL, queue_name VARCHAR(190) NOT NULL, created_at DATETIME NOT NULL, available_at DATETIME NOT NULL, " +
  "delivered_at DATETIME DEFAULT NULL)";

/**
 * An application's file with the table, and the command line on it.
 *
 * @param table The SQL that makes the table.
 * @param more The end of the configuration.
 */
async function setUp(table = TABLE, more = "") {
  const folder = await Deno.makeTempDir({ prefix: "fervo-messenger-" });
  const db = new DatabaseSync(`${folder}/data.db`);
  db.exec(table);
  const file = `${folder}/worker.toml`;
  await Deno.writeTextFile(
    file,
    '[brokers.shop]\ndriver = "sqlite"\nformat = "messenger"\npath = "data.db"\nqueue_names = { async = "default" }\n' +
      '[fpm.default]\naddress = "/nowhere/fpm.sock"\nscript = "/srv/app/fervo.php"\nstatus_path = "/status"\n' +
      'kill_on_timeout = true\n[[consumers]]\nname = "async"\nbroker = "shop"\nqueues = ["async"]\n' + more,
  );
  await Deno.chmod(file, 0o600);
  return {
    db,
    folder,
    async run(...args: string[]) {
      const io = new FakeIo();
      const code = await main([...args, "--config", file], io);
      return { code, stdout: io.stdout, stderr: io.stderr };
    },
    async [Symbol.asyncDispose]() {
      db.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

Deno.test("Commands push a body as it is into the transport's queue_name, and list, count and delete messages", async () => {
  await using t = await setUp();
  assert.equal((await t.run("push", "async", "a body")).stdout, 'Pushed job 1 to "async"\n');
  assert.equal((await t.run("push", "async", "later", "--delay", "1h")).code, 0);
  const rows = t.db.prepare("SELECT body, headers, queue_name FROM messenger_messages ORDER BY id").all();
  assert.deepEqual(rows.map((row) => ({ ...row })), [
    { body: "a body", headers: "[]", queue_name: "default" },
    { body: "later", headers: "[]", queue_name: "default" },
  ]);
  assert.match((await t.run("queues")).stdout, /^READY.*\n *1 +1 +0 +0 +shop +async\n$/);
  assert.match((await t.run("jobs", "async")).stdout, /^ID.*\n1 .* a body\n$/);
  assert.match((await t.run("jobs", "async", "--state", "delayed")).stdout, /^ID.*\n2 .* later\n$/);
  assert.equal((await t.run("dead", "list")).stdout, "No dead letters\n");
  assert.match((await t.run("check")).stdout, /^ok +brokers\.shop: reached; 1 queue with jobs$/m);
  assert.equal((await t.run("purge", "async", "--yes")).stdout, 'Deleted 1 job of "async"\n');
});

Deno.test("Commands say what Messenger's table has no place for", async () => {
  await using t = await setUp();
  for (
    const [args, code, why] of [
      [["pause", "async"], 3, /"shop": it cannot store pauses/],
      [["push", "async", "x", "--unique", "k"], 1, /this broker stores none; leave out the key/],
      [["schema"], 3, /has format = "messenger", whose tables the application's framework creates/],
    ] as const
  ) {
    const answer = await t.run(...args);
    assert.deepEqual([answer.code, why.test(answer.stderr)], [code, true], answer.stderr);
  }
});

Deno.test("A missing table names the command that creates it, and a missing file stays missing", async () => {
  await using t = await setUp("CREATE TABLE other (id INTEGER)");
  const { code, stderr } = await t.run("queues");
  assert.equal(code, 4);
  assert.match(
    stderr,
    /table "messenger_messages" of Symfony Messenger is missing, .*messenger:setup-transports/,
  );
  await Deno.remove(`${t.folder}/data.db`);
  assert.equal((await t.run("queues")).code, 4);
  await assert.rejects(Deno.stat(`${t.folder}/data.db`), Deno.errors.NotFound);
});

Deno.test("check does not advise to consume a queue that may be a failure transport", async () => {
  await using t = await setUp();
  await t.run("push", "failed", "x");
  const found = JSON.parse((await t.run("check", "--json")).stdout) as Record<string, string>[];
  const [finding, ...others] = found.filter(({ id }) => id === "queue.unconsumed");
  assert.deepEqual(others, []);
  assert.equal(finding!.severity, "notice");
  assert.match(finding!.fix!, /^leave a failure transport without a consumer .*--call-script.*; else in /);
});

/** What `fervo:worker:config` prints for transports of one table with another redeliver_timeout. */
const OTHER_BROKER =
  '[brokers.other]\ndriver = "sqlite"\nformat = "messenger"\npath = "data.db"\nqueue_names = { high = "first" }\n' +
  'redeliver_timeout_ms = 60000\n[[consumers]]\nname = "high"\nbroker = "other"\nqueues = ["high"]\n';

Deno.test("Two brokers with one table have each queue once, at the broker that consumes it, and else at the first one", async () => {
  await using t = await setUp(TABLE, OTHER_BROKER);
  const insert = t.db.prepare(
    "INSERT INTO messenger_messages (body, headers, queue_name, created_at, available_at, delivered_at) " +
      "VALUES ('', '[]', ?, '2019-03-15 12:00:00', '2019-03-15 12:00:00', ?)",
  );
  insert.run("first", null);
  insert.run("nobody's", null);
  // Longer than the other broker's redeliver_timeout_ms, and it is not that one's.
  insert.run("default", new Date(Date.now() - 600_000).toISOString().slice(0, 19).replace("T", " "));
  const rows = JSON.parse((await t.run("queues", "--json")).stdout) as { broker: string; queue: string }[];
  assert.deepEqual(rows.map(({ broker, queue }) => `${broker} ${queue}`), [
    "shop async",
    "shop nobody's",
    "other high",
  ]);
  const found = JSON.parse((await t.run("check", "--json")).stdout) as Record<string, string>[];
  assert.deepEqual(
    found.filter(({ id, severity }) => severity !== "ok" && /^queue\.|redeliver/.test(id!))
      .map(({ subject, what }) => `${subject}: ${what}`),
    ['brokers.shop: queue "nobody\'s" has 1 job, and no consumer of this configuration takes them'],
  );
});
