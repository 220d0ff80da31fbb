import assert from "node:assert/strict";
import { candidates } from "../../../../src/cli/commands/completion.ts";
import { program } from "../../../../src/cli/main.ts";
import { FakeIo, runMain } from "../fake_io.ts";

function complete(...words: string[]): string[] {
  const root = program({
    io: new FakeIo(),
    brokerTypes: [],
    setExitCode: () => {},
    faults: { handleBy: () => {} },
  });
  return candidates(root, words).map(([word]) => word);
}

Deno.test("candidates() offers the commands, and those that begin with what is typed", () => {
  assert.deepEqual(complete(""), [
    "run",
    "status",
    "quiet",
    "stop",
    "reload",
    "push",
    "queues",
    "jobs",
    "pause",
    "resume",
    "purge",
    "schedule",
    "schema",
    "dead",
    "check",
    "call",
    "bench",
    "init",
    "completion",
    "licenses",
    "help",
  ]);
  assert.deepEqual(complete(), complete(""));
  assert.deepEqual(complete("c"), ["check", "call", "completion"]);
  assert.deepEqual(complete("x"), []);
});

Deno.test("candidates() offers the commands of a command", () => {
  assert.deepEqual(complete("dead", ""), ["list", "groups", "show", "retry", "remove", "help"]);
  assert.deepEqual(complete("dead", "re"), ["retry", "remove"]);
});

Deno.test("candidates() offers the long options of the command in question", () => {
  assert.deepEqual(complete("--"), ["--version", "--help"]);
  assert.deepEqual(complete("-"), ["--version", "--help"]);
  assert.deepEqual(complete("queues", "-"), ["--config", "--watch", "--json", "--help"]);
  assert.deepEqual(complete("push", "jobs", "{}", "--de"), ["--delay"]);
  assert.deepEqual(complete("dead", "show", "7", "--j"), ["--json"]);
});

Deno.test("candidates() offers the choices of an argument", () => {
  assert.deepEqual(complete("completion", ""), ["bash", "zsh", "fish"]);
  assert.deepEqual(complete("completion", "f"), ["fish"]);
});

Deno.test("candidates() offers nothing where a file or a free text belongs, so that the shell offers files", () => {
  assert.deepEqual(complete("run", "--config", ""), []);
  assert.deepEqual(complete("push", ""), []);
});

Deno.test("candidates() describes each candidate", () => {
  const root = program({
    io: new FakeIo(),
    brokerTypes: [],
    setExitCode: () => {},
    faults: { handleBy: () => {} },
  });
  for (const words of [[""], ["-"], ["dead", ""], ["push", "-"], ["completion", ""]]) {
    for (const [word, description] of candidates(root, words)) {
      assert.ok(description.length > 0, `${word} has no description`);
      assert.doesNotMatch(description, /[\t\n]/);
    }
  }
});

Deno.test("__complete prints a candidate a line, its description behind a tab, whatever the words are", async () => {
  assert.deepEqual(await runMain(["__complete", "dead", "li"]), {
    code: 0,
    stdout: "list\tlist dead letters, the most recent first\n",
    stderr: "",
  });
  // None of these may be taken for an option of fervo-worker itself.
  assert.match((await runMain(["__complete", "push", "--"])).stdout, /^--config\t/);
  assert.deepEqual(await runMain(["__complete", "run", "--help", "x"]), { code: 0, stdout: "", stderr: "" });
  assert.deepEqual(await runMain(["__complete", "--version", "x"]), { code: 0, stdout: "", stderr: "" });
});

Deno.test("__complete is not in the help", async () => {
  assert.doesNotMatch((await runMain(["--help"])).stdout, /__complete/);
});

for (const shell of ["bash", "zsh", "fish"]) {
  Deno.test(`completion ${shell} prints a script that asks __complete and evaluates nothing`, async () => {
    const { code, stdout } = await runMain(["completion", shell]);
    assert.equal(code, 0);
    assert.match(stdout, / __complete /);
    assert.doesNotMatch(stdout, /\beval\b/);
  });
}

const PLAIN = new URL("../../../../examples/plain-php/fervo-worker.toml", import.meta.url).pathname;

Deno.test("__complete offers the names of the configuration: queues as arguments and options, brokers, consumers", async () => {
  const offered = async (...words: string[]) => {
    const { code, stdout } = await runMain(["__complete", ...words]);
    assert.equal(code, 0);
    return stdout.split("\n").filter(Boolean).map((line) => line.split("\t")[0]);
  };
  assert.deepEqual(await offered("push", "--config", PLAIN, ""), ["default"]);
  assert.deepEqual(await offered("push", "--config", PLAIN, "x"), []);
  assert.deepEqual(await offered("dead", "list", "-c", PLAIN, "--queue", "d"), ["default"]);
  assert.deepEqual(await offered("queues", "--config", PLAIN, "--broker", ""), []);
  assert.deepEqual(await offered("pause", "--config", PLAIN, "--broker", ""), ["default"]);
  assert.deepEqual(await offered("pause", "--config", "/nowhere.toml", ""), []);
  // The payload of push is nobody's name.
  assert.deepEqual(await offered("push", "--config", PLAIN, "default", ""), []);
});
