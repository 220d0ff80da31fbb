/**
 * The table in docs/protocol.md, "The answer", row by row: what FastCgiExecutor and Pool make of a server that does
 * just what the row says, byte for byte. What php-fpm itself does is in executor_test.ts.
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
import { type FastCgiAddress, parseAddress } from "../../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool, type PoolOptions } from "../../../../src/fastcgi/pool.ts";
import { eventually } from "../../../support/eventually.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { FullQueue } from "../../../support/full_queue.ts";
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

/** A job that should have ended fails then. */
const deadline = () => AbortSignal.timeout(20_000);
const SAYS_ACK = "X-Fervo-Outcome: ack\r\n\r\n";

const JOB: Job = {
  id: "17",
  queue: "mail",
  payload: bytesOf("payload"),
  attempt: 2,
  maxAttempts: 5,
  enqueuedAtMs: 1_700_000_000_000,
  deadlineMs: 1_700_000_060_000,
};

interface Settings {
  readonly pool?: Partial<PoolOptions>;
  readonly executor?: Partial<FastCgiExecutorOptions>;
  /** What php-fpm looks like from the outside; by itself, it is there and runs the job. */
  readonly fpm?: Partial<FastCgiExecutorDeps["fpm"]>;
}

function build(address: FastCgiAddress, settings: Settings = {}) {
  const clock = new FakeClock();
  const pool = new Pool({ address, clock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 1,
    ...settings.pool,
  });
  const fpm: FastCgiExecutorDeps["fpm"] = {
    // Without a status page.
    hasLeftWithin: () => Promise.resolve(undefined),
    isRunning: () => Promise.resolve(true),
    endChild: () => assert.fail("kill_on_timeout is off"),
    ping: () => Promise.resolve(),
    ask: () => assert.fail("nobody probes"),
    ...settings.fpm,
  };
  const executor = new FastCgiExecutor({ pool, fpm, clock, observe: () => {} }, {
    ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
    script: "/srv/app/fervo.php",
    ...settings.executor,
  });
  return { clock, pool, run: (signal = deadline(), job = JOB) => executor.execute(job, signal) };
}

/** The outcomes of one job after the other, and what the pool has done for them. */
async function outcomesOf(
  scripts: Script[],
  jobs: number,
  settings: Settings & { transport?: "unix" | "tcp" } = {},
) {
  await using server = await ScriptedServer.start(scripts, { transport: settings.transport ?? "unix" });
  const { pool, run } = build(parseAddress(server.address), settings);
  const outcomes: Outcome[] = [];
  for (let i = 0; i < jobs; i++) outcomes.push(await run());
  await pool.close();
  await server.scriptsEnded();
  return { outcomes, stats: pool.stats };
}

/** The outcome of one job that a fresh connection answers so. */
async function outcomeOf(answer: Uint8Array, settings: Settings = {}): Promise<Outcome> {
  const { outcomes } = await outcomesOf(
    [async (peer) => {
      await peer.readRequest();
      await peer.write(answer);
    }],
    1,
    settings,
  );
  return outcomes[0]!;
}

function answered(stdout: string, stderr = "", requestId = 1): Uint8Array {
  const o = { requestId };
  return concat(stderrRecord(stderr, o), stdoutRecord(stdout, o), stdoutRecord("", o), endRequestRecord(o));
}

/** The error of an outcome that must be of this kind and carry this code. */
function errorOf(outcome: Outcome, kind: Outcome["kind"], code: string): FervoError {
  if (outcome.kind === "ack" || outcome.kind !== kind) assert.fail(`it is ${outcome.kind}, not ${kind}`);
  assert.equal(outcome.error.code, code);
  return outcome.error;
}

/** The error of a job that must have been put back for this reason. */
function putBack(outcome: Outcome, reason: string, code: string): FervoError {
  assert.equal(outcome.kind === "release" && outcome.reason, reason);
  return errorOf(outcome, "release", code);
}

// --- no such socket, refused, listen queue full, connect timeout

Deno.test("FastCgiExecutor.execute() puts the job back as unavailable when there is no socket, and when nobody listens", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  const { hostname, port } = listener.addr;
  const nowhere = [{ transport: "unix", path: "/nonexistent" }, {
    transport: "tcp",
    hostname,
    port,
  }] as const;
  for (const address of nowhere) {
    putBack(await build(address).run(), "unavailable", "FASTCGI_CONNECT_FAILED");
  }
});

Deno.test("FastCgiExecutor.execute() puts the job back as unavailable when the listen queue is full", async () => {
  await using queue = await FullQueue.fill("unix");
  putBack(await build(queue.address).run(), "unavailable", "FASTCGI_OVERLOADED");
});

Deno.test("FastCgiExecutor.execute() puts the job back as unavailable when connecting takes too long", async () => {
  await using queue = await FullQueue.fill("tcp");
  const { clock, run } = build(queue.address, { pool: { connectTimeoutMs: 2_000 } });
  const running = run();
  await clock.advance(2_000);
  putBack(await running, "unavailable", "FASTCGI_CONNECT_FAILED");
});

Deno.test("FastCgiExecutor.execute() puts the job back as unavailable when the server says that it is overloaded", async () => {
  putBack(await outcomeOf(endRequestRecord({ protocolStatus: 2 })), "unavailable", "FASTCGI_OVERLOADED");
});

// --- the connection ends with no byte of an answer, and had served a request before

/** Serves a request, takes the next one and leaves; with bytes unread, which resets the connection. */
const leaves: Record<string, Script> = {
  "is closed": async (peer) => {
    await peer.serve(SAYS_ACK);
    await peer.readRequest();
  },
  "is reset": async (peer) => {
    await peer.serve(SAYS_ACK);
    await peer.waitForRequest();
  },
};

for (const [how, leave] of Object.entries(leaves)) {
  for (const transport of ["unix", "tcp"] as const) {
    Deno.test(`FastCgiExecutor.execute() runs the job on a fresh connection when a kept one ${how} without a byte (${transport})`, async () => {
      const { outcomes, stats } = await outcomesOf(
        [leave, async (peer) => {
          const { params } = await peer.serve(SAYS_ACK);
          assert.deepEqual([params.get("FERVO_JOB_ID"), params.get("FERVO_REPEAT")], ["17", "1"]);
        }],
        2,
        { transport },
      );
      assert.deepEqual(outcomes, [ACK, ACK]);
      assert.deepEqual([stats.opened, stats.answered, stats.resent], [2, 2, 1]);
    });
  }
}

Deno.test("FastCgiExecutor.execute() takes a kept connection that is reset for a crash where php-fpm has stayed, and runs the job once", async () => {
  // Over TCP, Deno's server says that it ends before it resets; php-fpm's kernel does not.
  const fpm = { hasLeftWithin: () => Promise.resolve(false) };
  const { outcomes, stats } = await outcomesOf([leaves["is reset"]!], 2, { fpm });
  errorOf(outcomes[1]!, "retry", "JOB_CRASHED");
  assert.deepEqual([stats.opened, stats.resent], [1, 0]);
});

Deno.test("FastCgiExecutor.execute() gives the last attempt a connection of its own, and sends it once", async () => {
  const dies: Script = async (peer) => {
    assert.equal((await peer.readHead()).keep, false);
  };
  await using server = await ScriptedServer.start([
    async (peer) => {
      await peer.serve(SAYS_ACK);
      // The kept one, which had the only place, makes room.
      await peer.clientCloses();
    },
    dies,
    dies,
  ]);
  const { run, pool, clock } = build(parseAddress(server.address));
  assert.equal(await run(), ACK);
  const last: Job[] = [{ ...JOB, attempt: 5 }, { ...JOB, retryUntilMs: clock.nowMs() - 1 }];
  for (const job of last) errorOf(await run(deadline(), job), "retry", "JOB_CRASHED");
  await server.scriptsEnded();
  assert.deepEqual([pool.stats.opened, pool.stats.resent], [3, 0]);
});

Deno.test("FastCgiExecutor.execute() takes the loss of a fresh connection for a crash, also the second one of a job", async () => {
  const loses: Script[] = [
    async (peer) => void await peer.readRequest(),
    async (peer) => void await peer.readRecord(),
  ];
  for (const lose of loses) {
    errorOf((await outcomesOf([lose], 1)).outcomes[0]!, "retry", "JOB_CRASHED");
    const { outcomes, stats } = await outcomesOf([leaves["is closed"]!, lose], 2);
    errorOf(outcomes[1]!, "retry", "JOB_CRASHED");
    assert.deepEqual([stats.opened, stats.resent], [2, 1]);
  }
});

// --- the connection ends before END_REQUEST in any other way

/** What has come of the answer to a request when the connection ends. */
const ENDS: [when: string, answer: (requestId: number) => Uint8Array][] = [
  ["without a byte", () => new Uint8Array(0)],
  ["after one byte", () => Uint8Array.of(1)],
  ["after STDERR", (requestId) => stderrRecord("PHP Fatal error:  killed", { requestId })],
  ["after the word ack", (requestId) => stdoutRecord(SAYS_ACK, { requestId })],
  ["after the end of STDOUT", (requestId) => answered(SAYS_ACK, "", requestId).slice(0, -16)],
  ["inside END_REQUEST", (requestId) => answered(SAYS_ACK, "", requestId).slice(0, -1)],
];

for (const [when, answer] of ENDS) {
  Deno.test(`FastCgiExecutor.execute() takes a fresh connection that ends ${when} for a crash, counted`, async () => {
    for (const ackOn of ["outcome", "status"] as const) {
      const error = errorOf(await outcomeOf(answer(1), { executor: { ackOn } }), "retry", "JOB_CRASHED");
      assert.equal(error.details["responseBytes"], answer(1).length);
      assert.equal(error.details.stderr, when === "after STDERR" ? "PHP Fatal error:  killed" : undefined);
    }
  });
}

Deno.test("FastCgiExecutor.execute() takes a kept connection that ends after a byte for a crash, counted", async () => {
  for (const [, answer] of ENDS.slice(1)) {
    const { outcomes, stats } = await outcomesOf([async (peer) => {
      await peer.serve(SAYS_ACK);
      const { requestId } = await peer.readRequest();
      await peer.write(answer(requestId));
    }], 2);
    errorOf(outcomes[1]!, "retry", "JOB_CRASHED");
    assert.equal(stats.resent, 0);
  }
});

Deno.test("FastCgiExecutor.execute() takes a kept connection that ends later than 1 s for a crash, counted", async () => {
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve(SAYS_ACK);
    await peer.readRequest();
    clock.jump(1_001);
  }]);
  const { clock, run, pool } = build(parseAddress(server.address));
  assert.equal(await run(), ACK);
  errorOf(await run(), "retry", "JOB_CRASHED");
  assert.equal(pool.stats.resent, 0);
});

Deno.test("FastCgiExecutor.execute() puts the job back as unavailable when php-fpm itself has left", async () => {
  for (const [, answer] of ENDS) {
    const outcome = await outcomeOf(answer(1), { fpm: { hasLeftWithin: () => Promise.resolve(true) } });
    putBack(outcome, "unavailable", "FASTCGI_CONNECTION_LOST");
  }
});

// --- END_REQUEST without an outcome

const WORDLESS: [what: string, stdout: string][] = [
  ["a fatal error with status 500", "Status: 500 Internal Server Error\r\n\r\n"],
  ["a fatal error that looks fine", "Content-type: text/html\r\n\r\nFatal error: Uncaught Error"],
  ["output without headers", "plain words"],
  ["nothing at all", ""],
  ["the word in the body", `Content-type: text/html\r\n\r\n${SAYS_ACK}`],
  ["the word after other output", `Warning\n${SAYS_ACK}`],
  ["an unknown word", "X-Fervo-Outcome: done\r\n\r\n"],
  ["two words", "X-Fervo-Outcome: ack\r\nX-Fervo-Outcome: ack\r\n\r\n"],
  ["another job's record", 'A: 1\r\n\r\n\x1e{"id":"18","outcome":"ack"}\n'],
  ["a record that is not the last thing", 'A: 1\r\n\r\n\x1e{"id":"17","outcome":"ack"}\nFatal error'],
  ["a record with an unknown word", 'A: 1\r\n\r\n\x1e{"id":"17","outcome":"done"}\n'],
  ["an unknown word before a record", 'X-Fervo-Outcome: done\r\n\r\n\x1e{"id":"17","outcome":"ack"}\n'],
  ["another application's 404", "Status: 404 Not Found\r\n\r\nno such page"],
];

for (const [what, stdout] of WORDLESS) {
  Deno.test(`FastCgiExecutor.execute() takes ${what} for a failed attempt, counted, with STDERR`, async () => {
    const outcome = await outcomeOf(answered(stdout, "PHP message: why\n"));
    const { details } = errorOf(outcome, "retry", "JOB_NO_OUTCOME");
    assert.equal(details.stderr, "PHP message: why");
  });
}

Deno.test("FastCgiExecutor.execute() with ackOn = status takes any 2xx without a word, and nothing else, for success", async () => {
  const cases = [
    ["X-Powered-By: PHP/8.2\r\n\r\n", "ack"],
    ["Status: 204 No Content\r\n\r\n", "ack"],
    ["Status: 299\r\n\r\n", "ack"],
    ["Status: 300\r\n\r\n", "retry"],
    ["Status: 199\r\n\r\n", "retry"],
    ["Status: 500 Internal Server Error\r\n\r\n", "retry"],
    ["X-Fervo-Outcome: bury\r\n\r\n", "bury"],
    ["X-Fervo-Outcome: done\r\n\r\n", "retry"],
  ] as const;
  for (const [stdout, kind] of cases) {
    assert.equal((await outcomeOf(answered(stdout), { executor: { ackOn: "status" } })).kind, kind, stdout);
  }
});

Deno.test("FastCgiExecutor.execute() with ackOn = status takes an answer without headers for no status", async () => {
  for (const stdout of ["", "plain words", "Status: 500 but the headers do not end"]) {
    const outcome = await outcomeOf(answered(stdout), { executor: { ackOn: "status" } });
    errorOf(outcome, "retry", "JOB_NO_OUTCOME");
  }
});

// --- END_REQUEST and an outcome

Deno.test("FastCgiExecutor.execute() obeys ack, whatever else the answer says", async () => {
  const answers = [
    answered(SAYS_ACK),
    answered(SAYS_ACK, "PHP Deprecated: x"),
    answered(`Status: 500\r\n${SAYS_ACK}output`),
    answered(`Status: 404\r\n${SAYS_ACK}File not found.\n`),
    concat(stdoutRecord(SAYS_ACK), endRequestRecord({ appStatus: 255 })),
    answered(SAYS_ACK + "x".repeat(60_000)),
  ];
  for (const answer of answers) {
    assert.equal(await outcomeOf(answer, { pool: { maxResponseBytes: 1_000 } }), ACK);
  }
});

Deno.test("FastCgiExecutor.execute() obeys retry and bury with their delay and reason, and keeps STDERR", async () => {
  for (const word of ["retry", "bury"] as const) {
    const headers = `X-Fervo-Outcome: ${word}\r\nX-Fervo-Delay-Ms: 1500\r\nX-Fervo-Error: no route\r\n\r\n`;
    const outcome = await outcomeOf(answered(headers, "why"));
    const { message, details } = errorOf(outcome, word, "JOB_FAILED");
    assert.deepEqual([message, details.stderr], ["The job failed: no route", "why"]);
    assert.equal(outcome.kind === "retry" ? outcome.delayMs : 1_500, 1_500);
  }
});

Deno.test("FastCgiExecutor.execute() obeys a record that the body ends with, however long the body is", async () => {
  const record = (fields: object) => `\x1e${JSON.stringify({ id: "17", ...fields })}\n`;
  for (const output of ["", "output", record({ outcome: "bury" }), "x".repeat(60_000)]) {
    for (const ackOn of ["outcome", "status"] as const) {
      const settings = { executor: { ackOn }, pool: { maxResponseBytes: 1_000 } };
      const run = (fields: object) =>
        outcomeOf(answered(`Status: 404\r\n\r\n${output}${record(fields)}`, "why"), settings);
      assert.equal(await run({ outcome: "ack" }), ACK);
      const outcome = await run({ outcome: "retry", error: "no\nroute", delay_ms: 1_500, pid: 4711 });
      const { message, details } = errorOf(outcome, "retry", "JOB_FAILED");
      assert.deepEqual([message, details], ["The job failed: no route", { pid: 4711, stderr: "why" }]);
      assert.equal(outcome.kind === "retry" && outcome.delayMs, 1_500);
      errorOf(await run({ outcome: "bury" }), "bury", "JOB_FAILED");
    }
  }
});

Deno.test("FastCgiExecutor.execute() reads the message that takes the place of a single job", async () => {
  const message = '\x1e{"id":"17","outcome":"ack"}\n'.repeat(1_000);
  const record =
    `\x1e{"id":"17","outcome":"replace","error":"busy","delay_ms":5,"headers_bytes":2,"bytes":${message.length}}\n{}`;
  for (const output of ["", "output"]) {
    const outcome = await outcomeOf(answered(`A: 1\r\n\r\n${output}${record}${message}`));
    assert.ok(outcome.kind === "replace");
    assert.deepEqual([outcome.message, outcome.delayMs], [{ headers: {}, body: bytesOf(message) }, 5]);
  }
  // Of an answer that is longer than max_response_bytes, the record is not kept: the job must not be lost.
  const o = { requestId: 1 };
  const part = "y".repeat(50_000);
  const long = concat(
    stdoutRecord(`A: 1\r\n\r\n\x1e{"id":"17","outcome":"replace","headers_bytes":0,"bytes":100000}\n`, o),
    stdoutRecord(part, o),
    stdoutRecord(part, o),
    endRequestRecord(o),
  );
  assert.equal((await outcomeOf(long)).kind, "replace");
  const lost = await outcomeOf(long, { pool: { maxResponseBytes: 90_000 } });
  errorOf(lost, "retry", "JOB_NO_OUTCOME");
});

Deno.test("FastCgiExecutor.execute() obeys the header where a record says something else", async () => {
  const record = (outcome: string) => `\x1e{"id":"17","outcome":"${outcome}"}\n`;
  assert.equal(await outcomeOf(answered(`${SAYS_ACK}${record("bury")}`)), ACK);
  const outcome = await outcomeOf(answered(`X-Fervo-Outcome: retry\r\n\r\n${record("ack")}`));
  errorOf(outcome, "retry", "JOB_FAILED");
});

// --- php-fpm's own 404 and 403

for (
  const [stdout, text] of [
    ["Status: 404 Not Found\r\nContent-type: text/html\r\n\r\nFile not found.\n", "file not found"],
    ["Status: 403 Forbidden\r\nContent-type: text/html\r\n\r\nAccess denied.\n", "access denied"],
    [
      "Status: 404 Not Found\r\nContent-type: text/html\r\n\r\nNo input file specified.\n",
      "see open_basedir",
    ],
  ] as const
) {
  Deno.test(`FastCgiExecutor.execute() puts the job back as misconfigured at php-fpm's own "${text}"`, async () => {
    for (const ackOn of ["outcome", "status"] as const) {
      const again = { ...parseCgi(bytesOf(stdout)), stderr: "", isTruncated: false, appStatus: 0 };
      const fpm = { ask: () => Promise.resolve(again) };
      const outcome = await outcomeOf(answered(stdout), { executor: { ackOn }, fpm });
      assert.match(putBack(outcome, "misconfigured", "FPM_MISCONFIGURED").message, new RegExp(text));
    }
  });
}

// --- timeouts

Deno.test("FastCgiExecutor.execute() fails a job whose time is up as JOB_TIMEOUT, counted, and closes its connection", async () => {
  const sent = [[], [stderrRecord("still")], [stdoutRecord(SAYS_ACK)], [endRequestRecord().slice(0, 9)]];
  for (const pieces of sent) {
    const controller = new AbortController();
    const timeout = new JobError("JOB_TIMEOUT", "The job took longer than timeout_ms = 5 allows");
    await using server = await ScriptedServer.start([async (peer) => {
      await peer.readRequest();
      await peer.write(...pieces);
      controller.abort(timeout);
      await peer.clientCloses();
    }]);
    const { run, pool } = build(parseAddress(server.address));
    assert.equal(errorOf(await run(controller.signal), "retry", "JOB_TIMEOUT"), timeout);
    assert.deepEqual([pool.stats.busy, pool.stats.idle], [0, 0]);
    await server.scriptsEnded();
  }
});

for (const [isRunning, kind] of [[true, "retry"], [undefined, "retry"], [false, "release"]] as const) {
  Deno.test(`FastCgiExecutor.execute() ends in ${kind} when the first byte does not come and php-fpm's word whether it runs the job is ${isRunning}`, async () => {
    await using server = await ScriptedServer.start([async (peer) => {
      await peer.readRequest();
      await peer.clientCloses();
    }]);
    const { clock, run } = build(parseAddress(server.address), {
      pool: { firstByteTimeoutMs: 5_000 },
      fpm: { isRunning: () => Promise.resolve(isRunning) },
    });
    const running = run();
    // The timer of the connect is gone by then.
    await eventually("the request is written", () => server.connections === 1 && clock.pendingTimers === 1);
    await clock.advance(5_000);
    const outcome = await running;
    if (kind === "release") putBack(outcome, "unavailable", "FASTCGI_FIRST_BYTE_TIMEOUT");
    else errorOf(outcome, kind, "FASTCGI_FIRST_BYTE_TIMEOUT");
    await server.scriptsEnded();
  });
}

// --- what the table leaves out

Deno.test("FastCgiExecutor.execute() takes an answer that is not FastCGI, not to its request or a refusal for a failed attempt", async () => {
  const answers = [
    bytesOf("HTTP/1.1 200 OK\r\nX-Fervo-Outcome: ack\r\n\r\n"),
    concat(stdoutRecord(SAYS_ACK, { requestId: 2 }), endRequestRecord({ requestId: 2 })),
    stdoutRecord("X-More: 1\r\n".repeat(5_500)),
    ...[1, 3, 255].map((protocolStatus) =>
      concat(stdoutRecord(SAYS_ACK), endRequestRecord({ protocolStatus }))
    ),
  ];
  for (const answer of answers) {
    errorOf(await outcomeOf(answer, { pool: { maxHeaderBytes: 1_000 } }), "retry", "FASTCGI_PROTOCOL");
  }
});

Deno.test("FastCgiExecutor.execute() puts the job back when the worker stops, before and while it runs", async () => {
  const shutdown = new FervoError("SHUTDOWN", "The worker stops");
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    pool.destroy(shutdown);
    await peer.clientCloses();
  }]);
  const { run, pool } = build(parseAddress(server.address));
  for (const outcome of [await run(), await run()]) putBack(outcome, "shutdown", "SHUTDOWN");
  await server.scriptsEnded();
});
