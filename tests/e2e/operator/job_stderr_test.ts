/**
 * From the operator's side: what a job writes to STDERR can be read where one looks for it, however much it is and whatever
 * becomes of the job.
 */
import assert from "node:assert/strict";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";

/** A payload is run as code. */
const HANDLERS = `<?php return ['jobs' => function ($job): void { eval($job->payload); }];`;

/** For jobs as processes: alike. PHP's errors go to STDERR, as in php-fpm. */
const EVAL = ["php", "-d", "display_errors=0", "-d", "log_errors=1", "-d", "error_log="];

/** A site of its own whose jobs run their payload as PHP code. */
async function setUp(executor: "fastcgi" | "process", options: SiteOptions = {}, command = EVAL) {
  await using opened = new AsyncDisposableStack();
  const fpm = opened.use(await PhpFpm.start());
  const handlers = await fpm.writeScript("handlers.php", HANDLERS);
  const script = await fpm.writeScript("eval.php", "<?php eval(file_get_contents('php://stdin'));");
  /** Of the executor, for another configuration. */
  const common: SiteOptions = executor === "process"
    ? { process: { command: [...command, script] } }
    : { params: { APP_HANDLERS: handlers } };
  const site = opened.use(await Site.create(fpm, { ...common, ...options }));
  const resources = opened.move();
  return { site, common, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

const CHATTY = `for ($i = 0; $i < 2000; $i++) error_log("deprecated thing $i"); the_real_reason();`;
/** Where it began, how much is left out, and the last that PHP said. */
const CHATTY_KEPT =
  /deprecated thing 0\b[^]*… \d+ bytes left out …[^]*deprecated thing 1999\b[^]*undefined function the_real_reason\(\)/;

const KINDS: readonly [what: string, executor: "fastcgi" | "process", consumer: { batch_size?: number }][] = [
  ["a request", "fastcgi", {}],
  ["a part of a batch", "fastcgi", { batch_size: 5 }],
  ["a process", "process", {}],
];

for (const [what, executor, consumer] of KINDS) {
  Deno.test(`A job that logs much before it fails has its reason in the dead letter and the log, as ${what}`, async () => {
    await using t = await setUp(executor, { retry: { attempts: 1 }, consumer });
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

// --- of jobs that are done

const COLOUR = new RegExp(`${String.fromCharCode(27)}\\[\\d*m`, "g");
const UNSEEN = /[[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]--[\n\t]]/v;

interface Line {
  readonly level: string;
  readonly msg: string;
  readonly consumer?: string;
  readonly job?: string;
  readonly jobs?: string[];
  readonly error?: string;
  readonly stderr?: string;
}

/** The lines of the log, of a worker that runs until its queue is empty. */
async function logOf(site: Site): Promise<Line[]> {
  const { stderr } = await site.run(["run", "--until-empty"]);
  return stderr.split("\n").filter((line) => line.startsWith('{"level"')).map((line) => JSON.parse(line));
}

/** What PHP runs when the script, and the front controller in it, has come to its end. */
const LATE = `
  error_log('IMPORTANT: the card was charged twice');
  class Late { function __destruct() { throw new Exception('the deferred mail was not sent'); } }
  $GLOBALS['late'] = new Late();`;
const NOTE = "error_log('IMPORTANT: the card was charged twice');";
/** For a process: exit code 0, whatever PHP has met. */
const AND_TRUE = ["sh", "-c", `"$@" || true`, "sh", ...EVAL];

for (const [what, executor, batch] of KINDS) {
  Deno.test(`What a job writes to STDERR that is done is in the log, at the level that is set, as ${what}`, async () => {
    await using t = await setUp(executor);
    for (
      const [level, set, shown] of [
        ["info", {}, "info"],
        ["info", { stderr_level: "debug" }, undefined],
        ["debug", { stderr_level: "debug" }, "debug"],
        ["warn", { stderr_level: "error" }, "error"],
        ["debug", { stderr_level: "off" }, undefined],
      ] as const
    ) {
      await t.site.configure({ ...t.common, log: { level }, consumer: { ...batch, ...set } });
      const [id] = await t.site.push(NOTE);
      const lines = (await logOf(t.site)).filter(({ stderr }) => stderr?.includes("charged twice"));
      assert.deepEqual(
        lines.map(({ level, consumer, job, msg }) => [level, consumer, job, msg]),
        shown === undefined ? [] : [[shown, "jobs", id, "The job is done and wrote to STDERR"]],
      );
    }
    await t.site.push("'says nothing';");
    assert.equal((await logOf(t.site)).some(({ msg }) => msg.includes("STDERR")), false);
  });
}

for (const executor of ["fastcgi", "process"] as const) {
  Deno.test(`An error behind a job's word is a warning with the job's id, and a failure where that is set (${executor})`, async () => {
    await using t = await setUp(executor, { retry: { attempts: 2 } }, AND_TRUE);
    const [id] = await t.site.push(LATE);
    const warned = (await logOf(t.site)).filter(({ level }) => level !== "info");
    assert.deepEqual(warned.map(({ level, job, msg }) => [level, job, msg]), [
      ["warn", id, "The job reported success, and something failed after that"],
    ]);
    assert.match(
      warned[0]!.error!,
      /^PHP Fatal error: {2}Uncaught Exception: the deferred mail was not sent/,
    );
    assert.match(warned[0]!.stderr!, /charged twice[^]*not sent/);
    assert.deepEqual(t.site.queueRows("SELECT id FROM fervo_jobs"), [], "it is done");

    await t.site.configure({ ...t.common, retry: { attempts: 2 }, consumer: { fatal_after_ack: "fail" } });
    const [failing] = await t.site.push(LATE);
    const failed = (await logOf(t.site)).filter(({ level }) => level !== "info");
    assert.deepEqual(failed.map(({ level, job, msg }) => [level, job, msg]), [
      ["warn", failing, "Job failed"],
      ["error", failing, "Job is dead"],
    ]);
    assert.match(
      await t.site.runOk(["dead", "show", failing!]),
      /JOB_FAILED[^]*reported success, and failed after that: PHP Fatal error[^]*charged twice[^]*not sent/,
    );
  });
}

Deno.test("An error behind a batch's last record is a warning that names its jobs, none of which runs again", async () => {
  await using t = await setUp("fastcgi", {
    consumer: { batch_size: 5, concurrency: 1, fatal_after_ack: "fail" },
  });
  await t.site.runOk(["queues"]);
  const ids = [LATE, "'nothing';", NOTE].map((code) => {
    const [row] = t.site.queueRows(
      "INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', ?) RETURNING id",
      code,
    );
    return String(row!["id"]);
  });
  const lines = (await logOf(t.site)).filter(({ stderr }) => stderr !== undefined);
  assert.deepEqual(lines.map(({ level, job, jobs, msg }) => [level, job ?? jobs, msg]), [
    ["info", ids[0], "The job is done and wrote to STDERR"],
    ["info", ids[2], "The job is done and wrote to STDERR"],
    [
      "warn",
      ids.map((id) => `jobs/${id}`),
      "A batch has ended, and something that one of its jobs had left for the end failed; it is unknown which job",
    ],
  ]);
  assert.match(lines[2]!.error!, /not sent/);
  for (const { stderr } of lines) assert.match(stderr!, /^PHP message: /);
  assert.deepEqual(t.site.queueRows("SELECT id FROM fervo_jobs"), []);
});

Deno.test("What a job writes to STDERR gives a terminal no commands", async () => {
  await using t = await setUp("fastcgi", { log: { format: "pretty" } });
  await t.site.push(String.raw`error_log("\e]0;title\x07 \u{9b}2J \u{202e}x\nlevel=error");`);
  const { stderr } = await t.site.run(["run", "--until-empty"]);
  const [said] = stderr.split("\n").filter((line) => line.includes("wrote to STDERR"));
  assert.match(said!, /\\u001b\]0;title/);
  // The colours are the worker's own.
  const seen = stderr.replaceAll(COLOUR, "");
  assert.doesNotMatch(seen, UNSEEN);
  assert.doesNotMatch(seen, /^level=error/m);
});

Deno.test("check tells with their lines what cannot be set", async () => {
  await using t = await setUp("fastcgi", {
    fpm: { max_stderr_bytes: 0 },
    consumer: { stderr_level: "notice", fatal_after_ack: "fail" },
  });
  const { code, stdout, stderr } = await t.site.run(["check"]);
  assert.notEqual(code, 0);
  const said = `${stdout}${stderr}`;
  assert.match(said, /:\d+:1: stderr_level is "notice": expected "debug", "info", "warn", "error" or "off"/);
  assert.match(said, /:\d+:1: fatal_after_ack has no effect with max_stderr_bytes = 0 in \[fpm\.default\]/);
});
