import assert from "node:assert/strict";
import type { Command } from "commander";
import deno from "../../../deno.json" with { type: "json" };
import { type Io, StreamError } from "../../../src/cli/io.ts";
import { main, program } from "../../../src/cli/main.ts";
import { FakeIo, runMain } from "./fake_io.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;

/** The words that lead to each command; "help" itself is commander's. */
function* commandPaths(command: Command, path: string[] = []): Generator<string[]> {
  yield path;
  for (const sub of command.commands) yield* commandPaths(sub, [...path, sub.name()]);
}

const PATHS = [
  ...commandPaths(
    program({ io: new FakeIo(), brokerTypes: [], setExitCode: () => {}, faults: { handleBy: () => {} } }),
  ),
];

Deno.test("program() has the documented commands", () => {
  assert.deepEqual(PATHS.map((path) => path.join(" ")), [
    "",
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
    "schedule list",
    "schema",
    "dead",
    "dead list",
    "dead groups",
    "dead show",
    "dead retry",
    "dead remove",
    "check",
    "call",
    "bench",
    "init",
    "completion",
    "licenses",
  ]);
});

for (const path of PATHS) {
  const name = ["fervo-worker", ...path].join(" ");
  Deno.test(`${name} --help has usage, a description and examples of this very command`, async () => {
    const { code, stdout, stderr } = await runMain([...path, "--help"]);
    assert.equal(code, 0);
    assert.equal(stderr, "");
    assert.ok(stdout.startsWith(`Usage: ${name} `), stdout);
    assert.match(stdout, /^Usage: .*\n\n[A-Z][^]*?\.\n\n/);
    const examples = stdout.slice(stdout.indexOf("\nExamples:\n"));
    assert.ok(examples.startsWith(`\nExamples:\n  $ ${name}`), stdout);
    assert.doesNotMatch(
      stdout,
      /default: (?:false|""|\[\]|undefined|\d{4,})/,
      "a default that tells nothing",
    );
  });
}

Deno.test("--version prints the version, and with --json all that tells this program from others", async () => {
  assert.deepEqual(await runMain(["-V"]), { code: 0, stdout: `fervo-worker ${deno.version}\n`, stderr: "" });
  for (const args of [["--version", "--json"], ["--json", "--version"]]) {
    const { code, stdout } = await runMain(args);
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(stdout), {
      version: deno.version,
      // This is no binary.
      commit: null,
      target: Deno.build.target,
      deno: Deno.version.deno,
      runtime: null,
    });
  }
});

/** Mistakes on the command line, and what is said of them. */
const MISTAKES: readonly [args: string[], said: string][] = [
  [["pish"], "fervo-worker: Unknown command 'pish'\n(Did you mean push?)\nSee: fervo-worker --help\n"],
  [["xyzzy"], "fervo-worker: Unknown command 'xyzzy'\nSee: fervo-worker --help\n"],
  [
    ["dead", "lost"],
    "fervo-worker: Unknown command 'lost'\n(Did you mean list?)\nSee: fervo-worker dead --help\n",
  ],
  [
    ["run", "--jsno"],
    "fervo-worker: Unknown option '--jsno'\n(Did you mean --json?)\nSee: fervo-worker run --help\n",
  ],
  [["push"], "fervo-worker: Missing required argument 'queue'\nSee: fervo-worker push --help\n"],
  [
    ["run", "--config"],
    "fervo-worker: Option '-c, --config <file>' argument missing\nSee: fervo-worker run --help\n",
  ],
  [
    ["call", "/x"],
    "fervo-worker: Required option '--script <file>' not specified\nSee: fervo-worker call --help\n",
  ],
  [
    ["push", "q", "x", "--delay", "5"],
    "fervo-worker: Option '--delay <duration>' argument '5' is invalid. Expected a number with a unit, such as 500ms, " +
    "10s, 5m, 2h or 1d.\nSee: fervo-worker push --help\n",
  ],
];

for (const [args, said] of MISTAKES) {
  Deno.test(`main(${args.join(" ")}) says what is wrong with it and where help is, with exit code 2`, async () => {
    assert.deepEqual(await runMain(args), { code: 2, stdout: "", stderr: said });
  });
}

Deno.test("main() refuses wrong values of arguments, with exit code 2", async () => {
  for (
    const args of [
      ["push", "two words", "x"],
      ["push", "q", "x", "extra"],
      ["push", "q", "x", "--count", "0"],
      ["push", "q", "x", "--priority", "high"],
      ["dead", "list", "--limit", "0"],
      ["dead", "list", "--since", "yesterday"],
      ["dead", "retry"],
      ["dead", "retry", "--all", "--queue", "mail"],
      ["dead", "remove", "1", "--match", "x"],
      ["dead", "remove", "--all"],
      ["dead", "retry", "--code", "JOB_TIMEOUT"],
      ["pause", "two words"],
      ["resume"],
      ["purge"],
      ["purge", "mail"],
      ["dead", "remove", "1", "--all"],
      ["call", "nonsense", "--script", "/x.php"],
      ["call", "/x.sock", "--script", "/x.php", "--param", "NAME"],
      ["completion", "tcsh"],
      ["init", "/nowhere/x.toml", "--forse"],
    ]
  ) {
    const { code, stdout, stderr } = await runMain(args);
    assert.equal(code, 2, args.join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, /^fervo-worker: [A-Z][^]*\nSee: fervo-worker [a-z ]+--help\n$/);
    assert.doesNotMatch(stderr, /^ {4}at /m);
  }
});

Deno.test("main() without arguments prints the help to standard error, with exit code 2", async () => {
  const { code, stdout, stderr } = await runMain([]);
  assert.equal(code, 2);
  assert.equal(stdout, "");
  assert.match(stderr, /^Usage: fervo-worker /);
});

Deno.test("main() finds the configuration by --config before FERVO_CONFIG, and takes an empty variable for none", async () => {
  const io = () => new FakeIo({ FERVO_CONFIG: "/from/variable.toml" });
  assert.match(
    (await runMain(["queues", "--config", "/from/option.toml"], io())).stderr,
    /"\/from\/option.toml"/,
  );
  assert.match((await runMain(["queues"], io())).stderr, /"\/from\/variable.toml"/);
  assert.match((await runMain(["queues"], new FakeIo({ FERVO_CONFIG: "" }))).stderr, /"fervo-worker.toml"/);
});

Deno.test("main() tells a configuration that cannot be used in the file's own places, with exit code 3", async () => {
  const file = `${ROOT}deno.json`;
  const { code, stdout, stderr } = await runMain(["check", "--config", file]);
  assert.equal(code, 3);
  assert.equal(stdout, "");
  assert.ok(stderr.startsWith(`fervo-worker: The configuration cannot be used:\n${file}:1:1: `), stderr);
  assert.doesNotMatch(stderr, /^ {4}at /m);
});

Deno.test("main() says that its output cannot be written, with exit code 1 and no stack trace", async () => {
  const io = new FakeIo();
  const full: Io = {
    ...io,
    out: () => {
      throw new StreamError("Cannot write the output: no space left on device");
    },
  };
  assert.equal(await main(["init", "-"], full), 1);
  assert.equal(io.stderr, "fervo-worker: Cannot write the output: no space left on device\n");
});

Deno.test("main() shows a fault of its own with its stack, to be reported, with exit code 1", async () => {
  const io = new FakeIo();
  const broken: Io = {
    ...io,
    out: () => {
      throw new TypeError("this is a bug");
    },
  };
  assert.equal(await main(["init", "-"], broken), 1);
  assert.match(
    io.stderr,
    /^fervo-worker: This is a fault in fervo-worker itself; please report it:\nTypeError: this is a bug\n {4}at /,
  );
});

Deno.test("init - prints a configuration with the tables that one needs", async () => {
  const { code, stdout } = await runMain(["init", "-"]);
  assert.equal(code, 0);
  for (const head of ["[brokers.default]", "[fpm.default]", "[[consumers]]"]) {
    assert.ok(stdout.includes(`\n${head}\n`), head);
  }
});
