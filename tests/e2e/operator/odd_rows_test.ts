/**
 * Producers write into the embedded queue's table as they like, and people into all of its columns. Whatever is in one row, the
 * other jobs run and every command works; the row itself runs, or is a dead letter that says why.
 */
import assert from "node:assert/strict";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { Site } from "../../support/fervo_worker.ts";

const HIGHEST_ID = 9_223_372_036_854_775_807n;
const BEYOND = 9_007_199_254_740_993n;
const NO_TEXT = new Uint8Array([0x1b, 0x5b, 0x33, 0x31, 0x6d, 0xff, 0x00, 0x6c]);

type Row = Readonly<Record<string, SQLInputValue>>;

const RUN: readonly Row[] = [
  { id: 1_795_998_200_671_000_001n },
  { id: -7 },
  { created_at: 9_007_199_254_740_991 },
  { created_at: 1.7e12 + 0.5, due_at: 1.7e12 + 0.5 },
  { max_attempts: 9_007_199_254_740_991 },
  { priority: HIGHEST_ID },
  { priority: "high" },
  { payload: 7 },
  { payload: NO_TEXT },
  { error: NO_TEXT, errors: "[".repeat(100_000) },
  { lease: BEYOND },
];

const DIE: readonly Row[] = [
  { attempts: BEYOND },
  { attempts: "many" },
  { attempts: -2 },
  { headers: "[".repeat(100_000) },
  { headers: NO_TEXT },
];

const DEAD: readonly Row[] = [
  { id: HIGHEST_ID - 9n, state: "dead", due_at: 9_007_199_254_740_991, created_at: 9_007_199_254_740_991 },
  { state: "dead", error: NO_TEXT, errors: NO_TEXT, attempts: BEYOND },
  {
    state: "dead",
    error: '{"code":"JOB_FAILED","message":"m","at":1e300,"attempt":-1}',
    errors: '[{"code":1},7,null]',
  },
  { state: "dead", error: '{"code":'.repeat(100_000) },
  { state: "dead", payload: NO_TEXT },
];

Deno.test("Rows that no worker has written stop no queue and no command", async () => {
  await using site = await Site.create(undefined, { process: { command: ["true"] } });
  await site.runOk(["queues"]);
  {
    using db = new DatabaseSync(site.queueFile, { timeout: 10_000 });
    const rows: Row[] = [...RUN, ...DIE, ...DEAD].map((row) => ({ queue: "jobs", payload: "x", ...row }));
    for (const row of [...rows, { queue: "jobs", payload: "innocent" }]) {
      const names = Object.keys(row);
      db.prepare(`INSERT INTO fervo_jobs (${names.join()}) VALUES (${names.map(() => "?").join()})`)
        .run(...Object.values(row));
    }
    db.prepare("INSERT INTO fervo_paused (queue, paused_at) VALUES (?, 'never')").run(NO_TEXT);
    db.prepare("INSERT INTO fervo_jobs (queue, payload) VALUES (CAST(? AS TEXT), 'x')").run(NO_TEXT);
  }
  await site.push("innocent, too");
  const { code, stderr } = await site.run(["run", "--until-empty"]);
  assert.equal(code, 5, stderr);
  assert.doesNotMatch(stderr, /QUEUE_UNAVAILABLE/);

  const dead = DIE.length + DEAD.length;
  const left = site.queueRows(
    "SELECT state, count(*) AS jobs FROM fervo_jobs WHERE queue = 'jobs' GROUP BY state",
  );
  assert.deepEqual(left.map((row) => ({ ...row })), [{ state: "dead", jobs: dead }]);

  const letters = JSON.parse(await site.runOk(["dead", "list", "--json", "--limit", "100"]));
  assert.equal(letters.length, dead);
  assert.equal(
    letters.filter(({ error }: { error: { code: string } }) => error.code === "JOB_MALFORMED").length,
    DIE.length,
  );
  for (const { id } of letters) {
    await site.runOk(["dead", "show", id]);
    await site.runOk(["dead", "show", id, "--json"]);
  }
  for (const command of [["dead", "list"], ["queues"], ["queues", "--json"], ["check"]]) {
    const { code, stdout, stderr } = await site.run(command);
    assert.ok(code === 0 || command[0] === "check", `${command}: ${stdout}${stderr}`);
    assert.doesNotMatch(`${stdout}${stderr}`, /Cannot use the queue|RangeError|Invalid time/);
  }
  await site.runOk(["dead", "retry", letters[0].id]);
  await site.runOk(["dead", "remove", "--all", "--yes"]);
  assert.deepEqual(JSON.parse(await site.runOk(["dead", "list", "--json"])), []);
});

Deno.test("A queue whose ids are used up says so at a push, with what helps, and goes on after it", async () => {
  await using site = await Site.create(undefined, { process: { command: ["true"] } });
  await site.runOk(["queues"]);
  {
    using db = new DatabaseSync(site.queueFile, { timeout: 10_000 });
    db.prepare("INSERT INTO fervo_jobs (id, queue, payload) VALUES (?, 'jobs', 'x')").run(HIGHEST_ID);
  }
  const { code, stderr } = await site.run(["push", "jobs", "x"]);
  assert.equal(code, 4);
  assert.doesNotMatch(stderr, /disk is full/);
  const [, fix] = /sqlite3 FILE "(.*?)"/.exec(stderr)!;
  await site.runOk(["run", "--until-empty"]);
  {
    using db = new DatabaseSync(site.queueFile, { timeout: 10_000 });
    db.exec(fix!);
  }
  await site.push("x");
  await site.runOk(["run", "--until-empty"]);
  assert.deepEqual(site.queueRows("SELECT id FROM fervo_jobs"), []);
});
