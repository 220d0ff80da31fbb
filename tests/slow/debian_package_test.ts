/** Slow, as lintian looks for the texts of known libraries in all of the program, and as the package is made twice. */
import assert from "node:assert/strict";
import deno from "../../deno.json" with { type: "json" };
import { packagedRelease } from "../support/packaged_release.ts";
import { runProgram } from "../support/run_program.ts";

Deno.test("lintian finds no error and no warning in the Debian package", async () => {
  await using made = await packagedRelease();
  const file = `${made.folder}/fervo-worker_${deno.version}-1_amd64.deb`;
  const { success, said } = await runProgram("lintian", "--fail-on", "error,warning", file);
  assert.ok(success && !/^[EWI]: /m.test(said), said);
});

Deno.test("scripts/package makes the same files of the same binary, whenever and wherever", async () => {
  const sums = async () => {
    await using made = await packagedRelease();
    return await Deno.readTextFile(`${made.folder}/SHA256SUMS`);
  };
  assert.equal(await sums(), await sums());
});
