import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { type RunningCommand, Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { RedisServer } from "../support/redis_server.ts";

/** The times for which a worker says that it has pushed a job. */
function pushedFor(worker: RunningCommand): string[] {
  return worker.stderr.split("\n").filter((line) => line.includes('"The schedule pushed a job"'))
    .map((line) => JSON.parse(line).due as string);
}

/** Two workers, until the jobs of three times have run; then each time has had one job. */
async function runTwo(site: Site): Promise<string[]> {
  const workers = [site.start(["run"]), site.start(["run"])];
  try {
    await eventually("three jobs have run", () => site.effectCount() >= 3);
    for (const worker of workers) worker.kill("SIGTERM");
    const ends = await Promise.all(workers.map((worker) => worker.ended));
    assert.deepEqual(ends.map(({ code }) => code), [0, 0]);
  } finally {
    for (const worker of workers) await worker[Symbol.asyncDispose]();
  }
  return workers.flatMap(pushedFor).sort();
}

Deno.test("Two workers on the embedded queue push the job of each second once, and run it", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, {
    schedule: { cron: "* * * * * *", payload: '{"from":"the schedule"}', attempts: 2, priority: 3 },
  });
  const dues = await runTwo(site);
  assert.ok(dues.length >= 3);
  assert.equal(new Set(dues).size, dues.length, `a time came twice: ${dues}`);
  const left = site.queueRows("SELECT count(*) AS n FROM fervo_jobs")[0]!["n"] as number;
  assert.equal(site.effectCount() + left, dues.length);
  assert.deepEqual([...new Set(site.payloads())], ['{"from":"the schedule"}']);
  assert.equal(new Set(site.effects().map(({ job }) => job)).size, site.effectCount());
});

Deno.test("Two workers on Redis push the job of each second once, and run it", async () => {
  await using redis = await RedisServer.start();
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, {
    broker: { driver: "redis", url: redis.url },
    schedule: { every_ms: 1_000, payload: '{"class":"Tick","args":[]}' },
  });
  const dues = await runTwo(site);
  assert.equal(new Set(dues).size, dues.length, `a time came twice: ${dues}`);
  const left = Number(await redis.cli("LLEN", "queue:jobs"));
  assert.equal(site.effectCount() + left, dues.length);
  for (const payload of site.payloads()) {
    const { class: name, args, queue, jid } = JSON.parse(payload);
    assert.deepEqual({ name, args, queue }, { name: "Tick", args: [], queue: "jobs" });
    assert.match(jid, /^[0-9a-f]{24}$/);
  }
});

Deno.test("A worker that comes back catches up with what was due meanwhile, and tells of what it missed", async () => {
  await using fpm = await PhpFpm.start();
  const schedule = { cron: "0 0 1 1 *", time_zone: "Europe/Stockholm", catch_up: "one" };
  await using site = await Site.create(fpm, { schedule });
  {
    await using worker = site.start(["run"]);
    await eventually(
      "the schedule is known",
      () =>
        site.queueRows("SELECT 1 FROM sqlite_schema WHERE name = 'fervo_schedule'").length > 0 &&
        site.queueRows("SELECT 1 FROM fervo_schedule").length > 0,
    );
    worker.kill("SIGTERM");
    await worker.ended;
  }
  assert.equal(site.effectCount(), 0, "what was due before it was known was not missed");
  // As of years ago.
  site.queueRows("UPDATE fervo_schedule SET claimed_to = ?", Date.UTC(2020, 5, 1));
  await using worker = site.start(["run"]);
  await worker.says("was due while no worker ran");
  await eventually("the job has run", () => site.effectCount() === 1);
  worker.kill("SIGTERM");
  await worker.ended;
  const [due] = pushedFor(worker);
  assert.match(due!, /^20\d\d-12-31T23:00:00\.000Z$/, "midnight in Stockholm");
  assert.match(worker.stderr, /"schedule":"timed","from":"2020-12-31T23:00:00.000Z"/);
  assert.equal(pushedFor(worker).length, 1);
});

Deno.test("run --until-empty pushes no job of the schedule, and ends", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { schedule: { every_ms: 1_000 } });
  await site.push('{"sleep_ms":1200}');
  await site.runOk(["run", "--until-empty"]);
  assert.equal(site.effectCount(), 1);
});

Deno.test("run refuses a schedule that cannot be, with its line and exit code 3", async () => {
  await using site = await Site.create(undefined, { schedule: { cron: "61 * * * *" } });
  const { code, stderr } = await site.run(["run"]);
  assert.equal(code, 3);
  assert.match(stderr, /fervo-worker\.toml:\d+:1: cron is "61 \* \* \* \*": Invalid value for minute: 61\n/);
});

Deno.test("schedule list shows the next five times of each schedule, in its time zone and in UTC", async () => {
  await using site = await Site.create(undefined, {
    process: { command: ["/bin/true"] },
    schedule: { cron: "0 3 * * *", time_zone: "Asia/Tokyo" },
  });
  const [schedule, ...others] = JSON.parse(await site.runOk(["schedule", "list", "--json"]));
  assert.deepEqual(others, []);
  assert.equal(schedule.rule, "0 3 * * * Asia/Tokyo");
  assert.equal(schedule.next.length, 5);
  for (const { local, utc } of schedule.next) {
    assert.match(local, /^\d{4}-\d\d-\d\d 03:00:00 \+09:00$/);
    assert.match(utc, /T18:00:00/);
    assert.equal(Date.parse(local.replace(" ", "T").replace(" ", "")), Date.parse(utc));
  }
  const lines = (await site.runOk(["schedule", "list"])).trimEnd().split("\n");
  assert.match(lines[0]!, /^SCHEDULE +BROKER +QUEUE +RULE +LOCAL TIME +UTC$/);
  assert.equal(lines.length, 6);
});
