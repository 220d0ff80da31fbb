import assert from "node:assert/strict";
import { program } from "../../../src/cli/main.ts";
import { inOrder } from "../../../src/cli/word_order.ts";
import { FakeIo, runMain } from "./fake_io.ts";

const root = program({
  io: new FakeIo(),
  brokerTypes: [],
  setExitCode: () => {},
  faults: { handleBy: () => {} } as never,
});

const CASES: readonly [typed: string, taken: string][] = [
  ["check --config a.toml", "check --config a.toml"],
  ["--config a.toml check", "check --config a.toml"],
  ["-c a.toml --json dead list --limit 3", "dead list -c a.toml --json --limit 3"],
  ["dead --config=a.toml list", "dead list --config=a.toml"],
  ["push mail --config a.toml", "push mail --config a.toml"],
  // An argument that is called like a command is none.
  ["push run", "push run"],
  ["--json --version", "--json --version"],
  ["--config a.toml", "--config a.toml"],
  ["version --json", "--version --json"],
  ["help", "--help"],
  ["help dead list", "dead list --help"],
  ["help nosuch", "nosuch"],
  ["help dead nosuch", "dead nosuch"],
  ["", ""],
];

for (const [typed, taken] of CASES) {
  Deno.test(`inOrder() takes "${typed}" for "${taken}"`, () => {
    assert.deepEqual(inOrder(root, typed.split(" ").filter(Boolean)).join(" "), taken);
  });
}

Deno.test("help of a command that does not exist says so, and suggests one", async () => {
  const { code, stdout, stderr } = await runMain(["help", "statu"]);
  assert.deepEqual([code, stdout], [2, ""]);
  assert.match(stderr, /^fervo-worker: Unknown command 'statu'\n\(Did you mean status\?\)/);
});

Deno.test("version prints the version, as --version does", async () => {
  assert.deepEqual(await runMain(["version"]), await runMain(["--version"]));
  assert.match((await runMain(["version", "--json"])).stdout, /^\{"version":/);
});
