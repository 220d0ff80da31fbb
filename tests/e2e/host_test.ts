/** `init --service`: from the bare binary to a job under a real supervisord, on this machine. Needs root, as the command does. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { fervoWorker, fervoWorkerOk, fervoWorkerPath } from "../support/fervo_worker.ts";
import { runProgram } from "../support/run_program.ts";
import { Supervisord } from "../support/supervisord.ts";

const IS_ROOT = Deno.uid() === 0;
/** Of Debian's packages, and not who runs the tests. */
const USER = "www-data";

/** The binary where every user can run it: a checkout may be in a folder that is closed to them. */
const PROGRAM = IS_ROOT ? await forEveryUser(fervoWorkerPath()) : fervoWorkerPath();

async function forEveryUser(program: string): Promise<string> {
  const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-host-" });
  await Deno.chmod(folder, 0o755);
  const path = `${folder}/fervo-worker`;
  await Deno.copyFile(program, path);
  await Deno.chmod(path, 0o755);
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  return path;
}

/** Who is not root is told so, and nothing else can be tried. */
function asRoot(title: string, run: () => Promise<void>): void {
  if (IS_ROOT) return Deno.test(title, run);
  Deno.test(`${title} (only refused here, where the tests do not run as root)`, async () => {
    const { code, stderr } = await fervoWorker(["init", "--service", "supervisor"]);
    assert.equal(code, 3);
    assert.match(stderr, /run it as root/);
  });
}

/** A name for a worker that this machine does not have; all that was made for it is gone with the scope. */
function hostName(): AsyncDisposable & { readonly name: string } {
  const name = `fervo-test-${crypto.randomUUID().slice(0, 8)}`;
  return {
    name,
    async [Symbol.asyncDispose]() {
      for (const path of placesOf(name)) await Deno.remove(path, { recursive: true }).catch(() => {});
    },
  };
}

function placesOf(name: string): string[] {
  return [
    `/etc/fervo-worker/${name}.toml`,
    `/etc/fervo-worker/${name}-php-fpm.conf`,
    `/etc/supervisor/conf.d/${name}.conf`,
    `/etc/supervisor/conf.d/${name}-fpm.conf`,
    `/etc/systemd/system/${name}.service`,
    `/etc/systemd/system/${name}-fpm.service`,
    `/usr/local/lib/${name}`,
    `/var/lib/${name}`,
    `/run/${name}`,
    `/run/${name}-fpm`,
    `/var/log/supervisor/${name}.log`,
    `/var/log/supervisor/${name}-fpm.log`,
  ];
}

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir({ prefix: "fervo-host-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function there(name: string): Promise<string[]> {
  const all = await Promise.all(
    placesOf(name).map(async (path) => await Deno.lstat(path).then(() => path, () => undefined)),
  );
  return all.filter((path) => path !== undefined);
}

/** By the binary that every user can run. */
async function check(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(PROGRAM, { args: ["check", ...args] }).output();
  const utf8 = new TextDecoder();
  return { code, stdout: utf8.decode(stdout), stderr: utf8.decode(stderr) };
}

async function owner(path: string): Promise<string> {
  const { said } = await runProgram("stat", "--format", "%U:%G %a", path);
  return said.trim();
}

asRoot(
  "init --service supervisor sets up a worker that runs a job under supervisord, without an edit",
  async () => {
    await using host = hostName();
    const { name } = host;
    const program = PROGRAM;
    const said = await fervoWorkerOk([
      "init",
      "--service",
      "supervisor",
      "--name",
      name,
      "--program",
      program,
    ]);
    assert.match(said, new RegExp(`^Wrote "/etc/fervo-worker/${name}\\.toml"$`, "m"));
    assert.ok(said.endsWith(
      `Next:\n  $ supervisorctl update\n  $ ${program} push default '{"hello":"world"}' --config /etc/fervo-worker/${name}.toml\n`,
    ));
    assert.equal(await owner(`/etc/fervo-worker/${name}.toml`), `root:${USER} 640`);
    assert.equal(await owner(`/var/lib/${name}`), `${USER}:${USER} 750`);

    // As root, and before the worker has run: the queue is the worker's all the same.
    const config = ["--config", `/etc/fervo-worker/${name}.toml`];
    const [, id] = /"(\d+)"/.exec(
      await fervoWorkerOk(["push", "default", '{"hello":"world"}', "--json", ...config]),
    )!;
    assert.equal(await owner(`/var/lib/${name}/queue.sqlite`), `${USER}:${USER} 600`);

    // As after a start of the machine.
    for (const folder of [`/run/${name}`, `/run/${name}-fpm`]) await Deno.remove(folder);
    await using folder = await temporaryFolder();
    const programs = await Promise.all(
      ["", "-fpm"].map((part) => Deno.readTextFile(`/etc/supervisor/conf.d/${name}${part}.conf`)),
    );
    await using supervisord = await Supervisord.start(folder.path, programs.join("\n"));
    await supervisord.pidOnce(name);
    const trace = `/tmp/fervo-job-${id}.txt`;
    await eventually("the job has run", async () => {
      const { ready, reserved } = JSON.parse(await fervoWorkerOk(["queues", "--json", ...config]))[0] ?? {};
      return ready === 0 && reserved === 0 || ready === undefined;
    });
    assert.equal(await Deno.readTextFile(trace), '{"hello":"world"}');
    await Deno.remove(trace);
    const checked = await check("--call-script", "--user", USER, ...config);
    assert.doesNotMatch(checked.stdout, /^(?:ERROR|warning)|as root/m);
    assert.equal(checked.code, 0, checked.stdout);

    // Root is refused nothing, and says so; the worker's user is.
    await Deno.chmod(`/etc/fervo-worker/${name}.toml`, 0o600);
    const asRoot = await check(...config);
    assert.match(asRoot.stdout, /^notice {3}worker: check ran as root/m);
    assert.equal(asRoot.code, 0);
    const asUser = await check("--user", USER, ...config);
    assert.match(asUser.stderr, /Cannot read the configuration ".*": permission denied/);
    assert.equal(asUser.code, 3);
  },
);

asRoot(
  "init --service systemd makes units that systemd understands, and two workers beside each other",
  async () => {
    await using one = hostName();
    await using other = hostName();
    for (const { name } of [one, other]) {
      const args = ["--service", "systemd", "--name", name, "--program", PROGRAM];
      assert.match(
        await fervoWorkerOk(["init", ...args]),
        new RegExp(`^ {2}\\$ systemctl daemon-reload && systemctl enable --now ${name}-fpm ${name}$`, "m"),
      );
      const units = [`/etc/systemd/system/${name}.service`, `/etc/systemd/system/${name}-fpm.service`];
      const { success, said } = await runProgram("systemd-analyze", "verify", "--man=no", ...units);
      assert.doesNotMatch(said, /fervo-/);
      assert.ok(success, said);
    }
  },
);

asRoot("init --service writes nothing when something is in the way, and names all of it", async () => {
  await using host = hostName();
  const { name } = host;
  const init = (...args: string[]) =>
    fervoWorker(["init", "--service", "supervisor", "--name", name, "--program", PROGRAM, ...args]);
  const paths = [`/etc/supervisor/conf.d/${name}-fpm.conf`, `/usr/local/lib/${name}`];
  await Deno.writeTextFile(paths[0]!, "another's");
  await Deno.mkdir(paths[1]!);
  await Deno.writeTextFile(`${paths[1]}/handlers.php`, "another's");
  const inTheWay = await init();
  assert.equal(inTheWay.code, 3);
  for (const path of [paths[0], `${paths[1]}/handlers.php`]) {
    assert.ok(inTheWay.stderr.includes(`"${path}" exists`), inTheWay.stderr);
  }
  assert.deepEqual((await there(name)).toSorted(), paths.toSorted());

  const impossible = await init("--user", "nobody-of-that-name", "--app", "symfony", "--php-fpm", "/nowhere");
  assert.equal(impossible.code, 3);
  assert.match(impossible.stderr, /there is no user "nobody-of-that-name"/);
  assert.match(
    impossible.stderr,
    /the current folder has no "vendor\/fervo\/deferred-event-bundle\/bin\/fervo-run\.php"/,
  );
  const strange = await init("--name", "../strange");
  assert.match(strange.stderr, /Cannot call a worker "\.\.\/strange"/);
  assert.deepEqual((await there(name)).toSorted(), paths.toSorted());
});

asRoot(
  "init --app symfony --start takes the bundle's front controller of the current folder, and starts all",
  async () => {
    await using host = hostName();
    const { name } = host;
    await using folder = await temporaryFolder();
    const { path } = folder;
    await Deno.chmod(path, 0o755);
    const bin = "vendor/fervo/deferred-event-bundle/bin";
    await Deno.mkdir(`${path}/releases/1/${bin}`, { recursive: true });
    await Deno.writeTextFile(
      `${path}/releases/1/${bin}/fervo-run.php`,
      "<?php error_log($_SERVER['SCRIPT_FILENAME']); header('X-Fervo-Outcome: ack');",
    );
    await Deno.symlink("releases/1", `${path}/current`);
    await using supervisord = await Supervisord.start(path, "", `/etc/supervisor/conf.d/${name}*.conf`);
    // The real one, of that supervisord instead of the machine's.
    await Deno.mkdir(`${path}/bin`);
    await Deno.writeTextFile(
      `${path}/bin/supervisorctl`,
      `#!/bin/sh\nexec /usr/bin/supervisorctl --configuration ${path}/supervisord.conf "$@"\n`,
      { mode: 0o755 },
    );
    const init = (PATH: string) =>
      fervoWorker(
        [
          "init",
          "--service",
          "supervisor",
          "--app",
          "symfony",
          "--start",
          "--name",
          name,
          "--program",
          PROGRAM,
        ],
        { cwd: `${path}/current`, env: { PWD: `${path}/current`, PATH } },
      );
    const script = `${path}/current/${bin}/fervo-run.php`;

    await Deno.chmod(`${path}/releases`, 0o700);
    const closed = await init(Deno.env.get("PATH")!);
    assert.equal(closed.code, 3);
    assert.ok(closed.stderr.includes(`"${USER}" cannot read "${script}"`), closed.stderr);
    assert.deepEqual(await there(name), []);
    await Deno.chmod(`${path}/releases`, 0o755);

    const { code, stdout, stderr } = await init(`${path}/bin:${Deno.env.get("PATH")}`);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.ok(
      stdout.endsWith(
        `The application defers into "/var/lib/${name}/queue.sqlite": backend.path in config/packages/fervo_deferred_event.yaml\n` +
          "Started\nNext:\n  $ bin/console fervo:try\n",
      ),
      stdout,
    );
    await supervisord.pidOnce(name);
    await fervoWorkerOk(["push", "default", "x", "--config", `/etc/fervo-worker/${name}.toml`]);
    await eventually("a job has run, by the link that stays", async () => {
      const log = await Deno.readTextFile(`/var/log/supervisor/${name}.log`).catch(() => "");
      return log.includes(script);
    });
  },
);

asRoot("init --service says that the front controller is not there yet", async () => {
  await using host = hostName();
  const args = ["--name", host.name, "--program", PROGRAM, "--script"];
  const { code, stderr } = await fervoWorker([
    "init",
    "--service",
    "supervisor",
    ...args,
    "/nowhere/job.php",
  ]);
  assert.deepEqual([code, stderr], [
    0,
    'fervo-worker: There is no "/nowhere/job.php" yet: jobs wait until it exists\n',
  ]);
});

asRoot("init --start says what could not be started, and why", async () => {
  await using host = hostName();
  const { name } = host;
  await using folder = await temporaryFolder();
  // All that it needs, and no supervisorctl.
  for (const program of ["id", "setpriv", "test"]) {
    await Deno.symlink(`/usr/bin/${program}`, `${folder.path}/${program}`);
  }
  const args = ["--name", name, "--program", PROGRAM, "--php-fpm", "/usr/sbin/php-fpm"];
  const { code, stdout, stderr } = await fervoWorker(
    ["init", "--service", "supervisor", "--start", ...args],
    {
      env: { PATH: folder.path },
    },
  );
  assert.equal(code, 4);
  assert.equal(
    stderr,
    "fervo-worker: The worker is set up and did not start: supervisorctl update failed: no such file or folder\n",
  );
  assert.match(stdout, /^Wrote /);
  assert.ok((await there(name)).includes(`/etc/supervisor/conf.d/${name}.conf`));
});

asRoot("check --user says when there is no such user", async () => {
  const { code, stderr } = await fervoWorker([
    "check",
    "--user",
    "nobody-of-that-name",
    "--config",
    "x.toml",
  ]);
  assert.deepEqual({ code, stderr }, {
    code: 3,
    stderr: 'fervo-worker: This machine has no user "nobody-of-that-name"\n',
  });
});

Deno.test("init --service takes no option that says the same in another way", async () => {
  for (
    const [option, ...value] of [["--output", "/tmp"], ["--systemd"], ["--force"], ["--config", "x.toml"]]
  ) {
    const { code, stderr } = await fervoWorker(["init", "--service", "systemd", option!, ...value]);
    assert.deepEqual([code, stderr.split("\n")[0]], [
      2,
      `fervo-worker: --service sets up all by itself: leave ${option} out`,
    ]);
  }
});
