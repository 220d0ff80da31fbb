/**
 * What an operator sees who asks before and after: `check` says before what a worker would lack, and nothing of what a running
 * one has; `call` shows what php-fpm sends, and why a dead letter died. No command takes a fault of the machine for its own.
 */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { fervoWorker, RunningCommand, Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";

interface Told {
  readonly id: string;
  readonly severity: string;
  readonly what: string;
  readonly why: string | null;
  readonly fix: string | null;
}

async function check(site: Site, ...args: string[]): Promise<{ code: number; troubles: Told[] }> {
  const { code, stdout, stderr } = await site.run(["check", "--json", ...args]);
  assert.equal(stderr, "");
  const troubles = (JSON.parse(stdout) as Told[]).filter(({ severity }) =>
    severity === "warning" || severity === "error"
  );
  for (const { what, why, fix, id } of troubles) {
    assert.ok(what && (why || fix), `${id} tells neither why nor what to do`);
  }
  return { code, troubles };
}

const STATUS = { status_path: "/status" };
/** Where no php-fpm and no process is asked for. */
const PROCESS: SiteOptions = { process: { command: ["/bin/cat"] } };

/** A configuration, what check finds in it, and the log line with which a worker says the same. */
const LACKING: readonly [what: string, options: (site: Site) => SiteOptions, id: string, said: string][] = [
  [
    "a folder for the socket of [http]",
    (site) => ({ ...PROCESS, http: { listen: `${site.directory}/nowhere/h.sock` } }),
    "http.listen",
    "Cannot listen at",
  ],
  [
    "a token",
    (site) => ({
      ...PROCESS,
      http: { listen: `${site.directory}/h.sock`, token_file: `${site.directory}/token` },
    }),
    "http.token",
    "Cannot read the token_file",
  ],
  [
    "a folder for the control socket",
    (site) => ({ ...PROCESS, control: { socket: `${site.directory}/not/there/c.sock` } }),
    "control.socket",
    "Cannot take commands at",
  ],
];

for (const [what, optionsOf, id, said] of LACKING) {
  Deno.test(`check says before what run says then: it lacks ${what}`, async () => {
    await using site = await Site.create();
    await site.configure(optionsOf(site));
    const { code, troubles } = await check(site);
    assert.deepEqual(troubles.map((finding) => finding.id), [id]);
    assert.equal(code, 1);
    await using worker = site.start(["run"]);
    await worker.says(said);
  });
}

Deno.test("check finds all in order that a running worker has: port, token, control socket, jobs under way", async () => {
  await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
  using free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = free.addr as Deno.NetAddr;
  free.close();
  await using site = await Site.create();
  const token = `${site.directory}/token`;
  await Deno.writeTextFile(token, "0123456789abcdef\n", { mode: 0o600 });
  await site.configure({
    fpm: { address: fpm.address, ...STATUS, status_address: fpm.statusAddress },
    http: { listen: `127.0.0.1:${port}`, token_file: token },
  });
  await site.push(JSON.stringify({ wait_for: `${site.directory}/gate` }), 2);
  await using worker = site.start(["run"]);
  await eventually("2 jobs run", () => site.effectCount() === 2);
  const beside = await check(site);
  assert.deepEqual(beside.troubles, []);
  assert.equal(beside.code, 0);
  await Deno.writeTextFile(`${site.directory}/gate`, "");
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  using other = Deno.listen({ hostname: "127.0.0.1", port });
  const { troubles } = await check(site);
  assert.deepEqual(troubles.map(({ id }) => id), ["http.listen"], "now it is somebody else's");
  other.close();
});

/** Lines of a pool, and what check has to say of it with --fpm-config. */
const DANGERS: readonly [poolLines: string[], globalLines: string[], id: string][] = [
  [["security.limit_extensions = .phtml"], [], "fpm.limit_extensions"],
  [["php_admin_value[open_basedir] = /nowhere"], [], "fpm.open_basedir"],
  [[], ["process.max = 3"], "fpm.children"],
  [["php_admin_value[fastcgi.logging] = 0"], [], "php.fastcgi_logging"],
  [["php_admin_value[max_execution_time] = 5"], [], "php.max_execution_time"],
];

for (const [poolLines, globalLines, id] of DANGERS) {
  const line = [...poolLines, ...globalLines].join(", ");
  Deno.test(`check --fpm-config tells a danger of the running php-fpm, without running PHP: ${line}`, async () => {
    const limits = ["request_terminate_timeout = 90s"];
    // A pool that may grow does not wait for all of its children.
    const grows = ["pm = ondemand", "pm.max_children = 4"];
    await using fpm = await PhpFpm.start({
      poolLines: [...limits, ...grows, ...poolLines],
      globalLines: ["process_control_timeout = 65s", ...globalLines],
    });
    await using site = await Site.create(fpm, { fpm: STATUS });
    const { troubles } = await check(site, "--fpm-config", fpm.configPath);
    assert.deepEqual(troubles.map((finding) => finding.id), [id]);
  });
}

Deno.test("check takes a port that other machines reach for an error, and the same with allowed clients for fine", async () => {
  await using fpm = await PhpFpm.start({ children: 4, transport: "tcp" });
  await using site = await Site.create(fpm, { fpm: STATUS });
  const text = await Deno.readTextFile(fpm.configPath);
  const file = `${site.directory}/public.conf`;
  const severity = async (...lines: string[]) => {
    const port = fpm.address.split(":").at(-1);
    await Deno.writeTextFile(file, text.replace(/^listen = .*$/m, [`listen = ${port}`, ...lines].join("\n")));
    const { code, troubles } = await check(site, "--fpm-config", file);
    return [code, troubles.find(({ id }) => id === "fpm.tcp")?.severity];
  };
  assert.deepEqual(await severity(), [3, "error"]);
  assert.deepEqual((await severity("listen.allowed_clients = 127.0.0.1"))[1], undefined);
  assert.deepEqual(await severity("listen.allowed_clients = any"), [3, "error"]);
});

Deno.test("A misspelt queue is told, with the one that was meant; a front controller that dies, with its reason", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  const script = await fpm.writeScript("broken.php", '<?php require "/nowhere/autoload.php";');
  await using site = await Site.create(fpm, { fpm: { ...STATUS, script } });
  assert.equal((await site.run(["push", "jbos", "x"])).code, 0);
  const { code, stdout } = await site.run(["check", "--call-script"]);
  assert.equal(code, 3);
  assert.match(stdout, /queue "jbos" has 1 job, .*\n.*Why: .*\n.*Fix: is "jobs" meant/);
  assert.match(stdout, /ERROR .*\n +\| STDERR: .*\/nowhere\/autoload\.php/);
});

Deno.test("call prints what comes as it comes, and keeps it when the child dies", async () => {
  await using fpm = await PhpFpm.start({ ini: { output_buffering: "0" } });
  const code =
    `<?php setcookie('a', '1'); setcookie('b', '2'); echo 'half'; error_log('on the side'); flush();
    while (!file_exists(__DIR__ . '/go')) { usleep(1000); clearstatcache(); } posix_kill(getmypid(), 9);`;
  const script = await fpm.writeScript("dies.php", code);
  await using call = RunningCommand.start(["call", fpm.address, "--script", script]);
  await eventually(
    "what has come is there",
    () => call.stdout.endsWith("half") && call.stderr.includes("on the side"),
  );
  assert.ok(!call.hasEnded);
  await Deno.writeTextFile(`${fpm.directory}/go`, "");
  const ended = await call.ended;
  assert.equal(ended.code, 1);
  assert.match(ended.stdout, /Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n[^]*\r\n\r\nhalf$/);
  assert.match(ended.stderr, /on the side\nfervo-worker: Lost the connection[^\n]*\n$/);
});

Deno.test("call --dead runs a dead letter, shows why it died, and leaves it for dead retry", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { retry: { attempts: 2 } });
  const [id] = await site.push('{"fail_until":2,"stderr":"the reason"}');
  await site.run(["run", "--until-empty"]);
  const call = await site.run(["call", "--dead", id!]);
  assert.equal(call.code, 1);
  assert.match(
    call.stderr,
    /the reason[^]*\nOutcome: retry, the job failed: JOB_FAILED: .*As the payload says\n/,
  );
  assert.deepEqual(site.effects().map(({ job, attempt }) => `${job} ${attempt}`), [
    `${id} 1`,
    `${id} 2`,
    `${id} 2`,
  ]);
  await site.runOk(["dead", "retry", id!]);
  assert.equal(site.queueRows("SELECT state, attempts FROM fervo_jobs")[0]!["state"], "ready");
});

/** What is wrong with the machine, and how it is said. */
const FAULTS: readonly [args: string[], env: Record<string, string>, shell: string, said: RegExp][] = [
  [["push", "jobs", "-"], {}, '"$@" < /', /^fervo-worker: Cannot read standard input: it is a folder\n$/],
  [
    ["call", "/x.sock", "--script", "/x", "--body", "-"],
    {},
    '"$@" < /',
    /^fervo-worker: Cannot read standard input/,
  ],
  [
    ["bench", "--own", "--jobs", "1", "--yes"],
    { TMPDIR: "/nowhere" },
    '"$@"',
    /temporary folder in "\/nowhere".* set TMPDIR/,
  ],
  [
    ["bench", "--jobs", "1", "--yes", "--config"],
    {},
    '"$@"',
    /^fervo-worker: The configuration has no php-fpm pool: add/,
  ],
];
for (const [args, env, shell, said] of FAULTS) {
  Deno.test(`What the machine lacks is told once, with what to do: ${args.join(" ")} ${shell}`, async () => {
    await using site = await Site.create(undefined, PROCESS);
    const wantsConfig = args[0] === "push" || args.at(-1) === "--config";
    const all = wantsConfig
      ? [...args.filter((arg) => arg !== "--config"), "--config", site.configFile]
      : args;
    const { code, stderr } = await fervoWorker(all, { env, shell });
    assert.notEqual(code, 0);
    assert.match(stderr, said);
    assert.doesNotMatch(stderr, /fault in fervo-worker/);
  });
}
