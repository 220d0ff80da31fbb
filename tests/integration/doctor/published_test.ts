/**
 * `check --fpm-config` on configurations as they are published and copied, read by this machine's own php-fpm: each danger
 * in them is told, and nothing else.
 */
import assert from "node:assert/strict";
import { dirname } from "node:path";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { runMain } from "../../unit/cli/fake_io.ts";

interface Published {
  /** Whose configuration it is like. */
  readonly like: string;
  /** Its files by their paths in a folder FOLDER; the first one is given as --fpm-config. */
  readonly files: Readonly<Record<string, string>>;
  /** Where the worker connects. */
  readonly address: string;
  readonly site?: SiteOptions;
  /** All that is to be said of it, by id. */
  readonly expected: readonly string[];
}

const USER = "user = www-data\ngroup = www-data\n";
const DYNAMIC = "pm = dynamic\npm.max_children = 5\npm.start_servers = 2\npm.min_spare_servers = 1\n" +
  "pm.max_spare_servers = 3\n";
const STATIC = "pm = static\npm.max_children = 8\n";
const WWW = `[www]\n${USER}listen = FOLDER/php-fpm.sock\nlisten.owner = www-data\n${DYNAMIC}`;
const NO_LIMITS = ["warning fpm.process_control_timeout", "warning fpm.request_terminate_timeout"];

const PUBLISHED: readonly Published[] = [
  {
    like: "Debian's php-fpm.conf, which includes pool.d/*.conf",
    files: {
      "fpm/php-fpm.conf":
        "[global]\npid = FOLDER/pid\nerror_log = FOLDER/log\ninclude=FOLDER/fpm/pool.d/*.conf\n",
      "fpm/pool.d/www.conf": WWW,
    },
    address: "FOLDER/php-fpm.sock",
    expected: NO_LIMITS,
  },
  {
    like: "Debian's, with the pool's file in place of php-fpm.conf",
    files: { "fpm/pool.d/www.conf": WWW },
    address: "FOLDER/php-fpm.sock",
    // Of [global] nothing is known: no warning of process_control_timeout.
    expected: ["warning fpm.request_terminate_timeout", "notice fpm.settings"],
  },
  {
    like: "the official image's: docker.conf and zz-docker.conf over www.conf",
    files: {
      "php-fpm.conf": "[global]\ninclude=FOLDER/php-fpm.d/*.conf\n",
      "php-fpm.d/docker.conf": "[global]\nerror_log = /proc/self/fd/2\nlog_limit = 8192\n[www]\n" +
        "access.log = /proc/self/fd/2\nclear_env = no\ncatch_workers_output = yes\ndecorate_workers_output = no\n",
      "php-fpm.d/www.conf": `[www]\n${USER}listen = 127.0.0.1:9000\n${DYNAMIC}`,
      "php-fpm.d/zz-docker.conf": "[global]\ndaemonize = no\n[www]\nlisten = 9000\n",
    },
    address: "127.0.0.1:9000",
    expected: ["error fpm.tcp", ...NO_LIMITS],
  },
  {
    like: "a chart's for Kubernetes: every address, a status page",
    files: {
      "www.conf": `[global]\nprocess_control_timeout = 90\n[www]\n${USER}listen = [::]:9000\n${STATIC}` +
        "pm.status_path = /status\nping.path = /ping\nrequest_terminate_timeout = 1200\n",
    },
    address: "127.0.0.1:9000",
    expected: ["error fpm.tcp", "warning fpm.status_page"],
  },
  {
    like: "one for web servers on other machines, with allowed clients",
    files: {
      "www.conf": `[global]\nprocess_control_timeout = 90\n[www]\n${USER}listen = 0.0.0.0:9000\n${STATIC}` +
        "listen.allowed_clients = 127.0.0.1,192.0.2.10\nrequest_terminate_timeout = 90\n",
    },
    address: "127.0.0.1:9000",
    expected: [],
  },
  {
    like: 'one with "any" for allowed clients, which php-fpm takes for nobody',
    files: {
      "www.conf": `[global]\nprocess_control_timeout = 90\n[www]\n${USER}listen = 9000\n${STATIC}` +
        "listen.allowed_clients = any\nrequest_terminate_timeout = 90\n",
    },
    address: "127.0.0.1:9000",
    expected: ["error fpm.tcp"],
  },
  {
    like: "a Laravel server's: a pool a site, by $pool, beside the web's own",
    files: {
      "php-fpm.conf": "[global]\nprocess_control_timeout = 90\ninclude=FOLDER/pool.d/*.conf\n",
      "pool.d/www.conf": WWW,
      "pool.d/shop.conf": `[shop]\n${USER}listen = FOLDER/$pool.sock\nlisten.mode = 0660\n${STATIC}` +
        "request_terminate_timeout = 60\nphp_admin_value[error_log] = FOLDER/$pool.log\n" +
        "php_admin_flag[log_errors] = on\nphp_admin_value[memory_limit] = 256M\n" +
        "security.limit_extensions = .php .php8\n",
    },
    address: "FOLDER/shop.sock",
    expected: [
      "notice fpm.shared_master",
      "notice php.error_log",
      // Ends jobs before the worker does.
      "warning fpm.request_terminate_timeout",
    ],
  },
  {
    like: "a Symfony developer's: errors shown, a limit that set_time_limit() cannot lift",
    files: {
      "www.conf": `[global]\nprocess_control_timeout = 90\n[www]\n${USER}listen = 127.0.0.1:9000\n${STATIC}` +
        "request_terminate_timeout = 90\nphp_flag[display_errors] = on\n" +
        "php_admin_value[max_execution_time] = 30\nphp_value[memory_limit] = -1\n",
    },
    address: "localhost:9000",
    expected: [
      "notice fpm.tcp",
      "warning php.display_errors",
      "warning php.max_execution_time",
      "warning php.memory_limit",
    ],
  },
  {
    like: "shared hosting's: other endings, few processes, open_basedir",
    files: {
      "www.conf":
        `[global]\nprocess_control_timeout = 90\nprocess.max = 3\n[www]\n${USER}listen = FOLDER/a.sock\n` +
        `${STATIC}request_terminate_timeout = 90\nsecurity.limit_extensions = .phtml\n` +
        "php_admin_value[open_basedir] = /var/www/:/usr/share/php/\n",
    },
    address: "FOLDER/a.sock",
    expected: ["error fpm.children", "error fpm.limit_extensions", "error fpm.open_basedir"],
  },
];

/** What nobody can tell of a php-fpm that does not run. */
const NOT_ABOUT_THE_FILE = ["fpm.reachable", "php.settings", "fpm.socket_mode", "fpm.script"];

for (const { like, files, address, site: options, expected } of PUBLISHED) {
  Deno.test(`check --fpm-config judges a configuration like ${like}`, async () => {
    await using site = await Site.create(undefined, options);
    const folder = `${site.directory}/php`;
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(dirname(`${folder}/${path}`), { recursive: true });
      await Deno.writeTextFile(`${folder}/${path}`, text.replaceAll("FOLDER", folder));
    }
    await site.configure({ ...options, fpm: { address: address.replace("FOLDER", folder) } });
    const file = `${folder}/${Object.keys(files)[0]}`;
    const { stdout } = await runMain(["check", "--json", "--config", site.configFile, "--fpm-config", file]);
    const found = JSON.parse(stdout).filter(({ id, severity }: { id: string; severity: string }) =>
      severity !== "ok" && /^(?:fpm|php)\./.test(id) && !NOT_ABOUT_THE_FILE.includes(id)
    );
    for (const { severity, what, why, fix } of found) {
      if (severity !== "notice") assert.ok(what && why && fix, what);
    }
    const told = found.map(({ id, severity }: { id: string; severity: string }) => `${severity} ${id}`);
    assert.deepEqual(told.toSorted(), [...expected].sort());
  });
}

Deno.test("check --fpm-config looks for a script where chroot has it, and says which path is meant", async () => {
  await using site = await Site.create();
  const file = `${site.directory}/fpm.conf`;
  const text = `[www]\n${USER}listen = ${site.directory}/a.sock\n${STATIC}chroot = ${site.directory}\n`;
  await Deno.writeTextFile(file, text);
  await Deno.writeTextFile(`${site.directory}/job.php`, "<?php");
  const script = async (path: string) => {
    await site.configure({ fpm: { address: `${site.directory}/a.sock`, script: path } });
    const { stdout } = await runMain(["check", "--json", "--config", site.configFile, "--fpm-config", file]);
    const { severity, fix } = JSON.parse(stdout).find(({ id }: { id: string }) => id === "fpm.script");
    return { severity, fix };
  };
  assert.deepEqual(await script("/job.php"), { severity: "ok", fix: null });
  assert.deepEqual(await script(`${site.directory}/job.php`), {
    severity: "error",
    fix: 'in [fpm.default]: script = "/job.php"',
  });
});
