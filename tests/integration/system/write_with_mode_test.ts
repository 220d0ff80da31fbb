import assert from "node:assert/strict";
import { writeWithMode } from "../../../src/system/write_with_mode.ts";
import { runProgram } from "../../support/run_program.ts";

Deno.test("writeWithMode() leaves what is no file its mode: a device is the whole machine's", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const pipe = `${folder}/pipe`;
    assert.ok((await runProgram("mkfifo", "--mode=644", pipe)).success);
    for (const path of [pipe, `${folder}/link`]) {
      if (path !== pipe) await Deno.symlink("pipe", path);
      const [{ said }] = await Promise.all([
        runProgram("cat", pipe),
        writeWithMode(path, "text", { mode: 0o600, overwrite: true }),
      ]);
      assert.equal(said, "text");
      assert.equal((await Deno.stat(pipe)).mode! & 0o777, 0o644, path);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
