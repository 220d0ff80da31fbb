/**
 * Answers that only look like php-fpm's own, and php-fpm's own, as an operator meets them: the former are a job's failure,
 * the latter keep all jobs waiting, with no attempt counted, until somebody has put the pool right.
 */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { PhpFpm, type PhpFpmOptions } from "../../support/php_fpm.ts";

const QUEUE = "SELECT payload, state, attempts FROM fervo_jobs ORDER BY id";
const ONCE: SiteOptions = { consumer: { concurrency: 1, pause_max_ms: 50 }, retry: { attempts: 1 } };

/** Runs the job's payload as code; knows the check. */
const EVALUATE = `<?php
  if (!isset($_SERVER['FERVO_CHECK'])) eval(file_get_contents('php://input'));
  header('X-Fervo-Outcome: ack');`;
const ACK = "file_put_contents(__DIR__ . '/ran', '1', FILE_APPEND);";

const ANSWERS = [
  ["403", "Access denied."],
  ["403", "Access denied.\\n"],
  ["404", "File not found."],
  ["404", "File not found.\\n"],
  ["404", "No input file specified.\\n"],
] as const;

for (const logging of ["1", "0"]) {
  Deno.test(`run takes a job that answers as php-fpm does for a failed job, and runs all others (fastcgi.logging = ${logging})`, async () => {
    await using fpm = await PhpFpm.start({ masterIni: { "fastcgi.logging": logging } });
    const script = await fpm.writeScript("job.php", EVALUATE);
    await using site = await Site.create(fpm, { ...ONCE, fpm: { script } });
    for (const [status, text] of ANSWERS) {
      await site.push(`http_response_code(${status}); echo "${text}"; exit;`);
      await site.push(ACK);
    }
    const { code, stderr } = await site.run(["run", "--until-empty"]);
    assert.equal(code, 5, stderr);
    assert.equal((await Deno.readTextFile(`${fpm.directory}/ran`)).length, ANSWERS.length);
    const dead = site.queueRows(
      "SELECT json_extract(error, '$.code') AS code FROM fervo_jobs WHERE state = 'dead'",
    );
    assert.deepEqual(dead.map(({ code }) => code), ANSWERS.map(() => "JOB_NO_OUTCOME"));
    assert.doesNotMatch(stderr, /FPM_MISCONFIGURED/);
  });
}

/** What keeps php-fpm from running the script, and what puts it right. */
const WRONG: Record<
  string,
  { fpm?: PhpFpmOptions; script?: string; says: RegExp; mend: (fpm: PhpFpm) => Promise<unknown> }
> = {
  "the script is missing": {
    script: "later.php",
    says: /cannot find the script .*: file not found/,
    mend: (fpm) => fpm.writeScript("later.php", EVALUATE),
  },
  "the script has an ending that security.limit_extensions does not allow": {
    fpm: { poolLines: ["security.limit_extensions = .phar"] },
    says: /access denied; see security\.limit_extensions/,
    mend: (fpm) => fpm.reload({ poolLines: [] }),
  },
  "the script is outside of open_basedir": {
    fpm: { poolLines: ["php_admin_value[open_basedir] = /nonexistent"] },
    says: /see open_basedir of the pool/,
    mend: (fpm) => fpm.reload({ poolLines: [] }),
  },
};

for (const [what, { fpm: options, script = "job.php", says, mend }] of Object.entries(WRONG)) {
  Deno.test(`run waits, says so and counts nothing while ${what}, and goes on by itself`, async () => {
    await using fpm = await PhpFpm.start(options);
    await fpm.writeScript("job.php", EVALUATE);
    await using site = await Site.create(fpm, { ...ONCE, fpm: { script: `${fpm.directory}/${script}` } });
    for (let i = 0; i < 3; i++) await site.push(ACK);
    await using worker = site.start(["run"]);
    await worker.says("FPM_MISCONFIGURED");
    assert.match(worker.stderr, says);
    assert.deepEqual(site.queueRows(QUEUE).filter(({ state }) => state === "dead"), []);
    await mend(fpm);
    await eventually("all jobs are done", () => site.queueRows(QUEUE).length === 0, 60_000);
    assert.equal((await Deno.readTextFile(`${fpm.directory}/ran`)).length, 3);
    worker.kill("SIGTERM");
    assert.equal((await worker.ended).code, 0);
  });
}
