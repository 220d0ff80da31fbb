import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { eventually } from "../support/eventually.ts";
import { Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const COMMANDS = [["run", "--until-empty"], ["push", "jobs", "{}"], ["queues"], ["dead", "list"]];

/** Fails unless each command says that it cannot use the queue, because of `reason`. */
async function assertUnavailable(site: Site, reason: RegExp, shell?: string): Promise<void> {
  for (const command of COMMANDS) {
    const { code, stdout, stderr } = await site.run(command, shell === undefined ? {} : { shell });
    assert.equal(code, 4, `${command}: ${stderr}`);
    assert.equal(stdout, "");
    assert.match(stderr, /^fervo-worker: Cannot use the /m);
    assert.match(stderr, reason);
    assert.ok(stderr.includes(site.queueFile), stderr);
  }
  const { code, stdout } = await site.run(["check"], shell === undefined ? {} : { shell });
  assert.equal(code, 4);
  assert.match(stdout, /ERROR +brokers.default: Cannot use the /);
}

Deno.test("Every command says that the queue's folder is missing, with exit code 4", async () => {
  await using site = await Site.create();
  await site.configure({ broker: { path: `${site.directory}/nowhere/queue.sqlite` } });
  for (const command of COMMANDS) {
    const { code, stderr } = await site.run(command);
    assert.equal(code, 4);
    assert.match(stderr, /^fervo-worker: Cannot use the queue ".*\/nowhere\/queue.sqlite": /m);
  }
});

Deno.test("Every command refuses a queue that is no database, with exit code 4, and leaves it alone", async () => {
  await using site = await Site.create();
  const garbage = "This is no database. ".repeat(1_000);
  await Deno.writeTextFile(site.queueFile, garbage);
  await assertUnavailable(site, /file is not a database/);
  assert.equal(await Deno.readTextFile(site.queueFile), garbage);
});

Deno.test("Every command refuses another program's database, with exit code 4, and leaves it alone", async () => {
  await using site = await Site.create();
  site.queueRows("CREATE TABLE invoices (id INTEGER PRIMARY KEY)");
  await assertUnavailable(site, /belongs to another program; choose another path/);
  assert.deepEqual(
    site.queueRows("SELECT name FROM sqlite_schema").map(({ name }) => name),
    ["invoices"],
  );
});

Deno.test("push waits busy_timeout_ms for a locked queue, then says so with exit code 4, and has pushed nothing", async () => {
  await using site = await Site.create(undefined, { broker: { busy_timeout_ms: 100 } });
  await site.push("{}");
  {
    using db = new DatabaseSync(site.queueFile);
    db.exec("BEGIN IMMEDIATE");
    const { code, stdout, stderr } = await site.run(["push", "jobs", "{}"]);
    assert.equal(code, 4);
    assert.equal(stdout, "");
    assert.match(stderr, /^fervo-worker: Cannot use the queue ".*": .*\bdatabase is locked\b.*\n$/);
  }
  assert.equal(site.queueRows("SELECT * FROM fervo_jobs").length, 1);
});

Deno.test("run waits out a locked queue: it says so, and goes on by itself", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, {
    broker: { busy_timeout_ms: 50 },
    consumer: { pause_max_ms: 100 },
  });
  await using worker = site.start(["run"]);
  await worker.says("Consumer started");
  {
    using db = new DatabaseSync(site.queueFile, { timeout: 10_000 });
    db.exec("INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', '{}')");
    db.exec("BEGIN IMMEDIATE");
    // Whether the job was taken before or not: receive or settle cannot be written now.
    await worker.says('"msg":"The broker failed; trying again"');
    db.exec("ROLLBACK");
  }
  await eventually("no job is left", () => site.queueRows("SELECT * FROM fervo_jobs").length === 0);
  assert.equal(site.effectCount(), 1);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

/** Runs the binary without root's power over all files, where the tests run as root. */
const ORDINARY_USER = Deno.uid() === 0
  ? 'exec setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search "$@"'
  : 'exec "$@"';

Deno.test("A read-only queue is told at once, with exit code 4, and nothing is pushed", async () => {
  await using site = await Site.create();
  await site.push("{}");
  await Deno.chmod(site.queueFile, 0o400);
  const { code, stdout, stderr } = await site.run(["push", "jobs", "{}"], { shell: ORDINARY_USER });
  assert.equal(code, 4, stderr);
  assert.equal(stdout, "");
  assert.match(stderr, /^fervo-worker: Cannot use the queue ".*": .*read-?only/);
  for (const command of [["run", "--until-empty"], ["check"]]) {
    const told = await site.run(command, { shell: ORDINARY_USER });
    assert.equal(told.code, 4, told.stderr);
    assert.match(told.stdout + told.stderr, /Cannot use the queue ".*": .*read-?only/);
  }
  await Deno.chmod(site.queueFile, 0o600);
  assert.equal(site.queueRows("SELECT * FROM fervo_jobs").length, 1);
});

/** Files cannot grow beyond so many KiB, as on a disk that is full. */
const fullDisk = (kib: number) => `trap '' XFSZ; ulimit -S -f ${kib}; exec "$@"`;

Deno.test("push on a full disk says so with exit code 4, and has pushed nothing", async () => {
  await using site = await Site.create();
  await site.push("{}");
  const { code, stdout, stderr } = await site.run(["push", "jobs", "-"], {
    stdin: "x".repeat(1_000_000),
    shell: fullDisk(200),
  });
  assert.equal(code, 4, stderr);
  assert.equal(stdout, "");
  assert.match(stderr, /^fervo-worker: Cannot use the queue ".*": .*\bdisk I\/O error\b.*\n$/);
  assert.deepEqual(
    site.queueRows("SELECT CAST(payload AS TEXT) AS payload FROM fervo_jobs").map((row) => ({ ...row })),
    [
      { payload: "{}" },
    ],
  );
});

Deno.test("push of many jobs onto a disk that fills up says how many are there", async () => {
  await using site = await Site.create();
  const { code, stdout, stderr } = await site.run(["push", "jobs", "-", "--count", "5000"], {
    stdin: "x".repeat(1_000),
    shell: fullDisk(1_500),
  });
  assert.equal(code, 4, stderr);
  assert.equal(stdout, "");
  const pushed = Number(/^Pushed (\d+) of the 5000 jobs, /m.exec(stderr)?.[1]);
  assert.ok(pushed > 0 && pushed < 5_000, stderr);
  assert.equal(site.queueRows("SELECT id FROM fervo_jobs").length, pushed);
});

Deno.test("run on a disk that fills up says so, keeps its jobs, and goes on when there is room again", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { consumer: { pause_max_ms: 100 } });
  await using worker = site.start(["run"], { shell: `trap '' XFSZ; exec "$@"` });
  await worker.says("Consumer started");
  await setFileLimit(worker.pid, "0");
  const ids = await site.push("{}", 50);
  await worker.says('"msg":"The broker failed; trying again"');
  assert.match(worker.stderr, /"code":"QUEUE_UNAVAILABLE","error":"Cannot use the queue .*disk I\/O error/);
  await setFileLimit(worker.pid, "unlimited");
  await eventually("no job is left", () => site.queueRows("SELECT * FROM fervo_jobs").length === 0);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.deepEqual(site.effects().map(({ job }) => job).sort(), ids.toSorted());
});

async function setFileLimit(pid: number, bytes: string): Promise<void> {
  const args = ["--pid", String(pid), `--fsize=${bytes}:`];
  const { success, stderr } = await new Deno.Command("prlimit", { args }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

Deno.test("run sends a message that its format cannot read to the dead letters, its bytes untouched", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, {
    broker: { format: "envelope" },
    consumer: { concurrency: 1 },
  });
  const [good] = await site.push("fine");
  const garbage = new Uint8Array([0, 255, 254, 123, 34, 10]);
  site.queueRows("INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', ?) RETURNING id", garbage);
  site.queueRows("INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', ?) RETURNING id", '{"fervo":2}');
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  assert.deepEqual(site.effects().map(({ job }) => job), [good]);
  assert.deepEqual(site.payloads(), ["fine"]);
  const letters = JSON.parse(await site.runOk(["dead", "list", "--json"]));
  assert.equal(letters.length, 2);
  const [newer, older] = letters.toSorted((a: { id: string }, b: { id: string }) =>
    Number(b.id) - Number(a.id)
  );
  assert.deepEqual(Uint8Array.fromBase64(older.payload_base64), garbage);
  assert.equal(older.error.code, "JOB_MALFORMED");
  assert.equal(newer.payload, '{"fervo":2}');
  assert.match(newer.error.message, /field "fervo" is 2, not 1/);
});

Deno.test("push refuses a payload over max_payload_bytes with exit code 1, and run buries one with its bytes", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, {
    broker: { max_payload_bytes: 1_000 },
    consumer: { concurrency: 1 },
  });
  const { code, stdout, stderr } = await site.run(["push", "jobs", "-"], { stdin: "x".repeat(1_001) });
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /^fervo-worker: The payload for queue "jobs" has 1001 bytes, more than the 1000 /);
  assert.deepEqual(site.queueRows("SELECT * FROM fervo_jobs"), []);

  site.queueRows(
    "INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', ?) RETURNING id",
    "y".repeat(1_001),
  );
  const [fits] = await site.push("x".repeat(1_000));
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  assert.deepEqual(site.effects().map(({ job }) => job), [fits]);
  const [letter, ...others] = JSON.parse(await site.runOk(["dead", "list", "--json"]));
  assert.deepEqual(others, []);
  assert.equal(letter.error.code, "JOB_MALFORMED");
  assert.equal(letter.payload, "y".repeat(1_001));
});
