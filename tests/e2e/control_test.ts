/** The commands that talk to a running worker. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { fervoWorker, type RunningCommand, Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { RedisServer } from "../support/redis_server.ts";

/** Where the site's worker listens: beside its configuration. */
const socketOf = (site: Site) => `${site.directory}/fervo-worker.sock`;

async function startTaking(site: Site): Promise<RunningCommand> {
  const worker = site.start(["run"]);
  await worker.says('"msg":"Listening for commands"');
  return worker;
}

/** A worker that has so many jobs under way, until they are let go. */
async function startBusy(jobs: number) {
  await using opened = new AsyncDisposableStack();
  const fpm = opened.use(await PhpFpm.start({ children: 4 }));
  const site = opened.use(await Site.create(fpm));
  const gate = `${site.directory}/gate`;
  await site.push(JSON.stringify({ wait_for: gate }), jobs);
  const worker = opened.use(await startTaking(site));
  await eventually(`${jobs} jobs run`, () => site.effectCount() === jobs);
  const resources = opened.move();
  return {
    site,
    worker,
    letGo: () => Deno.writeTextFile(gate, ""),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

const exists = (path: string) => Deno.lstat(path).then(() => true, () => false);
/** One that has ended has no program, be it that nobody has waited for it yet. */
const lives = (pid: number) => Deno.readLink(`/proc/${pid}/exe`).then(() => true, () => false);

Deno.test("status tells people and programs how the running worker is doing", async () => {
  await using t = await startBusy(3);
  const { site, worker } = t;
  assert.equal((await Deno.stat(socketOf(site))).mode! & 0o777, 0o600);

  const { started, uptime_s, version, commit, ...status } = JSON.parse(
    await site.runOk(["status", "--json"]),
  );
  assert.ok(Math.abs(Date.parse(started) + uptime_s * 1_000 - Date.now()) < 60_000);
  assert.match(version, /^\d+\.\d+\.\d+/);
  assert.ok(commit === null || /^[0-9a-f]{40}/.test(commit));
  const { last_receive_s, ...consumer } = status.consumers[0];
  assert.ok(last_receive_s >= 0 && last_receive_s < 60);
  assert.deepEqual({ ...status, consumers: [consumer] }, {
    pid: worker.pid,
    state: "running",
    config: site.configFile,
    http: null,
    in_flight: 3,
    log_lines_dropped: 0,
    consumers: [{
      name: "jobs",
      broker: "default",
      queues: ["jobs"],
      state: "running",
      reason: null,
      slots: 4,
      busy: 3,
      in_flight: 3,
      paused_queues: [],
      held_back: [],
    }],
    schedules: [],
    brokers: [{ name: "default", up: true, error: null, orphans: 0 }],
    fpm: [{ name: "default", up: true, error: null, connections: { busy: 3, idle: 0 } }],
  });
  const text = await site.runOk(["status"]);
  assert.ok(text.startsWith(`fervo-worker ${version}, process ${worker.pid}: running for `), text);
  assert.match(text, /^jobs +default +jobs +running +\d+ s ago +3\/4 +3$/m);
  assert.match(text, /^php-fpm default +up +3 busy, 0 idle$/m);
  await t.letGo();
});

Deno.test("status says why a consumer is paused", async () => {
  await using site = await Site.create();
  await site.push("{}");
  await using _worker = await startTaking(site);
  await eventually(
    "it is paused",
    async () => JSON.parse(await site.runOk(["status", "--json"])).consumers[0].state === "paused",
  );
  const text = await site.runOk(["status"]);
  assert.match(
    text,
    /^Consumer "jobs" is backing off: FASTCGI_CONNECT_FAILED: Cannot connect to php-fpm at /m,
  );
  assert.match(text, /^php-fpm "default" is unavailable: FASTCGI_CONNECT_FAILED: /m);
});

Deno.test("status says that a consumer backs off while its broker is unavailable, and why", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using redis = await RedisServer.start();
  await using site = await Site.create(fpm);
  await site.configure({ broker: { driver: "redis", url: redis.url } });
  await using worker = site.start(["run"]);
  await worker.says('"msg":"Listening for commands"');
  const consumer = async () => JSON.parse(await site.runOk(["status", "--json"])).consumers[0];
  await eventually("it runs", async () => (await consumer()).state === "running");
  await redis.stop();
  await eventually("it backs off", async () => (await consumer()).state === "paused");
  assert.match((await consumer()).reason, /^QUEUE_UNAVAILABLE: Cannot use Redis/);
  assert.match(await site.runOk(["status"]), /backing off/);
  await redis.start();
  await eventually("it runs again", async () => (await consumer()).state === "running");
});

Deno.test("status has no secrets: passwords of brokers, the token, values of params and the environment", async () => {
  const secrets = ["s3cret-password-of-redis", "s3cret-token-of-http", "s3cret-param", "s3cret-variable"];
  const [password, token, param, variable] = secrets as [string, string, string, string];
  await using fpm = await PhpFpm.start({ children: 4 });
  await using redis = await RedisServer.start({ tcp: true, config: [`requirepass ${password}`] });
  await using site = await Site.create(fpm);
  await site.configure({
    log: { level: "debug" },
    http: { listen: `${site.directory}/http.sock`, token },
    broker: { driver: "redis", url: `redis://:${password}@127.0.0.1:${redis.port}` },
    params: { APP_SECRET: param, APP_OTHER: "${OTHER}" },
  });
  await using worker = site.start(["run"], { env: { OTHER: variable } });
  await worker.says('"msg":"Listening for commands"');
  const options = { env: { OTHER: variable } };
  const said = [await site.runOk(["status", "--json"], options), await site.runOk(["status"], options)];
  await redis.stop();
  await eventually(
    "the broker is away",
    async () => JSON.parse(await site.runOk(["status", "--json"], options)).brokers[0].up === false,
  );
  said.push(await site.runOk(["status", "--json"], options), await site.runOk(["status"], options));
  assert.match(said[3]!, /^Broker "default" is unavailable: QUEUE_UNAVAILABLE: /m);
  worker.kill("SIGTERM");
  said.push((await worker.ended).stderr);
  for (const text of said) {
    for (const secret of secrets) assert.equal(text.includes(secret), false, `${secret} in ${text}`);
  }
});

Deno.test("stop --wait ends when the worker's process has ended, after its jobs", async () => {
  await using t = await startBusy(2);
  const { site, worker } = t;
  await using stop = site.start(["stop", "--wait"]);
  await worker.says('"msg":"Stopping');
  await eventually("it tells what is under way", () => stop.stdout !== "");
  assert.equal(stop.stdout, `The worker (process ${worker.pid}) is stopping; 2 jobs in flight\n`);
  // A second one only waits, too.
  await using second = site.start(["stop", "--wait", "--json"]);
  await eventually("the second is heard", () => second.stdout !== "");
  assert.equal(worker.hasEnded, false);
  assert.equal(stop.hasEnded, false);
  await t.letGo();
  assert.equal((await stop.ended).code, 0);
  assert.match((await stop.ended).stdout, /^The worker has ended with exit code 0$/m);
  assert.match((await second.ended).stdout, /^\{"state":"stopping",.*\}\n\{"exit_code":0\}\n$/);
  assert.equal(await lives(worker.pid), false, "the process lives");
  assert.equal((await worker.ended).code, 0);
  assert.equal(await exists(socketOf(site)), false);
});

Deno.test("stop --now puts the jobs back that run, and stop --wait tells of a worker that is killed", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  await site.push(JSON.stringify({ wait_for: `${site.directory}/gate` }), 2);
  {
    await using worker = await startTaking(site);
    await eventually("2 jobs run", () => site.effectCount() === 2);
    assert.equal((await site.run(["stop", "--now", "--wait"])).code, 0);
    assert.equal(
      (await worker.ended).stderr.match(/"msg":"Job put back; its process may still run/g)?.length,
      2,
    );
  }
  await using worker = await startTaking(site);
  await eventually("2 jobs run again", () => site.effectCount() === 4);
  await using stop = site.start(["stop", "--wait"]);
  await eventually("it has the worker's answer", () => stop.stdout !== "");
  worker.kill("SIGKILL");
  const { code, stderr } = await stop.ended;
  assert.equal(code, 4);
  assert.match(stderr, /^fervo-worker: The worker ended without a result; was it killed\?$/m);
});

Deno.test("status, quiet, stop and reload give up on a worker that hangs, when their time is over", async () => {
  await using site = await Site.create(undefined, { process: { command: ["/bin/true"] } });
  await using worker = await startTaking(site);
  worker.kill("SIGSTOP");
  try {
    for (const args of [["status"], ["quiet", "--wait"], ["stop", "--wait"], ["reload"]]) {
      const { code, stdout, stderr } = await site.run([...args, "--timeout", "300ms"]);
      assert.deepEqual([code, stdout], [4, ""]);
      assert.match(
        stderr,
        /^fervo-worker: The worker at ".*" has not answered in 0\.3 s; --timeout sets how long to wait\n$/,
      );
    }
  } finally {
    worker.kill("SIGCONT");
  }
});

Deno.test("stop --wait with a time limit gives up on jobs that take longer, and the worker goes on to its end", async () => {
  await using t = await startBusy(1);
  const { code, stdout, stderr } = await t.site.run(["stop", "--wait", "--timeout", "500ms"]);
  assert.equal(code, 4);
  assert.match(stdout, /is stopping; 1 job in flight\n$/);
  assert.match(stderr, /has not finished in 0\.5 s/);
  await t.letGo();
  assert.equal((await t.worker.ended).code, 0);
});

Deno.test("quiet --wait ends when no job runs, and the worker stays", async () => {
  await using t = await startBusy(2);
  const { site, worker } = t;
  await using quiet = site.start(["quiet", "--wait"]);
  await eventually("it tells what is under way", () => quiet.stdout !== "");
  assert.equal(quiet.stdout, `The worker (process ${worker.pid}) is quiet; 2 jobs may finish\n`);
  const [id] = await site.push("{}");
  assert.equal(quiet.hasEnded, false);
  await t.letGo();
  assert.equal((await quiet.ended).code, 0);
  assert.match((await quiet.ended).stdout, /is quiet; no job runs\n$/);
  assert.equal(site.effects().some(({ job }) => job === id), false);
  assert.equal(JSON.parse(await site.runOk(["status", "--json"])).state, "quiet");
  await site.runOk(["stop", "--wait"]);
  assert.equal((await worker.ended).code, 0);
});

Deno.test("Commands without a worker say so, with the path and exit code 4", async () => {
  await using site = await Site.create();
  for (const command of ["status", "quiet", "stop"]) {
    const { code, stdout, stderr } = await site.run([command]);
    assert.deepEqual({ code, stdout }, { code: 4, stdout: "" });
    assert.equal(
      stderr,
      `fervo-worker: No worker listens at "${
        socketOf(site)
      }": no such socket; is the worker running, with this ` +
        "configuration?\n",
    );
  }
  const { code, stderr } = await fervoWorker(["status", "--socket", "/nowhere/w.sock"]);
  assert.equal(code, 4);
  assert.match(stderr, /No worker listens at "\/nowhere\/w\.sock"/);
});

Deno.test("status --wait waits for a worker that is about to start", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  await using status = site.start(["status", "--wait", "--json"]);
  await using worker = await startTaking(site);
  const { code, stdout } = await status.ended;
  assert.equal(code, 0);
  assert.equal(JSON.parse(stdout).pid, worker.pid);
});

Deno.test("A worker is reached while its configuration is broken, and a killed one's socket is replaced", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  {
    await using killed = await startTaking(site);
    killed.kill("SIGKILL");
    await killed.ended;
  }
  assert.ok(await exists(socketOf(site)));
  const { code, stderr } = await site.run(["status"]);
  assert.equal(code, 4);
  assert.match(stderr, /a killed worker left this socket behind/);
  await using worker = await startTaking(site);
  await Deno.writeTextFile(site.configFile, "[brokers.default]\ndriver = \n");
  await site.runOk(["stop", "--wait"]);
  assert.equal((await worker.ended).code, 0);
});

Deno.test("A second worker on one configuration runs, and says that it takes no commands", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm);
  await using first = await startTaking(site);
  await using second = site.start(["run"]);
  await second.says('"msg":"No control socket"');
  assert.match(second.stderr, /"level":"warn".*another worker uses this socket/);
  await second.says("Consumer started");
  second.kill("SIGTERM");
  assert.equal((await second.ended).code, 0);
  assert.equal(JSON.parse(await site.runOk(["status", "--json"])).pid, first.pid);

  await site.configure({ top: {}, control: { socket: "" } });
  await using third = site.start(["run"]);
  await third.says("Consumer started");
  const { code, stderr } = await site.run(["status"]);
  assert.equal(code, 3);
  assert.match(
    stderr,
    /has \[control\] socket = "", so its worker takes no commands: send it signals instead/,
  );
  third.kill("SIGTERM");
  assert.doesNotMatch((await third.ended).stderr, /control|commands/);
});

Deno.test("SIGUSR1 writes the state into the log whatever its level: jobs by their ids, no payloads, no secrets", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  const gate = `${site.directory}/gate`;
  await site.configure({
    log: { level: "error" },
    params: { APP_SECRET: "s3cret-param" },
    fpm: { status_path: fpm.statusPath },
  });
  const ids = await site.push(JSON.stringify({ wait_for: gate, secret: "s3cret-payload" }), 2);
  await using worker = site.start(["run"]);
  await eventually("2 jobs run", () => site.effectCount() === 2);
  worker.kill("SIGUSR1");
  await worker.says("State of a php-fpm pool");
  const entries = worker.stderr.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(entries.map(({ msg }) => msg), [
    "State of the worker",
    "State of a consumer",
    "State of a broker",
    "State of a php-fpm pool",
  ]);
  const [state, consumer, broker, pool] = entries;
  assert.deepEqual([state.pid, state.state, state.in_flight], [worker.pid, "running", 2]);
  assert.deepEqual([consumer.slots, consumer.busy, consumer.in_flight, consumer.ahead, consumer.gate], [
    4,
    2,
    2,
    0,
    "open",
  ]);
  assert.deepEqual(
    consumer.running.map(({ jobs }: { jobs: unknown }) => jobs),
    ids.map((job) => [{ job, queue: "jobs", attempt: 1 }]),
  );
  assert.ok(consumer.running.every(({ run_ms }: { run_ms: number }) => run_ms >= 0 && run_ms < 60_000));
  assert.deepEqual(broker.queues, { jobs: { ready: 0, delayed: 0, reserved: 2, dead: 0 } });
  assert.equal(pool.connections.busy, 2);
  assert.equal(pool.children.active >= 2, true);
  assert.doesNotMatch(worker.stderr, /s3cret/);
  await Deno.writeTextFile(gate, "");
  worker.kill("SIGTERM");
  const { code, stderr } = await worker.ended;
  assert.equal(code, 0);
  assert.equal(stderr.trimEnd().split("\n").length, 4, "the level is what it was");
});
