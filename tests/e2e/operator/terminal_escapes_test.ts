/** Whoever can push a job, or answers the worker, chooses texts: no command gives them to a terminal as commands. */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { type CommandOptions, fervoWorker, Site } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";
import { RedisServer } from "../../support/redis_server.ts";

/** Sets the title, clears the screen, begins a command in one byte, turns the direction, overwrites the line. */
const HOSTILE = "evil\x1b]0;PWNED\x07\x1b[2J\x7f\u009b31m\u202egnp\u2028\u200f\rover";
const UNSEEN = /[[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]--[\n\t]]/v;

/** What a command says into a pipe and, as a person sees it, on a terminal; fails where a terminal would obey it. */
async function saidBy(site: Site, args: readonly string[]): Promise<string> {
  const piped = await site.run(args);
  const said = `${piped.stdout}${piped.stderr}`;
  assertHarmless(said, args);
  assertHarmless(await onTerminal([...args, "--config", site.configFile]), args);
  return said;
}

async function onTerminal(args: readonly string[], options: CommandOptions = {}): Promise<string> {
  // `script` gives it a terminal, and takes one text only.
  const { stdout } = await fervoWorker(args, {
    ...options,
    shell: `printf -v line '%q ' "$@"; exec script -qec "$line" /dev/null </dev/null`,
  });
  return stdout.replaceAll("\r\n", "\n");
}

function assertHarmless(said: string, args: readonly string[]): void {
  assert.equal(UNSEEN.exec(said), null, `${args.join(" ")}: ${JSON.stringify(said)}`);
}

Deno.test("Commands show a job's queue, error, STDERR and payload as text (SQLite)", async () => {
  await using site = await Site.create(undefined, {
    process: { command: ["sh", "-c", "cat >&2; exit 1"] },
    retry: { attempts: 1 },
  });
  await site.push(HOSTILE);
  const log = await site.run(["run", "--until-empty"]);
  assertHarmless(`${log.stdout}${log.stderr}`, ["run"]);
  site.queueRows("INSERT INTO fervo_jobs (queue, payload) VALUES (?, ?)", HOSTILE, HOSTILE);
  const error = JSON.stringify({ code: HOSTILE, message: `${HOSTILE}\nsecond line`, stderr: HOSTILE });
  site.queueRows(
    "INSERT INTO fervo_jobs (queue, payload, state, error) VALUES (?, ?, 'dead', ?)",
    HOSTILE,
    HOSTILE,
    error,
  );
  await site.push(HOSTILE);
  site.queueRows("INSERT INTO fervo_paused (queue, paused_at, reason) VALUES ('jobs', 1, ?)", HOSTILE);
  for (
    const args of [
      ["queues"],
      ["queues", "--json"],
      ["jobs", "jobs"],
      ["jobs", "jobs", "--json"],
      ["dead", "groups"],
      ["dead", "groups", "--json"],
      ["dead", "list"],
      ["dead", "list", "--json"],
      ["dead", "show", "1"],
      ["dead", "show", "1", "--json"],
      ["dead", "show", "3"],
      ["dead", "show", "3", "--json"],
      ["dead", "retry", "--all", "--dry-run"],
      ["dead", "remove", "--all", "--dry-run", "--json"],
    ]
  ) {
    assert.match(await saidBy(site, args), /\\u001b|Would|"count"/, args.join(" "));
  }
  assert.equal(JSON.parse(await site.runOk(["dead", "show", "3", "--json"])).payload, HOSTILE);
  // The payload's own bytes are to be had, where no terminal takes them.
  assert.equal(await site.runOk(["dead", "show", "3", "--payload"]), HOSTILE);
  assertHarmless(await onTerminal(["dead", "show", "3", "--payload", "--config", site.configFile]), []);

  await using watching = site.start(["queues", "--watch"]);
  await eventually("it has looked", () => watching.stdout.includes("evil"));
  watching.kill("SIGINT");
  assertHarmless((await watching.ended).stdout, ["queues", "--watch"]);
});

Deno.test("Commands show ids, queues and errors that Redis holds as text", async () => {
  await using redis = await RedisServer.start();
  await using site = await Site.create(undefined, { broker: { driver: "redis", url: redis.url } });
  const job = { class: HOSTILE, args: [HOSTILE], jid: HOSTILE, queue: HOSTILE, created_at: 1e300 };
  await redis.cli("SADD", "queues", HOSTILE);
  await redis.cli("LPUSH", `queue:${HOSTILE}`, JSON.stringify(job));
  const dead = { ...job, error_class: HOSTILE, error_message: HOSTILE, failed_at: 1e300 };
  for (const score of ["1790000000", "inf"]) {
    await redis.cli("ZADD", "dead", score, JSON.stringify({ ...dead, jid: `${score}\u202egnp` }));
  }
  for (
    const args of [
      ["queues"],
      ["queues", "--json"],
      ["dead", "list"],
      ["dead", "list", "--json"],
      ["dead", "show", "inf\u202egnp"],
      ["dead", "show", "inf\u202egnp", "--json"],
      ["dead", "show", HOSTILE],
      ["dead", "retry", HOSTILE, "--dry-run"],
      ["dead", "retry", "--all", "--dry-run"],
    ]
  ) {
    const said = await saidBy(site, args);
    assert.match(said, /\\u(001b|202e)/, `${args.join(" ")}: ${said}`);
  }
});

Deno.test("call shows what php-fpm answers as text on a terminal, and byte for byte elsewhere", async () => {
  await using fpm = await PhpFpm.start();
  const script = await fpm.writeScript(
    "hostile.php",
    `<?php $hostile = json_decode('${JSON.stringify(HOSTILE)}');
    error_log($hostile); header('X-Hostile: ' . str_replace("\\r", '', $hostile)); echo $hostile;`,
  );
  const args = ["call", fpm.address, "--script", script];
  const { code, stdout, stderr } = await fervoWorker(args);
  assert.equal(code, 0);
  assertHarmless(stderr, args);
  const end = stdout.indexOf("\r\n\r\n");
  assert.ok(stdout.startsWith("X-Hostile: evil\u001b"), stdout);
  assert.equal(stdout.slice(end + 4), HOSTILE);
  const seen = await onTerminal(args);
  assert.match(seen, /\\u001b\]0;PWNED/);
  assertHarmless(seen, args);
});

Deno.test("Commands say what is wrong with an argument without obeying it", async () => {
  await using site = await Site.create();
  for (
    const args of [
      ["push", HOSTILE, "x"],
      ["dead", "show", HOSTILE],
      ["pause", HOSTILE],
      ["status", "--socket", `${site.directory}/missing/${HOSTILE}`],
      ["check", "--config", `${site.directory}/missing/${HOSTILE}`],
      ["bench", "--own", "--script", `${site.directory}/missing/${HOSTILE}`],
      ["call", `${site.directory}/missing/${HOSTILE}`, "--script", "x"],
      ["init", `${site.directory}/missing/${HOSTILE}`],
      [HOSTILE],
      ["run", `--${HOSTILE}`],
      ["__complete", HOSTILE],
    ]
  ) {
    const { code, stdout, stderr } = await fervoWorker(args, { cwd: site.directory });
    assert.equal(code === 0, args[0] === "__complete", args.join(" "));
    assertHarmless(`${stdout}${stderr}`, args);
  }
});
