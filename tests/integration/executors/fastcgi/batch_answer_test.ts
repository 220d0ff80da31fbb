/**
 * The answer to a batch (docs/protocol.md, section 7): what FastCgiExecutor and Pool make of a server that does just what
 * a test says, byte for byte. What a real php-fpm does is in batch_test.ts.
 */
import assert from "node:assert/strict";
import { FervoError, JobError } from "../../../../src/core/errors.ts";
import type { Job } from "../../../../src/core/job.ts";
import { ACK, type Outcome } from "../../../../src/core/outcome.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  FastCgiExecutor,
  type FastCgiExecutorDeps,
  type FastCgiExecutorOptions,
} from "../../../../src/executors/fastcgi/executor.ts";
import { parseAddress } from "../../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool, type PoolOptions } from "../../../../src/fastcgi/pool.ts";
import { EventLog } from "../../../support/event_log.ts";
import { eventually } from "../../../support/eventually.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import {
  bytesOf,
  concat,
  endRequestRecord,
  type Script,
  ScriptedServer,
  stderrRecord,
  stdoutRecord,
} from "../../../support/scripted_server.ts";
import { parseCgi } from "../../../support/cgi.ts";

const HEAD = "X-Fervo-Outcome: batch\r\nContent-type: text/html\r\n\r\n";
const record = (id: string, more: Record<string, unknown> = { outcome: "ack" }) =>
  `\x1e${JSON.stringify({ id, ...more })}\n`;
const ended = concat(stdoutRecord(""), endRequestRecord());

const jobsOf = (...ids: string[]): Job[] =>
  ids.map((id) => ({
    id,
    queue: "a b",
    payload: bytesOf(`payload ${id}`),
    attempt: 2,
    maxAttempts: 5,
    enqueuedAtMs: 1_700_000_000_000,
    deadlineMs: new FakeClock().nowMs() + 60_000,
  }));

interface Settings {
  readonly pool?: Partial<PoolOptions>;
  readonly executor?: Partial<FastCgiExecutorOptions>;
  readonly fpm?: Partial<FastCgiExecutorDeps["fpm"]>;
  readonly jobs?: readonly Job[];
}

/** A server that does what `scripts` say, and an executor that sends it batches of the jobs 7, 8 and 9. */
async function start(scripts: Script | Script[], settings: Settings = {}) {
  const clock = new FakeClock();
  const server = await ScriptedServer.start(scripts);
  const pool = new Pool({ address: parseAddress(server.address), clock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 1,
    ...settings.pool,
  });
  const log = new EventLog();
  const fpm: FastCgiExecutorDeps["fpm"] = {
    hasLeftWithin: () => Promise.resolve(false),
    isRunning: () => Promise.resolve(true),
    endChild: () => assert.fail("kill_on_timeout is off"),
    ping: () => Promise.resolve(),
    ask: () => assert.fail("nobody probes"),
    ...settings.fpm,
  };
  const executor = new FastCgiExecutor({ pool, fpm, clock, observe: log.observe }, {
    ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
    script: "/srv/app/fervo.php",
    ...settings.executor,
  });
  const told: Outcome[] = [];
  return {
    clock,
    pool,
    log,
    told,
    executor,
    /** The outcome of the job that ran when the batch ended. */
    async run(signal = AbortSignal.timeout(20_000)) {
      const end = await executor.executeBatch({
        jobs: settings.jobs ?? jobsOf("7", "8", "9"),
        timeoutMs: 60_000,
        onOutcome: (outcome) => told.push(outcome),
      }, signal);
      assert.ok(end === undefined || end.jobs.length === 1);
      return end?.outcome;
    },
    async [Symbol.asyncDispose]() {
      await executor.close();
      await server.scriptsEnded();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** What is told, and what comes at the end, of a batch that a fresh connection answers so and then closes. */
async function resultOf(answer: Uint8Array, settings: Settings = {}) {
  await using t = await start([async (peer) => {
    await peer.readRequest();
    await peer.write(answer);
  }], settings);
  const last = await t.run();
  return { told: t.told, last, log: t.log };
}

function errorOf(outcome: Outcome | undefined, kind: Outcome["kind"], code: string): FervoError {
  if (outcome === undefined || outcome.kind === "ack" || outcome.kind !== kind) {
    assert.fail(`it is ${outcome?.kind}, not ${kind}`);
  }
  assert.equal(outcome.error.code, code);
  return outcome.error;
}

// --- the request

Deno.test("FastCgiExecutor.executeBatch() sends the params of a batch, and the jobs on STDIN", async () => {
  let sent: { params: Record<string, string>; stdin: string } | undefined;
  await using t = await start([async (peer) => {
    const { params, stdin } = await peer.readRequest();
    sent = { params: Object.fromEntries(params), stdin: new TextDecoder().decode(stdin) };
    await peer.write(stdoutRecord(HEAD + ["7", "8", "9"].map((id) => record(id)).join("")), ended);
  }], { executor: { params: { APP_ENV: "prod" }, firstByteTimeoutMs: 500 } });
  assert.equal(await t.run(), undefined);
  const line = (id: string) =>
    `{"id":"${id}","queue":"a b","attempt":2,"max_attempts":5,"enqueued_at":1700000000000,"timeout_ms":60000,` +
    `"bytes":9}\npayload ${id}\n`;
  assert.deepEqual(sent, {
    params: {
      GATEWAY_INTERFACE: "CGI/1.1",
      SERVER_PROTOCOL: "HTTP/1.1",
      SERVER_SOFTWARE: "fervo-worker",
      REQUEST_METHOD: "POST",
      SCRIPT_FILENAME: "/srv/app/fervo.php",
      QUERY_STRING: "",
      CONTENT_TYPE: "application/x-fervo-batch",
      APP_ENV: "prod",
      REQUEST_URI: "/a%20b/7+2",
      SCRIPT_NAME: "/a%20b/7+2",
      CONTENT_LENGTH: String(3 * line("7").length),
      FERVO_BATCH: "3",
      FERVO_DEADLINE: String(t.clock.nowMs() + 60_000),
      FERVO_START_BY: String(t.clock.nowMs() + 500),
    },
    stdin: line("7") + line("8") + line("9"),
  });
});

Deno.test("FastCgiExecutor.executeBatch() sends a single job as a batch of one", async () => {
  let uri: string | undefined;
  await using t = await start([async (peer) => {
    const { params } = await peer.readRequest();
    uri = params.get("SCRIPT_NAME");
    assert.deepEqual([params.get("FERVO_BATCH"), params.has("FERVO_START_BY")], ["1", false]);
    await peer.write(stdoutRecord(HEAD + record("7")), ended);
  }], { jobs: jobsOf("7") });
  assert.equal(await t.run(), undefined);
  assert.deepEqual([t.told, uri], [[ACK], "/a%20b/7+0"]);
});

Deno.test("FastCgiExecutor.executeBatch() sends payloads larger than any buffer", async () => {
  const jobs = jobsOf("7", "8").map((job) => ({ ...job, payload: new Uint8Array(300_000).fill(7) }));
  let bytes = 0;
  await using t = await start([async (peer) => {
    const { params, stdin } = await peer.readRequest();
    bytes = stdin.length;
    assert.equal(params.get("CONTENT_LENGTH"), String(bytes));
    await peer.write(stdoutRecord(HEAD + record("7") + record("8")), ended);
  }], { jobs });
  assert.equal(await t.run(), undefined);
  assert.ok(bytes > 600_000);
});

// --- records as they come

Deno.test("FastCgiExecutor.executeBatch() tells of each job as its record comes, while the request goes on", async () => {
  const steps = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
  await using t = await start([async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord(HEAD));
    for (const [i, id] of ["7", "8", "9"].entries()) {
      await steps[i]!.promise;
      await peer.write(stderrRecord(`about ${id}\n`), stdoutRecord("output of the job"));
      await peer.write(stdoutRecord(record(id, { outcome: "retry", error: `no ${id}`, delay_ms: i })));
    }
    await peer.write(ended);
  }]);
  const running = t.run();
  for (const [i, { resolve }] of steps.entries()) {
    assert.equal(t.told.length, i);
    resolve();
    await eventually(`record ${i}`, () => t.told.length === i + 1);
  }
  assert.equal(await running, undefined);
  assert.deepEqual(
    t.told.map((outcome) => {
      const { message, details } = errorOf(outcome, "retry", "JOB_FAILED");
      return [message, details.stderr, outcome.kind === "retry" && outcome.delayMs];
    }),
    [
      ["The job failed: no 7", "about 7", 0],
      ["The job failed: no 8", "about 8", 1],
      ["The job failed: no 9", "about 9", 2],
    ],
  );
});

Deno.test("FastCgiExecutor.executeBatch() tells what a job wrote to STDERR before its record of that job, and can take it for failed", async () => {
  const fatal = "PHP message: PHP Fatal error:  of a child";
  const answer = concat(
    stdoutRecord(HEAD),
    stderrRecord("a note"),
    stdoutRecord(record("7")),
    stderrRecord(fatal),
    stdoutRecord(record("8")),
    stdoutRecord(record("9")),
    ended,
  );
  const warned = await resultOf(answer);
  assert.deepEqual(warned.told, [ACK, ACK, ACK]);
  assert.deepEqual(
    warned.log.of("job_stderr").map(({ jobs, level, stderr }) => [jobs.map(({ id }) => id), level, stderr]),
    [[["7"], "info", "a note"], [["8"], "warn", fatal]],
  );
  const failed = await resultOf(answer, { executor: { fatalAfterAck: "fail" } });
  assert.deepEqual([failed.told[0], failed.told[2]], [ACK, ACK]);
  assert.match(errorOf(failed.told[1], "retry", "JOB_FAILED").message, /: PHP Fatal error: {2}of a child$/);
});

Deno.test("FastCgiExecutor.executeBatch() reads records wherever the answer is cut", async () => {
  const stdout = bytesOf(
    `${HEAD}noise\n${record("7")}${record("8", { outcome: "bury", error: "é" })}${record("9")}`,
  );
  for (let cut = 1; cut < stdout.length; cut += 3) {
    const answer = concat(
      stdoutRecord(stdout.subarray(0, cut)),
      stdoutRecord(stdout.subarray(cut), { padding: 3 }),
      ended,
    );
    const { told, last } = await resultOf(answer);
    assert.deepEqual(
      [told.map(({ kind }) => kind), last],
      [["ack", "bury", "ack"], undefined],
      `cut at ${cut}`,
    );
  }
});

Deno.test("FastCgiExecutor.executeBatch() keeps the connection for the next batch", async () => {
  await using t = await start([async (peer) => {
    for (let i = 1; i <= 2; i++) {
      await peer.readRequest();
      const o = { requestId: peer.requestId };
      await peer.write(
        stdoutRecord(HEAD + ["7", "8", "9"].map((id) => record(id)).join(""), o),
        stdoutRecord("", o),
        endRequestRecord(o),
      );
    }
  }]);
  for (let i = 0; i < 2; i++) assert.equal(await t.run(), undefined);
  assert.deepEqual([t.told.length, t.pool.stats.opened], [6, 1]);
});

// --- the request ends too early

Deno.test("FastCgiExecutor.executeBatch() takes an END_REQUEST between records for a failed attempt of the job that ran", async () => {
  for (
    const [records, running] of [["", "7"], [record("7"), "8"], [record("7") + record("8"), "9"]] as const
  ) {
    const answer = concat(stdoutRecord(HEAD + records), stderrRecord("PHP Fatal error: x"), ended);
    const { told, last } = await resultOf(answer);
    assert.deepEqual(told, Array(Number(running) - 7).fill(ACK));
    const { message, details } = errorOf(last, "retry", "JOB_NO_OUTCOME");
    assert.match(message, /^The script ended without an outcome: it answered status 200/);
    assert.deepEqual(details, { status: 200, stderr: "PHP Fatal error: x" });
  }
});

Deno.test("FastCgiExecutor.executeBatch() counts no records of an answer without the word batch", async () => {
  for (const head of ["Content-type: text/html\r\n\r\n", "X-Fervo-Outcome: done\r\n\r\n", ""]) {
    const { told, last } = await resultOf(concat(stdoutRecord(head + record("7")), ended));
    assert.deepEqual(told, []);
    errorOf(last, "retry", "JOB_NO_OUTCOME");
  }
});

Deno.test("FastCgiExecutor.executeBatch() takes a connection cut between records for a crash of the job that ran", async () => {
  const cuts = [
    ["after the header", stdoutRecord(HEAD), 0],
    ["after a record", stdoutRecord(HEAD + record("7")), 1],
    ["inside a record", stdoutRecord(HEAD + record("7") + '\x1e{"id":"8","outc'), 1],
    [
      "inside a FastCGI record",
      concat(stdoutRecord(HEAD + record("7")), stdoutRecord(record("8")).subarray(0, 20)),
      1,
    ],
  ] as const;
  for (const [where, answer, ends] of cuts) {
    const { told, last } = await resultOf(concat(stderrRecord("before it died"), answer));
    assert.deepEqual(told, Array(ends).fill(ACK), where);
    const { details } = errorOf(last, "retry", "JOB_CRASHED");
    // It was written before the record of the first job.
    assert.equal(details.stderr, ends === 0 ? "before it died" : undefined, where);
  }
});

Deno.test("FastCgiExecutor.executeBatch() settles nothing anew by what happens when all jobs have ended, and tells it", async () => {
  const all = stdoutRecord(HEAD + ["7", "8", "9"].map((id) => record(id)).join(""));
  const asked: string[] = [];
  const hasLeftWithin = () => Promise.resolve(asked.push("left") > 0);
  const fatal = "PHP message: PHP Fatal error:  late";
  const ends: [end: Uint8Array, told: readonly string[]][] = [
    [ended, []],
    [concat(stderrRecord("late"), ended), ["info", "late"]],
    [concat(stderrRecord(fatal), ended), ["warn", fatal, "PHP Fatal error:  late"]],
    [new Uint8Array(0), ["warn", "", "Lost the connection"]],
    [stderrRecord("late"), ["warn", "late", "Lost the connection"]],
    [bytesOf("no FastCGI"), ["warn", "", "Cannot read the answer"]],
  ];
  for (const [end, expected] of ends) {
    const settings = { fpm: { hasLeftWithin }, executor: { fatalAfterAck: "fail" } } as const;
    const { told, last, log } = await resultOf(concat(all, end), settings);
    assert.deepEqual([told, last], [[ACK, ACK, ACK], undefined]);
    const events = log.of("job_stderr");
    assert.deepEqual(events.flatMap(({ level, stderr }) => [level, stderr]), expected.slice(0, 2));
    for (const { fatal = "" } of events) assert.ok(fatal.startsWith(expected[2] ?? ""), fatal);
    for (const { jobs } of events) assert.deepEqual(jobs.map(({ id }) => id), ["7", "8", "9"]);
  }
  assert.deepEqual(asked, []);
});

Deno.test("FastCgiExecutor.executeBatch() releases the job that ran when php-fpm itself has left, three times at most", async () => {
  const script: Script = async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord(HEAD + record("7")));
  };
  await using t = await start(script, { fpm: { hasLeftWithin: () => Promise.resolve(true) } });
  for (let i = 0; i < 3; i++) {
    const last = await t.run();
    assert.equal(last?.kind === "release" && last.reason, "unavailable");
    errorOf(last, "release", "FASTCGI_CONNECTION_LOST");
  }
  // It is job 8 that goes down with php-fpm again and again; 7 was done each time.
  errorOf(await t.run(), "retry", "JOB_CRASHED");
  assert.deepEqual(t.told, [ACK, ACK, ACK, ACK]);
});

Deno.test("FastCgiExecutor.executeBatch() begins to count anew when a job that was lost with php-fpm has ended", async () => {
  let batches = 0;
  await using t = await start(async (peer) => {
    await peer.readRequest();
    // Job 8 is lost, but for one time.
    await peer.write(stdoutRecord(HEAD + record("7") + (++batches === 3 ? record("8") : "")));
  }, { fpm: { hasLeftWithin: () => Promise.resolve(true) } });
  const kinds = [];
  for (let i = 0; i < 6; i++) kinds.push((await t.run())!.kind);
  assert.deepEqual(kinds, Array(6).fill("release"));
});

Deno.test("FastCgiExecutor.executeBatch() sends the batch again when the child had left the kept connection, and tells once", async () => {
  const answer = (requestId: number) =>
    concat(
      stdoutRecord(HEAD + ["7", "8", "9"].map((id) => record(id)).join(""), { requestId }),
      stdoutRecord("", { requestId }),
      endRequestRecord({ requestId }),
    );
  await using t = await start([async (peer) => {
    await peer.readRequest();
    await peer.write(answer(peer.requestId));
    // Swallows the next one, as a child at pm.max_requests does.
    await peer.readRequest();
  }, async (peer) => {
    const { stdin } = await peer.readRequest();
    const facts = new TextDecoder().decode(stdin).split("\n").filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line));
    // At most the first had begun: a record comes as soon as a job has ended.
    assert.deepEqual(facts.map(({ id, repeat }) => [id, repeat]), [["7", true], ["8", undefined], [
      "9",
      undefined,
    ]]);
    await peer.write(answer(peer.requestId));
  }]);
  assert.equal(await t.run(), undefined);
  assert.equal(await t.run(), undefined);
  assert.deepEqual([t.told.length, t.pool.stats.resent], [6, 1]);
  assert.deepEqual(t.log.of("job_resent").map(({ id, attempt }) => [id, attempt]), [["7", 2]]);
});

Deno.test("FastCgiExecutor.executeBatch() does not send a batch again of which a part was answered", async () => {
  await using t = await start([async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord(HEAD + ["7", "8", "9"].map((id) => record(id)).join("")), ended);
    await peer.readRequest();
    await peer.write(stdoutRecord(HEAD + record("7"), { requestId: peer.requestId }));
  }]);
  assert.equal(await t.run(), undefined);
  errorOf(await t.run(), "retry", "JOB_CRASHED");
  assert.deepEqual([t.told.length, t.pool.stats.resent], [4, 0]);
});

// --- scripts that do not know batches

Deno.test("FastCgiExecutor.executeBatch() finds a script misconfigured that answers a batch as it would a job", async () => {
  for (const word of ["ack", "retry", "bury"]) {
    const { told, last } = await resultOf(
      concat(stdoutRecord(`X-Fervo-Outcome: ${word}\r\n\r\n${record("7")}`), ended),
    );
    assert.deepEqual(told, []);
    assert.equal(last?.kind === "release" && last.reason, "misconfigured");
    const { message } = errorOf(last, "release", "FPM_MISCONFIGURED");
    assert.match(
      message,
      new RegExp(`does not support batches: it answered a batch with the outcome "${word}"`),
    );
  }
});

Deno.test("FastCgiExecutor.executeBatch() knows php-fpm's own answers to a wrong script", async () => {
  const stdout = "Status: 404 Not Found\r\n\r\nFile not found.\n";
  const again = (text: string) => ({
    ask: () => Promise.resolve({ ...parseCgi(bytesOf(text)), stderr: "", isTruncated: false, appStatus: 0 }),
  });
  const answer = concat(stdoutRecord(stdout), ended);
  errorOf((await resultOf(answer, { fpm: again(stdout) })).last, "release", "FPM_MISCONFIGURED");
  errorOf(
    (await resultOf(answer, { fpm: again(`X-Fervo-Outcome: ack\r\n\r\n`) })).last,
    "retry",
    "JOB_NO_OUTCOME",
  );
});

// --- limits of time

Deno.test("FastCgiExecutor.executeBatch() gives an abort to the job that runs, and ends the child of the batch", async () => {
  const uris: string[] = [];
  const endChild = (uri: string) => Promise.resolve(uris.push(uri) && 4711);
  await using t = await start([async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord(HEAD + record("7")));
    await peer.clientCloses();
  }], { executor: { killOnTimeout: true }, fpm: { endChild } });
  const controller = new AbortController();
  const running = t.run(controller.signal);
  await eventually("the first record", () => t.told.length === 1);
  controller.abort(new JobError("JOB_TIMEOUT", "too slow"));
  errorOf(await running, "retry", "JOB_TIMEOUT");
  await t.executor.close();
  assert.deepEqual(uris, ["/a%20b/7+2"]);
  assert.deepEqual(t.log.events, [{
    type: "child_ended",
    after: "timeout",
    queue: "a b",
    id: "8",
    attempt: 2,
    pid: 4711,
  }]);
});

Deno.test("FastCgiExecutor.executeBatch() ends a child that does not end when all its jobs have", async () => {
  const uris: string[] = [];
  const endChild = (uri: string) => Promise.resolve(uris.push(uri) && 4711);
  await using t = await start([async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord(HEAD + ["7", "8", "9"].map((id) => record(id)).join("")));
    await peer.clientCloses();
  }], { executor: { killOnTimeout: true }, fpm: { endChild } });
  const controller = new AbortController();
  const running = t.run(controller.signal);
  await eventually("all records", () => t.told.length === 3);
  controller.abort(new JobError("JOB_TIMEOUT", "too slow"));
  assert.equal(await running, undefined);
  assert.deepEqual(uris, ["/a%20b/7+2"]);
});

Deno.test("FastCgiExecutor.executeBatch() releases at a shutdown", async () => {
  const asked = Promise.withResolvers<void>();
  await using t = await start([async (peer) => {
    await peer.readRequest();
    asked.resolve();
    await peer.clientCloses();
  }]);
  const controller = new AbortController();
  const running = t.run(controller.signal);
  await asked.promise;
  controller.abort(new FervoError("SHUTDOWN", "The worker shuts down"));
  const last = await running;
  assert.equal(last?.kind === "release" && last.reason, "shutdown");
});

Deno.test("FastCgiExecutor.executeBatch() finds out by the batch's name whether a silent one waits in the listen queue", async () => {
  const uris: string[] = [];
  const isRunning = (uri: string) => Promise.resolve(uris.push(uri) < 0);
  const asked = Promise.withResolvers<void>();
  await using t = await start([async (peer) => {
    await peer.readRequest();
    asked.resolve();
    await peer.clientCloses();
  }], { pool: { firstByteTimeoutMs: 500 }, fpm: { isRunning } });
  const running = t.run();
  await asked.promise;
  await eventually("the limit is over", async () => {
    await t.clock.advance(500);
    return uris.length > 0;
  });
  const last = await running;
  assert.equal(last?.kind === "release" && last.reason, "unavailable");
  assert.deepEqual(uris, ["/a%20b/7+2"]);
});
