/** What the runtime says to whoever compiles programs with it, or of its own inside, is no word for an operator. */
import assert from "node:assert/strict";
import { type CommandOptions, type CommandResult, fervoWorker, Site } from "../../support/fervo_worker.ts";

/** Advice and names of the runtime, numbers of the system, stacks. */
const FOREIGN = /deno|--allow|os error|ext:|panicked|RUST_BACKTRACE|fault in fervo-worker|^\s+at /im;

/** The command fails, and says why in words of ours. */
async function fails(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const result = await fervoWorker(args, options);
  const said = `${result.stdout}${result.stderr}`;
  assert.doesNotMatch(said, FOREIGN, `${args.join(" ")}: ${said}`);
  assert.ok(!said.includes("\x1b"), `${args.join(" ")} is coloured`);
  assert.ok(result.code >= 1 && result.code <= 4, `${args.join(" ")} exited with ${result.code}: ${said}`);
  return result;
}

/** Paths that no file can be read from or written to: of processes, devices and the system, a folder, behind a file. */
const pathsIn = (site: Site) => [
  "/proc/self/environ",
  "/proc/new",
  "/dev/stdin",
  "/sys/new",
  "/",
  `${site.configFile}/new`,
];

Deno.test("Commands say in their own words why a configuration cannot be read", async () => {
  await using site = await Site.create();
  for (const path of [...pathsIn(site), `${site.directory}/missing`]) {
    for (const command of ["run", "check", "status", "queues"]) {
      const { stderr } = await fails([command, "--config", path]);
      assert.ok(stderr.startsWith(`fervo-worker: Cannot read the configuration "${path}"`), stderr);
    }
  }
  await fails(["check"], { env: { FERVO_CONFIG: "/dev/stdin" } });
});

/** Deeper than the calls of a program can be nested. */
const DEEP = Array.from({ length: 5_000 }, () => "a").join(".");

Deno.test("Commands say in their own words that a configuration has tables and lists of any depth", async () => {
  await using site = await Site.create();
  const good = await Deno.readTextFile(site.configFile);
  const odd = [
    `[${DEEP}]`,
    `[[${DEEP}]]`,
    `[control.${DEEP}]`,
    `[processes.default.env]\n${DEEP} = 1`,
    `[odd]\nlist = ${"[".repeat(5_000)}${"]".repeat(5_000)}`,
    `[odd]\nlist = ${"[".repeat(900)}${"]".repeat(900)}`,
  ];
  for (const text of odd) {
    await Deno.writeTextFile(site.configFile, `${good}\n${text}\n`);
    for (const command of ["run", "check"]) {
      const { code, stderr } = await fails([command, "--config", site.configFile]);
      assert.equal(code, 3, stderr);
      assert.ok(stderr.length < 2_000, `${stderr.length} characters`);
    }
    // The worker's socket is found in any file.
    assert.match((await fails(["status", "--config", site.configFile])).stderr, /No worker listens at/);
  }
});

Deno.test("Commands say in their own words why a queue, a token or a password cannot be used", async () => {
  await using site = await Site.create();
  for (const path of pathsIn(site)) {
    await site.configure({ broker: { path } });
    await fails(["push", "jobs", "x", "--config", site.configFile]);
    await fails(["check", "--config", site.configFile]);
    await site.configure({
      broker: { driver: "redis", url: `unix://${site.directory}/nobody.sock`, password_file: path },
      http: { listen: `${site.directory}/http.sock`, token_file: path },
      control: { socket: `${path === "/" ? "" : path}/control.sock` },
      process: { command: [path], directory: path },
    });
    await fails(["queues", "--config", site.configFile]);
    await fails(["check", "--config", site.configFile]);
    await fails(["status", "--config", site.configFile]);
  }
});

Deno.test("Commands say in their own words why a file on the command line cannot be read or written", async () => {
  await using site = await Site.create();
  const call = ["call", `${site.directory}/nobody.sock`, "--script", "/x.php"];
  const bench = ["bench", "--own", "--jobs", "1", "--repeat", "1", "--warmup", "0", "--modes", "fastcgi"];
  for (const path of pathsIn(site)) {
    await fails([...call, "--body", path]);
    await fails([...bench, "--payload", `@${path}`]);
    for (const option of ["--json", "--csv", "--html"]) await fails([...bench, option, path]);
    // root may write to "/"; a folder in which nobody can make a file stands for it.
    const place = path === "/" ? "/proc" : path;
    await fails(["init", place]);
    await fails(["init", place, "--force"]);
    await fails(["init", "--systemd", "--output", place]);
  }
});

Deno.test("Commands say in their own words that standard input and output, or the place for temporary files, are of no use", async () => {
  await using site = await Site.create();
  const config = ["--config", site.configFile];
  const fromFolder = { shell: 'exec "$@" </' };
  assert.match(
    (await fails(["push", "jobs", "-", ...config], fromFolder)).stderr,
    /standard input: it is a folder\n$/,
  );
  await fails(["call", `${site.directory}/nobody.sock`, "--script", "/x.php", "--body", "-"], fromFolder);
  for (const args of [["queues"], ["queues", "--json"], ["dead", "list"], ["queues", "--watch"]]) {
    const { stderr } = await fails([...args, ...config], { shell: 'exec "$@" >/dev/full' });
    assert.equal(stderr, "fervo-worker: Cannot write the output: no space left on device\n");
  }
  for (const TMPDIR of [`${site.directory}/missing`, site.configFile, "/proc"]) {
    const { stderr } = await fails(["bench", "--own", "--jobs", "1"], { env: { TMPDIR } });
    assert.match(stderr, /set TMPDIR to a folder that this user may write/);
  }
});
