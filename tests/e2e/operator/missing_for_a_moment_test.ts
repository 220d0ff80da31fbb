/**
 * What an operator sees when something that a worker needs is missing for a moment: as in a deployment, or when all starts at
 * once. The worker stays, says what is missing, and goes on by itself.
 */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { Site } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";

const FERVO = new URL("../../../examples/plain-php/fervo-standalone.php", import.meta.url).pathname;
const QUEUE = "SELECT state, attempts FROM fervo_jobs";

/** The log lines that say `msg`. */
function linesOf(stderr: string, msg: string): Record<string, unknown>[] {
  return stderr.split("\n").filter((line) => line.includes(`"msg":"${msg}`)).map((line) => JSON.parse(line));
}

Deno.test("run waits for a script that is not there yet, counts no attempt, and says so once", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm);
  await Deno.chmod(site.directory, 0o755);
  const script = `${site.directory}/fervo.php`;
  await site.configure({ fpm: { script }, consumer: { pause_max_ms: 100 } });
  const ids = await site.push("{}", 6);
  await using worker = site.start(["run"]);
  await worker.says('"msg":"Consumer backs off"');
  const status = JSON.parse(await site.runOk(["status", "--json"]));
  assert.deepEqual([status.state, status.consumers[0].state], ["running", "failed"]);
  assert.match(status.consumers[0].reason, /^FPM_MISCONFIGURED: php-fpm cannot find the script/);
  await Deno.copyFile(FERVO, `${script}.new`);
  await Deno.rename(`${script}.new`, script);
  await worker.says('"msg":"Consumer runs jobs again"');
  await eventually("all jobs have run", () => site.effectCount() === 6);
  assert.equal(linesOf(worker.stderr, "Consumer backs off").length, 1, worker.stderr);
  assert.equal(linesOf(worker.stderr, "Consumer backs off")[0]!["level"], "error");
  assert.deepEqual(linesOf(worker.stderr, "Job put back"), []);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.deepEqual(new Set(site.effects().map(({ job }) => job)), new Set(ids));
  assert.deepEqual(site.effects().filter(({ attempt }) => attempt !== 1), []);
});

Deno.test("run waits for a program and for its folder, and takes no job for nothing meanwhile", async () => {
  await using site = await Site.create(undefined);
  const folder = `${site.directory}/release`;
  const options = { process: { command: ["./job"], directory: folder }, consumer: { pause_max_ms: 100 } };
  await site.configure(options);
  await site.push("{}");
  await using worker = site.start(["run"]);
  await worker.says("no such folder; correct");
  await Deno.mkdir(folder);
  await worker.says("there is no such program");
  await Deno.writeTextFile(`${folder}/job`, `#!/bin/sh\necho "$FERVO_ATTEMPT" >> ran\n`);
  await worker.says("permission denied; make it executable");
  await Deno.chmod(`${folder}/job`, 0o755);
  await eventually("the job is done", () => site.queueRows(QUEUE).length === 0);
  await worker.says('"msg":"Consumer runs jobs again"');
  assert.equal(await Deno.readTextFile(`${folder}/ran`), "1\n");
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("reload lets a consumer look at once, which had to wait long for a script that does not know batches", async () => {
  await using fpm = await PhpFpm.start();
  const script = await fpm.writeScript("job.php", `<?php header("X-Fervo-Outcome: ack");`);
  await using site = await Site.create(fpm, {
    fpm: { script },
    consumer: { batch_size: 5, pause_max_ms: 100 },
  });
  await site.push("{}", 3);
  await using worker = site.start(["run"]);
  await worker.says("does not support batches");
  await site.configure({ fpm: { script: FERVO }, consumer: { batch_size: 5, pause_max_ms: 100 } });
  await site.runOk(["reload", "--wait"]);
  await eventually("all jobs have run", () => site.effectCount() === 3);
  assert.deepEqual(site.effects().filter(({ attempt }) => attempt !== 1), []);
});

/** A worker whose other broker, file of a token, and folders of sockets are missing at its start. */
async function withoutFolders() {
  await using opened = new AsyncDisposableStack();
  const site = opened.use(
    await Site.create(undefined, {
      process: { command: ["/bin/true"] },
      consumer: { queues: ["jobs"], broker: "default", pause_max_ms: 100 },
    }),
  );
  const folder = `${site.directory}/later`;
  const at = `${folder}/http.sock`;
  const config = await Deno.readTextFile(site.configFile);
  const extra = `
[brokers.late]
driver = "sqlite"
path = "${folder}/queue.sqlite"
[[consumers]]
name = "late"
queues = ["jobs"]
broker = "late"
executor = "process"
pause_max_ms = 100
`;
  const tables = config.replace("[http]\n", `[http]\nlisten = "${at}"\ntoken_file = "${folder}/token"\n`)
    .replace("[control]\n", `[control]\nsocket = "${folder}/more/control.sock"\n`);
  await Deno.writeTextFile(site.configFile, tables + extra);
  const resources = opened.move();
  return { site, folder, at, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

Deno.test("run works with what is there when folders are missing at its start, and uses them as soon as they come", async () => {
  await using t = await withoutFolders();
  const push = (broker: string) => t.site.runOk(["push", "--broker", broker, "jobs", "{}"]);
  await push("default");
  await using worker = t.site.start(["run"]);
  await worker.says("Cannot serve /metrics");
  await worker.says('"msg":"No control socket"');
  await worker.says('"consumer":"late","during":"receive","code":"QUEUE_UNAVAILABLE"');
  await eventually("the job of the broker that is there is done", () => t.site.queueRows(QUEUE).length === 0);
  await Deno.mkdir(`${t.folder}/more`, { recursive: true });
  await Deno.writeTextFile(`${t.folder}/token`, "a-token-of-some-length-0123456789");
  await worker.says("Serving /metrics");
  await worker.says('"msg":"Listening for commands"');
  await eventually(
    "the late queue is there",
    () => Deno.stat(`${t.folder}/queue.sqlite`).then(() => true, () => false),
  );
  await push("late");
  await eventually("its job is done", async () => {
    const queues = JSON.parse(await t.site.runOk(["queues", "--json"]));
    return queues.every(({ ready, reserved }: { ready: number; reserved: number }) => ready + reserved === 0);
  });
  const { consumers, brokers } = JSON.parse(await t.site.runOk(["status", "--json"]));
  assert.deepEqual(consumers.map(({ state }: { state: string }) => state), ["running", "running"]);
  assert.deepEqual(brokers.map(({ up }: { up: boolean }) => up), [true, true]);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("run that can never use what is missing ends on a signal all the same", async () => {
  await using t = await withoutFolders();
  await using worker = t.site.start(["run"]);
  await worker.says("Cannot serve /metrics");
  await worker.says('"consumer":"late","during":"receive"');
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("run gives a pool no jobs that has fewer children than jobs at the same time, until it has more", async () => {
  await using fpm = await PhpFpm.start({ children: 2, statusListen: true });
  await using site = await Site.create(fpm, {
    fpm: { status_path: fpm.statusPath, status_address: fpm.statusAddress },
    consumer: { concurrency: 3, pause_max_ms: 100 },
  });
  await site.push("{}");
  await using worker = site.start(["run"]);
  await worker.says("run up to 3 jobs at the same time, and its pool");
  assert.equal(site.effectCount(), 0);
  await fpm.reload({ children: 3 });
  await worker.says('"msg":"Consumer runs jobs again"');
  await eventually("the job has run", () => site.effectCount() === 1);
  assert.deepEqual(site.effects().map(({ attempt }) => attempt), [1]);
});
