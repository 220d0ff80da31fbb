/** What a newcomer gets wrong in the first hour: what is said leads on, and nothing that is wrong looks right. */
import assert from "node:assert/strict";
import { fervoWorker, fervoWorkerPath, Site } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";
import { runProgram } from "../../support/run_program.ts";

Deno.test("check tells that jobs do not get to php-fpm, though its status page answers elsewhere", async () => {
  await using fpm = await PhpFpm.start({ statusListen: true });
  await using site = await Site.create(fpm);
  const { directory } = site;
  const status = { status_path: "/status", status_address: fpm.statusAddress! };
  const errors = async (...options: string[]) => {
    const findings: { id: string; severity: string; what: string; fix: string | null }[] = JSON.parse(
      (await site.run(["check", ...options, "--json"])).stdout,
    );
    assert.ok(
      findings.every(({ severity, fix }) => severity !== "error" || fix !== null),
      JSON.stringify(findings),
    );
    return findings.filter(({ severity }) => severity === "error").map(({ id, what }) => [id, what]);
  };
  await site.configure({ fpm: status, consumer: { concurrency: 1 } });
  assert.deepEqual(await errors(), []);
  for (
    const [address, why] of [[`${directory}/nobody.sock`, "no such socket"], [
      "127.0.0.1:1",
      "connection refused",
    ]]
  ) {
    await site.configure({ fpm: { ...status, address: address! }, consumer: { concurrency: 1 } });
    assert.deepEqual(await errors(), [[
      "fpm.reachable",
      `Cannot connect to php-fpm at "${address}": ${why}; is php-fpm running?`,
    ]]);
  }
  // A php-fpm that is away is told once.
  const away = {
    ...status,
    address: `${directory}/nobody.sock`,
    status_address: `${directory}/no-status.sock`,
  };
  await site.configure({ fpm: away });
  assert.deepEqual((await errors()).map(([id]) => id), ["fpm.reachable"]);
  await site.configure({ fpm: status, consumer: { concurrency: 1 } });
  assert.deepEqual((await errors("--fpm-config", "/nowhere.conf")).map(([id]) => id), ["fpm.settings"]);
});

Deno.test("check does not take a worker that hangs for a stranger on its socket", async () => {
  await using site = await Site.create();
  await using worker = site.start(["run"]);
  await worker.says("Listening for commands");
  worker.kill("SIGSTOP");
  const { stdout } = await site.run(["check"]);
  worker.kill("SIGCONT");
  const socket = `${site.directory}/fervo-worker.sock`;
  assert.match(
    stdout,
    new RegExp(
      `^warning  control: The process that listens at "${socket}" does not answer this user \\[`,
      "m",
    ),
  );
  assert.match(stdout, /Fix: fervo-worker status, as root or as the worker's user; /);
});

Deno.test("A command for a running worker says how it finds the worker without a configuration", async () => {
  await using site = await Site.create();
  const { code, stderr } = await fervoWorker(["status"], {
    cwd: `${site.directory}`,
    env: { FERVO_CONFIG: "none.toml" },
  });
  assert.deepEqual([code, stderr], [
    3,
    'fervo-worker: Cannot read the configuration "none.toml": no such file; name another with --config or FERVO_CONFIG, or make ' +
    "one with: fervo-worker init none.toml; or name the worker's socket with --socket\n",
  ]);
});

Deno.test("status of a quiet worker does not say that it is quiet for as long as it runs", async () => {
  await using site = await Site.create();
  await using worker = site.start(["run"]);
  await worker.says("Consumer started");
  await site.runOk(["quiet"]);
  const text = await site.runOk(["status"]);
  assert.match(text, /^fervo-worker \S+, process \d+: quiet, running for \d+ s with /);
});

Deno.test("pause and resume tell programs what they have done", async () => {
  await using site = await Site.create();
  const told = async (...args: string[]) => JSON.parse(await site.runOk([...args, "--json"]));
  const queue = { broker: "default", queue: "jobs" };
  assert.deepEqual(await told("pause", "jobs"), { ...queue, paused: true, until: null, reason: null });
  assert.deepEqual(await told("resume", "jobs"), { ...queue, paused: false, was_paused: true });
  assert.deepEqual(await told("resume", "jobs"), { ...queue, paused: false, was_paused: false });
});

Deno.test("A slip in the configuration is told with what was meant", async () => {
  await using site = await Site.create();
  const text = await Deno.readTextFile(site.configFile);
  const cases: [before: string | RegExp, after: string, said: RegExp][] = [
    [
      /^address = .*$/m,
      "address = 127.0.0.1:9000",
      /in "address"; a text needs quotes, as in key = "text", and a number has/,
    ],
    [/^address = .*$/m, "address = /run/x.sock", /in "address"; a text needs quotes, as in key = "text"$/m],
    ["delay_ms = 10", "delay_ms = 10s", /in "delay_ms"; .*, and a number has nothing but digits$/m],
    ["[fpm.default]", "[fmp.default]", /unknown key "fmp" at the top level; did you mean "fpm"\?$/m],
    ["queues = ", "quesue = ", /unknown key "quesue" in \[\[consumers\]\]; did you mean "queues"\?$/m],
  ];
  for (const [before, after, said] of cases) {
    const changed = text.replace(before, after);
    assert.notEqual(changed, text);
    await Deno.writeTextFile(site.configFile, changed);
    const { code, stderr } = await site.run(["check"]);
    assert.equal(code, 3);
    assert.match(stderr, said);
  }
});

Deno.test("The binary is replaced under a worker that runs, which goes on; the next one is the new one", async () => {
  await using site = await Site.create();
  const copy = `${site.directory}/fervo-worker`;
  await Deno.copyFile(fervoWorkerPath(), copy);
  const asCopy = { env: { COPY: copy }, shell: 'shift; exec "$COPY" "$@"' };
  await using worker = site.start(["run"], asCopy);
  await worker.says("Consumer started");
  const before = await Deno.stat(copy);
  const { success, said } = await runProgram("install", fervoWorkerPath(), copy);
  assert.ok(success, said);
  assert.notEqual((await Deno.stat(copy)).ino, before.ino);
  const { pid } = JSON.parse(await site.runOk(["status", "--json"], asCopy));
  assert.equal(pid, worker.pid);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("check names the table that has the line to change", async () => {
  await using site = await Site.create();
  await site.configure({ fpm: { script: "/nowhere/job.php" } });
  const findings: { subject: string; fix: string | null }[] = JSON.parse(
    (await site.run(["check", "--json"])).stdout,
  );
  const fixes = findings.flatMap(({ subject, fix }) =>
    subject === "fpm.default" && fix?.includes("[") ? [fix] : []
  );
  assert.ok(fixes.length > 1, JSON.stringify(findings));
  for (const fix of fixes) assert.match(fix, /in \[fpm\.default\]: /);
});
