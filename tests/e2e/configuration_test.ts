import assert from "node:assert/strict";
import { fervoWorker, fervoWorkerOk, Site } from "../support/fervo_worker.ts";

/** What can be wrong with a configuration, and what is said of it. */
const MISTAKES: readonly [what: string, find: RegExp, replace: string, said: RegExp][] = [
  ["text without quotes", /level = "info"/, "level = info", /:3:\d+: not valid TOML: /],
  ["unclosed table head", /\[log\]/, "[log", /not valid TOML/],
  [
    "unknown key",
    /concurrency = /,
    "concurency = ",
    /:\d+:1: unknown key "concurency" .*did you mean "concurrency"\?/,
  ],
  ["unknown table", /\[log\]/, "[lug]", /unknown key "lug"/],
  [
    "number as text",
    /concurrency = 4/,
    'concurrency = "4"',
    /:\d+:\d+: concurrency is "4": expected a whole number/,
  ],
  [
    "zero jobs at once",
    /concurrency = 4/,
    "concurrency = 0",
    /concurrency is 0: expected a whole number from 1 to/,
  ],
  [
    "relative script",
    /script = ".*"/,
    'script = "fervo.php"',
    /script is "fervo.php": expected an absolute path/,
  ],
  [
    "unreadable address",
    /address = ".*"/,
    'address = "nonsense"',
    /address is "nonsense": expected a socket's/,
  ],
  ["unknown driver", /driver = "sqlite"/, 'driver = "oracle"', /driver is "oracle": expected "sqlite"/],
  [
    "unset variable",
    /path = ".*"/,
    'path = "${FERVO_TEST_NOT_SET}"',
    /variable "FERVO_TEST_NOT_SET" is not set/,
  ],
  ["missing key", /script = ".*"/, "", /script is missing|missing.*script/],
];

for (const [what, find, replace, said] of MISTAKES) {
  Deno.test(`Every command refuses a configuration with a mistake (${what}) by its line, with exit code 3`, async () => {
    await using site = await Site.create(undefined, { log: { level: "info" } });
    await site.push("{}");
    const good = await Deno.readTextFile(site.configFile);
    assert.match(good, find);
    await Deno.writeTextFile(site.configFile, good.replace(find, replace));
    for (const command of [["run"], ["check"], ["push", "jobs", "{}"], ["queues"], ["dead", "list"]]) {
      const { code, stdout, stderr } = await site.run(command);
      assert.equal(code, 3);
      assert.equal(stdout, "");
      assert.match(stderr, said);
      assert.ok(
        stderr.startsWith(`fervo-worker: The configuration cannot be used:\n${site.configFile}:`),
        stderr,
      );
    }
    assert.equal(site.queueRows("SELECT * FROM fervo_jobs").length, 1);
  });
}

Deno.test("run tells all mistakes of a configuration at once, a line each", async () => {
  await using site = await Site.create(undefined, {
    broker: { lease_ms: 1 },
    consumer: { timeout: 5 },
    retry: { attempts: 0 },
  });
  const { code, stderr } = await site.run(["run"]);
  assert.equal(code, 3);
  assert.equal(stderr.trimEnd().split("\n").length, 4);
});

Deno.test("run without a configuration says how to make one, with exit code 3", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const { code, stderr } = await fervoWorker(["run"], { cwd: directory });
    assert.equal(code, 3);
    assert.equal(
      stderr,
      'fervo-worker: Cannot read the configuration "fervo-worker.toml": no such file; name another with --config or ' +
        "FERVO_CONFIG, or make one with: fervo-worker init fervo-worker.toml\n",
    );
  } finally {
    await Deno.remove(directory);
  }
});

Deno.test("run with a configuration that is a folder says so, with exit code 3", async () => {
  const { code, stderr } = await fervoWorker(["run", "--config", "/"]);
  assert.equal(code, 3);
  assert.match(stderr, /^fervo-worker: Cannot read the configuration "\/": .*\n$/);
});

Deno.test("init writes a configuration that has to be adapted, and is otherwise accepted", async () => {
  await using site = await Site.create();
  const file = `${site.directory}/new.toml`;
  const said = await fervoWorkerOk(["init", file]);
  assert.equal(
    said,
    `Wrote "${file}"; set "address" and "script" in it, and "status_path" where the pool has a pm.status_path, then run: ` +
      `fervo-worker check --config ${file}\n`,
  );
  assert.equal((await Deno.stat(file)).mode! & 0o777, 0o600);
  const { code, stdout, stderr } = await fervoWorker(["check", "--config", file]);
  assert.match(stdout, /^ok +configuration: 1 consumer\nok +brokers\.default: /);
  assert.match(stdout, /ERROR +fpm.default: Cannot connect to php-fpm at "\/run\/php\/fervo.sock"/);
  assert.equal(stderr, "");
  assert.equal(code, 4);
});

Deno.test("init refuses to overwrite a file unless --force is given", async () => {
  await using site = await Site.create();
  const file = `${site.directory}/mine.toml`;
  await Deno.writeTextFile(file, "# mine\n");
  const { code, stderr } = await fervoWorker(["init", file]);
  assert.equal(code, 2);
  assert.match(stderr, /mine.toml" exists; --force overwrites it/);
  assert.equal(await Deno.readTextFile(file), "# mine\n");
  await fervoWorkerOk(["init", file, "--force"]);
  assert.equal(await Deno.readTextFile(file), await fervoWorkerOk(["init", "-"]));
});

Deno.test("init with a folder writes the configuration into it", async () => {
  const directory = await Deno.makeTempDir();
  try {
    for (const place of [directory, `${directory}/`]) {
      const said = await fervoWorkerOk(["init", place, "--force"]);
      assert.match(said, new RegExp(`^Wrote "${directory}/fervo-worker.toml"; `));
    }
    const { code, stderr } = await fervoWorker(["init", `${directory}/none/`]);
    assert.equal(code, 2);
    assert.match(
      stderr,
      /^fervo-worker: Cannot write ".*\/none\/fervo-worker\.toml": no such file or folder/,
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("init - prints config.example.toml", async () => {
  const example = await Deno.readTextFile(new URL("../../config.example.toml", import.meta.url));
  assert.equal(await fervoWorkerOk(["init", "-"]), example);
});

Deno.test("init says why it cannot write, with exit code 2", async () => {
  const { code, stderr } = await fervoWorker(["init", "/nowhere/fervo-worker.toml"]);
  assert.equal(code, 2);
  assert.match(
    stderr,
    /^fervo-worker: Cannot write "\/nowhere\/fervo-worker.toml": no such file or folder\n/,
  );
});
