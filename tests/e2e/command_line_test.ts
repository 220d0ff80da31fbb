/** What a handler of Symfony Messenger sees of PHP behind fervo-worker, compared with messenger:consume. */
import assert from "node:assert/strict";
import { Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { RedisServer } from "../support/redis_server.ts";
import { SymfonyApp } from "../support/symfony_app.ts";

const OVERLAY = new URL("./symfony_command_line", import.meta.url).pathname;

/** Everything that differs, and why. A name that ends with "*" stands for all with that beginning. */
const DIFFERENCES: Readonly<Record<string, string>> = {
  "PHP_SAPI": "it is php-fpm",
  "STDIN": "a request has no standard input; the constant is the command line's",
  "STDOUT": "a request has no standard output; the constant is the command line's",
  "ob_get_level()":
    "the output of a handler is buffered and dropped, since the answer to the worker must not contain it",
  "getcwd()":
    "php-fpm changes to the folder of the script; a handler with relative paths has to begin at the project's folder",
  "error handler": "the front controller registers the handler of Symfony, as public/index.php does",
  "$argv": "there is no command",
  "$_SERVER argc": "there is no command",
  "$_SERVER argv": "there is no command",
  "$_SERVER PATH_TRANSLATED": "the command line's name of the script",
  "$_SERVER DOCUMENT_ROOT": "the command line has an empty one",
  "$_SERVER PHP_SELF": "the script is the front controller",
  "$_SERVER SCRIPT_FILENAME": "the script is the front controller",
  "$_SERVER SCRIPT_NAME": "the request's name: queue and job",
  "$_SERVER REQUEST_TIME_FLOAT": "when the request began, and when messenger:consume was started",
  "$_SERVER SHELL_VERBOSITY": "symfony/console sets it",
  "$_ENV SHELL_VERBOSITY": "symfony/console sets it",
  "getenv() SHELL_VERBOSITY": "symfony/console sets it",
  "getenv() COLUMNS": "symfony/console sets it",
  "getenv() LINES": "symfony/console sets it",
  "extension cgi-fcgi": "the protocol of php-fpm",
  "extension pcntl": "Debian has it for the command line alone",
  "ini cgi.*": "settings of the protocol",
  "ini fastcgi.*": "settings of the protocol",
  "ini fpm.config": "a setting of php-fpm",
  "ini display_errors": "both are off; the command line writes it as nothing",
  "ini log_errors": "both are on, written in two ways",
  "ini expose_php": "a header of answers",
  "ini ignore_user_abort": "the runner ignores a worker that has gone, so that a handler ends",
  "ini implicit_flush": "the output of a handler is dropped",
  "ini output_buffering": "the output of a handler is dropped",
  "ini max_input_time": "it limits the reading of a request, and php-fpm has read it before",
  "ini register_argc_argv":
    "the command line always has it on; with a request, argv would come from the query",
  ...bothWays({
    "APP_HANDLERS": "[fpm.NAME.params] of this test",
    "TEST_EFFECTS": "[fpm.NAME.params] of this test",
    "CONTENT_LENGTH": "a param of the request",
    "CONTENT_TYPE": "a param of the request",
    "FCGI_ROLE": "a param of the request",
    "FERVO_*": "the facts of the job",
    "GATEWAY_INTERFACE": "a param of the request",
    "QUERY_STRING": "a param of the request",
    "REQUEST_METHOD": "a param of the request",
    "REQUEST_URI": "a param of the request",
    "SERVER_PROTOCOL": "a param of the request",
    "SERVER_SOFTWARE": "a param of the request",
  }),
  "getenv() SCRIPT_FILENAME": "a param of the request",
  "getenv() SCRIPT_NAME": "a param of the request",
};

/** What differs on some machines, or at some times. */
const POSSIBLE: Readonly<Record<string, string>> = {
  "$_SERVER REQUEST_TIME": "as REQUEST_TIME_FLOAT, in whole seconds",
  ...bothWays({
    "USER": "php-fpm sets it to the user of the pool",
    "HOME": "php-fpm sets it to the home of the pool's user",
  }),
};

/** Variables of the environment are in `getenv()`, and in `$_SERVER`. */
function bothWays(variables: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(variables).flatMap((
      [name, why],
    ) => [[`$_SERVER ${name}`, why], [`getenv() ${name}`, why]]),
  );
}

function isListed(list: Readonly<Record<string, string>>, name: string): boolean {
  return Object.keys(list).some((one) => covers(one, name));
}

function covers(listed: string, name: string): boolean {
  return listed.endsWith("*") ? name.startsWith(listed.slice(0, -1)) : name === listed;
}

/** The fixture has other ones, for scripts that a test writes anew. */
const PHP_DEFAULTS = { "opcache.revalidate_freq": "2", "opcache.file_update_protection": "2" };

/** The lines of a printed pool that are not about where it listens and as whom it runs. */
function settingsOf(pool: string): string[] {
  return pool.split("\n").filter((line) => /^(?:php_(?:admin_)?(?:value|flag)\[|clear_env)/.test(line));
}

Deno.test("A handler sees the same PHP as in messenger:consume in the printed pool, but for what is listed", async () => {
  await using redis = await RedisServer.start({ tcp: true });
  await using app = await SymfonyApp.create({
    env: { APP_QUEUE: "sqlite", APP_CONSUMED: `redis://${redis.hostPort}/messages` },
    overlays: [OVERLAY],
  });
  const pool = await app.console("fervo:worker:config", "--pool");
  await using fpm = await PhpFpm.start({
    children: 1,
    poolLines: settingsOf(pool),
    ini: {},
    masterIni: PHP_DEFAULTS,
  });
  await using worker = await Site.create(fpm);
  await worker.configure({
    broker: { driver: "sqlite", path: app.queueFile },
    fpm: { script: app.frontController },
    consumer: { queues: ["messages"] },
  });
  await worker.runOk(["queues"]);
  await app.console("app:look");
  await app.console("messenger:consume", "consumed", "--limit=1", "--time-limit=60");
  await worker.runOk(["run", "--until-empty"]);

  const seen = (await app.journal()).flatMap(({ text }) => {
    return text.startsWith("seen ") ? [JSON.parse(text.slice(5)) as Record<string, string>] : [];
  });
  assert.equal(seen.length, 2);
  const [consumed, worked] = seen as [Record<string, string>, Record<string, string>];
  const names = [...new Set([...Object.keys(consumed), ...Object.keys(worked)])].sort();
  const differences = names.filter((name) => consumed[name] !== worked[name]);
  assert.deepEqual(
    differences.filter((name) => !isListed(DIFFERENCES, name) && !isListed(POSSIBLE, name))
      .map((name) => `${name}: ${consumed[name]} in messenger:consume, ${worked[name]} behind fervo-worker`),
    [],
    "not listed in DIFFERENCES",
  );
  assert.deepEqual(
    Object.keys(DIFFERENCES).filter((listed) => !differences.some((name) => covers(listed, name))),
    [],
    "listed in DIFFERENCES, and the same both ways",
  );
  // These must not differ: the URL of a request would be another host's, and a time limit would end handlers.
  assert.equal(worked["a URL"], "https://shop.example/base/orders/7");
  assert.equal(worked["time limit"], "0");
  assert.equal(worked["ini memory_limit"], consumed["ini memory_limit"]);
});
