/**
 * From the operator's side: a job that did its work is done, and one that did not is not, whatever it prints, flushes or
 * sends on the way, and however PHP is set.
 */
import assert from "node:assert/strict";
import { Site } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";

/** What jobs do beside their work: a payload is run as code, behind a row in the journal. */
const HANDLERS = `<?php
return ['jobs' => function ($job): void {
    file_put_contents($_SERVER['JOURNAL'], "$job->id begun\\n", FILE_APPEND);
    eval($job->payload);
    file_put_contents($_SERVER['JOURNAL'], "$job->id done\\n", FILE_APPEND);
}];`;

const RECORD = `"\\x1e" . json_encode(['id' => $job->id, 'outcome' => 'ack']) . "\\n"`;

/** Is done, and has to count as done. */
const DONE = [
  "",
  "flush();",
  "echo 'x'; flush();",
  "ob_end_flush(); echo 'x'; flush();",
  "while (ob_get_level() > 0) ob_end_clean(); echo 'x';",
  "while (ob_get_level() > 0) ob_end_clean(); for ($i = 0; $i < 30; $i++) { echo str_repeat('x', 100000); flush(); }",
  "ob_implicit_flush(); ob_end_flush(); echo 'x';",
  "ob_start(); ob_start(); echo 'x'; flush();",
  "ob_start(); ob_end_flush(); echo 'x';",
  "http_response_code(500); flush();",
  "header('Location: /'); echo 'x'; ob_flush(); flush();",
  "header('Content-Length: 3'); ob_end_flush(); echo 'xyz'; flush();",
  "ob_end_flush(); flush(); register_shutdown_function(function () { echo 'at the end'; });",
  "ob_end_flush(); flush(); $GLOBALS['left'] = new class { function __destruct() { echo 'at the end'; flush(); } };",
  'ob_end_flush(); echo "\\x1e{\\"id\\":\\"0\\",\\"outcome\\":\\"bury\\"}\\n"; flush();',
  "trigger_error('a warning', E_USER_WARNING); flush();",
  // Names that a script could use for itself.
  "foreach (['id', 'job', 'left', 'input', 'outcome', 'reason', 'run', 'answer'] as $name) $GLOBALS[$name] = null; flush();",
];

/** Is not done, and must not count as done. */
const NOT_DONE = [
  "exit;",
  "flush(); exit;",
  "ob_end_flush(); flush(); undefined_function();",
  "ob_end_flush(); flush(); ini_set('memory_limit', '4M'); str_repeat('x', 99999999);",
  `echo ${RECORD}; throw new Exception('no');`,
  `echo ${RECORD}; exit;`,
];

/** The same, where a record in the middle of the body is none: in a batch it is. */
const NOT_DONE_ALONE = [
  `ob_end_flush(); echo ${RECORD}; flush(); throw new Exception('no');`,
  `ob_end_flush(); echo ${RECORD}; flush(); ini_set('memory_limit', '4M'); echo "x"; str_repeat('x', 99999999);`,
];

const SETTINGS: readonly Record<string, string>[] = [
  {},
  { output_buffering: "4096", display_errors: "on" },
  { implicit_flush: "on", display_errors: "on", html_errors: "on" },
];

/** As a producer does it. Returns the job's id. */
function insert(site: Site, payload: string): string {
  const [row] = site.queueRows(
    "INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', ?) RETURNING id",
    payload,
  );
  return String(row!["id"]);
}

for (const batchSize of [1, 5]) {
  for (const ini of SETTINGS) {
    const how = `${JSON.stringify(ini)} and batch_size = ${batchSize}`;
    Deno.test(`A job is done when it did its work, and only then, with ${how}`, async () => {
      await using fpm = await PhpFpm.start({ ini });
      const handlers = await fpm.writeScript("handlers.php", HANDLERS);
      const journal = `${fpm.directory}/journal`;
      await using site = await Site.create(fpm, {
        params: { APP_HANDLERS: handlers, JOURNAL: journal },
        consumer: { concurrency: 2, batch_size: batchSize },
        retry: { attempts: 1 },
      });
      await site.runOk(["queues"]); // which creates the queue
      const done = new Map<string, string>();
      const notDone = new Map<string, string>();
      const failing = batchSize === 1 ? [...NOT_DONE, ...NOT_DONE_ALONE] : NOT_DONE;
      for (const [jobs, ids] of [[DONE, done], [failing, notDone]] as const) {
        for (const code of jobs) ids.set(insert(site, code), code);
      }
      await site.run(["run", "--until-empty"]);
      const dead = site.queueRows("SELECT id, error FROM fervo_jobs");
      assert.deepEqual(
        dead.map(({ id, error }) => done.get(String(id)) && `${done.get(String(id))}: ${error}`).filter(
          Boolean,
        ),
        [],
      );
      assert.deepEqual(dead.map(({ id }) => String(id)).sort(), [...notDone.keys()].sort());
      const lines = (await Deno.readTextFile(journal)).trimEnd().split("\n");
      const expected = [...done.keys()].flatMap((id) => [`${id} begun`, `${id} done`]);
      assert.deepEqual(
        lines.filter((line) => done.has(line.split(" ")[0]!)).sort(),
        expected.sort(),
        "each ran once",
      );
    });
  }
}

Deno.test("What a job leaves for the end of the script is part of its work", async () => {
  await using fpm = await PhpFpm.start();
  const handlers = await fpm.writeScript("handlers.php", HANDLERS);
  await using site = await Site.create(fpm, {
    params: { APP_HANDLERS: handlers, JOURNAL: `${fpm.directory}/journal` },
    retry: { attempts: 1 },
  });
  await site.push(
    "register_shutdown_function(function () { throw new Exception('the mail was not sent'); });",
  );
  await site.run(["run", "--until-empty"]);
  const [job] = site.queueRows("SELECT state, error FROM fervo_jobs");
  assert.equal(job?.["state"], "dead");
  assert.match(String(job?.["error"]), /JOB_NO_OUTCOME.*the mail was not sent/);
});

Deno.test("Scripts that know headers only, or records only, go on as they are", async () => {
  await using fpm = await PhpFpm.start();
  const record = `echo "\\x1e{\\"id\\":\\"{$_SERVER['FERVO_JOB_ID']}\\",\\"outcome\\":\\"ack\\"}\\n";`;
  const scripts = {
    "header.php": "<?php echo 'output'; header('X-Fervo-Outcome: ack');",
    "record.php": `<?php echo 'output'; flush(); ${record}`,
    "both.php": `<?php header('X-Fervo-Outcome: ack'); ${record}`,
  };
  for (const [name, code] of Object.entries(scripts)) {
    const script = await fpm.writeScript(name, code);
    await using site = await Site.create(fpm, { fpm: { script } });
    await site.push("{}", 3);
    const { done, dead, retried } = JSON.parse(await site.runOk(["run", "--until-empty", "--json"]));
    assert.deepEqual({ done, dead, retried }, { done: 3, dead: 0, retried: 0 }, name);
  }
});
