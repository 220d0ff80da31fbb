/** The files of `init`, read by those they are for; and the worker under a real supervisord. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import {
  fervoWorker,
  fervoWorkerOk,
  fervoWorkerPath,
  Site,
  type SiteOptions,
} from "../support/fervo_worker.ts";
import { findPhpFpm, PhpFpm } from "../support/php_fpm.ts";
import { runProgram, userName } from "../support/run_program.ts";
import { Supervisord } from "../support/supervisord.ts";

const WORKER = "fervo-worker";
/** Who runs the tests, and so the worker: supervisord can change users only as root. */
const USER = await userName();

/** Runs `init` for the site's configuration, with the programs of this machine; writes into the site's folder. */
async function initFiles(site: Site, ...args: string[]): Promise<void> {
  const program = ["--program", fervoWorkerPath(), "--user", USER];
  await site.runOk(["init", ...args, ...program, "--output", site.directory]);
}

for (const [what, options] of [["requests", {}], ["processes", { process: {} }]] as [string, SiteOptions][]) {
  Deno.test(`init --systemd makes units that systemd understands in every line (jobs are ${what})`, async () => {
    await using site = await Site.create(undefined, options);
    await initFiles(site, "--systemd", "--fpm");
    const units = ["fervo-worker.service", "fervo-worker-fpm.service"].map((name) =>
      `${site.directory}/${name}`
    );
    const { success, said } = await runProgram("systemd-analyze", "verify", "--man=no", ...units);
    // Of other units of this machine it may have something to say.
    assert.doesNotMatch(said, /fervo-/);
    assert.ok(success, said);
  });
}

Deno.test("init --systemd --fpm runs the php-fpm that this machine has", async () => {
  await using site = await Site.create();
  const php = await findPhpFpm();
  const [, ...runs] = (await site.runOk(["init", "--systemd", "--fpm"])).matchAll(/^ExecStart=(\S+)/gm);
  assert.deepEqual(runs.map(([, program]) => program), [php]);
});

Deno.test("init --systemd leaves a worker few rights: systemd's own measure is below 3 of 10", async () => {
  await using site = await Site.create();
  await initFiles(site, "--systemd");
  const unit = `${site.directory}/fervo-worker.service`;
  const { said } = await runProgram("systemd-analyze", "security", "--offline=true", "--no-pager", unit);
  const exposure = /Overall exposure level for .*: ([\d.]+)/.exec(said)?.[1];
  assert.ok(Number(exposure) < 3, said.slice(-300));
});

Deno.test("init --fpm makes a php-fpm in which the doctor finds nothing to warn of", async () => {
  await using site = await Site.create();
  const address = `${site.directory}/jobs.sock`;
  await site.configure({
    fpm: {
      address,
      status_path: "/status",
      status_address: `${site.directory}/status.sock`,
      kill_on_timeout: true,
    },
    consumer: { concurrency: 2 },
  });
  await initFiles(site, "--fpm");
  const config = `${site.directory}/fervo-worker-php-fpm.conf`;
  const php = await findPhpFpm();
  await using _master = {
    process: new Deno.Command(php, {
      args: ["--nodaemonize", "--allow-to-run-as-root", "--fpm-config", config],
      stdout: "null",
      stderr: "null",
    }).spawn(),
    async [Symbol.asyncDispose]() {
      this.process.kill("SIGTERM");
      await this.process.status;
    },
  };
  await eventually("it listens", () => Deno.stat(address).then(() => true, () => false));
  const args = ["check", "--call-script", "--fpm-config", config, "--php-fpm", php];
  const { code, stdout } = await site.run(args);
  assert.doesNotMatch(stdout, /^(?:warning|ERROR)/m);
  assert.match(stdout, /^ok .*pm\.max_children is 2, for 2 jobs at once$/m);
  assert.equal(code, 0, stdout);
});

/** Runs a program with a socket for standard error, as systemd does, and prints what it says there. */
const WITH_SOCKET = `
  use Socket;
  socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, 0) or die;
  my $pid = fork;
  if ($pid == 0) { open(STDERR, ">&", $theirs); exec @ARGV; die }
  close $theirs;
  $SIG{TERM} = sub { kill "TERM", $pid };
  $| = 1;
  print while <$ours>;
  waitpid $pid, 0;
`;

Deno.test("init --systemd --fpm makes a php-fpm that starts and logs where standard error is a socket, as under systemd", async () => {
  await using site = await Site.create();
  await site.configure({ fpm: { address: `${site.directory}/jobs.sock` } });
  await initFiles(site, "--systemd", "--fpm");
  const unit = await Deno.readTextFile(`${site.directory}/fervo-worker-fpm.service`);
  const command = /^ExecStart=(.*)$/m.exec(unit)![1]!
    .replace("/etc/fervo-worker/", `${site.directory}/`).split(" ");
  const php = new Deno.Command("perl", {
    args: ["-e", WITH_SOCKET, ...command, "--allow-to-run-as-root"],
    stdout: "piped",
  }).spawn();
  let log = "";
  for await (const text of php.stdout.pipeThrough(new TextDecoderStream())) {
    log += text;
    if (/ready to handle connections/.test(log)) php.kill("SIGTERM");
  }
  await php.status;
  assert.match(log, /NOTICE: ready to handle connections/);
});

Deno.test("init --output writes all files or none, and says where they belong", async () => {
  await using site = await Site.create();
  const args = ["--config", site.configFile, "--output", site.directory];
  const said = await fervoWorkerOk(["init", "--systemd", "--fpm", ...args]);
  assert.equal(
    said,
    [
      `Wrote "${site.directory}/fervo-worker.service", which belongs at "/etc/systemd/system/fervo-worker.service"`,
      `Wrote "${site.directory}/fervo-worker-php-fpm.conf", which belongs at "/etc/fervo-worker/fervo-worker-php-fpm.conf"`,
      `Wrote "${site.directory}/fervo-worker-fpm.service", which belongs at "/etc/systemd/system/fervo-worker-fpm.service"`,
      "",
    ].join("\n"),
  );
  await Deno.remove(`${site.directory}/fervo-worker.service`);
  const { code, stdout, stderr } = await fervoWorker(["init", "--systemd", "--fpm", ...args]);
  assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
  assert.match(stderr, /fervo-worker-php-fpm\.conf" exists; --force overwrites it/);
  assert.equal(
    await Deno.stat(`${site.directory}/fervo-worker.service`).then(() => true, () => false),
    false,
  );
  await fervoWorkerOk(["init", "--systemd", "--fpm", "--force", ...args]);
  const written = await Deno.readTextFile(`${site.directory}/fervo-worker.service`);
  const printed = await fervoWorkerOk(["init", "--systemd", "--fpm", "--config", site.configFile]);
  assert.ok(printed.startsWith(written));
});

/** A site whose worker runs under supervisord by the file that `init` makes, logging into the site's folder. */
async function supervised(
  fpm: PhpFpm,
  options: SiteOptions,
  change: (text: string) => string = (text) => text,
) {
  await using opened = new AsyncDisposableStack();
  const site = opened.use(await Site.create(fpm, options));
  await initFiles(site, "--supervisor");
  const log = `${site.directory}/worker.log`;
  const text = await Deno.readTextFile(`${site.directory}/fervo-worker.conf`);
  const supervisord = opened.use(
    await Supervisord.start(
      site.directory,
      change(text.replace(/^stdout_logfile = .*$/m, `stdout_logfile = ${log}`)),
    ),
  );
  const resources = opened.move();
  return { site, supervisord, log, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** How often each job ran, by its id. */
function runsByJob(site: Site): Map<string, number> {
  const runs = new Map<string, number>();
  for (const { job } of site.effects()) runs.set(job, (runs.get(job) ?? 0) + 1);
  return runs;
}

const jobsLeft = (site: Site) => site.queueRows("SELECT count(*) AS n FROM fervo_jobs")[0]!["n"] as number;

Deno.test("Under supervisord a worker that is killed is started again, and no job is lost", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using t = await supervised(fpm, { broker: { lease_ms: 1_000 } });
  const first = await t.supervisord.pidOnce(WORKER);
  const gate = `${t.site.directory}/gate`;
  await t.site.push(JSON.stringify({ wait_for: gate }), 2);
  await t.site.push("{}", 50);
  await eventually("jobs run", () => t.site.effectCount() >= 2);
  Deno.kill(first, "SIGKILL");
  const second = await t.supervisord.pidOnce(WORKER, (pid) => pid !== first);
  assert.notEqual(second, first);
  await Deno.writeTextFile(gate, "");
  await eventually("all jobs are done", () => jobsLeft(t.site) === 0, 30_000);
  assert.equal(runsByJob(t.site).size, 52);
});

Deno.test("Under supervisord a worker that is stopped under load lets its jobs finish, and no job runs twice or is lost", async () => {
  const jobs = 400;
  await using fpm = await PhpFpm.start({ children: 4 });
  await using t = await supervised(fpm, {});
  await t.supervisord.pidOnce(WORKER);
  await t.site.push('{"sleep_ms":20}', jobs);
  await eventually("jobs run", () => t.site.effectCount() >= 20);
  assert.match(await t.supervisord.ctl("stop", WORKER), /stopped/);
  const atStop = t.site.effectCount();
  assert.ok(atStop < jobs, `${atStop}: the load was too small`);
  assert.deepEqual(
    t.site.queueRows("SELECT state, count(*) AS n FROM fervo_jobs GROUP BY state").map((row) => ({ ...row })),
    [{ state: "ready", n: jobs - atStop }],
  );
  assert.match(await t.supervisord.ctl("start", WORKER), /started/);
  await eventually("all jobs are done", () => jobsLeft(t.site) === 0, 30_000);
  const runs = runsByJob(t.site);
  assert.equal(runs.size, jobs);
  assert.deepEqual([...new Set(runs.values())], [1]);
});

Deno.test("supervisord rotates the worker's log by its size, and opens it again after others have moved it", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using t = await supervised(
    fpm,
    { log: { level: "debug" } },
    (text) => text.replace(/^stdout_logfile_maxbytes = .*$/m, "stdout_logfile_maxbytes = 4KB"),
  );
  const pid = await t.supervisord.pidOnce(WORKER);
  await t.site.push("{}", 100);
  await eventually("all jobs are done", () => jobsLeft(t.site) === 0);
  await eventually("it has rotated", () => Deno.stat(`${t.log}.1`).then(() => true, () => false));
  await eventually("the log is short", async () => (await Deno.stat(t.log)).size <= 8_192);

  // As logrotate does.
  await Deno.rename(t.log, `${t.log}.old`);
  t.supervisord.reopenLogs();
  await eventually("there is a new one", () => Deno.stat(t.log).then(() => true, () => false));
  const [id] = await t.site.push("{}");
  await eventually(
    "it is written to",
    async () => (await Deno.readTextFile(t.log)).includes(`"job":"${id}"`),
  );
  assert.equal(await t.supervisord.pidOnce(WORKER), pid, "it is the same worker");
});

Deno.test("Under supervisord a worker with a wrong configuration is not started for ever", async () => {
  await using fpm = await PhpFpm.start();
  await using t = await supervised(
    fpm,
    {},
    (text) =>
      text.replace(/^startretries = .*$/m, "startretries = 1").replace(
        / --config \S+/,
        " --config /nowhere.toml",
      ),
  );
  await eventually("it is given up", async () => /FATAL/.test(await t.supervisord.ctl("status", WORKER)));
  assert.match(
    await Deno.readTextFile(t.log),
    /no such file; name another with --config or FERVO_CONFIG, or make one with: fervo-worker init/,
  );
});
