import assert from "node:assert/strict";
import { fervoWorkerPath } from "../support/fervo_worker.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

Deno.test("The demo runs on the binary and finds all in order", async () => {
  const said = await runs("demo.ts");
  assert.match(said, /Done: +999 jobs in /);
  assert.match(said, /Checked: every job ran exactly as often as it should/);
});

Deno.test("The Symfony demo runs on the binary and finds all in order", async () => {
  const said = await runs("symfony.ts");
  assert.match(said, /Done: +200 jobs in /);
  assert.match(
    said,
    /Checked: each step was done exactly once; stock in the request, confirmations and invoices on php-fpm/,
  );
});

/** What a demo says; it must succeed. */
async function runs(name: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", `${ROOT}examples/demo/${name}`],
    env: { FERVO_WORKER: fervoWorkerPath() },
  }).output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(code, 0, said);
  return said;
}
