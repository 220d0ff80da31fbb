/** Another configuration for a running worker, by SIGHUP and by `reload`. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { type RunningCommand, Site, type SiteOptions } from "../support/fervo_worker.ts";
import { NotifySocket } from "../support/notify_socket.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { RedisServer } from "../support/redis_server.ts";
import { Supervisord } from "../support/supervisord.ts";
import { fervoWorkerPath } from "../support/fervo_worker.ts";

/** A consumer for a queue of its own, beside that of the site. */
const consumer = (name: string, keys = "concurrency = 1") =>
  `[[consumers]]\nname = "${name}"\nqueues = ["${name}"]\n${keys}\n`;

async function configure(site: Site, more: string, options: SiteOptions = {}): Promise<void> {
  await site.configure(options);
  await Deno.writeTextFile(site.configFile, more, { append: true });
}

async function startTaking(site: Site, options = {}): Promise<RunningCommand> {
  const worker = site.start(["run"], options);
  await worker.says('"msg":"Listening for commands"');
  return worker;
}

async function push(site: Site, queue: string, payload: unknown, count = 1): Promise<string[]> {
  const args = ["push", queue, "-", "--count", String(count), "--json"];
  return JSON.parse(await site.runOk(args, { stdin: JSON.stringify(payload) })).ids;
}

const jobsLeft = (site: Site) => site.queueRows("SELECT count(*) AS n FROM fervo_jobs")[0]!["n"] as number;

/** How many times the log has said something. */
const said = ({ stderr }: RunningCommand, message: string) => stderr.split(`"msg":"${message}"`).length - 1;
const RELOADED = "Reloaded the configuration";

function assertEachOnce(site: Site, ids: readonly string[]): void {
  assert.deepEqual(site.effects().map(({ job }) => job).sort(), [...ids].sort());
}

async function statusOf(site: Site) {
  return JSON.parse(await site.runOk(["status", "--json"]));
}

Deno.test("2,000 jobs run exactly once each while ten reloads add, change and remove consumers and the broker's settings", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm);
  /** Which consumers there are, and how the shared parts are set. */
  const versions: [more: string, options: SiteOptions][] = [
    [consumer("a") + consumer("b"), {}],
    [consumer("a"), {}],
    [consumer("a", "concurrency = 2"), {}],
    [consumer("a", "concurrency = 2") + consumer("b"), { fpm: { idle_ms: 50 } }],
    [consumer("a", "concurrency = 2") + consumer("b"), {
      fpm: { idle_ms: 50 },
      broker: { lease_ms: 20_000 },
    }],
  ];
  const configureVersion = (index: number) => configure(site, ...versions[index % versions.length]!);
  await configureVersion(0);
  await using worker = await startTaking(site);
  const ids = [
    ...await push(site, "jobs", { sleep_ms: 2 }, 1_200),
    ...await push(site, "a", { sleep_ms: 2 }, 400),
    ...await push(site, "b", { sleep_ms: 2 }, 400),
  ];
  for (let reloads = 1; reloads <= 10; reloads++) {
    // At each, another share of the jobs is done.
    await eventually("jobs run", () => site.effectCount() >= reloads * 100);
    await configureVersion(reloads);
    worker.kill("SIGHUP");
    await eventually("it is reloaded", () => said(worker, RELOADED) === reloads);
  }
  await eventually("all jobs are done", () => jobsLeft(site) === 0, 60_000);
  assertEachOnce(site, ids);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("reload leaves consumers that are the same alone, and waits for the jobs of those that go", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm);
  await configure(site, consumer("a") + consumer("gone"));
  const gate = `${site.directory}/gate`;
  const ids = await Promise.all(["jobs", "a", "gone"].map((queue) => push(site, queue, { wait_for: gate })));
  await using worker = await startTaking(site);
  await eventually("3 jobs run", () => site.effectCount() === 3);
  await configure(site, consumer("a", "concurrency = 2") + consumer("new"));
  await using reload = site.start(["reload", "--wait"]);
  await eventually("it is heard", () => reload.stdout !== "");
  assert.equal(reload.stdout, "Consumers added: new\nConsumers changed: a\nConsumers removed: gone\n");
  // The one that is the same works on; the others are not there before the jobs of the former ones have ended.
  const [during] = await push(site, "jobs", {});
  await eventually("the job has run", () => site.effects().some(({ job }) => job === during));
  const { in_flight, consumers } = await statusOf(site);
  assert.deepEqual([in_flight, consumers.map(({ name }: { name: string }) => name)], [3, [
    "jobs",
    "a",
    "gone",
  ]]);
  assert.equal(reload.hasEnded, false);
  assert.equal(said(worker, "Consumer stopped"), 0);
  await Deno.writeTextFile(gate, "");
  assert.equal((await reload.ended).code, 0);
  const after = await statusOf(site);
  assert.deepEqual(
    after.consumers.map(({ name, slots, state }: Record<string, unknown>) => [name, slots, state]),
    [["jobs", 4, "running"], ["a", 2, "running"], ["new", 1, "running"]],
  );
  const more = [...await push(site, "a", {}), ...await push(site, "new", {})];
  const [left] = await push(site, "gone", {});
  await eventually("they have run", () => site.effectCount() === 6);
  assertEachOnce(site, [...ids.flat(), during!, ...more]);
  assert.deepEqual(site.queueRows("SELECT id FROM fervo_jobs").map(({ id }) => String(id)), [left]);
  assert.equal(worker.stderr.match(/"consumer":"jobs",.*"msg":"Consumer st/g)?.length, 1);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("reload puts jobs back that do not end in shutdown_timeout_ms, and they run again under the new configuration", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm);
  const gate = `${site.directory}/gate`;
  await configure(site, consumer("a"), { top: { shutdown_timeout_ms: 100 } });
  const [id] = await push(site, "a", { wait_for: gate });
  await using worker = await startTaking(site);
  await eventually("the job runs", () => site.effectCount() === 1);
  await configure(site, consumer("a", "concurrency = 2"), { top: { shutdown_timeout_ms: 100 } });
  await site.runOk(["reload", "--wait"]);
  await eventually("the job runs again", () => site.effectCount() === 2);
  assert.deepEqual(site.effects().map(({ job, attempt }) => [job, attempt]), [[id, 1], [id, 1]]);
  await Deno.writeTextFile(gate, "");
  await eventually("it is done", () => jobsLeft(site) === 0);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("What a reload cannot put back, as Redis is away, runs again when Redis is back", async () => {
  await using redis = await RedisServer.start({ config: ["appendonly yes"] });
  await using fpm = await PhpFpm.start({ children: 4 });
  const options = { broker: { driver: "redis", url: redis.url }, top: { shutdown_timeout_ms: 100 } };
  await using site = await Site.create(fpm, options);
  const gate = `${site.directory}/gate`;
  const [id] = await push(site, "jobs", { class: "Wait", args: [], wait_for: gate });
  await using worker = await startTaking(site);
  await eventually("the job runs", () => site.effectCount() === 1);
  await redis.kill();
  await configure(site, "", { ...options, consumer: { concurrency: 2 } });
  worker.kill("SIGHUP");
  // As soon as its time is over.
  await worker.says('"during":"settle"');
  await redis.start();
  await eventually("the job runs again", () => site.effectCount() === 2);
  assert.deepEqual(site.effects().map(({ job, attempt }) => [job, attempt]), [[id, 1], [id, 1]]);
  await Deno.writeTextFile(gate, "");
  await eventually(
    "no worker holds it",
    async () => (await redis.elements("KEYS", "*inflight*")).length === 0,
  );
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("A file with mistakes changes nothing: every problem is logged and printed with its line, with exit code 3", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  await using worker = await startTaking(site);
  await configure(site, consumer("a", "concurency = 1") + "[[consumers]]\nqueues = []\n");
  worker.kill("SIGHUP");
  await worker.says('"msg":"The configuration was not reloaded');
  const lines = [
    /fervo-worker\.toml:\d+:1: unknown key "concurency" in \[\[consumers\]\]; did you mean "concurrency"\?/,
    /fervo-worker\.toml:\d+:1: queues is an empty list/,
  ];
  const logged = () =>
    worker.stderr.split("\n").slice(0, -1).filter((line) => line.includes("was not reloaded"));
  await eventually("both are in the log", () => logged().length >= 2);
  const entries = logged();
  assert.equal(entries.length, 2);
  lines.forEach((line, i) => assert.match(JSON.parse(entries[i]!).error, line));

  const { code, stdout, stderr } = await site.run(["reload"]);
  assert.deepEqual({ code, stdout }, { code: 3, stdout: "" });
  assert.match(stderr, /^fervo-worker: The configuration cannot be used:\n/);
  for (const line of lines) assert.match(stderr, line);
  const broken = ["[[", "", '[brokers.default]\ndriver = "sqlite"\npath = "/nowhere/q.sqlite"\n'];
  for (const text of broken) {
    await Deno.writeTextFile(site.configFile, text);
    assert.equal((await site.run(["reload"])).code, 3, text);
  }
  // Right as a text, but the new queue cannot be opened.
  await configure(site, "", { broker: { path: "/nowhere/q.sqlite", driver: "sqlite" } });
  const away = await site.run(["reload"]);
  assert.equal(away.code, 4, away.stderr);

  await configure(site, "");
  const ids = await push(site, "jobs", {}, 20);
  await eventually("the jobs have run", () => site.effectCount() === 20);
  assertEachOnce(site, ids);
  assert.equal(said(worker, RELOADED), 0);
  assert.equal(said(worker, "Consumer stopped"), 0);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("SIGHUP while the worker drains, and a stop while it reloads, end the worker in order", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm);
  const gate = `${site.directory}/gate`;
  await configure(site, consumer("a"));
  const ids = [...await push(site, "jobs", { wait_for: gate }), ...await push(site, "a", { wait_for: gate })];
  {
    await using worker = await startTaking(site);
    await eventually("2 jobs run", () => site.effectCount() === 2);
    worker.kill("SIGTERM");
    await worker.says('"msg":"Stopping');
    await configure(site, consumer("b"));
    worker.kill("SIGHUP");
    await worker.says("Cannot reload the configuration: the worker takes no jobs, it is stopping");
    const { code, stderr } = await site.run(["reload"]);
    assert.equal(code, 1);
    assert.match(stderr, /the worker takes no jobs, it is stopping/);
    await Deno.writeTextFile(gate, "");
    assert.equal((await worker.ended).code, 0);
    assert.doesNotMatch((await worker.ended).stderr, /"consumer":"b"/);
  }
  await Deno.remove(gate);
  await configure(site, consumer("a"));
  ids.push(...await push(site, "jobs", { wait_for: gate }), ...await push(site, "a", { wait_for: gate }));
  await using worker = await startTaking(site);
  await eventually("2 jobs run", () => site.effectCount() === 4);
  await configure(site, consumer("b"));
  // Two in quick succession, of which the second waits; then the stop.
  worker.kill("SIGHUP");
  await worker.says('"msg":"Reloading the configuration"');
  worker.kill("SIGHUP");
  worker.kill("SIGHUP");
  worker.kill("SIGTERM");
  await worker.says('"msg":"Stopping');
  await push(site, "b", {});
  await Deno.writeTextFile(gate, "");
  const { code, stderr } = await worker.ended;
  assert.equal(code, 0);
  assert.doesNotMatch(stderr, /"consumer":"b"/);
  assert.equal(said(worker, RELOADED), 0);
  assertEachOnce(site, ids);
});

Deno.test("Reloads in quick succession end with the last file, whatever they met on the way", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm);
  await using worker = await startTaking(site);
  const ids: string[] = [];
  for (let round = 1; round <= 20; round++) {
    await configure(site, consumer("a", `concurrency = ${1 + round % 3}`) + (round % 2 ? consumer("b") : ""));
    worker.kill("SIGHUP");
    if (round % 5 === 0) ids.push(...await push(site, "a", { sleep_ms: 5 }, 20));
  }
  await site.runOk(["reload", "--wait"]);
  const { consumers } = await statusOf(site);
  assert.deepEqual(
    consumers.map(({ name, slots }: Record<string, unknown>) => [name, slots]),
    [["jobs", 4], ["a", 3]],
  );
  await eventually("all jobs are done", () => jobsLeft(site) === 0, 30_000);
  assertEachOnce(site, ids);
  assert.equal(worker.stderr.match(/"consumer":"jobs",.*"msg":"Consumer st/g)?.length, 1);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("A reload changes the log's level, opens and closes brokers and pools, and names what needs a restart", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using other = await PhpFpm.start({ children: 4 });
  await using redis = await RedisServer.start({ tcp: true });
  await using site = await Site.create(fpm);
  await using worker = await startTaking(site);
  await push(site, "jobs", {});
  await eventually("the job has run", () => jobsLeft(site) === 0);
  assert.doesNotMatch(worker.stderr, /"level":"debug"/);

  const more = `[brokers.second]
driver = "redis"
url = "redis://127.0.0.1:${redis.port}"
[fpm.second]
address = "${other.address}"
script = "/nowhere.php"
[[consumers]]
name = "second"
broker = "second"
fpm = "second"
queues = ["second"]
`;
  const consumer = { broker: "default", fpm: "default" };
  await configure(site, more, {
    log: { level: "debug", format: "pretty" },
    http: { listen: `${site.directory}/http.sock` },
    consumer,
  });
  assert.equal(
    await site.runOk(["reload", "--wait"]),
    "Consumers added: second\nChanged, but used only after a restart: [http]\n" +
      "Changed, but used only after a restart: [log] format\n",
  );
  assert.match(worker.stderr, /"level":"warn",.*"key":"\[http\]"/);
  await push(site, "jobs", {});
  await worker.says('"msg":"Job done"');
  await eventually("Redis sees the worker", async () => await redisProcesses(redis) === 1);
  assert.deepEqual((await statusOf(site)).brokers.map(({ name }: { name: string }) => name), [
    "default",
    "second",
  ]);

  await configure(site, "", { consumer });
  await site.runOk(["reload", "--wait"]);
  assert.equal(await redisProcesses(redis), 0);
  const { brokers, fpm: pools } = await statusOf(site);
  assert.deepEqual([brokers.length, pools.length], [1, 1]);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

async function redisProcesses({ socket }: RedisServer): Promise<number> {
  const { stdout } = await new Deno.Command("redis-cli", { args: ["-s", socket, "scard", "processes"] })
    .output();
  return Number(new TextDecoder().decode(stdout));
}

Deno.test("A reload lets a consumer look at once that waits for its script, and leaves it as it is", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm);
  const missing = `${site.directory}/late.php`;
  const more = `[fpm.second]\naddress = "${fpm.address}"\nscript = "${missing}"\n` +
    consumer("a", 'fpm = "second"');
  await configure(site, more, { consumer: { fpm: "default" } });
  await using worker = await startTaking(site);
  await push(site, "a", {});
  await worker.says("Consumer backs off");
  assert.equal((await statusOf(site)).consumers[1].state, "failed");
  await Deno.writeTextFile(missing, "<?php header('X-Fervo-Outcome: ack');");
  assert.equal(await site.runOk(["reload", "--wait"]), "No consumer and no schedule changed\n");
  await eventually("the job is done", () => jobsLeft(site) === 0);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("A schedule comes, changes and goes with a reload", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  await using worker = await startTaking(site);
  await site.configure({ schedule: { every_ms: 1_000 } });
  assert.equal(await site.runOk(["reload", "--wait"]), "Schedules added: timed\n");
  await worker.says('"msg":"The schedule pushed a job"');
  await site.configure({ schedule: { every_ms: 3_600_000 } });
  assert.equal(await site.runOk(["reload", "--wait"]), "Schedules changed: timed\n");
  await site.configure({});
  assert.equal(await site.runOk(["reload", "--wait"]), "Schedules removed: timed\n");
  assert.equal(await site.runOk(["reload", "--wait"]), "No consumer and no schedule changed\n");
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("A reload is RELOADING and then READY to the service manager, whether the file is good or bad", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  await using manager = await NotifySocket.listen();
  await using worker = await startTaking(site, { env: { NOTIFY_SOCKET: manager.path } });
  await manager.has("READY=1");
  worker.kill("SIGHUP");
  await manager.has("READY=1", 2);
  await Deno.writeTextFile(site.configFile, "[[");
  worker.kill("SIGHUP");
  await manager.has("READY=1", 3);
  const states = manager.messages.map(([first]) => first!).filter((line) => /^RE/.test(line));
  assert.deepEqual(states, ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]);
  assert.equal(manager.count(/^MONOTONIC_USEC=\d+$/), 2);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("Under supervisord a worker is reloaded by a signal, and started again after stop --wait", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm);
  const log = `${site.directory}/worker.log`;
  await using supervisord = await Supervisord.start(
    site.directory,
    `[program:fervo-worker]
command = ${fervoWorkerPath()} run --config ${site.configFile}
autorestart = true
startsecs = 1
redirect_stderr = true
stdout_logfile = ${log}
`,
  );
  const first = await supervisord.pidOnce("fervo-worker");
  await configure(site, consumer("a"));
  await supervisord.ctl("signal", "HUP", "fervo-worker");
  await eventually("it is reloaded", async () => (await Deno.readTextFile(log)).includes(RELOADED));
  await push(site, "a", {});
  await eventually("the job has run", () => site.effectCount() === 1);
  assert.equal(await supervisord.pidOnce("fervo-worker"), first);
  await site.runOk(["stop", "--wait"]);
  assert.notEqual(await supervisord.pidOnce("fervo-worker", (pid) => pid !== first), first);
  await push(site, "a", {});
  await eventually("the next job has run", () => site.effectCount() === 2);
});

Deno.test("Fifty reloads that exchange brokers, pools and consumers leave no descriptors behind", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using redis = await RedisServer.start({ tcp: true });
  await using site = await Site.create(fpm);
  const second = (leaseMs: number) =>
    `[brokers.second]\ndriver = "redis"\nurl = "redis://127.0.0.1:${redis.port}"\nlease_ms = ${leaseMs}\n` +
    consumer("a", 'broker = "second"');
  const configureRound = (round: number) =>
    configure(site, second(20_000 + round % 2), {
      broker: { lease_ms: 20_000 + round % 2 },
      fpm: { idle_ms: 50 + round % 2 },
      consumer: { broker: "default" },
    });
  await configureRound(0);
  await using worker = await startTaking(site);
  const descriptors = () => [...Deno.readDirSync(`/proc/${worker.pid}/fd`)].length;
  for (let round = 1; round <= 5; round++) {
    await configureRound(round);
    await site.runOk(["reload", "--wait"]);
  }
  const before = descriptors();
  for (let round = 6; round <= 55; round++) {
    await configureRound(round);
    worker.kill("SIGHUP");
    await eventually("it is reloaded", () => said(worker, RELOADED) === round);
  }
  // An idle connection of the last round may still be there, or not yet.
  await eventually("as many as before", () => descriptors() <= before + 2);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});
