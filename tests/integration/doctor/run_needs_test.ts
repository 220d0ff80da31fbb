/** `check` looks at what `run` needs, and at why jobs of a queue wait. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { FindingId } from "../../../src/core/finding.ts";
import { Beanstalkd } from "../../support/beanstalkd.ts";
import { eventually } from "../../support/eventually.ts";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { OtlpReceiver } from "../../support/otlp_receiver.ts";
import { RedisServer } from "../../support/redis_server.ts";
import { runMain } from "../../unit/cli/fake_io.ts";

interface Told {
  readonly id: FindingId;
  readonly subject: string;
  readonly severity: string;
  readonly what: string;
  readonly why: string | null;
  readonly fix: string | null;
}

/** A job is a process: then php-fpm has no say. */
const PROCESS: SiteOptions = { process: { command: ["/bin/true"] } };

async function check(site: Site): Promise<Told[]> {
  const { stdout, stderr } = await runMain(["check", "--json", "--config", site.configFile]);
  assert.equal(stderr, "");
  const findings: Told[] = JSON.parse(stdout);
  for (const { severity, what, why, fix, id } of findings) {
    if (severity === "warning") assert.ok(what && why && fix, id);
  }
  return findings;
}

async function found(id: FindingId, site: Site, options?: SiteOptions): Promise<Told | undefined> {
  if (options !== undefined) await site.configure({ ...PROCESS, ...options });
  return (await check(site)).find((finding) => finding.id === id);
}

Deno.test("check finds an address of [http] that the worker cannot have", async () => {
  await using site = await Site.create(undefined, PROCESS);
  using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = other.addr as Deno.NetAddr;
  const at = (listen: string) => found("http.listen", site, { http: { listen } });
  const taken = await at(`127.0.0.1:${port}`);
  assert.equal(taken?.severity, "warning");
  assert.match(taken!.what, /the port is in use$/);
  other.close();
  assert.equal((await at(`127.0.0.1:${port}`))?.severity, "ok");
  assert.match((await at(`${site.directory}/nowhere/h.sock`))!.what, /there is no folder ".*nowhere"$/);
  assert.equal((await at(`${site.directory}/h.sock`))?.severity, "ok");
  await Deno.writeTextFile(`${site.directory}/file`, "");
  assert.match((await at(`${site.directory}/file`))!.what, /the path exists and is not a socket$/);
  assert.deepEqual([...Deno.readDirSync(site.directory)].filter(({ name }) => name.startsWith(".")), []);
});

Deno.test("check reads the token file as the worker does", async () => {
  await using site = await Site.create(undefined, PROCESS);
  const file = `${site.directory}/token`;
  const token = async (text?: string) => {
    if (text !== undefined) await Deno.writeTextFile(file, text);
    return await found("http.token", site, { http: { listen: "127.0.0.1:9102", token_file: file } });
  };
  assert.match((await token())!.what, /Cannot read the token_file/);
  for (const wrong of ["", "\n", "short", "with spaces in the token"]) {
    const finding = await token(wrong);
    assert.equal(finding?.severity, "warning", wrong);
    assert.match(finding!.what, /holds no token/);
  }
  assert.equal((await token(`${"a1".repeat(16)}\n`))?.severity, "ok");
});

Deno.test("check finds a control socket that cannot be made; the last folder of its path the worker makes itself", async () => {
  await using site = await Site.create(undefined, PROCESS);
  const at = (socket: string) => found("control.socket", site, { control: { socket } });
  assert.equal((await at(`${site.directory}/made/c.sock`))?.severity, "ok");
  await assert.rejects(Deno.stat(`${site.directory}/made`), Deno.errors.NotFound);
  assert.equal((await at(`${site.directory}/not/made/c.sock`))?.severity, "warning");
  const long = await at(`${site.directory}/${"a".repeat(120)}.sock`);
  assert.equal(long?.severity, "warning");
  assert.match(long!.what, /at most 107 bytes/);
  assert.equal(await at(""), undefined);
});

Deno.test("A socket's address that is longer than any socket's can be is a mistake of the configuration", async () => {
  await using site = await Site.create(undefined, { http: { listen: `/run/${"a".repeat(120)}.sock` } });
  const { code, stderr } = await runMain(["check", "--config", site.configFile]);
  assert.equal(code, 3);
  assert.match(stderr, /http\.listen is ".*": expected a socket's path of at most 107 bytes/);
});

Deno.test("check has the collector of traces take an export", async () => {
  await using collector = new OtlpReceiver();
  await using site = await Site.create(undefined, PROCESS);
  const tracing = { endpoint: collector.endpoint };
  const headers = { authorization: "secret" };
  const asked = () => found("tracing.endpoint", site, { tracing, tracingHeaders: headers });
  assert.equal((await asked())?.severity, "ok");
  assert.deepEqual(collector.requests.map(({ headers, spans }) => [headers.get("authorization"), spans]), [
    ["secret", 0],
  ]);
  collector.answer = () => new Response("who are you?", { status: 401 });
  const refused = await asked();
  assert.equal(refused?.severity, "warning");
  assert.match(refused!.what, /status 401$/);
  await collector[Symbol.asyncDispose]();
  assert.match((await asked())!.what, /: connection refused$/);
});

Deno.test("check finds programs that the system could not start", async () => {
  await using site = await Site.create(undefined, PROCESS);
  const program = async (text: string) => {
    const path = `${site.directory}/job`;
    await Deno.writeTextFile(path, text, { mode: 0o755 });
    return await found("process.program", site, { process: { command: [path] } });
  };
  assert.equal((await program("#!/bin/sh\nexit 0\n"))?.severity, "ok");
  assert.match(
    (await program("#!/nowhere/php\n"))!.what,
    /names the interpreter "\/nowhere\/php", which does not exist$/,
  );
  assert.match((await program("#!/bin/sh\r\nexit 0\r\n"))!.fix!, /with LF, not CRLF$/);
});

Deno.test("check tells of jobs that wait: no consumer takes them, or the queue is paused; and of dead letters", async () => {
  await using site = await Site.create(undefined, { ...PROCESS, consumer: { queues: ["reports", "mail"] } });
  const push = async (queue: string) => {
    assert.equal((await runMain(["push", queue, "x", "--config", site.configFile])).code, 0);
  };
  assert.equal(await found("queue.unconsumed", site), undefined);
  await push("rports");
  const near = await found("queue.unconsumed", site);
  assert.equal(near?.severity, "warning");
  assert.match(near!.what, /^queue "rports" has 1 job, and no consumer/);
  assert.match(near!.fix!, /^is "reports" meant/);
  await push("mail");
  await runMain(["pause", "mail", "--config", site.configFile]);
  const paused = await found("queue.paused", site);
  assert.equal(paused?.fix, "fervo-worker resume mail");
  for (const queue of "abcdefg") await push(`z${queue}`);
  const all = (await check(site)).filter(({ id }) => id === "queue.unconsumed");
  assert.equal(all.length, 2, "many are told together, and one that is misspelt by itself");
  assert.match(all[1]!.what, /^7 queues have jobs/);
});

Deno.test("check tells of dead letters, with a command that a shell takes for what it is", async () => {
  await using site = await Site.create(undefined, {
    process: { command: ["/bin/false"] },
    retry: { attempts: 1 },
  });
  await runMain(["push", "jobs", "x", "--config", site.configFile]);
  await runMain(["run", "--until-empty", "--config", site.configFile]);
  const fix = async () => (await found("queue.dead", site))!.fix;
  assert.equal(await fix(), "fervo-worker dead list --queue jobs");
  // As a producer can write it.
  using db = new DatabaseSync(site.queueFile);
  db.prepare("UPDATE fervo_jobs SET queue = ?").run("it's; echo");
  assert.equal(await fix(), `fervo-worker dead list --queue 'it'\\''s; echo'`);
});

Deno.test("check finds a schedule that pushes into a queue which no consumer takes from", async () => {
  const schedule = { cron: "* * * * *", payload: "x" };
  await using site = await Site.create(undefined, { ...PROCESS, schedule });
  assert.equal(await found("schedule.queue", site), undefined);
  const wrong = await found("schedule.queue", site, { schedule: { ...schedule, queue: "jbs" } });
  assert.equal(wrong?.severity, "warning");
  assert.equal(wrong!.subject, "schedule.timed");
  assert.match(wrong!.fix!, /^is "jobs" meant\?/);
});

Deno.test("check says what a beanstalkd does with jobs, and that it is draining", async () => {
  await using server = await Beanstalkd.start();
  await using site = await Site.create(undefined, {
    ...PROCESS,
    broker: { driver: "beanstalkd", address: server.addressText },
  });
  assert.equal((await found("beanstalkd.persistence", site))?.severity, "ok");
  assert.equal((await found("beanstalkd.job_size", site))?.severity, "notice");
  assert.equal(await found("beanstalkd.draining", site), undefined);
  await runMain(["push", "elsewhere", "x", "--config", site.configFile]);
  await runMain(["push", "job", "x", "--config", site.configFile]);
  const queues = (await check(site)).filter(({ id }) => id === "queue.unconsumed");
  assert.deepEqual(queues.map(({ severity, what }) => [severity, what.split('"')[1]]), [
    ["notice", "elsewhere"],
    ["warning", "job"],
  ]);
  Deno.kill(server.pid, "SIGUSR1");
  await eventually(
    "it drains",
    async () => (await found("beanstalkd.draining", site))?.severity === "warning",
  );
});

Deno.test("check says that a Redis is full, while it can still be asked", async () => {
  await using redis = await RedisServer.start();
  await using site = await Site.create(undefined, {
    ...PROCESS,
    broker: { driver: "redis", url: redis.url },
  });
  assert.equal(await found("redis.memory", site), undefined);
  await redis.cli("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1");
  const full = await found("redis.memory", site);
  assert.equal(full?.severity, "error");
  await redis.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
  assert.equal(await found("redis.memory", site), undefined);
  assert.equal((await found("redis.eviction", site))?.severity, "warning");
});
