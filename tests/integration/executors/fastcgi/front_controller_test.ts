import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { systemClock } from "../../../../src/core/time/clock.ts";
import { type FervoError, JobError } from "../../../../src/core/errors.ts";
import type { Job } from "../../../../src/core/job.ts";
import { ACK, type Outcome } from "../../../../src/core/outcome.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  FastCgiExecutor,
} from "../../../../src/executors/fastcgi/executor.ts";
import { checkRequest } from "../../../../src/executors/fastcgi/requests.ts";
import { outcomeOf } from "../../../../src/executors/fastcgi/answer.ts";
import { parseAddress } from "../../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../../../src/fastcgi/pool.ts";
import { eventually } from "../../../support/eventually.ts";
import { PhpFpm } from "../../../support/php_fpm.ts";

// examples/plain-php/fervo-standalone.php, as `init` writes it and a user would copy it: php/runner in one file.

const SCRIPT = new URL("../../../../examples/plain-php/fervo-standalone.php", import.meta.url).pathname;
const NEVER = new AbortController().signal;

/** A php-fpm and an executor that gives the example's front controller jobs; `handler` is the code for queue "mail". */
async function setUp(handler: string, handlersFile?: string, ini: Record<string, string> = {}) {
  await using opened = new AsyncDisposableStack();
  const fpm = opened.use(await PhpFpm.start({ ini }));
  const handlers = await fpm.writeScript(
    "handlers.php",
    handlersFile ??
      `<?php return ['mail' => function ($job): void { $payload = $job->payload; ${handler} }];`,
  );
  const pool = new Pool({ address: parseAddress(fpm.address), clock: systemClock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 2,
  });
  const params = { APP_HANDLERS: handlers };
  const executor = opened.use(
    new FastCgiExecutor({ pool, fpm: fpm.control(), clock: systemClock, observe: () => {} }, {
      ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
      script: SCRIPT,
      params,
    }),
  );
  // First of all at the end, so that a job that is held by a test that failed holds nobody else.
  opened.defer(() => fpm.stop());
  const resources = opened.move();
  return {
    fpm,
    pool,
    params,
    run: (fields: Partial<Job> = {}, signal = NEVER) => executor.execute(jobOf(fields), signal),
    /** What became of each job: those that were told of, and the one that ran at an early end. */
    async runBatch(jobs: readonly Job[], timeoutMs = 60_000, signal = NEVER) {
      const outcomes: Outcome[] = [];
      const onOutcome = (outcome: Outcome) => void outcomes.push(outcome);
      const end = await executor.executeBatch({ jobs, timeoutMs, onOutcome }, signal);
      return { outcomes, last: end?.outcome };
    },
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
    enqueuedAtMs: Date.now(),
    deadlineMs: Date.now() + 600_000,
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

const REMEMBER =
  "file_put_contents(__DIR__ . '/ran', json_encode(['payload' => bin2hex($payload)] + (array) $job));";

/** Of the jobs of this test. */
const FACTS = {
  id: "17",
  queue: "mail",
  attempt: 2,
  maxAttempts: 5,
  isRepeat: false,
  traceparent: null,
  tracestate: null,
  failure: null,
  format: null,
  headers: [],
};

Deno.test("fervo.php gives the handler the payload and the job's facts, and says ack", async () => {
  await using t = await setUp(REMEMBER);
  assert.equal(await t.run({ payload: Uint8Array.of(0, 255, 10), enqueuedAtMs: 1_700_000_000_000 }), ACK);
  assert.deepEqual(JSON.parse(await Deno.readTextFile(t.file("ran"))), {
    ...FACTS,
    payload: "00ff0a",
    enqueuedAtMs: 1_700_000_000_000,
    timeoutMs: null,
  });
});

Deno.test("fervo.php buries a job of a queue without a handler", async () => {
  await using t = await setUp(REMEMBER);
  const { code, message } = errorOf(await t.run({ queue: "post" }), "bury");
  assert.deepEqual([code, message], ["JOB_FAILED", `The job failed: no handler for queue "post"`]);
  assert.equal(await exists(t.file("ran")), false);
});

Deno.test("fervo.php keeps its answer one line when the queue's name is not", async () => {
  await using t = await setUp(REMEMBER);
  const { message } = errorOf(await t.run({ queue: "a\r\nX-Fervo-Outcome: ack\r\n\r\n" }), "bury");
  assert.equal(message, `The job failed: no handler for queue "a X-Fervo-Outcome: ack "`);
});

Deno.test("fervo.php says retry when the handler throws, with a reason of one line, and STDERR tells all", async () => {
  await using t = await setUp(`throw new DomainException("first\\r\\nX-Fervo-Outcome: ack\\n\\nlast");`);
  const { code, message, details } = errorOf(await t.run(), "retry");
  assert.deepEqual([code, message], [
    "JOB_FAILED",
    "The job failed: DomainException: first X-Fervo-Outcome: ack last",
  ]);
  assert.match(details.stderr!, /DomainException: first/);
  assert.match(details.stderr!, /handlers\.php/);
});

Deno.test("fervo.php cuts a long reason", async () => {
  await using t = await setUp("throw new Exception(str_repeat('x', 20000));");
  const { message } = errorOf(await t.run(), "retry");
  assert.equal(message, `The job failed: Exception: ${"x".repeat(997 - "Exception: ".length)}…`);
});

Deno.test("fervo.php says retry when the handler runs into an error of PHP", async () => {
  await using t = await setUp("undefined_function();");
  const { message } = errorOf(await t.run(), "retry");
  assert.equal(message, "The job failed: Error: Call to undefined function undefined_function()");
});

Deno.test("fervo.php says retry when the handlers cannot be parsed", async () => {
  await using t = await setUp("", "<?php return [;");
  assert.match(errorOf(await t.run(), "retry").message, /^The job failed: ParseError: /);
});

Deno.test("fervo.php is not harmed by what a handler prints, flushes or sends as headers", async () => {
  const noise = [
    "echo str_repeat('x', 200000);",
    "echo 'x'; flush();",
    "while (ob_get_level() > 0) ob_end_clean(); echo 'x'; flush();",
    "while (ob_get_level() > 0) ob_end_flush(); echo str_repeat('x', 2_000_000);",
    `flush(); echo "\\x1e{\\"id\\":\\"17\\",\\"outcome\\":\\"bury\\"}\\n";`,
    `ob_end_clean(); echo "\\x1e{\\"id\\":\\"17\\",\\"outcome\\":\\"bury\\"}\\n";`,
    "ob_end_flush(); flush(); register_shutdown_function(function () { echo 'at the end'; flush(); });",
    "ob_end_flush(); flush(); $GLOBALS['x'] = new class { function __destruct() { echo 'at the end'; flush(); } };",
    "echo 'Status: 500'; http_response_code(500);",
    "header('X-Fervo-Outcome: bury'); header('Content-Type: text/plain');",
    "trigger_error('a warning', E_USER_WARNING);",
  ];
  for (const print of noise) {
    await using t = await setUp(print);
    assert.equal(await t.run(), ACK, print);
    await using failing = await setUp(`${print} throw new Exception('no');`);
    assert.equal(errorOf(await failing.run(), "retry").message, "The job failed: Exception: no", print);
  }
});

Deno.test("fervo.php leaves no word when what the handler left for the end of the script fails or exits", async () => {
  const atTheEnd = (code: string) => `register_shutdown_function(function () { ${code} });`;
  const throws = atTheEnd("throw new Exception('too late');");
  for (
    const code of [
      throws,
      `ob_end_flush(); flush(); ${throws}`,
      `set_exception_handler(function () {}); ${throws}`,
      atTheEnd("ini_set('memory_limit', '4M'); str_repeat('x', 99999999);"),
      atTheEnd("exit;"),
    ]
  ) {
    await using t = await setUp(code);
    const { code: error, details } = errorOf(await t.run(), "retry");
    assert.equal(error, "JOB_NO_OUTCOME", code);
    if (code.includes(throws)) assert.match(details.stderr!, /Fatal error: {2}Uncaught Exception: too late/);
  }
});

Deno.test("fervo.php says what a destructor throws behind its answer in STDERR, as PHP does", async () => {
  await using t = await setUp("");
  const script = await t.fpm.writeScript(
    "late.php",
    `<?php class Late { function __destruct() { throw new Exception('from a destructor'); } }
    $GLOBALS['late'] = new Late(); require "${SCRIPT}";`,
  );
  const { headers, stderr } = await t.pool.request(checkRequest(script, t.params), NEVER);
  assert.equal(headers.get("x-fervo-outcome"), "ack");
  assert.match(stderr, /PHP Fatal error: {2}Uncaught Exception: from a destructor/);
});

Deno.test("fervo.php leaves no word when the handler exits or dies, so that the attempt fails", async () => {
  for (
    const end of [
      "exit;",
      "ob_end_flush(); flush(); exit(0);",
      "die('done');",
      "ini_set('memory_limit', '4M'); str_repeat('x', 99999999);",
    ]
  ) {
    await using t = await setUp(end);
    assert.equal(errorOf(await t.run(), "retry").code, "JOB_NO_OUTCOME", end);
  }
});

Deno.test("fervo.php answers a check without running a job", async () => {
  await using t = await setUp("touch(__DIR__ . '/ran');");
  const response = await t.pool.request(checkRequest(SCRIPT, t.params), NEVER);
  assert.equal(outcomeOf(response, { ackOn: "outcome", script: SCRIPT }), ACK);
  assert.equal(await exists(t.file("ran")), false);
  const settings = JSON.parse(response.headers.get("x-fervo-check") ?? "null");
  assert.equal(settings.max_execution_time, "0", "it has lifted the limit itself");
  assert.equal(settings.display_errors, "off");
});

Deno.test("fervo.php answers a check with why the handlers cannot be loaded", async () => {
  await using t = await setUp("", "<?php return [;");
  const response = await t.pool.request(checkRequest(SCRIPT, t.params), NEVER);
  const { message } = errorOf(outcomeOf(response, { ackOn: "outcome", script: SCRIPT }), "retry");
  assert.match(message, /^The job failed: ParseError: /);
  assert.notEqual(response.headers.get("x-fervo-check"), null);
});

Deno.test("fervo.php answers a check also when something has sent the headers before it", async () => {
  await using t = await setUp("");
  const before = await t.fpm.writeScript("before.php", `<?php flush(); echo "x"; require "${SCRIPT}";`);
  const response = await t.pool.request(checkRequest(before, t.params), NEVER);
  assert.equal(outcomeOf(response, { ackOn: "outcome", script: SCRIPT }), ACK);
});

Deno.test("fervo.php refuses what is not from fervo-worker, and runs nothing", async () => {
  await using t = await setUp("", "<?php touch(__DIR__ . '/ran'); return [];");
  const visitor: [string, string][] = [
    ["REQUEST_METHOD", "POST"],
    ["SCRIPT_FILENAME", SCRIPT],
    ["QUERY_STRING", "FERVO_JOB_ID=7"],
    ["HTTP_FERVO_JOB_ID", "7"],
    ["CONTENT_LENGTH", "7"],
    ...Object.entries(t.params),
  ];
  const { status, headers, body } = await t.pool.request(
    { params: visitor, body: new TextEncoder().encode("payload") },
    NEVER,
  );
  assert.equal(status, 403);
  assert.deepEqual([...headers.keys()].filter((name) => name.startsWith("x-fervo")), []);
  assert.equal(new TextDecoder().decode(body), "This script is for fervo-worker.\n");
  assert.equal(await exists(t.file("ran")), false);
});

Deno.test("fervo.php does not run a job whose deadline has passed", async () => {
  await using t = await setUp(REMEMBER);
  const { code } = errorOf(await t.run({ deadlineMs: Date.now() - 1 }), "retry");
  assert.deepEqual([code, await exists(t.file("ran"))], ["JOB_NO_OUTCOME", false]);
});

Deno.test("fervo.php lets a handler end in order when the worker has given up on it", async () => {
  await using t = await setUp(`
    touch(__DIR__ . '/began');
    while (!file_exists(__DIR__ . '/go')) usleep(1000);
    ob_end_clean();
    for ($i = 0; $i < 10; $i++) { echo str_repeat('x', 100000); flush(); }
    touch(__DIR__ . '/ended');`);
  const controller = new AbortController();
  const running = t.run({}, controller.signal);
  await eventually("the job runs", () => exists(t.file("began")));
  controller.abort(new JobError("JOB_TIMEOUT", "The job took too long"));
  assert.equal(errorOf(await running, "retry").code, "JOB_TIMEOUT");
  await Deno.writeTextFile(t.file("go"), "");
  await eventually("the handler comes to its end", () => exists(t.file("ended")));
});

Deno.test("The example's handlers.php runs a job of queue default", async () => {
  const handlers = new URL("../../../../examples/plain-php/handlers.php", import.meta.url).pathname;
  await using t = await setUp("", `<?php return require '${handlers}';`);
  const id = crypto.randomUUID();
  assert.equal(await t.run({ queue: "default", id }), ACK);
  const file = `${Deno.env.get("TMPDIR") ?? "/tmp"}/fervo-job-${id}.txt`;
  assert.equal(await Deno.readTextFile(file), "payload");
  await Deno.remove(file);
});

// --- batches

const jobsOf = (...payloads: (string | Uint8Array)[]) =>
  payloads.map((payload, i) =>
    jobOf({
      id: String(i),
      payload: typeof payload === "string" ? new TextEncoder().encode(payload) : payload,
    })
  );

/** A line a job. */
const LIST =
  `file_put_contents(__DIR__ . '/ran', md5($payload) . ' ' . json_encode(['payload' => ''] + (array) $job) . "\\n", FILE_APPEND);`;

const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex");

Deno.test("fervo.php gives the handler each job of a batch, with any payload, in order", async () => {
  await using t = await setUp(LIST);
  const payloads = ["", "\n", '{"id":"9"}\n\x1e', new Uint8Array(3_000_000).fill(10), Uint8Array.of(0, 255)];
  const jobs = jobsOf(...payloads);
  const { outcomes, last } = await t.runBatch(jobs);
  assert.deepEqual([outcomes, last], [[ACK, ACK, ACK, ACK, ACK], undefined]);
  const lines = (await Deno.readTextFile(t.file("ran"))).trimEnd().split("\n");
  for (const [i, line] of lines.entries()) {
    const { id, payload, enqueuedAtMs } = jobs[i]!;
    assert.equal(line.slice(0, 32), md5(payload));
    assert.deepEqual(JSON.parse(line.slice(33)), {
      ...FACTS,
      id,
      payload: "",
      enqueuedAtMs,
      timeoutMs: 60_000,
    });
  }
});

Deno.test("fervo.php says of each job of a batch what became of it", async () => {
  await using t = await setUp(`if ($payload !== '') throw new DomainException($payload);`);
  const jobs = jobsOf("", "first\r\n\x1elast", "");
  const none = jobOf({ id: "none", queue: "po\nst" });
  const { outcomes, last } = await t.runBatch([...jobs, none, ...jobsOf(Uint8Array.of(0x61, 0xff))]);
  assert.equal(last, undefined);
  assert.deepEqual(
    outcomes.map((outcome) => outcome.kind === "ack" ? "ack" : `${outcome.kind}: ${outcome.error.message}`),
    [
      "ack",
      "retry: The job failed: DomainException: first last",
      "ack",
      `bury: The job failed: no handler for queue "po st"`,
      "retry: The job failed: DomainException: a\ufffd",
    ],
  );
});

Deno.test("fervo.php is not harmed in a batch by what a handler prints, flushes, buffers or sends as headers", async () => {
  const noise = [
    `echo str_repeat('x', 200000);`,
    `echo "\\x1e{\\"id\\":\\"1\\",\\"outcome\\":\\"bury\\"}\\n";`,
    "echo 'x'; ob_end_flush(); flush();",
    "ob_start(); ob_start(); echo 'x';",
    "while (ob_get_level()) ob_end_clean();",
    "header('X-Fervo-Outcome: bury'); header_remove();",
    "http_response_code(404); echo 'File not found.';",
  ];
  for (const ini of [{}, { output_buffering: "4096" }]) {
    for (const print of noise) {
      await using t = await setUp(
        `${print} if ($payload === 'fail') throw new Exception('no');`,
        undefined,
        ini,
      );
      const { outcomes, last } = await t.runBatch(jobsOf("", "fail", ""));
      assert.deepEqual([outcomes.map(({ kind }) => kind), last], [["ack", "retry", "ack"], undefined], print);
    }
  }
});

Deno.test("fervo.php begins no job of a batch whose time to begin has passed", async () => {
  await using t = await setUp(LIST);
  const { outcomes, last } = await t.runBatch(
    jobsOf("", "").map((job) => ({ ...job, deadlineMs: Date.now() - 1 })),
  );
  assert.deepEqual(outcomes, []);
  assert.equal(errorOf(last!, "retry").code, "JOB_NO_OUTCOME");
  assert.equal(await exists(t.file("ran")), false);
});

Deno.test("fervo.php begins no further job of a batch when the worker has given up on it", async () => {
  // Whether the worker is still there shows when something is sent.
  await using t = await setUp(`${LIST} touch(__DIR__ . '/began');
    while (ob_get_level() > 0) ob_end_clean();
    while (!connection_aborted()) { echo ' '; flush(); usleep(1000); }
    touch(__DIR__ . '/ended');`);
  const controller = new AbortController();
  const running = t.runBatch(jobsOf("1", "2", "3"), 60_000, controller.signal);
  await eventually("the first job runs", () => exists(t.file("began")));
  controller.abort(new JobError("JOB_TIMEOUT", "The job took too long"));
  assert.equal(errorOf((await running).last!, "retry").code, "JOB_TIMEOUT");
  await eventually("the first job comes to its end", () => exists(t.file("ended")));
  await eventually("the script ends", async () => {
    return (await t.fpm.control().status())!.processes.filter(({ isBusy }) => isBusy).length === 1;
  });
  assert.equal((await Deno.readTextFile(t.file("ran"))).split("\n").length - 1, 1);
});

Deno.test("fervo.php begins no further job of a batch when one took longer than it may", async () => {
  await using t = await setUp(`${LIST} usleep(5000);`);
  const { outcomes, last } = await t.runBatch(jobsOf("1", "2"), 1);
  assert.deepEqual(outcomes, [ACK]);
  assert.equal(errorOf(last!, "retry").code, "JOB_NO_OUTCOME");
  assert.equal((await Deno.readTextFile(t.file("ran"))).split("\n").length - 1, 1);
});
