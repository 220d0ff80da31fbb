/** `call` on real servers: what an application sends is printed as it comes, and a dead letter runs as its worker ran it. */
import assert from "node:assert/strict";
import { Beanstalkd } from "../../../support/beanstalkd.ts";
import { eventually } from "../../../support/eventually.ts";
import { Site, type SiteOptions } from "../../../support/fervo_worker.ts";
import { PhpFpm } from "../../../support/php_fpm.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { FakeIo, runMain } from "../../../unit/cli/fake_io.ts";

/** What PHP sends goes out at once. */
const UNBUFFERED = { ini: { output_buffering: "0" } };

Deno.test("call prints headers as they came: their names, their order, each of several with one name", async () => {
  await using fpm = await PhpFpm.start();
  const code =
    "<?php header_remove(); header('X-B: 2'); setcookie('a', '1'); header('X-a: 1'); setcookie('b', '2'); echo 'x';";
  const script = await fpm.writeScript("headers.php", code);
  const { stdout } = await runMain(["call", fpm.address, "--script", script]);
  assert.match(
    stdout,
    /^X-B: 2\r\nSet-Cookie: a=1\r\nX-a: 1\r\nSet-Cookie: b=2\r\nContent-type: [^\r]+\r\n\r\nx$/,
  );
});

Deno.test("call prints what comes when it comes, on both streams", async () => {
  await using fpm = await PhpFpm.start(UNBUFFERED);
  const script = await fpm.writeScript(
    "slow.php",
    `<?php error_log('begun'); echo 'first'; flush(); while (!file_exists(__DIR__ . '/go')) { usleep(1000); clearstatcache(); } echo 'last';`,
  );
  const io = new FakeIo();
  const calling = runMain(["call", fpm.address, "--script", script], io);
  await eventually(
    "the beginning is printed",
    () => io.stdout.endsWith("\r\n\r\nfirst") && io.stderr.includes("begun"),
  );
  await Deno.writeTextFile(`${fpm.directory}/go`, "");
  assert.equal((await calling).code, 0);
  assert.ok(io.stdout.endsWith("firstlast"));
  assert.ok(io.stderr.endsWith("\n"));
});

Deno.test("call has printed what came before the child died, or before the time was up", async () => {
  await using fpm = await PhpFpm.start(UNBUFFERED);
  const begin = "error_log('about to'); echo 'half'; flush();";
  const dies = await fpm.writeScript("dies.php", `<?php ${begin} usleep(100000); posix_kill(getmypid(), 9);`);
  const hangs = await fpm.writeScript("hangs.php", `<?php ${begin} sleep(3600);`);
  for (
    const [script, timeout, reason] of [[dies, "30s", /Lost the connection/], [
      hangs,
      "2s",
      /No complete answer/,
    ]] as const
  ) {
    const io = new FakeIo();
    io.size = { columns: 80, rows: 25 };
    const { code, stdout, stderr } = await runMain([
      "call",
      fpm.address,
      "--script",
      script,
      "--timeout",
      timeout,
    ], io);
    assert.equal(code, 1);
    // On a terminal it is text.
    assert.ok(stdout.endsWith("\n\nhalf"), stdout);
    // Each is told once, and the error has a line of its own.
    assert.match(stderr, /^PHP message: about to\n*fervo-worker: [^\n]+\n$/);
    assert.match(stderr, reason);
  }
});

Deno.test("call wants either an address and a script, or a dead letter", async () => {
  for (
    const [args, said] of [
      [[], /Missing required argument 'address'/],
      [["/x.sock"], /Required option '--script <file>' not specified/],
      [["/x.sock", "--script", "/x.php", "--broker", "a"], /--config and --broker are for --dead/],
      [["/x.sock", "--dead", "1"], /leave them out/],
      [["--dead", "1", "--body", "-"], /leave them out/],
    ] as const
  ) {
    const { code, stderr } = await runMain(["call", ...args]);
    assert.equal(code, 2);
    assert.match(stderr, said);
  }
});

/** Writes all that PHP was given into a file, by the name of the attempt's own; fails until the file "mended" is there. */
const RECORD = `<?php
  $given = array_filter($_SERVER, fn ($name) => preg_match('/^(FERVO|REQUEST_URI|SCRIPT|CONTENT|HTTP|APP|REQUEST_METHOD)/', $name), ARRAY_FILTER_USE_KEY);
  unset($given['FERVO_DEADLINE']);
  ksort($given);
  file_put_contents(__DIR__ . '/given', json_encode([$given, file_get_contents('php://input')]) . "\\n", FILE_APPEND);
  error_log('said on the side');
  echo 'some output';
  header('X-Fervo-Outcome: ' . (file_exists(__DIR__ . '/mended') ? 'ack' : 'bury'));
  header('X-Fervo-Error: not yet');`;

/** Without what is not known to the millisecond (beanstalkd's ages), and what Sidekiq's format says of a failure. */
function comparable(
  [{ FERVO_ENQUEUED_AT, CONTENT_LENGTH, ...params }, body]: [Record<string, string>, string],
) {
  const { class: name, args, jid } = JSON.parse(body);
  const isClose = Math.abs(Number(FERVO_ENQUEUED_AT) - Date.now()) < 120_000;
  return {
    params,
    isClose,
    hasBody: CONTENT_LENGTH !== "0",
    body: name === undefined ? body : { name, args, jid },
  };
}

const BROKERS = {
  sqlite: () => Promise.resolve(undefined),
  beanstalkd: () => Beanstalkd.start(),
  redis: () => RedisServer.start(),
};

for (const [driver, start] of Object.entries(BROKERS)) {
  Deno.test(`call --dead runs a dead letter as its worker did, and leaves it as it is (${driver})`, async () => {
    await using server = await start();
    await using fpm = await PhpFpm.start({ children: 4 });
    const script = await fpm.writeScript("record.php", RECORD);
    const broker = server instanceof Beanstalkd
      ? { driver, address: server.addressText }
      : server instanceof RedisServer
      ? { driver, url: server.url }
      : {};
    await using site = await Site.create(fpm, { broker, fpm: { script }, consumer: { timeout_ms: 30_000 } });
    const main = (...args: string[]) => runMain([...args, "--config", site.configFile]);
    const payload = driver === "redis" ? '{"class":"Report","args":[{"a":"ä"}],"retry":5}' : '{"a":"ä"}';
    assert.equal((await main("push", "jobs", payload)).code, 0);
    await main("run", "--until-empty");
    const [letter] = JSON.parse((await main("dead", "list", "--json")).stdout);
    assert.ok(letter, "the job has died");

    const failed = await main("call", "--dead", letter.id);
    assert.equal(failed.code, 1);
    assert.ok(failed.stdout.endsWith("\r\n\r\nsome output"), failed.stdout);
    assert.match(
      failed.stderr,
      /said on the side[^]*\nOutcome: bury, the job failed: JOB_FAILED: The job failed: not yet\n/,
    );
    assert.match(failed.stderr, /The dead letter has not changed/);
    await fpm.writeScript("mended", "");
    const done = await main("call", "--dead", letter.id);
    assert.match(done.stderr, /\nOutcome: ack, the job is done\n/);
    assert.equal(done.code, 0);

    const given = (await Deno.readTextFile(`${fpm.directory}/given`)).trimEnd().split("\n")
      .map((line) => comparable(JSON.parse(line)));
    assert.equal(given.length, 3);
    assert.deepEqual(given.slice(1), [given[0], given[0]], "the same as the worker's last attempt");
    const [{ id, attempts, payload: kept }] = JSON.parse((await main("dead", "list", "--json")).stdout);
    assert.deepEqual({ id, attempts, kept }, {
      id: letter.id,
      attempts: letter.attempts,
      kept: letter.payload,
    });
  });
}

Deno.test("call --dead gives the job's own limit and headers, and further params, to PHP", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  const script = await fpm.writeScript("record.php", RECORD);
  await using site = await Site.create(fpm, { fpm: { script } });
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  await runMain(["push", "jobs", "x", "--config", site.configFile]);
  site.queueRows(
    "UPDATE fervo_jobs SET state = 'dead', attempts = 2, max_attempts = 7, headers = ?",
    JSON.stringify({ traceparent }),
  );
  await runMain(["call", "--dead", "1", "--param", "APP_DEBUG=yes", "--config", site.configFile]);
  const [given] = JSON.parse(await Deno.readTextFile(`${fpm.directory}/given`));
  assert.deepEqual(
    [given.FERVO_ATTEMPT, given.FERVO_MAX_ATTEMPTS, given.HTTP_TRACEPARENT, given.APP_DEBUG],
    ["2", "7", traceparent, "yes"],
  );
});

Deno.test("call --dead sends a batch of one where the consumer makes batches", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { consumer: { batch_size: 5 } });
  await site.configure({ consumer: { batch_size: 5 }, retry: { attempts: 1 } });
  const main = (...args: string[]) => runMain([...args, "--config", site.configFile]);
  await main("push", "jobs", '{"fail_until":1,"stderr":"on the side"}');
  await main("run", "--until-empty");
  const { code, stdout, stderr } = await main("call", "--dead", "1");
  assert.equal(code, 1);
  assert.match(stdout, /X-Fervo-Outcome: batch\r\n[^]*\{"id":"1","outcome":"retry"/);
  assert.match(
    stderr,
    /on the side[^]*Outcome: retry, the job failed: JOB_FAILED: The job failed: RuntimeException/,
  );
  assert.equal(site.effectCount(), 2);
});

const PROCESS: SiteOptions = {
  process: {
    command: ["/bin/sh", "-c", 'echo "job $FERVO_JOB_ID"; cat; echo aside >&2; exit $(( 3 - CODE ))'],
  },
  exitCodes: { 3: "bury" },
};

Deno.test("call --dead runs a process, and prints what that writes", async () => {
  await using site = await Site.create(undefined, PROCESS);
  const main = (...args: string[]) => runMain([...args, "--config", site.configFile]);
  await main("push", "jobs", "payload\n");
  await main("run", "--until-empty");
  const failed = await main("call", "--dead", "1");
  assert.equal(failed.stdout, "job 1\npayload\n");
  assert.match(
    failed.stderr,
    /^aside\nOutcome: bury, the job failed: JOB_FAILED: The process ended with exit code 3\n/,
  );
  assert.equal(failed.code, 1);
  assert.equal((await main("call", "--dead", "1", "--param", "CODE=3")).code, 0);
});

Deno.test("call --dead says why it cannot run a dead letter", async () => {
  await using site = await Site.create(undefined, PROCESS);
  const main = (...args: string[]) => runMain([...args, "--config", site.configFile]);
  await main("push", "jobs", "x");
  await main("run", "--until-empty");
  const unknown = await main("call", "--dead", "77");
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /There is no dead letter "77"/);
  await site.configure({ ...PROCESS, consumer: { queues: ["others"] } });
  const orphan = await main("call", "--dead", "1");
  assert.equal(orphan.code, 3);
  assert.match(
    orphan.stderr,
    /No consumer of the configuration takes from the queue "jobs" of the dead letter "1"/,
  );
  await site.configure({ process: { command: ["/nowhere/php"] } });
  const gone = await main("call", "--dead", "1");
  assert.match(gone.stderr, /Outcome: none, the job did not run: PROCESS_MISCONFIGURED/);
  assert.notEqual(gone.code, 0);
});
