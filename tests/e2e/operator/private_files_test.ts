/** What the program writes has the mode that it says, and what holds secrets is told when others can read it. */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { fervoWorker, fervoWorkerOk, Site } from "../../support/fervo_worker.ts";
import { RedisServer } from "../../support/redis_server.ts";

const modeOf = async (path: string) => ((await Deno.lstat(path)).mode! & 0o777).toString(8);
/** Runs with this umask. */
const withUmask = (umask: string) => ({ shell: `umask ${umask}; exec "$@"` });

Deno.test("The queue's files have file_mode, whatever the umask, and behind links", async () => {
  for (const [umask, mode] of [["000", "0600"], ["077", "0660"]] as const) {
    await using site = await Site.create();
    const target = `${site.directory}/elsewhere.sqlite`;
    await Deno.symlink("elsewhere.sqlite", site.queueFile);
    await site.configure({ broker: { file_mode: mode } });
    await using worker = site.start(["run"], withUmask(umask));
    await worker.says("Consumer started");
    await site.runOk(["push", "jobs", "x", "--delay", "1h"]);
    for (const file of [target, `${target}-wal`, `${target}-shm`]) {
      assert.equal(await modeOf(file), mode.slice(1), file);
    }
    worker.kill("SIGTERM");
    assert.equal((await worker.ended).code, 0);
  }
});

Deno.test("Sockets are their owner's alone, whatever the umask, and no link leads their files elsewhere", async () => {
  await using site = await Site.create();
  const listen = `${site.directory}/http.sock`;
  const control = `${site.directory}/fervo-worker.sock`;
  await site.configure({ http: { listen } });
  // A socket that was left behind, and a link where its lock would be.
  await using killed = site.start(["run"]);
  await killed.says("Listening for commands");
  killed.kill("SIGKILL");
  await killed.ended;
  await Deno.symlink(`${site.directory}/victim`, `${control}.lock`);
  await using worker = site.start(["run"], withUmask("000"));
  await worker.says("Consumer started");
  await eventually(
    "it serves",
    () => Deno.lstat(listen).then(({ isSocket }) => isSocket === true, () => false),
  );
  assert.equal(await modeOf(listen), "600");
  await assert.rejects(Deno.lstat(`${site.directory}/victim`), Deno.errors.NotFound);
  await Deno.remove(`${control}.lock`);
  worker.kill("SIGTERM");
  await worker.ended;
  await using next = site.start(["run"], withUmask("000"));
  await next.says("Listening for commands");
  assert.equal(await modeOf(control), "600");
});

Deno.test("init writes a private configuration, also over one that was open, and services that all can read", async () => {
  await using site = await Site.create();
  for (const umask of ["000", "077"]) {
    const path = `${site.directory}/init-${umask}.toml`;
    await fervoWorkerOk(["init", path], withUmask(umask));
    assert.equal(await modeOf(path), "600");
    await Deno.chmod(path, 0o666);
    await fervoWorkerOk(["init", path, "--force"], withUmask(umask));
    assert.equal(await modeOf(path), "600");
    const folder = `${site.directory}/services-${umask}`;
    await Deno.mkdir(folder);
    await fervoWorkerOk(["init", "--systemd", "--fpm", "--output", folder], withUmask(umask));
    const files = [...Deno.readDirSync(folder)].map(({ name }) => `${folder}/${name}`);
    assert.ok(files.length >= 3);
    for (const file of files) assert.equal(await modeOf(file), "644", file);
  }
  const link = `${site.directory}/link.toml`;
  await Deno.symlink("target.toml", link);
  const refused = await fervoWorker(["init", link]);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /exists; --force overwrites it/);
  for (const mode of [undefined, 0o644]) {
    if (mode !== undefined) await Deno.chmod(`${site.directory}/target.toml`, mode);
    await fervoWorkerOk(["init", link, "--force"], withUmask("000"));
    assert.equal(await modeOf(`${site.directory}/target.toml`), "600");
  }
});

Deno.test("check warns of secrets that every user can read, and no longer once they are kept", async () => {
  await using redis = await RedisServer.start();
  await using site = await Site.create(undefined, {
    process: { command: ["true"] },
    broker: { driver: "redis", url: redis.url },
  });
  const secret = `${site.directory}/secret`;
  await Deno.writeTextFile(secret, "0123456789abcdef0123\n");
  await Deno.chmod(site.directory, 0o755);
  await Deno.chmod(site.configFile, 0o644);
  await Deno.chmod(secret, 0o644);
  const severities = async () => {
    const { stdout } = await site.run(["check", "--json"]);
    return (JSON.parse(stdout) as { id: string; subject: string; severity: string }[])
      .filter(({ id }) => id === "secrets.readable" || id === "config.writable")
      .map(({ id, subject, severity }) => `${subject} ${id} ${severity}`);
  };
  assert.deepEqual(await severities(), [], "there is nothing secret");
  await site.configure({
    process: { command: ["true"] },
    broker: { driver: "redis", url: redis.url, password_file: secret },
    http: { listen: `${site.directory}/http.sock`, token_file: secret },
    tracing: { endpoint: "http://127.0.0.1:9" },
    tracingHeaders: { authorization: "Bearer x" },
  });
  const all = (severity: string) => [
    `configuration secrets.readable ${severity}`,
    `http secrets.readable ${severity}`,
    `brokers.default secrets.readable ${severity}`,
  ];
  assert.deepEqual(await severities(), all("warning"));
  const text = await site.run(["check"]);
  assert.match(
    text.stdout,
    /every user of this machine can read ".*toml", which holds tracing.headers.authorization/,
  );
  assert.ok(text.stdout.includes(`Fix: chmod 640 "${secret}"`));
  await Deno.chmod(site.configFile, 0o640);
  await Deno.chmod(secret, 0o600);
  assert.deepEqual(await severities(), all("ok"));
  await Deno.chmod(site.configFile, 0o642);
  assert.deepEqual(await severities(), ["configuration config.writable error", ...all("ok")]);
});
