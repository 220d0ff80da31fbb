import assert from "node:assert/strict";
import { htmlReport, samplesOf } from "../../../src/bench/html_report.ts";
import { benchRun, modeRun, resultOf, round } from "../../unit/bench/support.ts";

Deno.test("A browser shows the page as it is meant, and has nothing to complain of", async () => {
  const modes = [
    modeRun("fastcgi", [round([1, 1, 2, 4]), round([1, 1, 1, 1])]),
    modeRun("process", [round([100, 100, 120, 80]), round([100, 100, 100, 100])]),
  ];
  const result = resultOf(modes, { script: '<b id="injected">x</b>' });
  const folder = await Deno.makeTempDir({ prefix: "fervo-page-" });
  try {
    await Deno.writeTextFile(`${folder}/page.html`, htmlReport(result, samplesOf(benchRun(modes))));
    const { stdout, stderr, success } = await new Deno.Command("chromium", {
      // Without a sandbox, as root cannot have one; the page is our own.
      args: [
        ...["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${folder}/profile`],
        ...["--enable-logging=stderr", "--dump-dom", `file://${folder}/page.html`],
      ],
    }).output();
    const [dom, log] = [new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)];
    assert.ok(success, log);
    assert.doesNotMatch(log, /CONSOLE/);
    const count = (text: string) => dom.split(text).length - 1;
    assert.match(dom, /<h1>PHP-FPM: 75 jobs in the time of one process<\/h1>/);
    assert.equal(count("<svg "), 3);
    assert.equal(count("<table>"), 1);
    assert.equal(count('<b id="injected">'), 0);
    assert.equal(count("<dt>"), Object.keys(result.conditions).length);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
