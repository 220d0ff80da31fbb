import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { fervoWorker, fervoWorkerOk, Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const UNITS_MS = { "500ms": 500, "10s": 10_000, "2h": 7_200_000 } as const;

Deno.test("push prints the id of the job, which holds the payload as given", async () => {
  await using site = await Site.create();
  assert.equal(await site.runOk(["push", "jobs", '{"to":"ann@example.org"}']), 'Pushed job 1 to "jobs"\n');
  assert.equal(await site.runOk(["push", "jobs"]), 'Pushed job 2 to "jobs"\n');
  const bytes = new Uint8Array([0, 1, 10, 13, 254, 255]);
  assert.equal(await site.runOk(["push", "jobs", "-"], { stdin: bytes }), 'Pushed job 3 to "jobs"\n');
  const rows = site.queueRows("SELECT CAST(payload AS BLOB) AS payload FROM fervo_jobs ORDER BY id");
  assert.deepEqual(rows.map(({ payload }) => payload), [
    new TextEncoder().encode('{"to":"ann@example.org"}'),
    new Uint8Array(0),
    bytes,
  ]);
});

Deno.test("push --count pushes the job so many times, and --json tells all ids", async () => {
  await using site = await Site.create();
  assert.equal(
    await site.runOk(["push", "jobs", "{}", "--count", "3"]),
    'Pushed 3 jobs, 1 to 3, to "jobs"\n',
  );
  const told = JSON.parse(await site.runOk(["push", "jobs", "{}", "--count", "1200", "--json"]));
  assert.deepEqual(told, {
    queue: "jobs",
    count: 1_200,
    ids: Array.from({ length: 1_200 }, (_, i) => `${i + 4}`),
  });
  assert.equal(site.queueRows("SELECT * FROM fervo_jobs").length, 1_203);
});

for (const [text, ms] of Object.entries(UNITS_MS)) {
  Deno.test(`push --delay ${text} makes the job due ${ms} ms later`, async () => {
    await using site = await Site.create();
    await site.runOk(["push", "jobs", "{}", "--delay", text]);
    const [row] = site.queueRows("SELECT state, due_at - created_at AS delay FROM fervo_jobs");
    assert.deepEqual({ ...row }, { state: "delayed", delay: ms });
  });
}

Deno.test("push --priority runs the higher ones first, in order within one", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 1 } });
  for (const [payload, priority] of [["a", "0"], ["b", "-5"], ["c", "7"], ["d", "0"], ["e", "7"]] as const) {
    await site.runOk(["push", "jobs", payload, "--priority", priority]);
  }
  await site.runOk(["run", "--until-empty"]);
  assert.deepEqual(site.payloads(), ["c", "e", "a", "d", "b"]);
});

Deno.test("push --attempts limits the tries of this job, whatever the consumer says", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 1 }, retry: { attempts: 5 } });
  await site.runOk(["push", "jobs", '{"fail_until":99}', "--attempts", "2"]);
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  assert.deepEqual(site.effects().map(({ attempt }) => attempt), [1, 2]);
  assert.equal(JSON.parse(await site.runOk(["dead", "list", "--json"]))[0].attempts, 2);
});

Deno.test("push says when no consumer of the configuration takes jobs from the queue, and pushes all the same", async () => {
  await using site = await Site.create();
  const { code, stdout, stderr } = await site.run(["push", "jbos", "{}"]);
  assert.deepEqual({ code, stdout, stderr }, {
    code: 0,
    stdout: 'Pushed job 1 to "jbos"\n',
    stderr: 'fervo-worker: No consumer of this configuration takes jobs from "jbos"; did you mean "jobs"?\n',
  });
});

Deno.test("push --broker names a broker, and a wrong name is told with the right ones", async () => {
  await using site = await Site.create();
  await site.runOk(["push", "jobs", "{}", "--broker", "default"]);
  const { code, stderr } = await site.run(["push", "jobs", "{}", "--broker", "other"]);
  assert.equal(code, 3);
  assert.equal(stderr, 'fervo-worker: The configuration has no broker "other"; it has "default"\n');
});

Deno.test("queues shows every queue that is consumed or holds a job, by state", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, {
    consumer: { queues: ["jobs", "mail"], concurrency: 1 },
    retry: { attempts: 1 },
  });
  await site.push('{"fail_until":1}', 2);
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  await site.push("{}", 3);
  await site.runOk(["push", "other", "{}", "--delay", "1h"]);
  await site.runOk(["pause", "mail"]);
  const rows = [
    { queue: "jobs", ready: 3, delayed: 0, reserved: 0, dead: 2, paused: false },
    { queue: "mail", ready: 0, delayed: 0, reserved: 0, dead: 0, paused: true },
    { queue: "other", ready: 0, delayed: 1, reserved: 0, dead: 0, paused: false },
  ].map((row) => ({ broker: "default", ...row, paused_until: null, pause_reason: null }));
  assert.deepEqual(JSON.parse(await site.runOk(["queues", "--json"])), rows);
  assert.equal(
    await site.runOk(["queues"]),
    [
      "READY  DELAYED  RESERVED  DEAD  PAUSED  BROKER   QUEUE",
      "    3        0         0     2          default  jobs",
      "    0        0         0     0  paused  default  mail",
      "    0        1         0     0          default  other",
      "",
    ].join("\n"),
  );
});

Deno.test("queues counts the jobs that run as reserved", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 } });
  await site.push(JSON.stringify({ wait_for: `${site.directory}/gate` }), 3);
  await using _worker = site.start(["run"]);
  await eventually("2 jobs run", () => site.effectCount() === 2);
  const [row] = JSON.parse(await site.runOk(["queues", "--json"]));
  const { ready, reserved } = row;
  assert.deepEqual({ ready, reserved }, { ready: 1, reserved: 2 });
});

/** A site with the dead letters 1 to 4, buried in this order; 4 is of the queue "mail". */
async function siteWithDeadLetters(fpm: PhpFpm): Promise<Site> {
  const site = await Site.create(fpm, {
    consumer: { queues: ["jobs", "mail"], concurrency: 1 },
    retry: { attempts: 1 },
  });
  await site.push('{"fail_until":1,"stderr":"what PHP logs"}', 3);
  await site.runOk(["push", "mail", '{"fail_until":1}']);
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  return site;
}

const idsOf = (json: string) => (JSON.parse(json) as { id: string }[]).map(({ id }) => id);

Deno.test("dead list shows the most recent first, with their errors; --queue, --limit and --after choose", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await siteWithDeadLetters(fpm);
  const lines = (await site.runOk(["dead", "list"])).split("\n");
  assert.match(lines[0]!, /^ID +QUEUE +DIED +ATTEMPTS +CODE +ERROR$/);
  assert.match(
    lines[1]!,
    /^4 +mail +\d{4}-\d\d-\d\dT\S+Z +1 +JOB_FAILED +The job failed: RuntimeException: As the payload says$/,
  );
  assert.equal(lines.length, 6);
  assert.deepEqual(idsOf(await site.runOk(["dead", "list", "--json"])), ["4", "3", "2", "1"]);
  assert.deepEqual(idsOf(await site.runOk(["dead", "list", "--json", "--queue", "mail"])), ["4"]);
  assert.deepEqual(idsOf(await site.runOk(["dead", "list", "--json", "--limit", "2"])), ["4", "3"]);
  assert.deepEqual(idsOf(await site.runOk(["dead", "list", "--json", "--after", "3"])), ["2", "1"]);
  assert.equal(await site.runOk(["dead", "list", "--queue", "nothing"]), "No dead letters\n");
});

Deno.test("dead show tells all of one dead letter: error, STDERR and payload", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await siteWithDeadLetters(fpm);
  const payload = '{"fail_until":1,"stderr":"what PHP logs"}';
  const text = await site.runOk(["dead", "show", "1"]);
  assert.match(
    text,
    /^Job: +1\nQueue: +jobs\nPushed: +\S+Z\nDied: +\S+Z\nAttempts: 1\nError: +JOB_FAILED: The job /,
  );
  assert.match(text, /\nSTDERR:\n {2}.*what PHP logs/);
  assert.ok(text.endsWith(`\nPayload (${payload.length} bytes):\n${payload}\n`));
  const json = JSON.parse(await site.runOk(["dead", "show", "1", "--json"]));
  assert.deepEqual(Object.keys(json), [
    "id",
    "queue",
    "attempts",
    "place",
    "enqueued_at",
    "died_at",
    "error",
    "earlier_errors",
    "payload",
  ]);
  assert.equal(json.payload, payload);
  const { code, stderr } = await site.run(["dead", "show", "99"]);
  assert.equal(code, 1);
  assert.equal(stderr, 'fervo-worker: There is no dead letter "99"; see: fervo-worker dead list\n');
});

Deno.test("dead retry makes jobs run again with all their tries, and names the ids that are none", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await siteWithDeadLetters(fpm);
  const { code, stdout, stderr } = await site.run(["dead", "retry", "2", "99", "3", "2"]);
  assert.equal(code, 1);
  assert.equal(stdout, "Retried 2 jobs\n");
  assert.equal(stderr, 'fervo-worker: There is no dead letter "99"; see: fervo-worker dead list\n');
  assert.deepEqual(
    site.queueRows("SELECT id, attempts FROM fervo_jobs WHERE state = 'ready' ORDER BY id").map((row) => ({
      ...row,
    })),
    [{ id: 2, attempts: 0 }, { id: 3, attempts: 0 }],
  );
  assert.equal(await site.runOk(["dead", "retry", "--all", "--yes"]), "Retried 2 jobs\n");
  assert.equal(await site.runOk(["dead", "retry", "--all", "--yes", "--json"]), '{"count":0}\n');
});

Deno.test("dead remove deletes the jobs it is told to, and those only", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await siteWithDeadLetters(fpm);
  await site.push("{}");
  assert.equal(await site.runOk(["dead", "remove", "1"]), "Removed 1 job\n");
  assert.deepEqual(idsOf(await site.runOk(["dead", "list", "--json"])), ["4", "3", "2"]);
  assert.equal(await site.runOk(["dead", "remove", "--all", "--yes", "--json"]), '{"count":3}\n');
  assert.equal(site.queueRows("SELECT * FROM fervo_jobs WHERE state = 'ready'").length, 1);
});

for (const verb of ["retry", "remove"]) {
  Deno.test(`dead ${verb} wants either ids, filters or --all, and does nothing else, with exit code 2`, async () => {
    await using fpm = await PhpFpm.start();
    await using site = await siteWithDeadLetters(fpm);
    for (const args of [[], ["1", "--all"], ["--all", "--queue", "jobs"], ["1", "--match", "x"]]) {
      const { code, stderr } = await site.run(["dead", verb, ...args]);
      assert.equal(code, 2);
      assert.match(stderr, /^fervo-worker: Give job ids, a filter \(--queue, .*\), or --all\n/);
    }
    const { code, stderr } = await site.run(["dead", verb, "--all"]);
    assert.equal(code, 2);
    assert.match(stderr, /^fervo-worker: Not an interactive terminal; pass --yes to confirm\n/);
    assert.equal(site.queueRows("SELECT * FROM fervo_jobs WHERE state = 'dead'").length, 4);
  });
}

/** A check's findings of that severity, by id. */
function idsOfSeverity(severity: string, json: string): string[] {
  return (JSON.parse(json) as { id: string; severity: string }[])
    .filter((finding) => finding.severity === severity)
    .map(({ id }) => id);
}

Deno.test("check finds all in order, and has changed nothing but created the queue", async () => {
  await using fpm = await PhpFpm.start({
    children: 4,
    globalLines: ["process_control_timeout = 65s"],
    poolLines: ["request_terminate_timeout = 90s"],
  });
  await using site = await Site.create(fpm, { fpm: { status_path: fpm.statusPath } });
  const { code, stdout, stderr } = await site.run(["check"]);
  assert.equal(stderr, "");
  assert.match(stdout, /^ok +configuration: 1 consumer\nok +brokers.default: reached; 0 queues with jobs\n/);
  assert.match(stdout, /^ok +fpm.default: pool ".*" at ".*", pm = static, 4 children, \d idle$/m);
  assert.match(stdout, /^ok +fpm.default: ".*" exists$/m);
  assert.doesNotMatch(stdout, /^(?:warning|ERROR)/m);
  assert.equal(code, 0);
  const args = ["check", "--call-script", "--fpm-config", fpm.configPath, "--json"];
  const json = await site.runOk(args);
  assert.deepEqual(idsOfSeverity("warning", json).concat(idsOfSeverity("error", json)), []);
  for (const id of ["fpm.request_terminate_timeout", "php.display_errors", "worker.open_files"]) {
    assert.ok(idsOfSeverity("ok", json).includes(id), id);
  }
  assert.deepEqual(site.queueRows("SELECT * FROM fervo_jobs"), []);
  assert.equal(site.effectCount(), 0);
});

const NOBODY = "/run/nobody.sock";
/** What can be wrong around a good configuration: its options, the finding and the exit code. */
const FAILURES: readonly [
  what: string,
  options: {
    fpm?: Record<string, string>;
    broker?: Record<string, string>;
    consumer?: Record<string, number>;
  },
  args: string[],
  found: RegExp,
  exitCode: number,
][] = [
  [
    "no php-fpm",
    { fpm: { address: NOBODY } },
    [],
    /ERROR +fpm.default: Cannot connect .*is php-fpm running\?/,
    4,
  ],
  [
    "no folder for the queue",
    { broker: { path: "/nowhere/q.sqlite" } },
    [],
    /ERROR +brokers.default: Cannot use/,
    4,
  ],
  [
    "no script",
    { fpm: { script: "/nowhere.php" } },
    [],
    /ERROR +fpm.default: "\/nowhere.php" is not on/,
    3,
  ],
  [
    "script is a folder",
    { fpm: { script: "/tmp" } },
    [],
    /ERROR +fpm.default: "\/tmp" is not a file/,
    3,
  ],
  [
    "php-fpm does not find the script",
    { fpm: { script: "/nowhere.php" } },
    ["--call-script"],
    /ERROR +fpm.default: php-fpm cannot find the script "\/nowhere.php": file not found/,
    3,
  ],
  [
    "wrong ping path",
    { fpm: { ping_path: "/pong" } },
    [],
    /ERROR +fpm.default: ".*" answers 404 at ping_path/,
    3,
  ],
  [
    "wrong status path",
    { fpm: { status_path: "/stat" } },
    [],
    /ERROR +fpm.default: Cannot read the status page: /,
    3,
  ],
  [
    "more jobs than children",
    { fpm: { status_path: "/status" }, consumer: { concurrency: 5 } },
    [],
    /ERROR +fpm.default: the pool has 4 children, fewer than the 5 jobs/,
    3,
  ],
];

for (const [what, options, args, found, exitCode] of FAILURES) {
  Deno.test(`check finds what is wrong (${what}), with exit code ${exitCode}`, async () => {
    await using fpm = await PhpFpm.start({ children: 4 });
    await using site = await Site.create(fpm, options);
    const { code, stdout, stderr } = await site.run(["check", ...args]);
    assert.match(stdout, found);
    assert.equal(stdout.match(/^ERROR/gm)?.length, 1);
    assert.equal(stderr, "");
    assert.equal(code, exitCode);
  });
}

Deno.test("check warns without a status page, with exit code 1, says why and what to change", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  const { code, stdout } = await site.run(["check"]);
  assert.equal(code, 1);
  assert.match(
    stdout,
    /^warning +fpm.default: status_path is not set \[fpm.status_page\]\n +Why: check cannot compare the number .*\n +Fix: in the pool: pm.status_path/m,
  );
  await site.configure({ fpm: { ping_path: fpm.pingPath } });
  assert.match((await site.run(["check"])).stdout, /^ok +fpm.default: ".*" answers "pong"/m);
});

Deno.test("check warns when fewer files may be open than the worker needs, and says what to set", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, { fpm: { status_path: "/status" } });
  const shell = 'ulimit -n 60; "$@"';
  assert.deepEqual(idsOfSeverity("warning", (await site.run(["check", "--json"], { shell })).stdout), [
    "worker.open_files",
  ]);
  assert.deepEqual(idsOfSeverity("warning", await site.runOk(["check", "--json"])), []);
});

Deno.test("check --call-script finds a script that does not answer as a front controller", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  const script = await fpm.writeScript("silent.php", "<?php echo 'hello';");
  await using site = await Site.create(fpm, { fpm: { script } });
  const { code, stdout } = await site.run(["check", "--call-script"]);
  assert.match(stdout, /ERROR +fpm.default: The script ended without an outcome/);
  assert.equal(code, 3);
});

const ECHO = `<?php
header('X-Said: yes');
error_log('a word on the side');
foreach (['REQUEST_METHOD', 'FERVO_QUEUE', 'EMPTY'] as $name) {
    echo $name, '=', $_SERVER[$name] ?? '-', "\\n";
}
echo 'body=', base64_encode(file_get_contents('php://input'));
`;

for (const transport of ["unix", "tcp"] as const) {
  Deno.test(`call prints headers and body of the answer, and STDERR beside it (${transport})`, async () => {
    await using fpm = await PhpFpm.start({ transport });
    const script = await fpm.writeScript("echo.php", ECHO);
    const args = ["call", fpm.address, "--script", script, "--param", "FERVO_QUEUE=a=b", "--param", "EMPTY="];
    const { code, stdout, stderr } = await fervoWorker(args);
    assert.equal(code, 0);
    assert.match(stdout, /^(?:[A-Za-z-]+: .*\r\n)*X-Said: yes\r\n(?:[A-Za-z-]+: .*\r\n)*\r\n/);
    assert.ok(stdout.endsWith("\r\n\r\nREQUEST_METHOD=GET\nFERVO_QUEUE=a=b\nEMPTY=\nbody="), stdout);
    assert.match(stderr, /a word on the side/);
  });
}

Deno.test("call --body sends a file or standard input, byte for byte, as POST unless --method says otherwise", async () => {
  await using fpm = await PhpFpm.start();
  const script = await fpm.writeScript("echo.php", ECHO);
  const bytes = crypto.getRandomValues(new Uint8Array(50_000));
  const file = `${fpm.directory}/body`;
  await Deno.writeFile(file, bytes);
  const args = ["call", fpm.address, "--script", script, "--body"];
  for (
    const [answer, method] of [
      [await fervoWorkerOk([...args, file]), "POST"],
      [await fervoWorkerOk([...args, "-"], { stdin: bytes }), "POST"],
      [await fervoWorkerOk([...args, file, "--method", "PUT"]), "PUT"],
    ] as const
  ) {
    assert.match(answer, new RegExp(`\nREQUEST_METHOD=${method}\n`));
    assert.ok(answer.endsWith(`body=${bytes.toBase64()}`));
  }
});

Deno.test("call fails with exit code 4 when nobody listens", async () => {
  for (const address of [NOBODY, "127.0.0.1:1"]) {
    const { code, stdout, stderr } = await fervoWorker(["call", address, "--script", "/x.php"]);
    assert.equal(code, 4);
    assert.equal(stdout, "");
    assert.ok(stderr.startsWith(`fervo-worker: Cannot connect to php-fpm at "${address}": `), stderr);
  }
});

Deno.test("call fails with exit code 1 when the answer is not complete, or takes longer than --timeout", async () => {
  await using fpm = await PhpFpm.start();
  const dies = await fpm.writeScript("dies.php", "<?php echo 'half'; flush(); posix_kill(getmypid(), 9);");
  const died = await fervoWorker(["call", fpm.address, "--script", dies]);
  assert.equal(died.code, 1);
  assert.match(died.stderr, /^fervo-worker: .+\n$/);
  const hangs = await fpm.writeScript("hangs.php", "<?php sleep(3600);");
  const hung = await fervoWorker(["call", fpm.address, "--script", hangs, "--timeout", "50ms"]);
  assert.equal(hung.code, 1);
  assert.equal(
    hung.stderr,
    `fervo-worker: No complete answer from "${hangs}" in 50 ms; --timeout raises the limit\n`,
  );
});

Deno.test("call says why it cannot read the body, with exit code 2", async () => {
  const { code, stderr } = await fervoWorker(["call", NOBODY, "--script", "/x.php", "--body", "/nowhere"]);
  assert.equal(code, 2);
  assert.match(stderr, /^fervo-worker: Cannot read the body from "\/nowhere": no such file or folder\n/);
});
