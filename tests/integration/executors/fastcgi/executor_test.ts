import assert from "node:assert/strict";
import { systemClock } from "../../../../src/core/time/clock.ts";
import { type FervoError, JobError } from "../../../../src/core/errors.ts";
import type { Job } from "../../../../src/core/job.ts";
import { ACK, type Outcome } from "../../../../src/core/outcome.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  FastCgiExecutor,
  type FastCgiExecutorOptions,
} from "../../../../src/executors/fastcgi/executor.ts";
import { RESERVED_PARAMS } from "../../../../src/executors/fastcgi/requests.ts";
import { formatAddress, parseAddress } from "../../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool, type PoolOptions } from "../../../../src/fastcgi/pool.ts";
import { EventLog } from "../../../support/event_log.ts";
import { eventually } from "../../../support/eventually.ts";
import { PhpFpm, type PhpFpmOptions } from "../../../support/php_fpm.ts";

const NEVER = new AbortController().signal;
/** SIGKILL, as from the kernel when memory runs out: php-fpm gets no chance to answer. */
const KILL_ITSELF = "shell_exec('kill -9 ' . getmypid());";
const SAY_ACK = "header('X-Fervo-Outcome: ack');";

interface Settings {
  readonly fpm?: PhpFpmOptions;
  readonly pool?: Partial<PoolOptions>;
  readonly executor?: Partial<FastCgiExecutorOptions>;
  readonly hasStatusPage?: boolean;
}

/** A php-fpm with this script, and an executor that gives it jobs. */
async function setUp(code: string, settings: Settings = {}) {
  await using opened = new AsyncDisposableStack();
  const fpm = opened.use(await PhpFpm.start(settings.fpm));
  const script = await fpm.writeScript("job.php", `<?php ${code}`);
  const address = parseAddress(fpm.address);
  const pool = new Pool({ address, clock: systemClock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 4,
    ...settings.pool,
  });
  const options = { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script, ...settings.executor };
  const log = new EventLog();
  const control = fpm.control({ hasStatusPage: settings.hasStatusPage ?? false });
  const deps = { pool, fpm: control, clock: systemClock };
  const executor = opened.use(new FastCgiExecutor({ ...deps, observe: log.observe }, options));
  // First of all at the end, so that a job that is held by a test that failed holds nobody else.
  opened.defer(() => fpm.stop());
  const resources = opened.move();
  return {
    fpm,
    control,
    pool,
    log,
    address: formatAddress(address),
    run: (fields: Partial<Job> = {}, signal = NEVER) => executor.execute(jobOf(fields), signal),
    /** Runs a job by an executor of its own. */
    runAs: (own: Partial<FastCgiExecutorOptions>, fields: Partial<Job> = {}) =>
      new FastCgiExecutor({ ...deps, observe: log.observe }, { ...options, ...own })
        .execute(jobOf(fields), NEVER),
    file: (name: string) => `${fpm.directory}/${name}`,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

function jobOf(fields: Partial<Job> = {}): Job {
  return {
    id: "17",
    queue: "mail",
    payload: new TextEncoder().encode("payload"),
    attempt: 2,
    maxAttempts: 5,
    enqueuedAtMs: 1_700_000_000_000,
    deadlineMs: 1_700_000_060_000,
    ...fields,
  };
}

function errorOf(outcome: Outcome, kind: Outcome["kind"]): FervoError {
  assert.equal(outcome.kind, kind);
  return outcome.kind === "ack" ? assert.fail() : outcome.error;
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

// --- the answer, row by row

Deno.test("FastCgiExecutor reads ack from a script", async () => {
  await using t = await setUp(`echo "output"; ${SAY_ACK}`);
  assert.equal(await t.run(), ACK);
});

Deno.test("FastCgiExecutor reads retry with its delay and reason from a script", async () => {
  await using t = await setUp(`
    header('X-Fervo-Outcome: retry');
    header('X-Fervo-Delay-Ms: 1500');
    header('X-Fervo-Error: no route to höst');`);
  const outcome = await t.run();
  const { code, message } = errorOf(outcome, "retry");
  assert.deepEqual([code, message], ["JOB_FAILED", "The job failed: no route to höst"]);
  assert.equal(outcome.kind === "retry" && outcome.delayMs, 1_500);
});

Deno.test("FastCgiExecutor leaves a retry's delay to the policy when the script names none", async () => {
  await using t = await setUp("header('X-Fervo-Outcome: retry');");
  const outcome = await t.run();
  assert.deepEqual([outcome.kind, "delayMs" in outcome], ["retry", false]);
});

Deno.test("FastCgiExecutor reads bury with its reason from a script, and keeps STDERR", async () => {
  await using t = await setUp(`
    error_log('details for the log');
    header('X-Fervo-Error: no such order');
    header('X-Fervo-Outcome: bury');`);
  const { code, message, details } = errorOf(await t.run(), "bury");
  assert.deepEqual([code, message], ["JOB_FAILED", "The job failed: no such order"]);
  assert.match(details.stderr!, /details for the log/);
});

Deno.test("FastCgiExecutor takes a fatal error without display_errors for a failed attempt, with STDERR", async () => {
  await using t = await setUp("undefined_function();", { fpm: { ini: { display_errors: "0" } } });
  const { code, message, details } = errorOf(await t.run(), "retry");
  assert.deepEqual([code, details["status"]], ["JOB_NO_OUTCOME", 500]);
  assert.match(message, /^The script ended without an outcome: it answered status 500/);
  assert.match(details.stderr!, /Uncaught Error: Call to undefined function undefined_function\(\)/);
});

Deno.test("FastCgiExecutor takes a fatal error with display_errors for a failed attempt, though it looks fine", async () => {
  await using t = await setUp("undefined_function();", {
    fpm: { ini: { display_errors: "1" } },
  });
  const { code, details } = errorOf(await t.run(), "retry");
  assert.deepEqual([code, details["status"]], ["JOB_NO_OUTCOME", 200]);
  assert.match(details.stderr!, /Call to undefined function/);
});

Deno.test("FastCgiExecutor takes exit() for a failed attempt, whatever its code", async () => {
  for (const exit of ["exit;", "exit(0);", "exit(3);"]) {
    await using t = await setUp(`${exit} ${SAY_ACK}`);
    const { code, details } = errorOf(await t.run(), "retry");
    assert.deepEqual([code, details], ["JOB_NO_OUTCOME", { status: 200 }]);
  }
});

Deno.test("FastCgiExecutor takes a script without a word for a failed attempt", async () => {
  await using t = await setUp(`echo "all is well";`);
  assert.equal(errorOf(await t.run(), "retry").code, "JOB_NO_OUTCOME");
});

Deno.test("FastCgiExecutor does not take printed words for the outcome header", async () => {
  await using t = await setUp(`echo "X-Fervo-Outcome: ack\\r\\n\\r\\n";`);
  assert.equal(errorOf(await t.run(), "retry").code, "JOB_NO_OUTCOME");
});

Deno.test("FastCgiExecutor keeps the beginning and the end of STDERR with a failed attempt, up to its limit", async () => {
  const code = `for ($i = 0; $i < 200; $i++) error_log("deprecated thing $i"); the_real_reason();`;
  await using t = await setUp(code, { pool: { maxStderrBytes: 1_000 } });
  const { stderr } = errorOf(await t.run(), "retry").details;
  const [begin, end] = stderr!.split(/\n… \d+ bytes left out …\n/);
  assert.match(begin!, /^PHP message: deprecated thing 0/);
  assert.match(end!, /PHP Fatal error: {2}Uncaught Error: Call to undefined function the_real_reason\(\)/);
  assert.ok(begin!.length + end!.length <= 1_000);
});

Deno.test("FastCgiExecutor does not mind STDERR when the script says ack", async () => {
  await using t = await setUp(`error_log('a deprecation'); ${SAY_ACK}`);
  assert.equal(await t.run(), ACK);
  assert.deepEqual(t.log.of("job_stderr"), [{
    type: "job_stderr",
    jobs: [{ queue: "mail", id: "17", attempt: 2 }],
    stderr: "PHP message: a deprecation",
    level: "info",
  }]);
});

/** What PHP runs behind the last line of a script that has said ack. */
const LATE = [
  "register_shutdown_function(function () { throw new Exception('too late'); });",
  "class Late { function __destruct() { throw new Exception('too late'); } } $GLOBALS['late'] = new Late();",
  "register_shutdown_function(function () { trigger_error('too late', E_USER_ERROR); });",
  "register_shutdown_function(function () { eval('too late'); });",
];

Deno.test("FastCgiExecutor warns of a fatal error behind an ack, whatever ran into it, and can take the job for failed", async () => {
  await using t = await setUp("eval(file_get_contents('php://input'));");
  const script = await t.fpm.writeScript("late.php", "<?php eval(file_get_contents('php://input'));");
  for (const late of LATE) {
    const fields = { payload: new TextEncoder().encode(`${SAY_ACK} error_log('before'); ${late}`) };
    assert.equal(await t.run(fields), ACK);
    const { jobs, level, stderr, fatal } = t.log.of("job_stderr").at(-1)!;
    assert.deepEqual([jobs.length, jobs[0]?.id, level], [1, "17", "warn"]);
    assert.match(fatal!, /^PHP (?:Fatal|Parse) error: {2}.*late/);
    assert.match(stderr, /^PHP message: before; PHP message: PHP (?:Fatal|Parse) error: /);
    const outcome = await t.runAs({ script, fatalAfterAck: "fail" }, fields);
    const { code, message, details } = errorOf(outcome, "retry");
    assert.equal(code, "JOB_FAILED");
    assert.match(
      message,
      /^The job reported success, and failed after that: PHP (?:Fatal|Parse) error: /,
    );
    assert.equal(details.stderr, stderr.replaceAll("job.php", "late.php"));
  }
  assert.equal(t.log.of("job_stderr").length, LATE.length);
});

Deno.test("FastCgiExecutor finds a fatal error that ack_on = status takes for success", async () => {
  await using t = await setUp("nofn();", {
    fpm: { ini: { display_errors: "on" } },
    executor: { ackOn: "status", fatalAfterAck: "fail" },
  });
  assert.match(
    errorOf(await t.run(), "retry").message,
    /Uncaught Error: Call to undefined function nofn\(\)/,
  );
});

for (
  const [logging, ackOn] of [["1", "outcome"], ["1", "status"], ["0", "outcome"], ["0", "status"]] as const
) {
  const setting = `fastcgi.logging = ${logging}, ack_on = ${ackOn}`;

  Deno.test(`FastCgiExecutor takes what php-fpm itself answers to a wrong script for a misconfiguration (${setting})`, async () => {
    await using t = await setUp("", {
      fpm: { masterIni: { "fastcgi.logging": logging }, ini: { open_basedir: "/nonexistent" } },
    });
    const text = await t.fpm.writeScript("job.txt", `<?php ${SAY_ACK}`);
    const cases: [script: string, says: RegExp][] = [
      [t.file("missing.php"), /cannot find the script ".*\/missing.php": file not found/],
      [text, /does not run the script ".*\/job.txt": access denied; see security.limit_extensions/],
      [
        t.file("job.php"),
        logging === "1" ? /job.php": Operation not permitted; see open_basedir/ : /see open_basedir/,
      ],
    ];
    for (const [script, says] of cases) {
      const outcome = await t.runAs({ script, ackOn });
      assert.equal(outcome.kind === "release" && outcome.reason, "misconfigured");
      assert.match(errorOf(outcome, "release").message, says);
    }
  });

  Deno.test(`FastCgiExecutor takes the same from a job for the job's failure (${setting})`, async () => {
    const answers = [
      `http_response_code(403); echo "Access denied.";`,
      `http_response_code(404); header('X-Mine: 1'); echo "File not found.\n";`,
      `http_response_code(404); error_log("Primary script unknown"); echo "File not found.\n";`,
      // Byte for byte: only a script that knows the check, or STDERR, can be told from php-fpm then.
      ...ackOn === "outcome" || logging === "1"
        ? [`http_response_code(404); echo "No input file specified.\n";`]
        : [],
    ].filter((code) => logging === "1" || !code.includes("error_log"));
    for (const code of answers) {
      const knowsCheck = `if (isset($_SERVER['FERVO_CHECK'])) { ${SAY_ACK} exit; }`;
      await using t = await setUp(`${knowsCheck} ${code}`, {
        fpm: { masterIni: { "fastcgi.logging": logging } },
        executor: { ackOn },
      });
      assert.equal(errorOf(await t.run(), "retry").code, "JOB_NO_OUTCOME", code);
    }
  });
}

Deno.test("FastCgiExecutor takes a PHP process that was killed for a crash, counted", async () => {
  for (
    const before of ["", "echo str_repeat('x', 100); flush();", SAY_ACK, `${SAY_ACK} echo 'x'; flush();`]
  ) {
    await using t = await setUp(`${before} ${KILL_ITSELF}`);
    const { code, message } = errorOf(await t.run(), "retry");
    assert.equal(code, "JOB_CRASHED");
    assert.match(message, /^The PHP process died while it ran the job: /);
  }
});

Deno.test("FastCgiExecutor runs a job once that kills its PHP process some time after it began", async () => {
  await using t = await setUp(`
    file_put_contents(__DIR__ . '/runs', 'x', FILE_APPEND);
    if (file_get_contents('php://input') === 'die') { usleep(1_100_000); ${KILL_ITSELF} }
    ${SAY_ACK}`);
  assert.equal(await t.run(), ACK);
  assert.equal(t.pool.stats.idle, 1, "the second job was to come on a kept connection");
  const { code } = errorOf(await t.run({ payload: new TextEncoder().encode("die") }), "retry");
  assert.deepEqual([code, await Deno.readTextFile(t.file("runs"))], ["JOB_CRASHED", "xx"]);
  assert.equal(await t.run(), ACK);
});

Deno.test("FastCgiExecutor puts a job back when there is no php-fpm, on a unix socket and over TCP", async () => {
  for (const [transport, reason] of [["unix", /no such socket/], ["tcp", /connection refused/]] as const) {
    await using t = await setUp(SAY_ACK, { fpm: { transport } });
    assert.equal(await t.run(), ACK);
    await t.fpm.stop();
    const outcome = await t.run();
    const { code, message } = errorOf(outcome, "release");
    assert.equal(outcome.kind === "release" && outcome.reason, "unavailable");
    assert.equal(code, "FASTCGI_CONNECT_FAILED");
    assert.ok(message.startsWith(`Cannot connect to php-fpm at "${t.address}": `), message);
    assert.match(message, reason);
    await t.fpm.restart();
    assert.equal(await t.run(), ACK);
  }
});

Deno.test("FastCgiExecutor puts a job back when php-fpm's listen queue is full", async () => {
  await using t = await setUp(
    `touch(__DIR__ . '/began'); while (!file_exists(__DIR__ . '/go')) usleep(1000); ${SAY_ACK}`,
    { fpm: { children: 1, poolLines: ["listen.backlog = 2"] } },
  );
  const running = t.run();
  await eventually("the only child runs a job", () => exists(t.file("began")));
  const queued: Deno.Conn[] = [];
  await assert.rejects(async () => {
    for (;;) queued.push(await Deno.connect({ transport: "unix", path: t.address }));
  }, Deno.errors.WouldBlock);

  const outcome = await t.run();
  const { code, message } = errorOf(outcome, "release");
  assert.equal(outcome.kind === "release" && outcome.reason, "unavailable");
  assert.deepEqual([code, message], [
    "FASTCGI_OVERLOADED",
    `Cannot connect to php-fpm at "${t.address}": its listen queue is full`,
  ]);
  for (const socket of queued) socket.close();
  await Deno.writeTextFile(t.file("go"), "");
  assert.equal(await running, ACK);
});

Deno.test("FastCgiExecutor ends a job whose time is up as JOB_TIMEOUT and closes its connection", async () => {
  await using t = await setUp(`
    ignore_user_abort(true);
    touch(__DIR__ . '/began');
    while (!file_exists(__DIR__ . '/go')) usleep(1000);
    while (!connection_aborted()) { echo 'x'; flush(); usleep(1000); }
    touch(__DIR__ . '/noticed');`);
  const controller = new AbortController();
  const running = t.run({}, controller.signal);
  await eventually("the job runs", () => exists(t.file("began")));
  const timeout = new JobError("JOB_TIMEOUT", "The job took longer than timeout_ms = 5 allows");
  controller.abort(timeout);
  assert.equal(errorOf(await running, "retry"), timeout);
  assert.deepEqual([t.pool.stats.busy, t.pool.stats.idle], [0, 0]);
  await Deno.writeTextFile(t.file("go"), "");
  await eventually("PHP notices that the connection is closed", () => exists(t.file("noticed")));
});

Deno.test("FastCgiExecutor with ackOn = status takes any 2xx for success, and obeys a word all the same", async () => {
  const cases = [
    ["", "ack"],
    ["http_response_code(204);", "ack"],
    ["http_response_code(500);", "retry"],
    ["http_response_code(404);", "retry"],
    ["header('X-Fervo-Outcome: bury');", "bury"],
    ["header('X-Fervo-Outcome: rubbish');", "retry"],
    ["undefined_function();", "retry"],
    [KILL_ITSELF, "retry"],
  ] as const;
  await using t = await setUp("eval(file_get_contents('php://input'));", { executor: { ackOn: "status" } });
  for (const [code, kind] of cases) {
    assert.equal((await t.run({ payload: new TextEncoder().encode(code) })).kind, kind, code);
  }
});

// --- the request

Deno.test("FastCgiExecutor gives PHP exactly the documented params", async () => {
  await using t = await setUp(
    `file_put_contents(__DIR__ . '/server', json_encode($_SERVER)); ${SAY_ACK}`,
    { executor: { params: { APP_ENV: "prod" } } },
  );
  const serverOf = async (fields: Partial<Job>) => {
    assert.equal(await t.run(fields), ACK);
    return JSON.parse(await Deno.readTextFile(t.file("server"))) as Record<string, unknown>;
  };
  // What PHP adds by itself.
  const own = ["USER", "HOME", "FCGI_ROLE", "PHP_SELF", "REQUEST_TIME", "REQUEST_TIME_FLOAT", "argv", "argc"];
  const sent = Object.entries(await serverOf({ traceparent: "00-abc-def-01" }))
    .filter(([name]) => !own.includes(name));
  assert.deepEqual(Object.fromEntries(sent), {
    GATEWAY_INTERFACE: "CGI/1.1",
    SERVER_PROTOCOL: "HTTP/1.1",
    SERVER_SOFTWARE: "fervo-worker",
    REQUEST_METHOD: "POST",
    SCRIPT_FILENAME: t.file("job.php"),
    SCRIPT_NAME: "/mail/17",
    QUERY_STRING: "",
    CONTENT_TYPE: "application/octet-stream",
    APP_ENV: "prod",
    REQUEST_URI: "/mail/17",
    CONTENT_LENGTH: "7",
    FERVO_JOB_ID: "17",
    FERVO_QUEUE: "mail",
    FERVO_ATTEMPT: "2",
    FERVO_MAX_ATTEMPTS: "5",
    FERVO_ENQUEUED_AT: "1700000000000",
    FERVO_DEADLINE: "1700000060000",
    HTTP_TRACEPARENT: "00-abc-def-01",
  });
  // On the same connection, and so in the same PHP process.
  const next = await serverOf({ id: "18" });
  assert.deepEqual([next["FERVO_JOB_ID"], "HTTP_TRACEPARENT" in next], ["18", false]);
});

Deno.test("FastCgiExecutor names the job on php-fpm's status page", async () => {
  await using t = await setUp(`
    touch(__DIR__ . '/began'); while (!file_exists(__DIR__ . '/go')) usleep(1000);
    ${SAY_ACK}`);
  const running = t.run({ queue: "mail", id: "17" });
  await eventually("the job to begin", () => Deno.stat(t.file("began")).then(() => true, () => false));
  const status = await t.pool.request({
    params: [
      ["REQUEST_METHOD", "GET"],
      ["SCRIPT_NAME", t.fpm.statusPath],
      ["SCRIPT_FILENAME", t.fpm.statusPath],
      ["QUERY_STRING", "json&full"],
    ],
    body: new Uint8Array(0),
  }, new AbortController().signal);
  const { processes } = JSON.parse(new TextDecoder().decode(status.body));
  assert.ok(
    processes.some((process: Record<string, unknown>) => process["request uri"] === "/mail/17"),
    JSON.stringify(processes),
  );
  await Deno.writeTextFile(t.file("go"), "");
  assert.equal(await running, ACK);
});

Deno.test("FastCgiExecutor names the job in REQUEST_URI, escaped", async () => {
  await using t = await setUp(`
    header('X-Fervo-Outcome: bury');
    header("X-Fervo-Error: {$_SERVER['REQUEST_URI']} {$_SERVER['FERVO_QUEUE']} {$_SERVER['FERVO_JOB_ID']}");`);
  const { message } = errorOf(await t.run({ queue: "a/b c", id: "é?x=1" }), "bury");
  assert.equal(message, "The job failed: /a%2Fb%20c/%C3%A9%3Fx%3D1 a/b c é?x=1");
});

Deno.test("FastCgiExecutor gives PHP the payload byte for byte, of any size", async () => {
  await using t = await setUp(`
    header('X-Fervo-Outcome: bury');
    $body = file_get_contents('php://input');
    header('X-Fervo-Error: ' . strlen($body) . ' ' . hash('sha256', $body));`);
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  const random = new Uint8Array(65_536);
  crypto.getRandomValues(random);
  const big = new Uint8Array(9_000_000);
  for (let at = 0; at < big.length; at += random.length) big.set(random.subarray(0, big.length - at), at);
  for (const payload of [new Uint8Array(), all, random, random.subarray(1), big]) {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", payload)).toHex();
    const { message } = errorOf(await t.run({ payload }), "bury");
    assert.equal(message, `The job failed: ${payload.length} ${hash}`);
  }
});

Deno.test("FastCgiExecutor gives PHP the payload as a param, exactly, where it is told to", async () => {
  await using t = await setUp(
    `
    header('X-Fervo-Outcome: bury');
    header('X-Fervo-Error: ' . bin2hex($_SERVER['DEFERRED_DATA']) . strlen(file_get_contents('php://input')));`,
    { executor: { payloadParam: "DEFERRED_DATA" } },
  );
  for (const text of ["", '{"a": "é"}', "\ufeff\r\n=&"]) {
    const payload = new TextEncoder().encode(text);
    const { message } = errorOf(await t.run({ payload }), "bury");
    assert.equal(message, `The job failed: ${payload.toHex()}0`);
  }
});

Deno.test("FastCgiExecutor buries a payload that does not fit one record as a param, and names the param", async () => {
  await using t = await setUp(
    `${SAY_ACK} file_put_contents(__DIR__ . '/runs', strlen($_SERVER['DEFERRED_DATA']));`,
    { executor: { payloadParam: "DEFERRED_DATA" } },
  );
  const { code, details } = errorOf(await t.run({ payload: new Uint8Array(70_000).fill(0x61) }), "bury");
  assert.deepEqual([code, details["param"]], ["FASTCGI_PARAM_TOO_LARGE", "DEFERRED_DATA"]);
  assert.equal(await exists(t.file("runs")), false);
  assert.equal(await t.run({ payload: new Uint8Array(60_000).fill(0x61) }), ACK);
  assert.equal(await Deno.readTextFile(t.file("runs")), "60000");
});

Deno.test("FastCgiExecutor lets no message set PHP's settings, its script or further params", async () => {
  const code = `
    $seen = [ini_get('precision'), ini_get('auto_prepend_file'), __FILE__, array_keys($_SERVER), getenv('HTTP_PROXY')];
    file_put_contents(__DIR__ . '/seen', json_encode($seen)); ${SAY_ACK}`;
  await using t = await setUp(code, { fpm: { children: 1 }, executor: { payloadParam: "DEFERRED_DATA" } });
  const seenBy = async (fields: Partial<Job>) => {
    assert.equal(await t.run(fields), ACK);
    return await Deno.readTextFile(t.file("seen"));
  };
  const usual = await seenBy({ traceparent: "00" });
  for (const name of RESERVED_PARAMS) {
    const value = "precision=3\nauto_prepend_file=/etc/passwd";
    // As text, as a CGI line, and as an encoded pair behind a value that claims to have ended.
    const pair = String.fromCharCode(name.length, value.length) + name + value;
    for (const evil of [`${name}=${value}`, `x\r\n${name}: ${value}`, `\u0000${pair}`, pair]) {
      // With a NUL it would be refused before.
      const payload = new TextEncoder().encode(evil.replaceAll("\0", "\x01"));
      assert.equal(await seenBy({ id: evil, queue: evil, traceparent: evil, payload }), usual);
    }
  }
  assert.equal(await seenBy({ traceparent: "00" }), usual);
});

/** Notes each run, and dies at once. */
const DIE_AT_ONCE =
  `file_put_contents(__DIR__ . '/runs', ($_SERVER['FERVO_REPEAT'] ?? '0') . "\\n", FILE_APPEND);
  if (file_get_contents('php://input') === 'die') { posix_kill(getmypid(), 9); usleep(1000000); }
  header('X-Fervo-Outcome: ack');`;

for (
  const [what, transport, hasStatusPage, attempt, runs] of [
    ["once where the status page shows that php-fpm has stayed", "unix", true, 1, ["0", "0"]],
    ["once where the status page shows that php-fpm has stayed", "tcp", true, 1, ["0", "0"]],
    ["once more, as a repeat, without a status page", "unix", false, 1, ["0", "0", "1"]],
    ["once at its last attempt, without a status page", "unix", false, 5, ["0", "0"]],
  ] as const
) {
  Deno.test(`FastCgiExecutor runs a job that kills its kept child at once ${what} (${transport})`, async () => {
    await using t = await setUp(DIE_AT_ONCE, {
      fpm: { children: 1, transport },
      pool: { idleMs: 60_000 },
      hasStatusPage,
    });
    if (hasStatusPage) {
      // Within its first second or two everything is php-fpm's doing.
      await eventually("php-fpm is old enough", async () => (await t.control.status())!.uptimeS > 2);
    }
    assert.equal(await t.run(), ACK);
    const die = await t.run({ payload: new TextEncoder().encode("die"), attempt });
    assert.equal(errorOf(die, "retry").code, "JOB_CRASHED");
    const lines = (await Deno.readTextFile(t.file("runs"))).trimEnd().split("\n");
    assert.deepEqual(lines, runs);
    assert.equal(t.log.of("job_resent").length, runs.length - 2);
  });
}
