import assert from "node:assert/strict";
import { type Clock, systemClock } from "../../../../src/core/time/clock.ts";
import { FervoError, JobError } from "../../../../src/core/errors.ts";
import type { Job } from "../../../../src/core/job.ts";
import { ACK, type Outcome } from "../../../../src/core/outcome.ts";
import {
  DEFAULT_PROCESS_EXECUTOR_OPTIONS,
  ProcessExecutor,
  type ProcessExecutorOptions,
} from "../../../../src/executors/process/executor.ts";
import { EventLog } from "../../../support/event_log.ts";
import { eventually } from "../../../support/eventually.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";

const NEVER = new AbortController().signal;
const MEGABYTE = 1_048_576;
const TIMEOUT = new JobError("JOB_TIMEOUT", "The job took longer than timeout_ms = 1 allows");
const SHUTDOWN = new FervoError("SHUTDOWN", "The worker shuts down");

/** Writes all that a process is given to the file "seen", as JSON; what may be bytes in base64. */
const PHP_RECORD = `<?php
  $payload = stream_get_contents(STDIN);
  file_put_contents('seen', json_encode([
    'arguments' => array_map('base64_encode', array_slice($argv, 1)),
    'stdin' => base64_encode($payload),
    'env' => array_map('base64_encode', getenv()),
    'folder' => getcwd(),
  ]));`;

interface Settings extends Partial<ProcessExecutorOptions> {
  readonly clock?: Clock;
}

/** An executor in a folder of its own that runs "job" there: a PHP script, or one for sh. */
async function setUp(code: string, { clock = systemClock, ...settings }: Settings = {}) {
  const log = new EventLog();
  await using opened = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir({ prefix: "fervo-process-" });
  opened.defer(() => Deno.remove(directory, { recursive: true }));
  await Deno.writeTextFile(`${directory}/job`, code);
  const executor = opened.use(
    new ProcessExecutor({ clock, observe: log.observe }, {
      ...DEFAULT_PROCESS_EXECUTOR_OPTIONS,
      command: [code.startsWith("<?php") ? "php" : "/bin/sh", "job"],
      directory,
      ...settings,
    }),
  );
  // A process that a test which failed has left behind must not hold it up.
  opened.defer(() => endAll(directory));
  const resources = opened.move();
  const file = (name: string) => `${directory}/${name}`;
  const exists = (name: string) => Deno.stat(file(name)).then(() => true, () => false);
  return {
    executor,
    log,
    directory,
    exists,
    appears: (name: string) => eventually(`the job writes "${name}"`, () => exists(name)),
    read: (name: string) => Deno.readTextFile(file(name)),
    pid: async (name: string) => Number(await Deno.readTextFile(file(name))),
    run: (fields: Partial<Job> = {}, signal = NEVER) => executor.execute(jobOf(fields), signal),
    async seen() {
      const { arguments: args, stdin, env, folder } = JSON.parse(await Deno.readTextFile(file("seen")));
      return {
        arguments: (args as string[]).map(fromBase64),
        stdin: Uint8Array.fromBase64(stdin),
        env: (name: string): string | undefined =>
          env[name] === undefined ? undefined : fromBase64(env[name]),
        folder,
      };
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

function fromBase64(text: string): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.fromBase64(text));
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function jobOf(fields: Partial<Job>): Job {
  return {
    id: "17",
    queue: "mail",
    payload: bytes("payload"),
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

/** Whether a process runs; one that has ended and that nobody has asked for its result does not. */
function isAlive(pid: number): boolean {
  try {
    // The name before the state can hold blanks and parentheses (proc_pid_stat(5)).
    return !/\) [ZX] /.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
  } catch {
    return false;
  }
}

/** Kills every process that runs in a folder. */
function endAll(directory: string): void {
  for (const { name } of Deno.readDirSync("/proc")) {
    try {
      if (/^\d+$/.test(name) && Deno.readLinkSync(`/proc/${name}/cwd`) === directory) {
        Deno.kill(Number(name), "SIGKILL");
      }
    } catch {
      // It has ended.
    }
  }
}

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  return await Promise.race([promise, settlePromises().then(() => pending)]) === pending;
}

// --- what the process is given

Deno.test("ProcessExecutor passes a megabyte of any bytes on STDIN, and its end", async () => {
  await using t = await setUp(PHP_RECORD);
  const payload = Uint8Array.from({ length: MEGABYTE }, (_, i) => (i * 7 + (i >> 8)) % 256);
  assert.equal(await t.run({ payload }), ACK);
  const { stdin, arguments: args, env } = await t.seen();
  assert.ok(stdin.length === MEGABYTE && stdin.every((byte, i) => byte === payload[i]));
  assert.deepEqual(args, []);
  assert.equal(env("FERVO_PAYLOAD"), undefined);
});

const TEXTS = [
  "",
  "two words",
  `'single' "double" \\ back`,
  "$(touch owned) `touch owned` $HOME ; touch owned & | > owned *",
  "first\nsecond\r\n\ttab",
  "--help",
  "\ufeffünïcödé 🐘",
];

for (const payload of TEXTS) {
  Deno.test(`ProcessExecutor passes ${JSON.stringify(payload)} unchanged, as the last argument`, async () => {
    await using t = await setUp(PHP_RECORD, { payload: "argument" });
    assert.equal(await t.run({ payload: bytes(payload) }), ACK);
    const { stdin, arguments: args } = await t.seen();
    assert.deepEqual(args.map(bytes), [bytes(payload)]);
    assert.equal(stdin.length, 0);
    assert.equal(await t.exists("owned"), false);
  });

  Deno.test(`ProcessExecutor passes ${JSON.stringify(payload)} unchanged, as a variable`, async () => {
    await using t = await setUp(PHP_RECORD, { payload: "environment", payloadVariable: "DATA" });
    assert.equal(await t.run({ payload: bytes(payload) }), ACK);
    const { stdin, arguments: args, env } = await t.seen();
    assert.deepEqual(bytes(env("DATA")!), bytes(payload));
    assert.deepEqual([args, stdin.length, env("FERVO_PAYLOAD")], [[], 0, undefined]);
  });
}

Deno.test("ProcessExecutor tells the job in variables beside those of the worker and of the configuration", async () => {
  await using t = await setUp(PHP_RECORD, {
    env: { APP_ENV: "prod", FERVO_QUEUE: "no", PATH: Deno.env.get("PATH")! },
  });
  assert.equal(await t.run({ id: "a b", traceparent: "00-4bf9-00f0-01" }), ACK);
  const { env, folder } = await t.seen();
  const names = [
    ...["FERVO_JOB_ID", "FERVO_QUEUE", "FERVO_ATTEMPT", "FERVO_MAX_ATTEMPTS", "FERVO_ENQUEUED_AT"],
    ...["FERVO_DEADLINE", "TRACEPARENT", "APP_ENV", "HOME"],
  ];
  assert.deepEqual(names.map(env), [
    ...["a b", "mail", "2", "5", "1700000000000"],
    ...["1700000060000", "00-4bf9-00f0-01", "prod", Deno.env.get("HOME")],
  ]);
  assert.equal(folder, t.directory);
});

Deno.test("ProcessExecutor sets no TRACEPARENT for a job without one", async () => {
  await using t = await setUp(PHP_RECORD);
  await t.run();
  assert.equal((await t.seen()).env("TRACEPARENT"), undefined);
});

for (
  const [payload, way] of [["argument", "an argument"], [
    "environment",
    'the variable "FERVO_PAYLOAD"',
  ]] as const
) {
  Deno.test(`ProcessExecutor buries what cannot be passed with payload = ${payload}, and starts nothing`, async () => {
    await using t = await setUp("touch started", { payload });
    const run = async (bytes: Uint8Array) => errorOf(await t.run({ payload: bytes }), "bury");
    const nul = await run(bytes("a\0b"));
    assert.deepEqual([nul.code, nul.message], [
      "JOB_MALFORMED",
      `Cannot send the payload as ${way}: it has a NUL byte; only STDIN takes any bytes`,
    ]);
    const binary = await run(new Uint8Array([0xff]));
    assert.deepEqual([binary.code, binary.message], [
      "JOB_MALFORMED",
      `Cannot send the payload as ${way}: it is not UTF-8; only STDIN takes any bytes`,
    ]);
    const long = await run(new Uint8Array(131_072).fill(97));
    assert.equal(long.code, "JOB_MALFORMED");
    assert.match(
      long.message,
      /^Cannot start the program "\/bin\/sh": .* too long .*; use payload = "stdin"$/,
    );
    assert.equal(await t.exists("started"), false);
  });
}

Deno.test("ProcessExecutor buries a job whose id or trace context has a NUL byte", async () => {
  await using t = await setUp("touch started");
  for (const fields of [{ id: "a\0" }, { traceparent: "\0" }]) {
    assert.equal(errorOf(await t.run(fields), "bury").code, "JOB_MALFORMED");
  }
  assert.equal(await t.exists("started"), false);
});

// --- what cannot be started

Deno.test("ProcessExecutor says what is wrong with a command that cannot be started, and counts no attempt", async () => {
  await using t = await setUp("exit 0");
  await Deno.writeTextFile(`${t.directory}/script`, "#!/no/such/interpreter\n", { mode: 0o755 });
  await Deno.writeTextFile(`${t.directory}/plain`, "#!/bin/sh\n", { mode: 0o644 });
  const missing =
    'there is no such program, or the interpreter that its first line names is missing; correct "command"';
  const cases: [Partial<ProcessExecutorOptions>, string][] = [
    [{ command: ["no-such-program"] }, `Cannot start the program "no-such-program": ${missing}`],
    [{ command: ["/no/such/program"] }, `Cannot start the program "/no/such/program": ${missing}`],
    [{ command: ["./script"] }, `Cannot start the program "./script": ${missing}`],
    [
      { command: ["./plain"] },
      `Cannot start the program "./plain" in "${t.directory}": permission denied; make it executable, and let the ` +
      "worker's user reach it",
    ],
    [
      { directory: `${t.directory}/none` },
      `Cannot start the program "/bin/sh" in "${t.directory}/none": no such folder; correct "directory"`,
    ],
    [
      { directory: `${t.directory}/plain` },
      `Cannot start the program "/bin/sh" in "${t.directory}/plain": no such folder; correct "directory"`,
    ],
  ];
  for (const [options, message] of cases) {
    await using executor = new ProcessExecutor({ clock: systemClock, observe: () => {} }, {
      ...DEFAULT_PROCESS_EXECUTOR_OPTIONS,
      command: ["/bin/sh", "job"],
      directory: t.directory,
      ...options,
    });
    const outcome = await executor.execute(jobOf({}), NEVER);
    const error = errorOf(outcome, "release");
    assert.deepEqual([error.code, error.message], ["PROCESS_MISCONFIGURED", message]);
    assert.equal(outcome.kind === "release" && outcome.reason, "misconfigured");
  }
});

Deno.test("ProcessExecutor.probe() looks at the program and its folder, as they are now, and starts nothing", async () => {
  await using t = await setUp("touch ran");
  const [folder, program] = [`${t.directory}/release`, `${t.directory}/release/job`];
  const executor = new ProcessExecutor({ clock: systemClock, observe: () => {} }, {
    ...DEFAULT_PROCESS_EXECUTOR_OPTIONS,
    command: ["./job"],
    directory: folder,
  });
  const cause = errorOf(await executor.execute(jobOf({}), NEVER), "release");
  const text = async () => (await executor.probe(cause))?.message;
  assert.equal(await text(), cause.message);
  await Deno.mkdir(folder);
  assert.match((await text())!, /^Cannot start the program ".\/job": there is no such program/);
  await Deno.writeTextFile(program, "#!/bin/sh\ntouch ran\n", { mode: 0o644 });
  assert.match(
    (await text())!,
    /^Cannot start the program ".\/job" in ".*release": permission denied; make it/,
  );
  await Deno.chmod(program, 0o755);
  assert.equal(await executor.probe(cause), undefined);
  await assert.rejects(Deno.stat(`${folder}/ran`), Deno.errors.NotFound);
});

Deno.test("ProcessExecutor.probe() cannot look at what the machine has no room for, and lets a job show it", async () => {
  await using t = await setUp("");
  const executor = new ProcessExecutor({ clock: systemClock, observe: () => {} }, {
    ...DEFAULT_PROCESS_EXECUTOR_OPTIONS,
    command: ["/nowhere"],
    directory: t.directory,
  });
  assert.equal(await executor.probe(new FervoError("PROCESS_FAILED", "too many processes")), undefined);
});

// --- how it ends

Deno.test("ProcessExecutor reads the exit code as it is told, and takes an unknown one for a failed attempt", async () => {
  await using t = await setUp("echo because >&2; exit $FERVO_JOB_ID", {
    exitCodes: new Map([[0, "ack"], [3, "bury"], [4, "ack"], [5, "retry"]]),
  });
  assert.equal(await t.run({ id: "0" }), ACK);
  assert.equal(await t.run({ id: "4" }), ACK);
  for (const [code, kind] of [[3, "bury"], [5, "retry"], [1, "retry"], [255, "retry"]] as const) {
    const error = errorOf(await t.run({ id: String(code) }), kind);
    const { pid, ...details } = error.details;
    assert.ok(pid! > 0);
    assert.deepEqual([error.code, error.message, details], [
      "JOB_FAILED",
      `The process ended with exit code ${code}`,
      { exitCode: code, stderr: "because" },
    ]);
  }
});

Deno.test("ProcessExecutor takes a fatal error of PHP for a failed attempt, with STDERR", async () => {
  await using t = await setUp("<?php undefined_function();", {
    command: ["php", "-d", "display_errors=stderr", "job"],
  });
  const { code, details } = errorOf(await t.run(), "retry");
  assert.deepEqual([code, details["exitCode"]], ["JOB_FAILED", 255]);
  assert.match(details.stderr!, /Call to undefined function undefined_function\(\)/);
});

Deno.test("ProcessExecutor tells what a job wrote to STDERR that is done, and a fatal error of PHP in it", async () => {
  await using t = await setUp(`echo "$(cat)" >&2; exit 0`);
  const run = (stderr: string) => t.run({ payload: new TextEncoder().encode(stderr) });
  assert.equal(await run(""), ACK);
  assert.equal(await run("a note"), ACK);
  const fatal = "PHP Fatal error:  Uncaught Exception: late in -:1";
  assert.equal(await run(fatal), ACK);
  assert.deepEqual(
    t.log.of("job_stderr").map(({ jobs: [job], level, stderr, fatal }) => [job!.id, level, stderr, fatal]),
    [
      ["17", "info", "a note", undefined],
      ["17", "warn", fatal, fatal],
    ],
  );
  await using strict = await setUp(`echo "$(cat)" >&2; exit 0`, { fatalAfterAck: "fail" });
  const error = errorOf(await strict.run({ payload: new TextEncoder().encode(fatal) }), "retry");
  assert.equal(error.message, `The job reported success, and failed after that: ${fatal}`);
  assert.equal(error.details.stderr, fatal);
  assert.deepEqual(strict.log.events, []);
});

Deno.test("ProcessExecutor takes a process that a signal ended for a crash, whatever 128 + n means", async () => {
  await using t = await setUp("kill -KILL $$", { exitCodes: new Map([[137, "ack"]]) });
  const { code, message, details: { pid, ...details } } = errorOf(await t.run(), "retry");
  assert.ok(pid! > 0);
  assert.deepEqual([code, message, details], ["JOB_CRASHED", "The process was ended by SIGKILL", {
    signal: "SIGKILL",
  }]);
});

Deno.test("ProcessExecutor keeps the beginning and the end of STDERR", async () => {
  const code = "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; echo the end >&2; exit 1";
  const kept = [
    [0, ""],
    [7, "line\n… 28891 bytes left out …\nnd"],
    [36, "line 0\nline 1\nline\n… 28862 bytes left out …\nline 2999\nthe end"],
  ] as const;
  for (const [maxStderrBytes, stderr] of kept) {
    await using t = await setUp(code, { maxStderrBytes });
    assert.equal(errorOf(await t.run(), "retry").details.stderr ?? "", stderr);
  }
});

Deno.test("ProcessExecutor reads megabytes of STDERR while it writes megabytes to STDIN", async () => {
  const megabytes = `dd if=/dev/zero bs=${MEGABYTE} count=3 2>/dev/null | tr '\\0' x`;
  await using t = await setUp(`${megabytes} >&2; cat >stdin; ${megabytes} >&2; echo end >&2; exit 1`);
  const { details } = errorOf(await t.run({ payload: new Uint8Array(3 * MEGABYTE) }), "retry");
  const half = DEFAULT_PROCESS_EXECUTOR_OPTIONS.maxStderrBytes / 2;
  const leftOut = 6 * MEGABYTE + 4 - 2 * half;
  assert.equal(
    details.stderr,
    `${"x".repeat(half)}\n… ${leftOut} bytes left out …\n${"x".repeat(half - 4)}end`,
  );
  assert.equal((await Deno.stat(`${t.directory}/stdin`)).size, 3 * MEGABYTE);
});

Deno.test("ProcessExecutor takes no offence at a process that does not read its STDIN", async () => {
  await using t = await setUp("exec <&-; exit 0");
  assert.equal(await t.run({ payload: new Uint8Array(3 * MEGABYTE) }), ACK);
});

Deno.test("ProcessExecutor does not wait for a child of the process that holds STDERR open, and lets it live", async () => {
  await using t = await setUp("echo said >&2; sleep 60 & echo $! >child; exit 1");
  assert.equal(errorOf(await t.run(), "retry").details.stderr, "said");
  await t.executor.close();
  const child = await t.pid("child");
  assert.ok(isAlive(child));
  Deno.kill(child, "SIGKILL");
});

Deno.test("ProcessExecutor does not wait for a child of the process that holds STDIN and reads nothing", {
  // The write ends with the child, after the test.
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  await using t = await setUp("exec 3<&0; sleep 60 <&3 2>/dev/null & echo $! >child; exit 0");
  assert.equal(await t.run({ payload: new Uint8Array(MEGABYTE) }), ACK);
  await t.executor.close();
  Deno.kill(await t.pid("child"), "SIGKILL");
});

// --- aborts

/** Touches "ready" and waits for longer than any test takes. */
const WAIT = "echo $$ >pid; touch ready; while :; do sleep 60; done";

Deno.test("ProcessExecutor starts nothing for a job that is aborted before", async () => {
  await using t = await setUp("touch started");
  assert.equal(errorOf(await t.run({}, AbortSignal.abort(TIMEOUT)), "retry").code, "JOB_TIMEOUT");
  assert.deepEqual(await t.run({}, AbortSignal.abort(SHUTDOWN)), {
    kind: "release",
    reason: "shutdown",
    error: SHUTDOWN,
  });
  assert.equal(await t.exists("started"), false);
});

Deno.test("ProcessExecutor ends a job whose time is up with TERM, keeps its last words, and sends no KILL", async () => {
  const clock = new FakeClock();
  await using t = await setUp(`trap 'echo bye >&2; exit 0' TERM; ${WAIT}`, { clock });
  const abort = new AbortController();
  const running = t.run({}, abort.signal);
  await t.appears("ready");
  assert.equal(clock.pendingTimers, 0);
  abort.abort(TIMEOUT);
  const { code, message, details } = errorOf(await running, "retry");
  assert.deepEqual([code, message], ["JOB_TIMEOUT", TIMEOUT.message]);
  assert.match(details.stderr!, /bye$/);
  await eventually(
    "nothing of the group is left",
    () => !isAlive(Number(Deno.readTextFileSync(`${t.directory}/pid`))),
  );
});

Deno.test("ProcessExecutor kills a job that ignores TERM after killAfterMs, and holds its slot till then", async () => {
  const clock = new FakeClock();
  await using t = await setUp(`trap '' TERM; sleep 60 & echo $! >child; ${WAIT}`, { clock });
  const abort = new AbortController();
  const running = t.run({}, abort.signal);
  await t.appears("ready");
  const pids = [await t.pid("pid"), await t.pid("child")];
  abort.abort(TIMEOUT);
  await clock.advance(DEFAULT_PROCESS_EXECUTOR_OPTIONS.killAfterMs - 1);
  assert.ok(await isPending(running));
  assert.deepEqual(pids.map(isAlive), [true, true]);
  await clock.advance(1 + 50);
  assert.equal(errorOf(await running, "retry").code, "JOB_TIMEOUT");
  await eventually("nothing of the group is left", () => !pids.some(isAlive));
});

Deno.test("ProcessExecutor kills what outlives a process that obeyed TERM, and its job and close() wait for that", async () => {
  const clock = new FakeClock();
  const stubborn =
    `(trap '' TERM; exec 2>/dev/null; touch deaf; while :; do sleep 60; done) & echo $! >child`;
  await using t = await setUp(`${stubborn}; while [ ! -e deaf ]; do :; done; ${WAIT}`, { clock });
  const abort = new AbortController();
  const running = t.run({}, abort.signal);
  await t.appears("ready");
  abort.abort(TIMEOUT);
  const child = await t.pid("child");
  const closing = t.executor.close();
  await clock.advance(DEFAULT_PROCESS_EXECUTOR_OPTIONS.killAfterMs - 1);
  assert.deepEqual([isAlive(child), await isPending(running), await isPending(closing)], [true, true, true]);
  await clock.advance(1 + 50);
  assert.equal(errorOf(await running, "retry").code, "JOB_TIMEOUT");
  await closing;
  await eventually("the child is gone", () => !isAlive(child));
});

Deno.test("ProcessExecutor releases a job that is cut off by a shutdown, and ends it", async () => {
  await using t = await setUp(WAIT);
  const abort = new AbortController();
  const running = t.run({}, abort.signal);
  await t.appears("ready");
  abort.abort(SHUTDOWN);
  assert.deepEqual(await running, { kind: "release", reason: "shutdown", error: SHUTDOWN });
  assert.equal(isAlive(await t.pid("pid")), false);
});

Deno.test("ProcessExecutor leaves a job that ended before its abort its result", async () => {
  const clock = new FakeClock();
  await using t = await setUp("sleep 60 & echo $! >child; exit 0", { clock });
  const abort = new AbortController();
  const running = t.run({}, abort.signal);
  await eventually("the process has ended and its STDERR is held", () => clock.pendingTimers === 1);
  abort.abort(TIMEOUT);
  await clock.advance(1_000);
  assert.equal(await running, ACK);
  const child = await t.pid("child");
  assert.ok(isAlive(child));
  Deno.kill(child, "SIGKILL");
});

Deno.test("ProcessExecutor.close() waits for jobs under way", async () => {
  await using t = await setUp("touch ready; while [ ! -e gate ]; do sleep 0.01; done; touch done");
  const running = t.run();
  await t.appears("ready");
  const closing = t.executor.close();
  assert.ok(await isPending(closing));
  await Deno.writeTextFile(`${t.directory}/gate`, "");
  await closing;
  assert.ok(await t.exists("done"));
  assert.equal(await running, ACK);
});
