/**
 * What an operator sees when something that a worker needs is missing for a moment: as in a deployment, or when all starts at
 * once. The worker stays, says what is missing, and goes on by itself.
 */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { Site } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";

const FERVO = new URL("../../../examples/plain-php/fervo.php", import.meta.url).pathname;
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
  await worker.says('"msg":"Consumer paused"');
  const status = JSON.parse(await site.runOk(["status", "--json"]));
  assert.deepEqual([status.state, status.consumers[0].state], ["running", "failed"]);
  assert.match(status.consumers[0].reason, /^FPM_MISCONFIGURED: php-fpm cannot find the script/);
  await Deno.copyFile(FERVO, `${script}.new`);
  await Deno.rename(`${script}.new`, script);
  await worker.says('"msg":"Consumer resumed"');
  await eventually("all jobs have run", () => site.effectCount() === 6);
  assert.equal(linesOf(worker.stderr, "Consumer paused").length, 1, worker.stderr);
  assert.equal(linesOf(worker.stderr, "Consumer paused")[0]!["level"], "error");
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
  await worker.says('"msg":"Consumer resumed"');
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
  await worker.says("does not know batches");
  await site.configure({ fpm: { script: FERVO }, consumer: { batch_size: 5, pause_max_ms: 100 } });
  await site.runOk(["reload", "--wait"]);
  await eventually("all jobs have run", () => site.effectCount() === 3);
  assert.deepEqual(site.effects().filter(({ attempt }) => attempt !== 1), []);
});
