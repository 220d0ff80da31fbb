/** That packaging/fervo-worker.1 is what the help says is held by tests/unit/generated_docs_test.ts. */
import assert from "node:assert/strict";

const PAGE = new URL("../../../packaging/fervo-worker.1", import.meta.url).pathname;

/** Runs man on the page, for a terminal as wide as that. */
async function man(width: number, ...args: string[]) {
  const env = { LC_ALL: "C.UTF-8", MANROFFSEQ: "", MANWIDTH: String(width) };
  const { code, stdout, stderr } = await new Deno.Command("man", { args: [...args, "-l", PAGE], env })
    .output();
  const utf8 = new TextDecoder();
  return { code, stdout: utf8.decode(stdout), stderr: utf8.decode(stderr) };
}

Deno.test("man renders the manual page without a warning", async () => {
  const { code, stderr } = await man(80, "--warnings", "-E", "UTF-8", "-Tutf8", "-Z");
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
});

Deno.test("The manual page as it is read has every command, option and example as it is typed", async () => {
  const { code, stdout } = await man(200);
  assert.equal(code, 0);
  for (
    const text of [
      "fervo-worker - runs background jobs from a queue on PHP-FPM",
      "fervo-worker dead retry [options] [ids...]",
      "-c, --config file",
      "--until-empty",
      `$ fervo-worker push mail '{"to":"ann@example.org"}'`,
      '$ fervo-worker completion zsh > "${fpath[1]}/_fervo-worker"',
    ]
  ) {
    assert.ok(stdout.includes(text), `${text} is not in:\n${stdout}`);
  }
});
