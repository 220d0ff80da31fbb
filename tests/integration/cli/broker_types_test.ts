/** Commands work with brokers that they have never heard of: a table of types is all that names them. */
import assert from "node:assert/strict";
import { main } from "../../../src/cli/main.ts";
import { JobError } from "../../../src/core/errors.ts";
import { systemClock } from "../../../src/core/time/clock.ts";
import { BROKER_TYPES } from "../../../src/brokers/mod.ts";
import { takeOne } from "../../conformance/fixture.ts";
import { awkwardType } from "../../support/brokers/awkward.ts";
import { plainType } from "../../support/brokers/plain.ts";
import { ACK, bury, RELEASE } from "../../support/verdicts.ts";
import { FakeIo } from "../../unit/cli/fake_io.ts";

const PLAIN = plainType(systemClock);
const AWKWARD = awkwardType(systemClock);
const TYPES = [...BROKER_TYPES, PLAIN, AWKWARD];

/** A configuration with this broker, and the command line on it. */
async function setUp(broker: string) {
  const folder = await Deno.makeTempDir({ prefix: "fervo-types-" });
  const file = `${folder}/fervo-worker.toml`;
  await Deno.writeTextFile(
    file,
    `[brokers.default]\n${broker}\n[processes.default]\ncommand = ["true"]\n[[consumers]]\nqueues = ["mail"]\n` +
      'executor = "process"\n',
  );
  await Deno.chmod(file, 0o600);
  return {
    async run(...args: string[]) {
      const io = new FakeIo();
      const code = await main([...args, "--config", file], io, TYPES);
      return { code, stdout: io.stdout, stderr: io.stderr };
    },
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

Deno.test("Commands push to a broker in memory, count its jobs, pause its queues, and see to its dead letters", async () => {
  await using t = await setUp('driver = "plain"\nstore = "jobs"');
  await using broker = PLAIN.open(
    { clock: systemClock, owner: "test" },
    { store: "jobs", leaseMs: 30_000 },
    PLAIN.formats["raw"]!,
  );
  assert.deepEqual(JSON.parse((await t.run("push", "mail", "hello", "--json")).stdout), {
    queue: "mail",
    count: 1,
    ids: ["1"],
  });
  assert.match((await t.run("queues")).stdout, /^READY.*\n *1 +0 +0 +0 +default +mail\n$/);
  assert.match(
    (await t.run("jobs", "mail")).stdout,
    /^ID +PUSHED +READY +ATTEMPTS +BYTES +PAYLOAD\n1 +2.*Z +2.*Z +0 +5 +hello\n$/,
  );
  const { jobs: [job], ...page } = JSON.parse((await t.run("jobs", "mail", "--json")).stdout);
  assert.deepEqual(page, { queue: "mail", state: "ready", next: null });
  assert.deepEqual([job.id, job.payload, job.payload_bytes], ["1", "hello", 5]);
  assert.equal(
    (await t.run("jobs", "mail", "--state", "delayed")).stdout,
    'No delayed jobs in "mail"\n',
  );
  assert.match((await t.run("jobs", "mial")).stderr, /did you mean "mail"/);
  assert.equal((await t.run("jobs", "mail", "--state", "dead")).code, 2);
  await t.run("push", "mail", "second");
  const first = await t.run("jobs", "mail", "--limit", "1");
  assert.equal(first.stderr, "There may be more: continue with --after 1\n");
  assert.match((await t.run("jobs", "mail", "--after", "1")).stdout, /^.*\n2 .* second\n$/);
  assert.equal((await t.run("jobs", "mail", "--after", "x y")).code, 1);
  await (await takeOne(broker, { queues: ["mail"] })).settle(RELEASE);
  await (await takeOne(broker, { queues: ["mail"] })).settle(ACK);
  assert.equal((await t.run("pause", "mail")).stdout, 'Paused "mail"\n');
  assert.match((await t.run("queues")).stdout, /paused/);
  assert.equal((await t.run("resume", "mail")).stdout, 'Resumed "mail"\n');
  const { stdout } = await t.run(
    "pause",
    "mail",
    "--until",
    "2100-01-31T12:00",
    "--reason",
    "moved\u001b[2J",
  );
  assert.equal(stdout, 'Paused "mail" until 2100-01-31T12:00:00.000Z: moved\\u001b[2J\n');
  assert.match(
    (await t.run("queues")).stdout,
    / QUEUE +REASON\n.* until 2100-01-31T12:00:00.000Z +default +mail +moved/,
  );
  const [row] = JSON.parse((await t.run("queues", "--json")).stdout);
  assert.deepEqual([row.paused, row.paused_until, row.pause_reason], [
    true,
    "2100-01-31T12:00:00.000Z",
    "moved\u001b[2J",
  ]);
  assert.match(
    (await t.run("check")).stdout,
    /queue "mail" is paused until 2100-01-31T12:00:00\.000Z: moved.*\n *Why: no worker takes its jobs until then\n/,
  );
  const paused = JSON.parse((await t.run("pause", "mail", "--for", "2h", "--json")).stdout);
  assert.ok(Math.abs(Date.parse(paused.until) - Date.now() - 7_200_000) < 3_600_000, paused.until);
  assert.equal(paused.reason, null);
  for (
    const [options, why] of [
      [["--until", "2000-01-31"], /The pause would end at once/],
      [["--for", "0s"], /The pause would end at once/],
      [["--for", "1h", "--until", "2100-01-31"], /cannot be used with/],
      [["--until", "tomorrow"], /Expected a date such as/],
      [["--reason", " "], /Expected a text of at most 200 characters/],
    ] as const
  ) {
    const { code, stderr } = await t.run("pause", "mail", ...options);
    assert.equal(code, 2, stderr);
    assert.match(stderr, why);
  }
  assert.equal((await t.run("resume", "mail")).stdout, 'Resumed "mail"\n');
  assert.deepEqual(JSON.parse((await t.run("push", "mial", "lost", "--json")).stdout).ids, ["3"]);
  assert.equal(
    (await t.run("purge", "mial", "--dry-run")).stdout,
    'Would delete 1 ready job of "mial"; nothing was changed\n',
  );
  for (const args of [["purge", "mial"], ["dead", "retry", "--all"], ["dead", "remove", "--all"]]) {
    const { code, stderr } = await t.run(...args);
    assert.equal(code, 2);
    assert.match(stderr, /^fervo-worker: Not an interactive terminal; pass --yes to confirm\n/);
  }
  assert.equal((await t.run("purge", "mial", "--yes")).stdout, 'Deleted 1 job of "mial"\n');
  assert.deepEqual(JSON.parse((await t.run("purge", "mial", "--yes", "--json")).stdout), {
    broker: "default",
    queue: "mial",
    purged: 0,
  });
  assert.match((await t.run("purge", "mial", "--yes")).stderr, /did you mean "mail"/i);
  await (await takeOne(broker, { queues: ["mail"] })).settle(bury(new JobError("JOB_CRASHED", "It died")));
  assert.match((await t.run("dead", "list")).stdout, /^ID.*\n1 +mail .* JOB_CRASHED +It died\n$/);
  assert.match((await t.run("dead", "list", "--code", "JOB_CRASHED")).stdout, /It died/);
  assert.match((await t.run("dead", "groups")).stdout, /^COUNT .*\n *1 +JOB_CRASHED .* 1 +It died\n$/);
  const { groups: [group], ...whole } = JSON.parse((await t.run("dead", "groups", "--json")).stdout);
  assert.deepEqual(whole, { counted: 1, whole: true });
  assert.deepEqual([group.code, group.message, group.count, group.example_id], [
    "JOB_CRASHED",
    "It died",
    1,
    "1",
  ]);
  assert.match((await t.run("dead", "groups", "--queue", "mial")).stderr, /did you mean "mail"/);
  assert.match((await t.run("dead", "show", "1")).stdout, /hello/);
  assert.match((await t.run("dead", "retry", "1")).stdout, /Retried 1 /);
  assert.match((await t.run("queues")).stdout, /\n *1 +0 +0 +0 /);
  assert.match((await t.run("check")).stdout, /^ok +brokers\.default: reached; 1 queue with jobs$/m);
});

Deno.test("Commands say what a broker in memory that shows nothing cannot do", async () => {
  await using t = await setUp('driver = "awkward"\nserver = "rabbit"');
  assert.equal((await t.run("push", "mail", "hello")).code, 0);
  assert.match((await t.run("queues")).stdout, /^READY.*\n- +- +- +- +default +mail\n$/);
  for (
    const args of [["dead", "list"], ["dead", "groups"], ["dead", "retry", "1"], ["dead", "show", "1"], [
      "pause",
      "mail",
    ], [
      "resume",
      "mail",
    ], [
      "purge",
      "mail",
      "--yes",
    ], ["jobs", "mail"]]
  ) {
    const { code, stderr } = await t.run(...args);
    assert.equal(code, 3, args.join(" "));
    assert.match(stderr, /^fervo-worker: Cannot be done with the broker "default": it /);
  }
  assert.match((await t.run("check")).stdout, /^ok +brokers\.default: reached; /m);
  const { code, stderr } = await t.run("push", "mail", "x", "--delay", "2h");
  assert.equal(code, 1);
  assert.match(stderr, /has no place for that/);
});

Deno.test("A service file starts the worker after the servers of the broker types that there are", async () => {
  await using t = await setUp('driver = "awkward"\nserver = "rabbit"');
  const { stdout } = await t.run("init", "--systemd", "--program", "/bin/true", "--user", "root");
  assert.match(stdout, /^After=.* awkward\.service/m);
});

Deno.test("pause --reason is refused where the broker keeps none, before anything is paused", async () => {
  await using t = await setUp('driver = "beanstalkd"\naddress = "127.0.0.1:1"');
  const { code, stderr } = await t.run("pause", "mail", "--reason", "moved");
  assert.equal(code, 2);
  assert.match(stderr, /This broker stores no reason of a pause: leave out --reason/);
});

Deno.test("A broker type's options are checked like all others, with their lines", async () => {
  await using t = await setUp('driver = "plain"\nstore = "Jobs"\nlease_ms = 0\nservr = 1');
  const { code, stderr } = await t.run("queues");
  assert.equal(code, 3);
  assert.match(stderr, /:3:1: brokers\.default\.store is "Jobs": expected a name of small letters/);
  assert.match(stderr, /:4:1: brokers\.default\.lease_ms is 0: expected a whole number from 1 to 3600000/);
  assert.match(stderr, /:5:1: .*"servr"/);
  await using other = await setUp('driver = "plian"');
  const drivers = [...new Set(TYPES.map(({ driver }) => `"${driver}"`))];
  const all = `expected ${drivers.slice(0, -1).join(", ")} or ${drivers.at(-1)}`;
  assert.ok((await other.run("queues")).stderr.includes(all), all);
  await using schedule = await setUp(
    'driver = "awkward"\nserver = "a"\n[[schedule]]\nname = "n"\nqueue = "mail"\ncron = "* * * * *"',
  );
  assert.match(
    (await schedule.run("queues")).stderr,
    /awkward cannot store schedules: .* driver = "sqlite", "postgres", "mysql" or "redis"/,
  );
});
