/** `check` on real servers: each finding appears where something is wrong, and is gone where it is not. */
import assert from "node:assert/strict";
import type { FindingId } from "../../../src/core/finding.ts";
import { systemClock } from "../../../src/core/time/clock.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { ask } from "../../../src/fpm/status.ts";
import { checkRequest } from "../../../src/executors/fastcgi/requests.ts";
import { eventually } from "../../support/eventually.ts";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { findPhpFpm, PhpFpm } from "../../support/php_fpm.ts";
import { RedisServer } from "../../support/redis_server.ts";
import { runMain } from "../../unit/cli/fake_io.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;

interface Told {
  readonly id: FindingId;
  readonly subject: string;
  readonly severity: string;
  readonly what: string;
  readonly why: string | null;
  readonly fix: string | null;
  readonly details: string | null;
}

/** What `check --json` finds, and its exit code. */
async function check(site: Site, ...args: string[]): Promise<{ code: number; findings: Told[] }> {
  const { code, stdout, stderr } = await runMain(["check", "--json", "--config", site.configFile, ...args]);
  assert.equal(stderr, "");
  return { code, findings: JSON.parse(stdout) };
}

/** The severity of the finding with that id; undefined when there is none. */
async function severityOf(id: FindingId, site: Site, ...args: string[]): Promise<string | undefined> {
  const found = (await check(site, ...args)).findings.filter((finding) => finding.id === id);
  assert.ok(found.length <= 1, JSON.stringify(found));
  return found[0]?.severity;
}

const WITH_STATUS: SiteOptions = { fpm: { status_path: "/status" } };

const GOOD_INI = {
  display_errors: "off",
  log_errors: "on",
  memory_limit: "64M",
  "opcache.enable": "1",
  "opcache.validate_timestamps": "0",
};

Deno.test("check --call-script judges PHP's settings, as fervo.php tells them", async () => {
  await using good = await PhpFpm.start({ children: 4, ini: GOOD_INI });
  await using bad = await PhpFpm.start({
    children: 4,
    ini: { display_errors: "on", log_errors: "off", memory_limit: "-1", "opcache.enable": "0" },
  });
  await using well = await Site.create(good, WITH_STATUS);
  await using badly = await Site.create(bad, WITH_STATUS);
  const php = ({ findings }: { findings: Told[] }) =>
    findings.filter(({ id }) => id.startsWith("php.")).map(({ id, severity }) => `${severity} ${id}`);
  const found = await check(well, "--call-script");
  assert.deepEqual(php(found), [
    "ok php.display_errors",
    "ok php.log_errors",
    "ok php.memory_limit",
    "ok php.max_execution_time",
    "ok php.opcache",
    "ok php.opcache_timestamps",
  ]);
  assert.equal(found.code, 0);
  const wrong = await check(badly, "--call-script");
  assert.deepEqual(php(wrong), [
    "warning php.display_errors",
    "warning php.log_errors",
    "warning php.memory_limit",
    "ok php.max_execution_time",
    "warning php.opcache",
  ]);
  assert.equal(wrong.code, 1);
  for (const { severity, what, why, fix } of wrong.findings) {
    if (severity === "warning") assert.ok(what && why && fix, what);
  }
  // Without the script's word nothing is known.
  assert.deepEqual(php(await check(badly)), ["notice php.settings"]);
});

Deno.test("check --call-script says why the handlers cannot be loaded, as fervo.php tells it", async () => {
  await using fpm = await PhpFpm.start({ children: 4, ini: GOOD_INI });
  const handlers = await fpm.writeScript("handlers.php", "<?php throw new LogicException('no database');");
  await using site = await Site.create(fpm, { ...WITH_STATUS, params: { APP_HANDLERS: handlers } });
  const { code, findings } = await check(site, "--call-script");
  const { what, fix, details } = findings.find(({ id }) => id === "fpm.script")!;
  assert.equal(code, 3);
  assert.equal(
    what,
    `"${ROOT}examples/plain-php/fervo.php" says that it cannot run jobs: LogicException: no database`,
  );
  assert.equal(fix, "correct what it names; STDERR may have more");
  assert.match(details!, /LogicException: no database in .*handlers\.php:1/);
});

Deno.test("check --call-script takes display_errors for an error where the status decides", async () => {
  await using fpm = await PhpFpm.start({ children: 4, ini: { display_errors: "on" } });
  await using site = await Site.create(fpm, { ...WITH_STATUS, consumer: { ack_on: "status" } });
  const { code, findings } = await check(site, "--call-script");
  assert.equal(findings.find(({ id }) => id === "php.display_errors")?.severity, "error");
  assert.equal(code, 3);
});

Deno.test("check --call-script says what a script does not tell, and finds a limit of CPU below timeout_ms", async () => {
  await using fpm = await PhpFpm.start({ children: 4, ini: { max_execution_time: "20" } });
  const ack = "header('X-Fervo-Outcome: ack');";
  const silent = await fpm.writeScript("silent.php", `<?php ${ack}`);
  const tells = await fpm.writeScript(
    "tells.php",
    `<?php header('X-Fervo-Check: {"max_execution_time":"' . ini_get('max_execution_time') . '"}'); ${ack}`,
  );
  await using site = await Site.create(fpm, { fpm: { ...WITH_STATUS.fpm, script: silent } });
  assert.equal(await severityOf("php.settings", site, "--call-script"), "notice");
  await site.configure({ fpm: { ...WITH_STATUS.fpm, script: tells } });
  assert.equal(await severityOf("php.settings", site, "--call-script"), "notice");
  assert.equal(await severityOf("php.max_execution_time", site, "--call-script"), "warning");
  await site.configure({ fpm: { ...WITH_STATUS.fpm, script: tells }, consumer: { timeout_ms: 20_000 } });
  assert.equal(await severityOf("php.max_execution_time", site, "--call-script"), "ok");
});

Deno.test("check --fpm-config judges php-fpm's own settings", async () => {
  const WEB = ["[web]", "listen = 127.0.0.1:1", "pm = static", "pm.max_children = 1"];
  const limits = async (fpm: PhpFpm, options: SiteOptions = WITH_STATUS) => {
    await using site = await Site.create(fpm, options);
    const { findings } = await check(site, "--fpm-config", fpm.configPath);
    const wanted = ["fpm.process_control_timeout", "fpm.request_terminate_timeout", "fpm.shared_master"];
    return wanted.map((wanted) => findings.find(({ id }) => id === wanted)?.severity);
  };
  await using good = await PhpFpm.start({
    children: 4,
    globalLines: ["process_control_timeout = 65s"],
    poolLines: ["request_terminate_timeout = 90s"],
  });
  assert.deepEqual(await limits(good), ["ok", "ok", "ok"]);
  assert.deepEqual(await limits(good, { ...WITH_STATUS, consumer: { timeout_ms: 100_000 } }), [
    "notice",
    "warning",
    "ok",
  ]);
  await using bad = await PhpFpm.start({ children: 4, globalLines: ["process_control_timeout = 0"] });
  await Deno.writeTextFile(bad.configPath, `${await Deno.readTextFile(bad.configPath)}${WEB.join("\n")}\n`);
  assert.deepEqual(await limits(bad), ["warning", "warning", "notice"]);
  await using site = await Site.create(good, WITH_STATUS);
  assert.equal(await severityOf("fpm.settings", site), "notice");
  assert.equal(await severityOf("fpm.settings", site, "--fpm-config", good.configPath), undefined);
  assert.equal(await severityOf("fpm.settings", site, "--fpm-config", bad.configPath), "notice");
});

Deno.test("check --fpm-config says why a configuration cannot be read, with exit code 3", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, WITH_STATUS);
  for (
    const [args, said] of [
      [["--fpm-config", "/nowhere.conf"], /^Cannot read "\/nowhere.conf": no such file or folder$/],
      [["--fpm-config", site.configFile], /: \[.*:\d+\] unknown entry/],
      [["--php-fpm", "/nowhere/php-fpm"], /^Cannot run "\/nowhere\/php-fpm": no such program$/],
      [["--php-fpm", "/bin/true"], /: it prints nothing/],
    ] as const
  ) {
    const { code, findings } = await check(site, ...args);
    const found = findings.find(({ id }) => id === "fpm.settings")!;
    assert.equal(found.severity, "error", args.join(" "));
    assert.match(found.what, said);
    assert.equal(code, 3);
  }
});

Deno.test("check --fpm-config needs no right to php-fpm's log, and no level of it", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, WITH_STATUS);
  const closed = `${fpm.directory}/closed.conf`;
  const text = await Deno.readTextFile(fpm.configPath);
  await Deno.writeTextFile(
    closed,
    text.replace(/^error_log = .*$/m, "error_log = /nowhere/fpm.log\nlog_level = alert"),
  );
  const args = ["--fpm-config", closed, "--php-fpm", await findPhpFpm()];
  assert.equal(await severityOf("fpm.settings", site, ...args), undefined);
  assert.equal(await severityOf("fpm.process_control_timeout", site, ...args), "notice");
});

Deno.test("check compares pm.max_children with the jobs, also of a pool that grows", async () => {
  await using fpm = await PhpFpm.start({ poolLines: ["pm = ondemand", "pm.max_children = 4"] });
  await using site = await Site.create(fpm, WITH_STATUS);
  const children = (...args: string[]) => severityOf("fpm.children", site, ...args);
  assert.equal(await children(), "notice");
  assert.equal(await children("--fpm-config", fpm.configPath), "ok");
  await site.configure({ ...WITH_STATUS, consumer: { concurrency: 5 } });
  assert.equal(await children("--fpm-config", fpm.configPath), "error");
  await site.configure({ fpm: { ...WITH_STATUS.fpm, children: 6 } });
  assert.equal(await children("--fpm-config", fpm.configPath), "notice");
  await site.configure({ fpm: { ...WITH_STATUS.fpm, children: 4 } });
  assert.equal(await children(), undefined);
});

Deno.test("check misses the status page, and its own listener where children are to be ended", async () => {
  await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
  await using site = await Site.create(fpm);
  assert.equal(await severityOf("fpm.status_page", site), "warning");
  assert.equal(await severityOf("fpm.status_page", site, "--fpm-config", fpm.configPath), "warning");
  await site.configure({ fpm: { status_path: "/stat" } });
  assert.equal(await severityOf("fpm.status_page", site), "error");
  await site.configure({ fpm: { ...WITH_STATUS.fpm, kill_on_timeout: true } });
  assert.equal(await severityOf("fpm.status_page", site), undefined);
  assert.equal(await severityOf("fpm.status_listen", site), "warning");
  await site.configure({
    fpm: { ...WITH_STATUS.fpm, kill_on_timeout: true, status_address: fpm.statusAddress },
  });
  assert.equal(await severityOf("fpm.status_listen", site), undefined);
});

Deno.test("check sees by the status page that another script runs in the pool", async () => {
  await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
  await using site = await Site.create(fpm, {
    fpm: { ...WITH_STATUS.fpm, status_address: fpm.statusAddress },
  });
  assert.equal(await severityOf("fpm.shared_pool", site), "notice");
  // The check connects without a request: the child that takes this shows no script any more.
  await eventually("a child shows the worker's own script", async () => {
    await check(site, "--call-script");
    return await severityOf("fpm.shared_pool", site) === "ok";
  });
  const both =
    "touch(__DIR__ . '/web-' . getmypid()); while (count(glob(__DIR__ . '/web-*')) < 2) usleep(1000);";
  const web = await fpm.writeScript("index.php", `<?php ${both} echo 'hello';`);
  const visit = () => ask(parseAddress(fpm.address), systemClock, checkRequest(web, {}));
  await Promise.all([visit(), visit()]);
  const { findings } = await check(site);
  const found = findings.find(({ id }) => id === "fpm.shared_pool")!;
  assert.equal(found.severity, "warning");
  assert.ok(found.what.includes(`"${web}"`), found.what);
});

Deno.test("check warns of sockets that every user can reach, the status page's too", async () => {
  await using fpm = await PhpFpm.start({
    children: 4,
    statusListen: true,
    poolLines: ["listen.mode = 0666"],
  });
  await using site = await Site.create(fpm, {
    fpm: { ...WITH_STATUS.fpm, status_address: fpm.statusAddress },
  });
  const modes = async () =>
    (await check(site)).findings.filter(({ id }) => id === "fpm.socket_mode").map(({ severity }) => severity);
  assert.deepEqual(await modes(), ["ok", "ok"], "the fixture's folder is closed to others");
  await Deno.chmod(fpm.directory, 0o755);
  assert.deepEqual(await modes(), ["warning", "warning"]);
  await Deno.chmod(fpm.address, 0o660);
  assert.deepEqual(await modes(), ["ok", "warning"]);
});

Deno.test("check does not know who can connect to a TCP port", async () => {
  await using fpm = await PhpFpm.start({ children: 4, transport: "tcp" });
  await using site = await Site.create(fpm, WITH_STATUS);
  assert.equal(await severityOf("fpm.tcp", site), "notice");
  assert.equal(await severityOf("fpm.children", site, "--fpm-config", fpm.configPath), "ok");
});

Deno.test("check judges what Redis does with jobs, as it is set now", async () => {
  await using redis = await RedisServer.start();
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { ...WITH_STATUS, broker: { driver: "redis", url: redis.url } });
  await redis.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
  const { code, findings } = await check(site);
  const text = findings.filter(({ subject }) => subject === "brokers.default").map(({ id, severity }) =>
    `${severity} ${id}`
  );
  assert.deepEqual(text, [
    "ok broker.reachable",
    "ok redis.version",
    "warning redis.eviction",
    "warning redis.persistence",
  ]);
  assert.equal(code, 1);
  await redis.cli("CONFIG", "SET", "maxmemory-policy", "noeviction", "appendonly", "yes");
  assert.equal(await severityOf("redis.eviction", site), "ok");
  assert.equal(await severityOf("redis.persistence", site), "ok");
  assert.equal((await check(site)).code, 0);
});

Deno.test("check tells a queue in memory from one on a disk", async () => {
  await using site = await Site.create();
  for (const [folder, expected] of [["/dev/shm", /^warning$/], [ROOT, /^(?:ok|notice)$/]] as const) {
    const directory = await Deno.makeTempDir({ dir: folder, prefix: ".fervo-check-" });
    try {
      await site.configure({ broker: { path: `${directory}/queue.sqlite` } });
      assert.match(await severityOf("sqlite.file_system", site) ?? "", expected);
      assert.equal(await severityOf("sqlite.journal", site), "ok");
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  }
});

Deno.test("check looks at every consumer's ack_on, whichever comes first", async () => {
  await using fpm = await PhpFpm.start({ children: 4, ini: { display_errors: "on" } });
  await using site = await Site.create(fpm, WITH_STATUS);
  const second = '[[consumers]]\nname = "second"\nqueues = ["second"]\nconcurrency = 1\n';
  for (const [first, other] of [["outcome", "status"], ["status", "outcome"]] as const) {
    await site.configure({ ...WITH_STATUS, consumer: { ack_on: first, concurrency: 3 } });
    await Deno.writeTextFile(site.configFile, `${second}ack_on = "${other}"\n`, { append: true });
    for (const args of [["--call-script"], ["--fpm-config", fpm.configPath]]) {
      assert.equal(await severityOf("php.display_errors", site, ...args), "error", `${first} ${args}`);
    }
  }
});

Deno.test("check counts the jobs of all [fpm.NAME] that share a pool, by whichever name, and knows their scripts", async () => {
  await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
  const link = `${fpm.directory}/link.sock`;
  await Deno.symlink(fpm.address, link);
  await using site = await Site.create(fpm, {
    fpm: { ...WITH_STATUS.fpm, status_address: fpm.statusAddress },
    consumer: { fpm: "default" },
  });
  const second = await fpm.writeScript("second.php", "<?php header('X-Fervo-Outcome: ack');");
  const text = await Deno.readTextFile(site.configFile);
  const more = (concurrency: number) =>
    `[fpm.second]\naddress = "${link}"\nscript = "${second}"\n` +
    `[[consumers]]\nname = "second"\nqueues = ["second"]\nfpm = "second"\nconcurrency = ${concurrency}\n`;
  await Deno.writeTextFile(site.configFile, `${text}${more(1)}`);
  await check(site, "--call-script");
  const { findings } = await check(site);
  const of = (id: FindingId) => findings.find((one) => one.id === id && one.subject === "fpm.default");
  assert.equal(of("fpm.children")?.severity, "error");
  assert.match(of("fpm.children")!.what, /\b5 jobs/);
  assert.equal(of("fpm.shared_pool")?.severity, "ok");
});

Deno.test("check --call-script shows what php-fpm sent where the script does not answer as it should", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  const details = async (name: string, code: string) => {
    const script = await fpm.writeScript(name, code);
    await using site = await Site.create(fpm, { fpm: { ...WITH_STATUS.fpm, script } });
    const { findings } = await check(site, "--call-script");
    const found = findings.find(({ id }) => id === "fpm.script")!;
    assert.equal(found.severity, "error");
    assert.ok(found.fix);
    return found.details;
  };
  const fatal = await details("fatal.php", '<?php require "/nowhere/vendor/autoload.php";');
  assert.match(
    fatal ?? "",
    /^STDERR: PHP message: .*\/nowhere\/vendor\/autoload\.php[^]*\nStatus: 500\nBody: nothing$/,
  );
  const page = await details("page.php", '<?php echo "<h1>", str_repeat("a", 5000);');
  assert.match(page ?? "", /^STDERR: nothing\nStatus: 200\nBody \(the first 2000 of 5004 bytes\):\n<h1>a+$/);
  // A child that dies has said why before.
  const died = await details(
    "died.php",
    "<?php error_log('about to die'); flush(); posix_kill(getmypid(), 9);",
  );
  assert.match(died ?? "", /about to die/);
});

Deno.test("check --call-script tells where PHP's errors go instead of into dead letters", async () => {
  await using well = await PhpFpm.start({ children: 4, ini: GOOD_INI });
  await using fine = await Site.create(well, WITH_STATUS);
  assert.equal(await severityOf("php.error_log", fine, "--call-script"), undefined);
  assert.equal(await severityOf("php.fastcgi_logging", fine, "--call-script"), undefined);
  await using fpm = await PhpFpm.start({
    children: 4,
    ini: { ...GOOD_INI, error_log: "/tmp/php-errors.log", "fastcgi.logging": "0" },
  });
  await using site = await Site.create(fpm, WITH_STATUS);
  for (const args of [["--call-script"], ["--fpm-config", fpm.configPath]]) {
    assert.equal(await severityOf("php.error_log", site, ...args), "notice", `${args}`);
    assert.equal(await severityOf("php.fastcgi_logging", site, ...args), "warning", `${args}`);
  }
});
