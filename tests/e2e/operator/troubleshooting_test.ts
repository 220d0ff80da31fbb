/**
 * docs/troubleshooting.md finds the most likely faults, each in at most two steps. A fault is really made; then the commands of the
 * page are run as it says, and the rows of its tables that fit the output are those that name the fault, and no others.
 */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { fakeTime } from "../../support/fake_time.ts";
import { fervoWorkerPath, type RunningCommand, Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { MariadbServer } from "../../support/mariadb_server.ts";
import { mountNamespace } from "../../support/mount_namespace.ts";
import { PhpFpm } from "../../support/php_fpm.ts";
import { ADMINISTRATOR } from "../../support/postgres_programs.ts";
import { PostgresServer } from "../../support/postgres_server.ts";
import { freePort, RedisServer } from "../../support/redis_server.ts";

const PAGE = await Deno.readTextFile(new URL("../../../docs/troubleshooting.md", import.meta.url));

/** A step of a chapter: its command, if it has one, and what its table is to be looked for in the output. */
interface Step {
  readonly command: string | undefined;
  /** The code in the first cell of each row. */
  readonly rows: readonly (readonly string[])[];
}

/** @param chapter Its heading. @param step From 1. */
function stepOf(chapter: string, step: number): Step {
  const [, text] = PAGE.split(`\n## ${chapter}\n`);
  assert.ok(text, `the page has no chapter "${chapter}"`);
  const steps = text.split(/\n## /)[0]!.split(/^\*\*Step \d\.\*\*/m).slice(1);
  assert.ok(steps.length <= 2, `"${chapter}" has ${steps.length} steps`);
  const own = steps[step - 1];
  assert.ok(own, `"${chapter}" has no step ${step}`);
  const rows = own.split("\n").filter((line) => line.startsWith("| ")).slice(2)
    .map((line) => [...line.split(/(?<!\\) \| /)[0]!.matchAll(/`([^`]+)`/g)].map(([, code]) => code!));
  return { command: /^\$ fervo-worker (.+)$/m.exec(own)?.[1], rows };
}

/** The rows of a step that fit an output, by the first code of each. */
function fitting({ rows }: Step, output: string): string[] {
  const fits = (code: string) => new RegExp(code.split("…").map(RegExp.escape).join(".*")).test(output);
  return rows.filter((codes) => codes.some(fits)).map(([code]) => code!);
}

/** Runs the command of a step, and tells which rows fit what it says. */
async function take(
  site: Site,
  chapter: string,
  step: number,
  instead: Readonly<Record<string, string>> = {},
) {
  const own = stepOf(chapter, step);
  assert.ok(own.command, `step ${step} of "${chapter}" has no command`);
  const args = Object.entries(instead).reduce((text, [from, to]) => text.replace(from, to), own.command);
  const { stdout, stderr } = await site.run(args.split(" "));
  return { found: fitting(own, `${stdout}${stderr}`), output: `${stdout}${stderr}` };
}

async function start(site: Site): Promise<RunningCommand> {
  const worker = site.start(["run"]);
  await worker.says("Consumer started");
  return worker;
}

/** Until the worker's status says so: what a step finds is there from then on. */
async function statusHas(site: Site, text: string): Promise<void> {
  await eventually(`status has ${text}`, async () => (await site.run(["status"])).stdout.includes(text));
}

/** Lines of pg_hba.conf. */
const LOGINS = ["host all app all scram-sha-256", "host all nobody all reject"];
const BACKING_OFF = 'Consumer "…" is backing off: FASTCGI_';

Deno.test("Each chapter of docs/troubleshooting.md has one step or two", () => {
  const chapters = [...PAGE.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading!);
  assert.ok(chapters.length >= 12, `${chapters.length}`);
  for (const chapter of chapters) stepOf(chapter, 1);
});

Deno.test("php-fpm is down: jobs stay ready, and status says that php-fpm refuses, and how", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm);
  await using _worker = await start(site);
  await fpm.stop();
  await site.push("{}");
  await statusHas(site, "FASTCGI_CONNECT_FAILED");
  assert.deepEqual((await take(site, "Jobs stay ready", 1)).found, [BACKING_OFF]);
  assert.deepEqual((await take(site, "Everything is paused", 1)).found, [BACKING_OFF]);
  assert.deepEqual((await take(site, "php-fpm refuses", 1)).found, ["no such socket; is php-fpm running?"]);
});

/** Another user than the one who runs the tests, and a binary that this user may run. */
async function otherUser() {
  const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-binary-" });
  await Deno.chmod(folder, 0o755);
  await Deno.copyFile(fervoWorkerPath(), `${folder}/fervo-worker`);
  return {
    name: "nobody",
    /** Runs it as who runs the tests. */
    copy: `shift; exec ${folder}/fervo-worker "$@"`,
    shell: `shift; exec setpriv --reuid=65534 --regid=65534 --clear-groups ${folder}/fervo-worker "$@"`,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

Deno.test("The socket's mode keeps the worker out: status names it, and check --user the pool", async () => {
  await using fpm = await PhpFpm.start();
  await Deno.chmod(fpm.directory, 0o755);
  await using user = await otherUser();
  await using site = await Site.create(fpm);
  await Deno.chmod(site.directory, 0o777);
  await Deno.chmod(site.configFile, 0o644);
  await using worker = site.start(["run"], { shell: user.shell });
  await worker.says("Consumer started");
  const { code, stderr } = await site.run(["push", "jobs", "{}"], { shell: user.shell });
  assert.equal(code, 0, stderr);
  await statusHas(site, "FASTCGI_CONNECT_FAILED");
  assert.deepEqual((await take(site, "Jobs stay ready", 1)).found, [BACKING_OFF]);
  assert.deepEqual((await take(site, "php-fpm refuses", 1)).found, [
    "permission denied; see listen.owner",
  ]);
  // Step 2, by the binary that this user may run, too.
  const check = stepOf("php-fpm refuses", 2).command!.replace("www-data", user.name).split(" ");
  const { stdout } = await site.run(check, { shell: user.copy });
  assert.match(stdout, /permission denied; see listen\.owner, .*\[fpm\.reachable\]\n +Fix: /);
});

Deno.test("The script is wrong, or php-fpm may not run it: status names it, and check says why", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { fpm: { script: "/srv/app/wrong.php" } });
  await using _worker = await start(site);
  await site.push("{}");
  await statusHas(site, "FPM_MISCONFIGURED");
  assert.deepEqual((await take(site, "Jobs stay ready", 1)).found, ["FPM_MISCONFIGURED: php-fpm"]);
  assert.deepEqual((await take(site, "A script is not found", 1)).found, ["is not on this machine"]);
  await site.configure({ fpm: { script: await fpm.writeScript("job.txt", "<?php") } });
  assert.deepEqual((await take(site, "A script is not found", 1)).found, []);
  assert.deepEqual((await take(site, "A script is not found", 2)).found, [
    "(see security.limit_extensions)",
  ]);
});

Deno.test("The pool is smaller than concurrency: status says so", async () => {
  await using fpm = await PhpFpm.start({ children: 2 });
  await using site = await Site.create(fpm, { fpm: { status_path: "/status" } });
  await using _worker = await start(site);
  assert.deepEqual((await take(site, "Jobs stay ready", 1)).found, ["FPM_MISCONFIGURED: The consumers of"]);
});

Deno.test("No consumer takes from the queue: status is well, and check names the queue that is meant", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { fpm: { status_path: "/status" } });
  await using _worker = await start(site);
  await site.runOk(["push", "job", "{}"]);
  assert.deepEqual((await take(site, "Jobs stay ready", 1)).found, []);
  const { found, output } = await take(site, "Jobs stay ready", 2);
  assert.deepEqual(found, ["[queue.unconsumed]"]);
  assert.match(output, /Fix: is "jobs" meant/);
});

Deno.test("A person paused the queue, or the worker: status tells them apart", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm);
  await using _worker = await start(site);
  await site.runOk(["pause", "jobs", "--reason", "the mail server is moved"]);
  await statusHas(site, "is paused");
  assert.deepEqual((await take(site, "Everything is paused", 1)).found, [
    'Queue "…" of consumer "…" is paused',
  ]);
  await site.runOk(["resume", "jobs"]);
  await eventually("the queue is resumed", async () => !(await site.runOk(["status"])).includes("is paused"));
  await site.runOk(["quiet"]);
  assert.deepEqual((await take(site, "Everything is paused", 1)).found, ["quiet, running for"]);
  assert.deepEqual((await take(site, "A schedule pushes nothing", 2)).found, ["quiet, running for"]);
});

Deno.test("A clock is wrong: check names the schedule, and the log the step", async () => {
  const schedule = { every_ms: 1_000, queue: "jobs" };
  await using site = await Site.create(undefined, { process: { command: ["true"] }, schedule });
  const clock = `${site.directory}/clock`;
  await Deno.writeTextFile(clock, "+2y");
  {
    await using ahead = site.start(["run"], { env: fakeTime(clock, { stepsMonotonic: false }) });
    await ahead.says("The schedule pushed a job");
    await Deno.writeTextFile(`${clock}.new`, "+1y");
    await Deno.rename(`${clock}.new`, clock);
    await ahead.says("The time of day was set");
    assert.ok(fitting(stepOf("The clock is wrong", 1), ahead.stderr).includes("The time of day was set"));
    ahead.kill("SIGTERM");
    await ahead.ended;
  }
  assert.deepEqual((await take(site, "The clock is wrong", 1)).found, ["[schedule.claimed_ahead]"]);
  await using right = await start(site);
  await right.says('"state":"watched"');
  await statusHas(site, "Schedule ");
  assert.deepEqual((await take(site, "A schedule pushes nothing", 2)).found, ['Schedule "…":']);
});

const NAMESPACE = await mountNamespace();

/** Run with the binary as its argument, in the site's folder: the queue is in "full", a file system of 1 MiB. */
const FILL = `mount -t tmpfs -o size=1m none full || exit 99
"$1" push jobs first >&2
"$1" run 2>/dev/null &
"$1" status --wait >/dev/null
head -c 2000000 /dev/zero > full/filler 2>/dev/null
"$1" push jobs "$(head -c 20000 /dev/zero | tr '\\0' x)" >&2
"$1" check
kill $! && wait
rm full/filler
"$1" push jobs second >&2
"$1" run --until-empty >&2`;

Deno.test(
  NAMESPACE === undefined
    ? "The disk is full: only judged in unit tests here, for this machine permits no mount namespaces"
    : "The disk is full: check says so, and work goes on when there is room",
  async () => {
    if (NAMESPACE === undefined) return;
    await using site = await Site.create(undefined, {
      process: { command: ["true"] },
      broker: { path: "full/queue.sqlite" },
    });
    await Deno.mkdir(`${site.directory}/full`);
    const [program, ...first] = NAMESPACE;
    const { code, stdout, stderr } = await new Deno.Command(program!, {
      args: [...first, "bash", "-c", FILL, "bash", fervoWorkerPath()],
      cwd: site.directory,
    }).output();
    const utf8 = new TextDecoder();
    const [found, told] = [utf8.decode(stdout), utf8.decode(stderr)];
    assert.equal(code, 0, told);
    assert.match(told, /the disk is full; make room on its file system/);
    assert.match(told, /^Done: +\d jobs?/m);
    assert.match(found, /^ERROR +brokers\.default: the disk of ".*" is full \[sqlite\.disk_space\]$/m);
    for (const step of [stepOf("The disk is full", 1), stepOf("Jobs stay ready", 2)]) {
      assert.ok(fitting(step, found).includes("[sqlite.disk_space]"), found);
    }
  },
);

Deno.test("Redis refuses the password: status and check have Redis's word", async () => {
  await using redis = await RedisServer.start({ config: ["requirepass secret"] });
  const options = (broker: SiteOptions["broker"]): SiteOptions => ({
    process: { command: ["true"] },
    broker: { driver: "redis", url: redis.url, ...broker },
  });
  await using site = await Site.create(undefined, options({ password: "wrong" }));
  await using worker = await start(site);
  await statusHas(site, "QUEUE_UNAVAILABLE");
  assert.deepEqual((await take(site, "Jobs stay ready", 1)).found, ['Broker "…" is unavailable']);
  assert.deepEqual((await take(site, "The broker refuses the login", 1)).found, [
    "the user name or the password is wrong",
  ]);
  await site.configure(options({}));
  assert.deepEqual((await take(site, "The broker refuses the login", 1)).found, ["it requires a password"]);
  await site.configure(options({ password: "secret" }));
  await site.runOk(["reload", "--wait"]);
  await eventually(
    "the broker is up",
    async () => !(await site.runOk(["status"])).includes("is unavailable"),
  );
  assert.equal(worker.hasEnded, false);
});

/** Servers with a user "app" that has the password "secret" and no right, and a user "nobody" that may not log in. */
const DATABASES = [
  {
    driver: "postgres",
    start: () => PostgresServer.start({ tcp: true, access: LOGINS }),
    users: "CREATE ROLE app LOGIN PASSWORD 'secret'; CREATE ROLE nobody LOGIN",
    grant: "GRANT SELECT ON fervo_schema TO app",
    nobody: ["pg_hba.conf of the server"],
  },
  {
    driver: "mysql",
    start: () => MariadbServer.start({ tcp: true }),
    users: "CREATE USER app IDENTIFIED BY 'secret'; CREATE USER nobody ACCOUNT LOCK",
    grant: "GRANT SELECT ON fervo_schema TO app",
    nobody: undefined,
  },
];

for (const { driver, start: startServer, users, grant, nobody } of DATABASES) {
  Deno.test(`A database (${driver}) refuses the login: check has the server's word`, async () => {
    await using server = await startServer();
    await using database = await server.database();
    const { address } = server;
    assert(address.transport === "tcp");
    await using site = await Site.create();
    const says = async (user: string, options: SiteOptions["broker"] = {}, name = database.name) => {
      const url = `${driver}://${user}@${address.hostname}:${address.port}/${name}`;
      await site.configure({ process: { command: ["true"] }, broker: { driver, url, ...options } });
      return (await take(site, "The broker refuses the login", 1)).found;
    };
    await server.sql(users);
    assert.deepEqual(await says("app", { password: "wrong" }), ["the user name or the password is wrong"]);
    if (nobody !== undefined) assert.deepEqual(await says("nobody"), nobody);
    const administrator = driver === "postgres" ? ADMINISTRATOR : "root";
    assert.deepEqual(await says(administrator, {}, "elsewhere"), ["there is no such database"]);
    assert.deepEqual(await says(administrator, { create_tables: false }), ["the table … does not exist"]);
    // Makes the tables.
    assert.deepEqual(await says(administrator), []);
    await database.sql(grant);
    const app = { password: "secret", create_tables: false };
    assert.deepEqual(await says("app", app), ["the user lacks a right"]);
  });
}

Deno.test("A lease is lost: the log says so, and the metrics that the worker stood still", async () => {
  const listen = `127.0.0.1:${freePort()}`;
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { broker: { lease_ms: 1_000 }, http: { listen } });
  await using stopped = await start(site);
  await site.push(JSON.stringify({ wait_for: `${site.directory}/gate` }));
  await eventually("the job runs", () => site.effectCount() === 1);
  stopped.kill("SIGSTOP");
  await using other = site.start(["run"]);
  await eventually("the other worker runs the job", () => site.effectCount() === 2);
  stopped.kill("SIGCONT");
  await Deno.writeTextFile(`${site.directory}/gate`, "");
  await stopped.says("The lease was lost");
  assert.deepEqual(fitting(stepOf("Jobs run twice", 1), stopped.stderr), [
    "The lease was lost; another worker has the job",
  ]);
  const metrics = await (await fetch(`http://${listen}/metrics`)).text();
  assert.match(metrics, /^fervo_leases_lost_total\{.*\} 1$/m);
  const lag = /^fervo_event_loop_lag_seconds_sum (.*)$/m.exec(metrics)?.[1];
  assert.ok(Number(lag) > 1, metrics);
  assert.equal(other.hasEnded, false);
});

Deno.test("Dead letters grow: groups say of what, and show has the trace", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { retry: { attempts: 1 } });
  await using worker = await start(site);
  const [id] = await site.push(JSON.stringify({ fail_until: 1 }));
  await worker.says("Job is dead");
  const { found, output } = await take(site, "Dead letters grow", 1);
  assert.deepEqual(found, ["JOB_FAILED"]);
  assert.match(output, new RegExp(`  ${id}  `));
  assert.match(
    (await take(site, "Dead letters grow", 2, { "1": id! })).output,
    /RuntimeException: As the payload says/,
  );
});

Deno.test("The worker was not started, or cannot start: status and check say which", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm);
  await site.push("{}");
  assert.deepEqual((await take(site, "Jobs stay ready", 1)).found, ["No worker listens at"]);
  assert.deepEqual((await take(site, "The worker does not start", 1)).found, []);
  {
    // Step 2 starts it in the foreground.
    await using worker = site.start([stepOf("The worker does not start", 2).command!]);
    await worker.says("Consumer started");
  }
  await site.configure({ consumer: { concurency: 4 } });
  assert.equal((await site.run(["run"])).code, 3);
  const { found, output } = await take(site, "The worker does not start", 1);
  assert.deepEqual(found, ["The configuration cannot be used"]);
  assert.match(
    output,
    /fervo-worker\.toml:\d+:\d+: unknown key "concurency" in \[\[consumers\]\]; did you mean "concurrency"\?/,
  );
  await Deno.rename(site.configFile, `${site.configFile}.old`);
  assert.deepEqual((await take(site, "The worker does not start", 1)).found, [
    "no such file; name another with --config",
  ]);
});
