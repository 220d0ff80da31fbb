/** The PHP of docs/getting-started.md, as it stands there: the handlers, a job that PHP pushes, and the job that fails. */
import assert from "node:assert/strict";
import { docBlocks } from "../support/doc_blocks.ts";
import { fervoWorkerOk, Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { runProgram } from "../support/run_program.ts";

const PAGE = "docs/getting-started.md";
const STANDALONE = new URL("../../examples/plain-php/fervo-standalone.php", import.meta.url);

/** The PHP block of the page that has this text. */
function php(text: string): string {
  const block = docBlocks().find(({ file, language, text: code }) =>
    file === PAGE && language === "php" && code.includes(text)
  );
  assert.ok(block !== undefined, `${PAGE} has no PHP with ${text}`);
  return block.text;
}

Deno.test("The handlers and the producer of docs/getting-started.md run jobs, and the job that fails is a dead letter with its exception", async () => {
  await using fpm = await PhpFpm.start();
  const folder = fpm.directory;
  await Deno.copyFile(STANDALONE, `${folder}/fervo.php`);
  await Deno.writeTextFile(`${folder}/handlers.php`, php("'reports' =>").replaceAll("/tmp/", `${folder}/`));
  await using site = await Site.create(fpm, {
    fpm: { script: `${folder}/fervo.php` },
    params: { APP_HANDLERS: `${folder}/handlers.php` },
    consumer: { queues: ["default", "reports"] },
  });
  const push = async (...args: string[]): Promise<string> =>
    JSON.parse(await fervoWorkerOk(["push", ...args, "--json", "--config", site.configFile])).ids[0];
  const hello = await push("default", '{"hello":"world"}');

  const producer = php("INSERT INTO fervo_jobs").replace(
    "/var/lib/fervo-worker/queue.sqlite",
    site.queueFile,
  );
  await Deno.writeTextFile(`${folder}/push.php`, producer);
  assert.deepEqual(await runProgram("php", `${folder}/push.php`), { success: true, code: 0, said: "" });
  const bad = await push("default", "no JSON", "--attempts", "1");
  const report = await push("reports", "");
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });

  assert.equal(await Deno.readTextFile(`${folder}/hello-${hello}.txt`), "Hello, world!\n");
  assert.equal(await Deno.readTextFile(`${folder}/hello-${Number(hello) + 1}.txt`), "Hello, PHP!\n");
  const letters = JSON.parse(await site.runOk(["dead", "list", "--json"]));
  const errors = Object.fromEntries(
    letters.map(({ id, error }: { id: string; error: { message: string } }) => [id, error.message]),
  );
  assert.match(errors[bad], /JsonException/);
  assert.match(errors[report], /a report needs a month/);
  assert.match(await site.runOk(["dead", "show", bad]), /STDERR:\n[^]*Stack trace|#0 /);
});
