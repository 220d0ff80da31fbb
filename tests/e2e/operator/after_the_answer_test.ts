/**
 * Jobs that go on after their answer (fastcgi_finish_request(), as Symfony's Response::send() calls it), as an operator meets
 * them: no other job dies of them, is counted, or runs twice.
 */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";

const RUNS_OF = (text: string) => text.split("\n").slice(0, -1);

/** Notes each run, runs the payload as code, and says ack. It takes late starts, as many scripts do. */
const EVALUATE = `<?php
  ignore_user_abort(true);
  file_put_contents(__DIR__ . '/runs', "$_SERVER[FERVO_JOB_ID] $_SERVER[FERVO_ATTEMPT]\\n", FILE_APPEND);
  eval(file_get_contents('php://input'));
  header('X-Fervo-Outcome: ack');`;

/** Refuses late starts, as docs/protocol.md asks. */
const CAREFUL = EVALUATE.replace(
  "<?php",
  "<?php if (microtime(true) * 1000 > (float) $_SERVER['FERVO_DEADLINE']) return;",
);

const ANSWER = "header('X-Fervo-Outcome: ack'); fastcgi_finish_request();";

/** What the first job does after its answer. `go` is there once the worker has noticed that it goes on. */
const WORK: Record<string, string> = {
  "works for longer than timeout_ms": "usleep(2500000);",
  "dies": "while (!file_exists(__DIR__ . '/go')) usleep(1000); posix_kill(getmypid(), 11); usleep(1000000);",
  "prints something": "usleep(300000); echo 'late'; flush();",
};

for (const [what, work] of Object.entries(WORK)) {
  for (const [kind, source] of [["takes late starts", EVALUATE], ["refuses late starts", CAREFUL]] as const) {
    Deno.test(`run counts nothing, and runs nothing twice, behind a job that ${what} after its answer (the script ${kind})`, async () => {
      await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
      const script = await fpm.writeScript("job.php", source);
      const options: SiteOptions = {
        consumer: { concurrency: 1, timeout_ms: 1_500 },
        retry: { attempts: 3 },
        fpm: { script, status_path: fpm.statusPath, status_address: fpm.statusAddress },
      };
      await using site = await Site.create(fpm, options);
      await eventually("php-fpm is old enough", async () => (await fpm.control().status())!.uptimeS > 2);
      const ids = [...await site.push(`${ANSWER} ${work}`), ...await site.push("", 3)];
      await using worker = site.start(["run"]);
      await worker.says("A script goes on after its answer");
      await Deno.writeTextFile(`${fpm.directory}/go`, "");
      await eventually(
        "all jobs are done",
        () => site.queueRows("SELECT id FROM fervo_jobs").length === 0,
        60_000,
      );
      // Whatever the first job has left for later has run as well.
      await eventually(
        "no child is busy",
        async () => (await fpm.control().status())!.activeProcesses === 0,
        60_000,
      );
      worker.kill("SIGTERM");
      const { code, stderr } = await worker.ended;
      assert.equal(code, 0);
      const runs = RUNS_OF(await Deno.readTextFile(`${fpm.directory}/runs`));
      assert.deepEqual(runs.sort(), ids.map((id) => `${id} 1`).sort(), stderr);
      assert.equal(stderr.split("A script goes on").length, 2, "it is told once");
    });
  }
}

Deno.test("run lets no job die behind one that works on after its answer, without a status page and with attempts = 1", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  const script = await fpm.writeScript("job.php", EVALUATE);
  await using site = await Site.create(fpm, {
    consumer: { concurrency: 1, timeout_ms: 1_500 },
    retry: { attempts: 1 },
    fpm: { script },
  });
  const ids = [...await site.push(`${ANSWER} usleep(2500000);`), ...await site.push("", 3)];
  const { code, stderr } = await site.run(["run", "--until-empty"]);
  assert.equal(code, 0);
  assert.deepEqual(
    RUNS_OF(await Deno.readTextFile(`${fpm.directory}/runs`)),
    ids.map((id) => `${id} 1`),
    stderr,
  );
});
