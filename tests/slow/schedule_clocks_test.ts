/**
 * A schedule, and workers whose clocks are wrong: one that was ahead for a moment silences nobody, one that is behind pushes
 * nothing a second time, and the log, `status` and `check` tell of either.
 */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { fakeTime } from "../support/fake_time.ts";
import { type RunningCommand, Site, type SiteOptions } from "../support/fervo_worker.ts";
import { RedisServer } from "../support/redis_server.ts";

const PUSHED = '"The schedule pushed a job"';
const PAYLOAD = '{"class":"Tick","args":[]}';

/** A schedule whose jobs nobody runs, so that they can be counted. */
function scheduled(broker: SiteOptions["broker"], schedule: SiteOptions["schedule"]): SiteOptions {
  return {
    ...(broker && { broker }),
    process: { command: ["true"] },
    consumer: { queues: ["none"] },
    schedule: { queue: "ticks", payload: PAYLOAD, ...schedule },
  };
}

/** A worker with a clock of its own. */
async function workerAt(site: Site, offset: string): Promise<RunningCommand> {
  const clock = `${site.directory}/clock${offset}`;
  await Deno.writeTextFile(clock, offset);
  return site.start(["run"], { env: fakeTime(clock, { stepsMonotonic: false }) });
}

/** The times for which a worker has pushed jobs. */
function pushedFor({ stderr }: { stderr: string }): string[] {
  return stderr.split("\n").filter((line) => line.includes(PUSHED)).map((line) => JSON.parse(line).due);
}

async function hasPushed(worker: RunningCommand, count: number): Promise<void> {
  await eventually(`${count} jobs are pushed`, () => pushedFor(worker).length >= count);
}

async function end(worker: RunningCommand): Promise<void> {
  worker.kill("SIGTERM");
  const { code, stderr } = await worker.ended;
  assert.equal(code, 0, stderr);
}

interface Scheduled {
  readonly name: string;
  readonly next_due: string | null;
  readonly claimed_ahead_to: string | null;
  readonly reason: string | null;
}

async function statusOf(site: Site): Promise<Scheduled> {
  return JSON.parse(await site.runOk(["status", "--json"])).schedules[0];
}

/** What `check` says of claims. */
async function foundBy(site: Site): Promise<{ severity: string; what: string } | undefined> {
  const { stdout } = await site.run(["check", "--json"]);
  return JSON.parse(stdout).find(({ id }: { id: string }) => id === "schedule.claimed_ahead");
}

/** The year that it is to be in two years' time, to those who write it into a message. */
const YEARS_AHEAD = /^20\d\d-\d\d-\d\dT/;

const BROKERS = {
  "the embedded queue": () => Promise.resolve({ broker: undefined, [Symbol.asyncDispose]: async () => {} }),
  Redis: async () => {
    const redis = await RedisServer.start();
    return {
      broker: { driver: "redis", url: redis.url },
      [Symbol.asyncDispose]: () => redis[Symbol.asyncDispose](),
    };
  },
};

for (const [name, start] of Object.entries(BROKERS)) {
  Deno.test(`On ${name}, a schedule goes on after a worker was two years ahead, which is told, and so does a changed one`, async () => {
    await using server = await start();
    await using site = await Site.create(undefined, scheduled(server.broker, { every_ms: 1_000 }));
    {
      await using ahead = await workerAt(site, "+2y");
      await hasPushed(ahead, 1);
      await end(ahead);
    }
    const warned = await foundBy(site);
    assert.equal(warned?.severity, "warning");
    assert.match(
      warned!.what,
      /^schedule "timed": its times are claimed up to 20\d\d-.*pushes no jobs until it is known/,
    );
    {
      await using right = site.start(["run"]);
      await right.says('"state":"watched"');
      await right.says('"state":"set_aside"');
      await hasPushed(right, 2);
      for (const due of pushedFor(right)) assert.ok(Date.parse(due) <= Date.now(), due);
      const { next_due, claimed_ahead_to, reason, ...schedule } = await statusOf(site);
      assert.equal(schedule.name, "timed");
      assert.ok(Math.abs(Date.parse(next_due!) - Date.now()) < 60_000, `${next_due}`);
      assert.match(claimed_ahead_to!, YEARS_AHEAD);
      assert.ok(Date.parse(claimed_ahead_to!) - Date.now() > 600 * 86_400_000);
      assert.match(reason!, /pushes jobs until the claimed times begin$/);
      const text = await site.runOk(["status"]);
      assert.match(text, /^SCHEDULE +BROKER +QUEUE +NEXT DUE\ntimed +\S+ +ticks +20\d\d-/m);
      assert.match(text, /^Schedule "timed": its times are claimed up to 20/m);
      assert.equal((await foundBy(site))?.severity, "notice");
      await end(right);
    }
    await site.configure(scheduled(server.broker, { every_ms: 1_500 }));
    await using changed = site.start(["run"]);
    await hasPushed(changed, 2);
    assert.doesNotMatch(changed.stderr, /"state":"watched"/);
    await end(changed);
  });

  Deno.test(`On ${name}, a worker that is an hour behind pushes nothing beside one that is right`, async () => {
    await using server = await start();
    await using site = await Site.create(undefined, scheduled(server.broker, { every_ms: 2_000 }));
    await using right = site.start(["run"]);
    await hasPushed(right, 1);
    await using behind = await workerAt(site, "-1h");
    await behind.says('"state":"watched"');
    await hasPushed(right, pushedFor(right).length + 3);
    assert.deepEqual(pushedFor(behind), []);
    await end(behind);
    await end(right);
    assert.equal(new Set(pushedFor(right)).size, pushedFor(right).length);
  });
}

Deno.test("A worker that is ahead goes on by itself when its clock is set", async () => {
  await using site = await Site.create(undefined, scheduled(undefined, { every_ms: 1_000 }));
  await using worker = await workerAt(site, "+2y");
  await hasPushed(worker, 1);
  await Deno.writeTextFile(`${site.directory}/clock+2y`, "+0");
  await worker.says('"state":"set_aside"');
  await eventually("it pushes the jobs of now", () => {
    const due = pushedFor(worker).at(-1);
    return due !== undefined && Date.parse(due) <= Date.now();
  });
  await end(worker);
});

Deno.test("A schedule whose claims a former version has left in the future goes on", async () => {
  await using site = await Site.create(undefined, scheduled(undefined, { every_ms: 1_000 }));
  await site.runOk(["queues"]);
  site.queueRows(
    "INSERT INTO fervo_schedule (name, rule, claimed_to) VALUES ('timed', 'every 1000 ms', ?)",
    Date.now() + 1e11,
  );
  await using worker = site.start(["run"]);
  await hasPushed(worker, 2);
  await end(worker);
});
