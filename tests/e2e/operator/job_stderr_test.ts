/**
 * From the operator's side: what a job writes to STDERR can be read where one looks for it, however much it is and whatever
 * becomes of the job.
 */
import assert from "node:assert/strict";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";

/** A payload is run as code. */
const HANDLERS = `<?php return ['jobs' => function (string $payload, array $job): void { eval($payload); }];`;

/** For jobs as processes: alike. PHP's errors go to STDERR, as in php-fpm. */
const EVAL = ["php", "-d", "display_errors=0", "-d", "log_errors=1", "-d", "error_log="];

/** A site of its own whose jobs run their payload as PHP code. */
async function setUp(executor: "fastcgi" | "process", options: SiteOptions = {}) {
  await using opened = new AsyncDisposableStack();
  const fpm = opened.use(await PhpFpm.start());
  const handlers = await fpm.writeScript("handlers.php", HANDLERS);
  const script = await fpm.writeScript("eval.php", "<?php eval(file_get_contents('php://stdin'));");
  const site = opened.use(
    await Site.create(fpm, {
      params: { APP_HANDLERS: handlers },
      ...(executor === "process" && { process: { command: [...EVAL, script] } }),
      ...options,
    }),
  );
  const resources = opened.move();
  return { fpm, site, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

const CHATTY = `for ($i = 0; $i < 2000; $i++) error_log("deprecated thing $i"); the_real_reason();`;
/** Where it began, how much is left out, and the last that PHP said. */
const CHATTY_KEPT =
  /deprecated thing 0\b[^]*… \d+ bytes left out …[^]*deprecated thing 1999\b[^]*undefined function the_real_reason\(\)/;

for (
  const [what, executor, options] of [
    ["a request", "fastcgi", {}],
    ["a part of a batch", "fastcgi", { consumer: { batch_size: 5 } }],
    ["a process", "process", {}],
  ] as const
) {
  Deno.test(`A job that logs much before it fails has its reason in the dead letter and the log, as ${what}`, async () => {
    await using t = await setUp(executor, { retry: { attempts: 1 }, ...options });
    const ids = await t.site.push(CHATTY, 2);
    const { stderr: log } = await t.site.run(["run", "--until-empty"]);
    for (const id of ids) assert.match(await t.site.runOk(["dead", "show", id]), CHATTY_KEPT);
    const dead = log.split("\n").filter((line) => line.includes("Job is dead")).map((line) =>
      JSON.parse(line)
    );
    assert.deepEqual(dead.map(({ job }) => job).sort(), ids.sort());
    for (const { stderr } of dead) assert.match(stderr, CHATTY_KEPT);
  });
}

Deno.test("Failures before the last one keep their reason, too, of a job that logs much", async () => {
  await using t = await setUp("fastcgi", { retry: { attempts: 2 } });
  const [id] = await t.site.push(CHATTY);
  await t.site.run(["run", "--until-empty"]);
  const [row] = t.site.queueRows("SELECT errors FROM fervo_jobs WHERE id = ?", id!);
  const [{ stderr }] = JSON.parse(String(row!["errors"]));
  assert.match(
    stderr,
    /^PHP message: deprecated thing 0\b[^]*\n… \d+ characters left out …\n[^]*the_real_reason/,
  );
});

Deno.test("A job whose time is up has what it had written by then in the dead letter", async () => {
  await using t = await setUp("fastcgi", { consumer: { timeout_ms: 2_000 }, retry: { attempts: 1 } });
  // php-fpm sends STDERR when it has some KiB of it, or with output that is flushed.
  const [id] = await t.site.push(
    "error_log('waiting for the lock'); while (ob_get_level() > 0) ob_end_flush(); echo 'x'; flush(); sleep(5);",
  );
  await t.site.run(["run", "--until-empty"]);
  assert.match(await t.site.runOk(["dead", "show", id!]), /JOB_TIMEOUT[^]*waiting for the lock/);
});
