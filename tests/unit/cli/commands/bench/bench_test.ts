import assert from "node:assert/strict";
import { FakeIo, runMain } from "../../fake_io.ts";

/** Mistakes on the command line, and what is said of them. All are noticed before anything is started. */
const MISTAKES: readonly [args: string[], said: RegExp][] = [
  [["--jobs", "0"], /'--jobs <n>' argument '0' is invalid. Expected a whole number of at least 1\./],
  [["--concurrency", "1.5"], /'--concurrency <n>' argument '1\.5' is invalid/],
  [["--children", "-1"], /'--children <n>' argument '-1' is invalid/],
  [["--warmup", "-1"], /Expected a whole number of at least 0\./],
  [["--repeat", "many"], /'--repeat <n>' argument 'many' is invalid/],
  [["--rate", "fast"], /'--rate <n\/s>' argument 'fast' is invalid. Expected jobs a second, such as 50\/s\./],
  [["--rate", "0"], /Expected jobs a second/],
  [["--rate", "5/m"], /Expected jobs a second/],
  [["--timeout", "60"], /Expected a number with a unit/],
  [
    ["--modes", "fastcgi,popen"],
    /Expected names of fastcgi, fastcgi-fresh, process, raw, separated by commas\./,
  ],
  [["--modes", ""], /Expected names of fastcgi/],
  [["--json", "-", "--csv", "-"], /Only one of --json and --csv can go to standard output/],
  [["--html", "-"], /Cannot write the page to standard output: give --html a file/],
  [["--json", "a", "--html", "./a"], /Give each of --json, --csv and --html a file of its own/],
  [["--config", "x.toml", "--own"], /Give --config or --own, not both/],
  [["--consumer", "mail"], /Cannot use "--consumer" without a configuration: name one with --config/],
  [["--fpm", "a"], /Cannot use "--fpm" without a configuration: name one with --config/],
  [["--process", "a"], /Cannot use "--process" without a configuration: name one with --config/],
  [["--config", "x.toml", "--children", "3"], /Cannot use "--children" with a configuration/],
  [["--config", "x.toml", "--script", "a.php"], /Cannot use "--script" with a configuration/],
  [
    ["--config", "x.toml"],
    /Cannot ask before sending jobs to the php-fpm of "x\.toml": not an interactive terminal; pass --yes/,
  ],
  [
    ["--payload", "@/nowhere/payload"],
    /Cannot read the payload from "\/nowhere\/payload": no such file or folder/,
  ],
];

for (const [args, said] of MISTAKES) {
  Deno.test(`main(bench ${args.join(" ")}) says what is wrong with it, with exit code 2`, async () => {
    const { code, stdout, stderr } = await runMain(["bench", ...args]);
    assert.equal(code, 2, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, said);
    assert.match(stderr, /^fervo-worker: [A-Z][^]*\nSee: fervo-worker bench --help\n$/);
  });
}

Deno.test("main(bench) takes FERVO_CONFIG for a php-fpm of the user's, unless --own is given", async () => {
  const io = new FakeIo({ FERVO_CONFIG: "/from/variable.toml" });
  const { code, stderr } = await runMain(["bench"], io);
  assert.equal(code, 2);
  assert.match(stderr, /the php-fpm of "\/from\/variable\.toml"/);
  // With --own the variable is not looked at: what is wrong then is the flag for a configuration.
  const own = await runMain(
    ["bench", "--own", "--fpm", "a"],
    new FakeIo({ FERVO_CONFIG: "/from/variable.toml" }),
  );
  assert.match(own.stderr, /Cannot use "--fpm" without a configuration: name one with --config/);
});
