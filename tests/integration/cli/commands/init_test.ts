import assert from "node:assert/strict";
import { FakeIo, runMain } from "../../../unit/cli/fake_io.ts";

const ROOT = new URL("../../../../", import.meta.url).pathname;
const PLAIN = `${ROOT}examples/plain-php/fervo-worker.toml`;

async function init(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runMain(["init", ...args]);
  // It may warn of users whom this machine does not have.
  assert.equal(code, 0, stderr);
  return stdout;
}

/** The value of a directive, in any of the files. */
function valueOf(text: string, name: string): string | undefined {
  return text.split("\n").map((line) => /^([^=]+?) ?= ?(.*)$/.exec(line))
    .find((match) => match?.[1] === name)?.[2];
}

Deno.test("init --supervisor starts the worker on the configuration, and gives it more time to stop than it needs", async () => {
  const text = await init(
    "--supervisor",
    "--config",
    PLAIN,
    "--program",
    "/opt/fervo-worker",
    "--user",
    "app",
  );
  assert.equal(valueOf(text, "command"), `/opt/fervo-worker run --config ${PLAIN}`);
  assert.equal(valueOf(text, "user"), "app");
  assert.equal(valueOf(text, "stopsignal"), "TERM");
  assert.equal(valueOf(text, "stopwaitsecs"), "40");
});

Deno.test("init --systemd makes the queue's folder, and all else is read-only", async () => {
  const text = await init("--systemd", "--config", PLAIN);
  assert.equal(valueOf(text, "ExecStart"), `/usr/local/bin/fervo-worker run --config ${PLAIN}`);
  assert.equal(valueOf(text, "StateDirectory"), "fervo-worker");
  assert.equal(valueOf(text, "ProtectSystem"), "strict");
  assert.equal(valueOf(text, "MemoryDenyWriteExecute"), "no");
  assert.equal(valueOf(text, "TimeoutStopSec"), "40");
});

Deno.test("init --systemd has the worker say how it is doing, reloads it by command, and makes its socket's folder", async () => {
  const text = await init("--systemd");
  const program = "/usr/local/bin/fervo-worker";
  assert.equal(valueOf(text, "Type"), "notify");
  assert.equal(valueOf(text, "WatchdogSec"), "60");
  assert.equal(
    valueOf(text, "ExecReload"),
    `${program} reload --wait --config /etc/fervo-worker/fervo-worker.toml`,
  );
  assert.equal(valueOf(text, "RuntimeDirectory"), "fervo-worker");
  assert.equal(valueOf(text, "RuntimeDirectoryPreserve"), "yes");
});

Deno.test("init --fpm makes as many children as jobs, and limits that nest", async () => {
  const text = await init("--fpm", "--config", PLAIN);
  assert.equal(valueOf(text, "listen"), "/run/php/fervo.sock");
  assert.equal(valueOf(text, "pm.max_children"), "4");
  assert.equal(valueOf(text, "pm.status_path"), "/status");
  // timeout_ms is 60000.
  assert.equal(valueOf(text, "process_control_timeout"), "65s");
  assert.equal(valueOf(text, "request_terminate_timeout"), "90s");
  assert.doesNotMatch(text, /\[program:|\[Unit\]/);
});

Deno.test("init takes the example's values where there is no configuration", async () => {
  const text = await init("--systemd", "--fpm", "--php-fpm", "/usr/sbin/php-fpm9.1");
  assert.equal(
    valueOf(text, "ExecStart"),
    "/usr/local/bin/fervo-worker run --config /etc/fervo-worker/fervo-worker.toml",
  );
  assert.match(text, /^listen = \/run\/fervo-worker-fpm\/jobs\.sock$/m);
  // What runs that php-fpm, too, and the worker after it.
  assert.match(
    text,
    /^ExecStart=\/usr\/sbin\/php-fpm9\.1 .* \/etc\/fervo-worker\/fervo-worker-php-fpm\.conf$/m,
  );
  assert.match(text, /^After=.* fervo-worker-fpm\.service /m);
});

Deno.test("init --systemd starts the worker after the php-fpm of the machine's PHP", async () => {
  const after = async (program: string) => valueOf(await init("--systemd", "--php-fpm", program), "After");
  assert.match((await after("/usr/sbin/php-fpm9.1"))!, / php9\.1-fpm\.service /);
  assert.match((await after("/usr/sbin/php-fpm"))!, / php-fpm\.service /);
});

Deno.test("init refuses a configuration that is not there or wrong, with exit code 3", async () => {
  for (const args of [["--config", "/nowhere.toml"], ["--config", `${ROOT}deno.json`]]) {
    const { code, stdout } = await runMain(["init", "--systemd", ...args]);
    assert.deepEqual({ code, stdout }, { code: 3, stdout: "" });
  }
  assert.equal((await runMain(["init", "--systemd"], new FakeIo({ FERVO_CONFIG: "/nowhere.toml" }))).code, 3);
});

Deno.test("init refuses values that could mean something else in a service file, with exit code 3", async () => {
  for (
    const program of [
      "/opt/my worker",
      "/opt/%i",
      "/opt/a\nUser=root",
      "/opt/$HOME",
      '/opt/"a"',
      "/opt/a;b",
      "",
    ]
  ) {
    for (const what of ["--systemd", "--supervisor"]) {
      const { code, stdout, stderr } = await runMain(["init", what, "--config", PLAIN, "--program", program]);
      assert.deepEqual({ code, stdout }, { code: 3, stdout: "" }, program);
      assert.match(stderr, /^fervo-worker: Cannot put ".*" into a service file/);
    }
  }
});

Deno.test("init refuses options that do not go together, with exit code 2", async () => {
  for (const args of [["--output", "/tmp"], ["x.toml", "--systemd"]]) {
    const { code, stderr } = await runMain(["init", ...args]);
    assert.equal(code, 2);
    assert.match(stderr, /^fervo-worker: .*\nSee: fervo-worker init --help\n$/);
  }
});
