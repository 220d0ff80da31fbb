import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { Site, type SiteOptions } from "../support/fervo_worker.ts";

const PROCESS: SiteOptions = {
  process: {},
  exitCodes: { 65: "bury" },
  retry: { delay_ms: 10, attempts: 2 },
};

Deno.test("run with executor = process runs a php process a job: ack, retry, bury and timeout by its end", async () => {
  await using site = await Site.create(undefined, { ...PROCESS, consumer: { timeout_ms: 2_000 } });
  const [acked] = await site.push("{}");
  const [retried] = await site.push('{"fail_until":1}');
  const [buried] = await site.push('{"exit":65,"stderr":"no such order"}');
  const [tooLong] = await site.push(JSON.stringify({ wait_for: `${site.directory}/gate` }));
  const summary = JSON.parse(await site.runOk(["run", "--until-empty", "--json"], { exitCode: 5 }));
  assert.deepEqual([summary.done, summary.retried, summary.dead], [2, 2, 2]);
  const runs = site.effects().map(({ job, attempt }) => `${job}/${attempt}`).sort();
  assert.deepEqual(
    runs,
    [`${acked}/1`, `${retried}/1`, `${retried}/2`, `${buried}/1`, `${tooLong}/1`, `${tooLong}/2`].sort(),
  );
  const dead = JSON.parse(await site.runOk(["dead", "show", buried!, "--json"]));
  assert.match(JSON.stringify(dead), /JOB_FAILED.*The process ended with exit code 65.*no such order/s);
  const late = await site.runOk(["dead", "show", tooLong!, "--json"]);
  assert.match(late, /JOB_TIMEOUT/);
});

Deno.test("run lets a process finish when Ctrl-C at its terminal ends it: the signal does not reach the job", async () => {
  await using site = await Site.create(undefined, PROCESS);
  const gate = `${site.directory}/gate`;
  await site.push(JSON.stringify({ wait_for: gate }));
  await site.push("{}");
  await site.configure({ ...PROCESS, consumer: { concurrency: 1 } });
  // A group of its own, as a shell gives to what it runs at a terminal.
  await using worker = site.start(["run"], { shell: 'exec setsid "$@"' });
  await eventually("the job runs", () => site.effectCount() === 1);
  Deno.kill(-worker.pid, "SIGINT");
  await worker.says('"in_flight":1,"msg":"Stopping');
  await Deno.writeTextFile(gate, "");
  assert.equal((await worker.ended).code, 0);
  const left = site.queueRows("SELECT state, attempts FROM fervo_jobs").map((row) => ({ ...row }));
  assert.deepEqual(left, [{ state: "ready", attempts: 0 }]);
});

Deno.test("run ends its processes on a second signal, and puts their jobs back with no attempt counted", async () => {
  await using site = await Site.create(undefined, PROCESS);
  await site.push(JSON.stringify({ wait_for: `${site.directory}/gate`, write_pid: `${site.directory}/pid` }));
  await using worker = site.start(["run"]);
  await eventually("the job runs", () => Deno.stat(`${site.directory}/pid`).then(() => true, () => false));
  const pid = Number(await Deno.readTextFile(`${site.directory}/pid`));
  worker.kill("SIGTERM");
  await worker.says('"msg":"Stopping');
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.deepEqual(site.queueRows("SELECT state, attempts FROM fervo_jobs").map((row) => ({ ...row })), [
    { state: "ready", attempts: 0 },
  ]);
  assert.throws(() => Deno.kill(pid, "SIGTERM"), Deno.errors.NotFound);
});

Deno.test("check and run --until-empty say that a program is not there, with exit codes 3 and 4 and no attempt counted", async () => {
  await using site = await Site.create(undefined, PROCESS);
  await site.push("{}");
  assert.match(await site.runOk(["check"]), /^ok +processes\.default: "\/.*\/php" exists$/m);
  await site.configure({ ...PROCESS, process: { command: ["no-such-program"], directory: "/nowhere" } });
  const { code, stdout } = await site.run(["check"]);
  assert.equal(code, 3);
  assert.match(
    stdout,
    /^ERROR +processes\.default: "no-such-program" does not exist \[process\.program\]\n +Fix: in \[processes\.default\]: command/m,
  );
  assert.match(
    stdout,
    /^ERROR +processes\.default: "\/nowhere" is not a folder \[process\.directory\]$/m,
  );
  const run = await site.run(["run", "--until-empty"]);
  assert.equal(run.code, 4);
  assert.match(run.stderr, /"code":"PROCESS_MISCONFIGURED"/);
  const left = site.queueRows("SELECT state, attempts FROM fervo_jobs").map((row) => ({ ...row }));
  assert.deepEqual(left, [{ state: "ready", attempts: 0 }]);
});
