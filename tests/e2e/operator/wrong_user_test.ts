/** The configuration, the queue or a server is not the worker's user's to use: what is said names the user, and the way out. */
import assert from "node:assert/strict";
import { fervoWorker, fervoWorkerPath, Site } from "../../support/fervo_worker.ts";
import { RedisServer } from "../../support/redis_server.ts";

/** Not the user who runs the tests, and on every machine. */
const OTHER = "nobody";
const OTHERS_GROUP = "nogroup";

/**
 * A site that everybody may enter, with a configuration that is its owner's alone, and a binary that everybody may run: the checkout
 * may be in a folder that is closed to others, as root's home is.
 */
async function privateSite() {
  await using opened = new AsyncDisposableStack();
  const site = opened.use(await Site.create());
  await Deno.chmod(site.directory, 0o755);
  await Deno.chmod(site.configFile, 0o600);
  const folder = await Deno.makeTempDir({ prefix: "fervo-binary-" });
  opened.defer(() => Deno.remove(folder, { recursive: true }));
  await Deno.chmod(folder, 0o755);
  await Deno.copyFile(fervoWorkerPath(), `${folder}/fervo-worker`);
  const resources = opened.move();
  return {
    configFile: site.configFile,
    directory: site.directory,
    /** @param before What it is run by, such as `setpriv …`. */
    run: (args: readonly string[], before = "") =>
      site.run(args, { shell: `shift; ${before} ${folder}/fervo-worker "$@"` }),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

const GRANT = (file: string) => `chgrp ${OTHERS_GROUP} ${file} && chmod 640 ${file}`;

Deno.test("check --user names the user who cannot read the configuration, and what lets that user", async () => {
  await using site = await privateSite();
  const { configFile: file, directory } = site;
  const check = () => site.run(["check", "--user", OTHER]);
  const head =
    `fervo-worker: Cannot read the configuration "${file}": permission denied to the user "${OTHER}"`;

  const refused = await check();
  assert.deepEqual([refused.code, refused.stderr], [3, `${head}: ${GRANT(file)}\n`]);

  await Deno.chmod(directory, 0o700);
  const closed = await check();
  const remedy = "let that user enter it, or put the file into a folder that they may enter";
  assert.deepEqual([closed.code, closed.stderr], [
    3,
    `${head}, who cannot enter "${directory}": ${remedy}\n`,
  ]);

  // What it says helps.
  await Deno.chmod(directory, 0o755);
  const { success } = await new Deno.Command("sh", { args: ["-c", GRANT(file)] }).output();
  assert.ok(success);
  const { stderr, stdout } = await check();
  assert.equal(stderr, "");
  assert.match(stdout, /^ok {7}configuration: 1 consumer$/m);
});

Deno.test("A configuration that may not be read is told where there is no program to ask for the user's name, too", async () => {
  await using site = await privateSite();
  const asOther = "PATH=/nowhere exec /usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups";
  const { code, stderr } = await site.run(["queues"], asOther);
  assert.equal(code, 3);
  assert.match(
    stderr,
    /^fervo-worker: Cannot read the configuration ".*": permission denied to the user "\?": .*\n$/,
  );
});

Deno.test("init --systemd and --supervisor warn of a user who cannot read the configuration, or is not there", async () => {
  await using site = await privateSite();
  const { configFile: file, directory } = site;
  const init = async (kind: string, user: string) => {
    const { code, stdout, stderr } = await site.run(["init", kind, "--user", user]);
    assert.equal(code, 0, stderr);
    assert.ok(stdout.includes(user), stdout);
    return stderr;
  };
  for (const kind of ["--systemd", "--supervisor"]) {
    const cannot = `fervo-worker: The worker will not start: "${OTHER}" cannot read "${file}"`;
    const end = ", or name another user with --user\n";
    assert.equal(await init(kind, OTHER), `${cannot}: ${GRANT(file)}${end}`);
    await Deno.chmod(directory, 0o700);
    assert.equal(
      await init(kind, OTHER),
      `${cannot}, as that user cannot enter "${directory}": let that user enter it, or put the file into a folder that they ` +
        `may enter${end}`,
    );
    await Deno.chmod(directory, 0o755);
    assert.equal(
      await init(kind, "no-such-user"),
      'fervo-worker: This machine has no user "no-such-user": name one with --user\n',
    );
    await Deno.chmod(file, 0o644);
    assert.equal(await init(kind, OTHER), "");
    await Deno.chmod(file, 0o600);
  }
  assert.equal((await site.run(["init", "--supervisor", "--user", "root"])).stderr, "");
});

Deno.test("init warns of another user's rights when it is not run by root, too", async () => {
  await using site = await privateSite();
  await Deno.chown(site.configFile, 65_534, 65_534);
  const asOther = "setpriv --reuid=65534 --regid=65534 --clear-groups";
  const { code, stderr } = await site.run(["init", "--systemd", "--user", "www-data"], asOther);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /The worker will not start: "www-data" cannot read /);
  const own = await site.run(["init", "--systemd", "--user", OTHER], asOther);
  assert.deepEqual([own.code, own.stderr], [0, ""]);
});

Deno.test("init names status_path where the pool has a status page", async () => {
  await using site = await Site.create();
  const { stdout } = await fervoWorker(["init", `${site.directory}/new.toml`]);
  assert.match(stdout, /"status_path" where the pool has a pm\.status_path/);
  const { stderr } = await site.run(["init", "--fpm"]);
  assert.equal(
    stderr,
    "fervo-worker: The pool has pm.status_path = /status, and the configuration does not name it: in [fpm.default] set " +
      'status_path = "/status"\n',
  );
  await site.configure({ fpm: { status_path: "/status" } });
  assert.equal((await site.run(["init", "--fpm"])).stderr, "");
});

/** The finding broker.reachable of `check`, and how it is told. */
async function reachable(site: Site): Promise<{ readonly what: string; readonly fix: string }> {
  const { stdout } = await site.run(["check", "--json"]);
  const findings: { id: string; severity: string; what: string; fix: string }[] = JSON.parse(stdout);
  const found = findings.find(({ id, severity }) => id === "broker.reachable" && severity === "error");
  assert.ok(found, stdout);
  const text = (await site.run(["check"])).stdout;
  assert.ok(text.includes(`\n         Fix: ${found.fix}\n`), text);
  return found;
}

Deno.test("check says of every broker that cannot be used what to change, and nothing twice", async () => {
  await using redis = await RedisServer.start({ config: ["requirepass right"] });
  await using site = await Site.create();
  const { directory } = site;
  const start = (unit: string) =>
    `start it, for instance with: systemctl start ${unit}; or in [brokers.default]:`;
  await Deno.writeTextFile(
    `${directory}/text`,
    "no queue, but a text that is longer than a header ".repeat(20),
  );
  const cases: [broker: Record<string, string>, what: RegExp, fix: string][] = [
    [
      { driver: "sqlite", path: `${directory}/none/queue.sqlite` },
      /its folder does not exist/,
      `as root: install -d -o USER ${directory}/none, with the worker's user for USER`,
    ],
    [
      { driver: "sqlite", path: `${directory}/text` },
      /not a SQLite database/,
      "in [brokers.default]: path = another file, on a local disk with room",
    ],
    [
      { driver: "beanstalkd", address: `${directory}/nobody.sock` },
      /no such socket; is it running\?$/,
      `${start("beanstalkd")} address = where it listens`,
    ],
    [
      { driver: "beanstalkd", address: "127.0.0.1:1" },
      /connection refused; is it running\?$/,
      `${start("beanstalkd")} address = where it listens`,
    ],
    [
      { driver: "redis", url: "redis://127.0.0.1:1" },
      /: connection refused; is the server running there\?$/,
      `${start("redis-server")} url = where it listens`,
    ],
    [
      { driver: "redis", url: `unix://${directory}/nobody.sock` },
      /: no such socket; is the server running, with this unixsocket\?$/,
      `${start("redis-server")} url = where it listens`,
    ],
    ...["", "wrong"].map((password): typeof cases[number] => [
      { driver: "redis", url: redis.url, password },
      password === "" ? /it requires a password/ : /the user name or the password is wrong/,
      "in [brokers.default]: username, and password or password_file, of a user with the rights in docs/brokers/sidekiq.md",
    ]),
  ];
  for (const [broker, what, fix] of cases) {
    await site.configure({ broker });
    const found = await reachable(site);
    assert.match(found.what, what);
    assert.equal(found.fix, fix);
  }
});
