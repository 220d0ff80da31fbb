import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const QUEUE = "SELECT id, state, attempts FROM fervo_jobs ORDER BY id";

for (const transport of ["unix", "tcp"] as const) {
  Deno.test(`run pauses while php-fpm is away (${transport}), and goes on by itself, with no attempt counted`, async () => {
    await using fpm = await PhpFpm.start({ children: 4, transport });
    await using site = await Site.create(fpm, { consumer: { pause_max_ms: 100 } });
    await fpm.stop();
    const ids = await site.push("{}", 20);
    await using worker = site.start(["run"]);
    await worker.says('"msg":"Consumer backs off"');
    assert.match(worker.stderr, /"code":"FASTCGI_CONNECT_FAILED","error":"Cannot connect to php-fpm at /);
    assert.match(worker.stderr, /is php-fpm running\?/);
    await fpm.restart();
    await eventually("all jobs have run", () => site.effectCount() === 20);
    await worker.says('"msg":"Consumer runs jobs again"');
    worker.kill("SIGTERM");
    assert.equal((await worker.ended).code, 0);
    assert.deepEqual(new Set(site.effects().map(({ job }) => job)), new Set(ids));
    assert.deepEqual(site.effects().filter(({ attempt }) => attempt !== 1), []);
    assert.deepEqual(site.queueRows(QUEUE), []);
  });
}

Deno.test("run goes on by itself after php-fpm was stopped under load, and loses nothing", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { consumer: { pause_max_ms: 100 } });
  const ids = await site.push('{"sleep_ms":2}', 400);
  await using worker = site.start(["run"]);
  await eventually("jobs run", () => site.effectCount() >= 50);
  await fpm.stop();
  await worker.says('"msg":"Consumer backs off"');
  await fpm.restart();
  await eventually("no job is left", () => site.queueRows(QUEUE).length === 0);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.deepEqual(new Set(site.effects().map(({ job }) => job)), new Set(ids));
});

Deno.test("run stops on a signal also while php-fpm is away", async () => {
  await using site = await Site.create();
  await site.push("{}", 3);
  await using worker = site.start(["run"]);
  await worker.says('"msg":"Consumer backs off"');
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.deepEqual(site.queueRows(QUEUE).map(({ state, attempts }) => [state, attempts]), [
    ["ready", 0],
    ["ready", 0],
    ["ready", 0],
  ]);
});

Deno.test("run --until-empty ends with exit code 4 when php-fpm does not find the script, with no attempt counted", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, {
    fpm: { script: "/srv/nowhere/fervo.php" },
    consumer: { concurrency: 1 },
  });
  await site.push("{}", 2);
  const { code, stderr } = await site.run(["run", "--until-empty"]);
  assert.equal(code, 4);
  assert.match(stderr, /"code":"FPM_MISCONFIGURED"/);
  assert.match(
    stderr,
    /php-fpm cannot find the script \\"\/srv\/nowhere\/fervo.php\\": file not found; correct/,
  );
  assert.deepEqual(site.queueRows(QUEUE).map(({ state, attempts }) => [state, attempts]), [
    ["ready", 0],
    ["ready", 0],
  ]);
});

Deno.test("run --until-empty ends with exit code 4 when php-fpm refuses the script, with no attempt counted", async () => {
  await using fpm = await PhpFpm.start();
  const script = await fpm.writeScript("job.txt", "<?php");
  await using site = await Site.create(fpm, { fpm: { script }, consumer: { concurrency: 1 } });
  await site.push("{}");
  const { code, stderr } = await site.run(["run", "--until-empty"]);
  assert.equal(code, 4);
  assert.match(stderr, /access denied; see security.limit_extensions/);
  assert.deepEqual(site.queueRows(QUEUE).map(({ state, attempts }) => [state, attempts]), [["ready", 0]]);
});

Deno.test("run --until-empty ends with exit code 4 when the pool has fewer children than jobs at the same time", async () => {
  await using fpm = await PhpFpm.start({ children: 2 });
  await using site = await Site.create(fpm, {
    fpm: { status_path: fpm.statusPath },
    consumer: { concurrency: 3 },
  });
  await site.push("{}");
  const { code, stderr } = await site.run(["run", "--until-empty"]);
  assert.equal(code, 4);
  assert.match(
    stderr,
    /"code":"FPM_MISCONFIGURED","error":"The consumers of \[fpm.default\] run up to 3 jobs at the same time, and its pool \\".*\\" has 2 children: lower \\"concurrency\\"/,
  );
  assert.equal(site.effectCount(), 0);
});

Deno.test("run ends the PHP process of a job whose time is up with kill_on_timeout, and logs its process id", async () => {
  await using fpm = await PhpFpm.start({ children: 1, statusListen: true });
  await using site = await Site.create(fpm, {
    fpm: { status_path: fpm.statusPath, status_address: fpm.statusAddress, kill_on_timeout: true },
    consumer: { concurrency: 1, timeout_ms: 500 },
    retry: { attempts: 1 },
  });
  await using worker = site.start(["run"]);
  const [bad] = await site.push('{"sleep_ms":600000}', 1);
  await worker.says("Ended the PHP process of the job that timed out");
  const line = worker.stderr.split("\n").find((text) => text.includes("Ended the PHP process"))!;
  const { pid, job } = JSON.parse(line);
  assert.equal(job, bad);
  assert.ok(Number.isSafeInteger(pid) && pid > 1);
  assert.match(await fpm.log(), new RegExp(`child ${pid} exited on signal 15`));
  // The only child is free again.
  await site.push("{}", 1);
  await eventually("the next job has run too", () => site.effectCount() === 2);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});
