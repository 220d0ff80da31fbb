/**
 * The documentation holds what it shows. Each command of each page is run here as it stands, and what it prints is compared with
 * what the page shows; or COMMANDS names the test that runs it, or why no test can. A fervo-worker.toml that a page shows is read by
 * tests/unit/config/docs_test.ts. Pages are found by walking the folders: see doc_blocks.ts.
 *
 * In what a page shows, a number stands for any number, a blank for any number of blanks, and `…` for anything.
 */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { type DocBlock, docBlocks, placeOf } from "../support/doc_blocks.ts";
import { fervoWorkerPath, RunningCommand, Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { runProgram } from "../support/run_program.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** What becomes of a command, or of a piece of a configuration, that is not simply run. */
type Way =
  /** It is run here, and something is special about it. */
  | { readonly run: Run }
  /** It is run here until it says so. */
  | { readonly until: string }
  /** That file runs it, where it has this text. */
  | { readonly by: string; readonly where: string }
  /** Why no test can run it. */
  | { readonly not: string };

interface Run {
  /** Added to it, so that it takes less time. */
  readonly add?: string;
  /** What is another one on each machine. */
  readonly replace?: readonly [from: string | RegExp, to: string];
  /** 0 alone when absent. */
  readonly exitCodes?: readonly number[];
  /** What the page shows of a release, and is another thing of a binary that the tests run. */
  readonly differs?: readonly [shown: string | RegExp, pattern: string];
  /** What it prints, where the page does not show it. */
  readonly says?: RegExp;
}

/**
 * Commands that need no entry: they end by themselves, and change nothing outside of the page's folder. Others are run where an
 * entry says so.
 */
const NEEDS_NO_ENTRY = /^fervo-worker (?!run$|bench|init )(?:(?! \/).)*$/;

const SHORT_BENCH = "--jobs 20 --repeat 1 --warmup 0 --yes";
const MAY_WARN = [0, 1];
const FPM_CONFIG = {
  replace: [/\/etc\/php\/\S+\/php-fpm\.conf/, "$FPM_CONFIG"],
  exitCodes: MAY_WARN,
} as const;
const SPLIT: Way = { by: "tests/e2e/split_test.ts", where: "deno task split" };
const WALK_PLAIN: Way = { by: "tests/first_hour/plain", where: "README.md" };
const WALK_SYMFONY: Way = { by: "tests/first_hour/symfony", where: "php/bundle/README.md" };
const WALK_PACKAGE: Way = { by: "tests/debian_package/walk", where: "docs/install.md" };
const WORKER_CONFIG: Way = {
  by: "php/bundle/tests/Functional/WorkerConfigTest.php",
  where: "find('fervo:worker:config')",
};
const SYMFONY_DEMO: Way = { by: "tests/e2e/demo_test.ts", where: "symfony.ts" };
const HOST: Way = { by: "tests/e2e/host_test.ts", where: '"--service"' };
const SQL_TABLES: Way = { by: "tests/e2e/operator/sql_rights_test.ts", where: "documentedTables" };
const UPGRADE: Way = { by: "tests/e2e/operator/wrong_turns_test.ts", where: '"install"' };
const BACKUP: Way = { by: "tests/e2e/operator/queue_file_test.ts", where: "runAsDocumented" };
const SERVER_BACKUP: Way = { by: "tests/e2e/operator/backup_test.ts", where: "runDocScript" };

/**
 * Commands that are not simply run, by their text without the prompt and the remark behind it. An entry that no page needs any
 * more is a failure.
 */
const COMMANDS: Readonly<Record<string, Way>> = {
  // README.md
  "./scripts/demo": { by: "tests/e2e/demo_test.ts", where: "demo.ts" },
  "apt-get install -y php-fpm supervisor": WALK_PLAIN,
  "fervo-worker init --service supervisor --start": WALK_PLAIN,
  'fervo-worker push default \'{"hello":"world"}\'': WALK_PLAIN,
  "fervo-worker check --user www-data": { by: "tests/e2e/host_test.ts", where: '"--user", USER' },
  "fervo-worker bench": { run: { add: SHORT_BENCH, says: /fastcgi/i } },
  "fervo-worker bench --script job.php": { run: { add: SHORT_BENCH } },
  "./scripts/test": { not: "it runs this test, too" },
  "scripts/setup deno php-fpm test": { by: "scripts/test", where: "scripts/setup deno php-fpm" },
  "source scripts/lib/env.sh": { by: "scripts/test", where: "source scripts/lib/env.sh" },
  "deno task ok": { by: "deno.json", where: '"ok": {' },
  "deno task bench": { by: "deno.json", where: '"bench": {' },
  // docs/bench.md
  "fervo-worker bench --script job.php --payload @job.json": { run: { add: SHORT_BENCH } },
  "fervo-worker bench --config fervo-worker.toml": { run: { add: SHORT_BENCH } },
  // docs/getting-started.md
  "cat /tmp/fervo-job-1.txt": { by: "tests/first_hour/plain", where: "/tmp/fervo-job-1.txt" },
  "fervo-worker reload": { run: { says: /^No consumer and no schedule changed$/m } },
  "fervo-worker push default 'no JSON' --attempts 1": {
    by: "tests/e2e/getting_started_test.ts",
    where: '"no JSON", "--attempts", "1"',
  },
  // docs/queues.md
  'fervo-worker push search \'{"index":"products"}\' --unique products': {
    by: "tests/e2e/sql_commands_test.ts",
    where: '"--unique"',
  },
  // docs/brokers/postgresql.md and mysql.md
  "fervo-worker schema --from 0 | psql -v ON_ERROR_STOP=1 shop": SQL_TABLES,
  "fervo-worker schema --from 0 --product mariadb | mariadb shop": SQL_TABLES,
  "fervo-worker queues": { run: { says: /^READY +DELAYED +RESERVED +DEAD /m } },
  'fervo-worker pause mail --for 2h --reason "the mail server is being moved"': {
    run: { says: /^Paused "mail" until .*: the mail server is being moved$/m },
  },
  "fervo-worker resume mail": { run: { says: /^Resumed "mail"$/m } },
  "fervo-worker purge mial --dry-run": { run: { says: /^Would delete 0 ready jobs of "mial"/m } },
  "fervo-worker purge mial --yes": { run: { says: /^Deleted 0 jobs of "mial"$/m } },
  "fervo-worker dead list --queue mail --code JOB_TIMEOUT --since 1d": {
    run: { says: /^No dead letters$/m },
  },
  // docs/install.md and docs/running.md
  "apt-get install ./fervo-worker_0.1.0-1_amd64.deb": WALK_PACKAGE,
  "fervo-worker init --service systemd --start": WALK_PACKAGE,
  "systemctl enable --now fervo-worker@mine": WALK_PACKAGE,
  "install dist/fervo-worker /usr/local/bin/": UPGRADE,
  "supervisorctl restart fervo-worker": { not: "that a service is started anew is what supervisord is for" },
  "fervo-worker check": { run: { exitCodes: MAY_WARN } },
  "fervo-worker check --call-script --fpm-config /etc/php/8.2/fpm/php-fpm.conf": { run: FPM_CONFIG },
  "fervo-worker check --fpm-config /etc/php/8.4/fpm/php-fpm.conf": { run: FPM_CONFIG },
  "fervo-worker init --service supervisor": HOST,
  "fervo-worker init --service systemd --name reports --user app --script /srv/app/worker.php": HOST,
  "fervo-worker init --systemd --fpm": { run: { says: /^\[Unit\]$[^]*^pm\.max_children = /m } },
  "fervo-worker init --supervisor --output /etc/supervisor/conf.d": {
    run: { replace: ["/etc/supervisor/conf.d", "."], says: /^Wrote "\.\/fervo-worker\.conf"/ },
  },
  "fervo-worker init --systemd --user app --program /opt/fervo-worker --php-fpm /usr/sbin/php-fpm8.3": {
    run: { says: /^ExecStart=\/opt\/fervo-worker run --config .*$[^]*^User=app$/m },
  },
  // docs/backup.md
  'sqlite3 queue.sqlite ".backup backup.sqlite"': BACKUP,
  "cp -p backup.sqlite queue.sqlite.new": BACKUP,
  "rm -f queue.sqlite queue.sqlite-wal queue.sqlite-shm": BACKUP,
  "mv queue.sqlite.new queue.sqlite": BACKUP,
  'redis-cli -u "$REDIS_URL" --rdb backup.rdb': SERVER_BACKUP,
  "rm -rf appendonlydir appendonly.aof": SERVER_BACKUP,
  "cp backup.rdb dump.rdb": SERVER_BACKUP,
  'redis-cli -u "$REDIS_URL" CONFIG SET appendonly yes': SERVER_BACKUP,
  "cp -a binlog binlog.backup": SERVER_BACKUP,
  "rm -rf binlog": SERVER_BACKUP,
  "cp -a binlog.backup binlog": SERVER_BACKUP,
  "fervo-worker --version --json": { run: { differs: [/"1f0c…"|"official"/g, '"…"'] } },
  // php/bundle/README.md
  "apt-get install -y php-fpm php-sqlite3 supervisor": WALK_SYMFONY,
  "composer config repositories.fervo path /path/to/fervo-worker/php/bundle": WALK_SYMFONY,
  "composer require fervo/deferred-event-bundle:@dev": WALK_SYMFONY,
  "fervo-worker init --service supervisor --app symfony --start": WALK_SYMFONY,
  "bin/console fervo:try": WALK_SYMFONY,
  "bin/console fervo:worker:config > fervo-worker.toml": WORKER_CONFIG,
  "bin/console fervo:worker:config --pool > fervo-php-fpm.conf": WORKER_CONFIG,
  // docs/frameworks/symfony-messenger.md
  "bin/console fervo:worker:config --fpm /run/php/fervo.sock > fervo-worker.toml": WORKER_CONFIG,
  "bin/console fervo:worker:config --pool --fpm /run/php/fervo.sock --children 4 > fervo-php-fpm.conf":
    WORKER_CONFIG,
  "bin/console fervo:front-controller": {
    by: "php/bundle/tests/Command/FrontControllerCommandTest.php",
    where: "FrontControllerCommand(",
  },
  "fervo-worker check --call-script": { run: { exitCodes: MAY_WARN, says: /^ok +fpm\.default: /m } },
  "fervo-worker run": { until: "Consumer started" },
  "bin/console fervo:relay --create-table": {
    by: "php/bundle/tests/Functional/TransactionalTest.php",
    where: "--create-table",
  },
  "tests/run": { by: "scripts/test", where: "php/bundle/tests/run" },
  "tests/run-newest": { not: "it downloads the newest packages, which are others each day" },
  "deno task split --repository https://forge.example/fervo-worker": SPLIT,
  "git fetch RUNNER_URL main:split/runner": SPLIT,
  "git fetch BUNDLE_URL main:split/bundle": SPLIT,
  "git push RUNNER_URL split/runner:main split/runner:refs/tags/v1.0.0": SPLIT,
  "git push BUNDLE_URL split/bundle:main split/bundle:refs/tags/v1.0.0": SPLIT,
  "tests/check": { by: "scripts/test", where: "php/bundle/tests/check" },
  // php/bundle/docs/testing.md
  "bin/console app:place-order 7": { not: "it is a command of the reader's application" },
  "fervo-worker run --until-empty": { run: { says: /^Done: +0 jobs/m } },
  // examples/symfony/README.md
  "./scripts/demo symfony": SYMFONY_DEMO,
  "composer install": { not: "it downloads packages; the demo takes Debian's" },
  "install -d -o www-data var": SYMFONY_DEMO,
  "sudo -u www-data fervo-worker check": SYMFONY_DEMO,
  "sudo -u www-data fervo-worker run &": SYMFONY_DEMO,
  "sudo -u www-data php -S 127.0.0.1:8000 -t public &": SYMFONY_DEMO,
  "curl -X POST http://127.0.0.1:8000/orders/1": SYMFONY_DEMO,
  "cat var/journal.log": SYMFONY_DEMO,
};

/** Languages of blocks that are no commands and no configurations. The state diagram: tests/integration/brokers/sqlite/states_test.ts. */
const OTHERS = ["", "php", "sql", "json", "mermaid"];
const CONSOLE = ["console", "bash", "sh"];

const blocks = docBlocks();

/** The commands of a block: behind a prompt, or, in a script, each line. */
function commandsOf({ language, text }: DocBlock): string[] {
  const lines = text.split("\n").map((line) => line.replace(/\s{2,}#.*$/, ""));
  if (language !== "console") return lines.filter((line) => line !== "");
  return lines.filter((line) => line.startsWith("$ ")).map((line) => line.slice("$ ".length).trimEnd());
}

function assertFileHas(file: string, text: string): void {
  assert.ok(Deno.readTextFileSync(`${ROOT}${file}`).includes(text), `${file} has no ${text}`);
}

Deno.test("Each command of the documentation is run by a test, or there is told why not", () => {
  for (const block of blocks.filter(({ language }) => CONSOLE.includes(language))) {
    const commands = commandsOf(block);
    assert.ok(commands.length > 0, `${placeOf(block)} shows no command`);
    for (const command of commands) {
      assert.ok(
        command in COMMANDS || (block.language === "console" && NEEDS_NO_ENTRY.test(command)),
        `${placeOf(block)}: no test runs: ${command}`,
      );
    }
  }
  for (const block of blocks.filter(({ language }) => OTHERS.includes(language))) {
    assert.doesNotMatch(
      block.text,
      /^\$ /m,
      `${placeOf(block)} shows commands, and does not say that it is a console`,
    );
  }
});

Deno.test("Each entry about a command of the documentation is needed", () => {
  const shown = new Set(blocks.filter(({ language }) => CONSOLE.includes(language)).flatMap(commandsOf));
  for (const [command, way] of Object.entries(COMMANDS)) {
    assert.ok(shown.has(command), `no page has: ${command}`);
    if ("by" in way) assertFileHas(way.by, way.where);
    const isPlain = "not" in way || ("run" in way && Object.keys(way.run).length === 0);
    assert.ok(!(isPlain && NEEDS_NO_ENTRY.test(command)), `it is run without an entry: ${command}`);
  }
});

/** What a page needs before its commands are run. */
const BEFORE: Readonly<Record<string, (site: Site) => Promise<void>>> = {
  // The newest dead letter has the id 1.
  "docs/troubleshooting.md": async (site) => {
    await site.runOk(["push", "mail", "unknown", "--attempts", "1"]);
    await eventually("the job is a dead letter", async () => {
      const queues: { queue: string; dead: number }[] = JSON.parse(await site.runOk(["queues", "--json"]));
      return queues.some(({ queue, dead }) => queue === "mail" && dead === 1);
    });
  },
};

/** Does what its payload says, or nothing. */
const SCRIPT = `<?php
if (getenv('FERVO_CHECK') || isset($_SERVER['FERVO_CHECK'])) {
    header('X-Fervo-Check: ' . json_encode(['display_errors' => ini_get('display_errors')]));
} elseif (file_get_contents('php://input') === 'unknown') {
    throw new RuntimeException('There is no handler for this');
}
header('X-Fervo-Outcome: ack');
`;

Deno.test("The commands of the documentation do what the pages say of them", async (t) => {
  await using fpm = await PhpFpm.start({ children: 4, globalLines: ["process_control_timeout = 0"] });
  const consoles = blocks.filter(({ language }) => language === "console");
  for (const [page, ofPage] of Map.groupBy(consoles, ({ file }) => file)) {
    const all = ofPage.flatMap((block) => commandsOf(block).map((command) => ({ block, command })))
      .filter(({ command }) => isRunHere(command));
    if (all.length > 0) await t.step(page, (step) => tryPage(step, fpm, page, all));
  }
});

function isRunHere(command: string): boolean {
  const way = COMMANDS[command];
  return way === undefined || "run" in way || "until" in way;
}

/** Runs commands one after the other, in a folder with a configuration whose worker runs. */
async function tryPage(
  t: Deno.TestContext,
  fpm: PhpFpm,
  page: string,
  commands: readonly { readonly block: DocBlock; readonly command: string }[],
): Promise<void> {
  await using site = await Site.create(fpm, {
    consumer: { queues: ["default", "mail", "reports"] },
    fpm: { script: await fpm.writeScript("docs.php", SCRIPT), status_path: "/status" },
  });
  const { directory } = site;
  const file = (name: string) => `${directory}/${name}`;
  await Deno.mkdir(file("bin"));
  await Deno.symlink(fervoWorkerPath(), file("bin/fervo-worker"));
  await Deno.writeTextFile(file("job.php"), "<?php header('X-Fervo-Outcome: ack');\n");
  await Deno.writeTextFile(file("job.json"), '{"to":"ann@example.org"}\n');
  const env = { PATH: `${file("bin")}:${Deno.env.get("PATH")}`, FPM_CONFIG: fpm.configPath };
  await using worker = site.start(["run"]);
  await worker.says("Consumer started");
  await BEFORE[page]?.(site);

  for (const { block, command } of commands) {
    await t.step(`${placeOf(block)}: ${command}`, async () => {
      const way = COMMANDS[command] ?? { run: {} };
      if ("until" in way) {
        await using running = RunningCommand.start([], { shell: `exec ${command}`, cwd: directory, env });
        await running.says(way.until);
        running.kill("SIGTERM");
        assert.equal((await running.ended).code, 0);
        return;
      }
      if (!("run" in way)) throw new Error(`${command} is not run here`);
      const { add = "", replace = ["", ""], exitCodes = [0], differs = ["", ""], says = /(?:)/ } = way.run;
      const shell = `${command.replace(...replace)} ${add}`;
      await using running = RunningCommand.start([], { shell, cwd: directory, env });
      const { code, stdout, stderr } = await running.ended;
      assert.ok(exitCodes.includes(code), `${shell} ended with ${code}:\n${stdout}${stderr}`);
      assert.match(stdout, says);
      assertShows(`${stdout}${stderr}`, shownBehind(block, command).map((line) => line.replace(...differs)));
    });
  }
}

/** What a block shows of a command's output. */
function shownBehind({ text }: DocBlock, command: string): string[] {
  const lines = text.split("\n");
  const at = lines.findIndex((line) => line.startsWith(`$ ${command}`));
  const end = lines.findIndex((line, index) => index > at && line.startsWith("$ "));
  return lines.slice(at + 1, end < 0 ? undefined : end).filter((line) => !["", "…"].includes(line));
}

/** Each of the lines is in what was printed, in this order. */
function assertShows(printed: string, lines: readonly string[]): void {
  let rest = printed;
  for (const line of lines) {
    const pattern = line.split(/(\d+|…| +)/).map((part, index) =>
      index % 2 === 0 ? RegExp.escape(part) : part === "…" ? ".*" : part.startsWith(" ") ? " +" : "\\d+"
    ).join("");
    const found = new RegExp(`^${pattern}$`, "m").exec(rest);
    assert.ok(found, `The page shows:\n${line}\nwhich is not in:\n${rest}`);
    rest = rest.slice(found.index + found[0].length);
  }
}

/** Configurations of other programs, by their first line. */
const CONFIGURATIONS: Readonly<Record<string, Way | ((block: DocBlock) => Promise<void>)>> = {
  // docs/php-fpm.md
  "; the pool": isPool,
  // docs/monitoring.md
  "# prometheus.yml": isPrometheusConfig,
  "# Kubernetes": { by: "tests/integration/http/worker_test.ts", where: "/readyz" },
  // docs/install.md
  "FROM debian:13-slim": { not: "no images can be built on a test machine" },
  "livenessProbe: # no token is needed: it says whether the worker is alive, and no more": {
    by: "tests/integration/http/worker_test.ts",
    where: "/livez",
  },
  // docs/running.md
  "[Service]": isUnit,
  // php/bundle/README.md
  "env[APP_ENV] = prod": isPool,
  // examples/symfony/README.md
  "opcache.validate_timestamps = 0            ; a release reloads PHP-FPM": isPhpIni,
};

Deno.test("Each configuration of another program is read by that program, or it is told why not", async (t) => {
  const shown = new Set<string>();
  for (const block of blocks) {
    const { file, language, text } = block;
    if ([...OTHERS, ...CONSOLE, "toml"].includes(language)) continue;
    // php/bundle/tests/Docs/DocsTest.php reads these.
    if (file.startsWith("php/bundle/") && language === "yaml") continue;
    const first = text.split("\n")[0]!;
    const way = CONFIGURATIONS[first];
    assert.ok(way !== undefined, `${placeOf(block)}: nobody reads: ${first}`);
    shown.add(first);
    if (typeof way === "function") await t.step(placeOf(block), () => way(block));
    else if ("by" in way) assertFileHas(way.by, way.where);
  }
  for (const first of Object.keys(CONFIGURATIONS)) assert.ok(shown.has(first), `no document has: ${first}`);
  assertFileHas("php/bundle/tests/Docs/DocsTest.php", "self::blocks('yaml', self::ALL)");
});

/** A file of that name with this text, gone with the scope. */
async function temporary(name: string, text: string): Promise<AsyncDisposable & { readonly path: string }> {
  const folder = await Deno.makeTempDir({ prefix: "fervo-docs-" });
  await Deno.writeTextFile(`${folder}/${name}`, text);
  return {
    path: `${folder}/${name}`,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** php-fpm takes the lines in a pool that has what a pool needs. */
async function isPool({ text }: DocBlock): Promise<void> {
  const pool = "[jobs]\nuser = www-data\nlisten = /run/jobs.sock\npm = static\npm.max_children = 1\n";
  await using config = await temporary("php-fpm.conf", `[global]\nerror_log = /dev/null\n${pool}${text}`);
  const { success, said } = await runProgram(
    "bash",
    "-c",
    `"$(compgen -c php-fpm | sort -V | tail -n 1)" -t -y ${config.path}`,
  );
  assert.ok(success, said);
}

/** PHP has each setting. */
async function isPhpIni({ text }: DocBlock): Promise<void> {
  await using config = await temporary("php.ini", text);
  const code = `foreach (parse_ini_file('${config.path}') as $name => $value) {
    if (ini_get($name) === false) { echo "PHP has no $name\n"; }
  }`;
  assert.deepEqual(await runProgram("php", "-r", code), { success: true, code: 0, said: "" });
}

async function isPrometheusConfig({ text }: DocBlock): Promise<void> {
  await using config = await temporary("prometheus.yml", text);
  const { success, said } = await runProgram("promtool", "check", "config", config.path);
  assert.ok(success, said);
}

/** systemd understands the lines in a unit. */
async function isUnit({ text }: DocBlock): Promise<void> {
  await using unit = await temporary("docs.service", `${text}ExecStart=/bin/true\n`);
  const { success, said } = await runProgram("systemd-analyze", "verify", "--man=no", unit.path);
  assert.doesNotMatch(said, /docs\.service/);
  assert.ok(success, said);
}
