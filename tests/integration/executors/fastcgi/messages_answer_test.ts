/**
 * A framework's jobs, and what is told of those that died (docs/protocol.md, section 8): what FastCgiExecutor makes of a server that
 * does just what a test says, byte for byte. What a real php-fpm does is in tests/integration/worker/framework_test.ts.
 */
import assert from "node:assert/strict";
import { FervoError, JobError } from "../../../../src/core/errors.ts";
import type { Job } from "../../../../src/core/job.ts";
import { type Outcome } from "../../../../src/core/outcome.ts";
import type { JobFailure } from "../../../../src/executors/executor.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  FastCgiExecutor,
  type FastCgiExecutorDeps,
} from "../../../../src/executors/fastcgi/executor.ts";
import { parseAddress } from "../../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../../../src/fastcgi/pool.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";
import {
  bytesOf,
  concat,
  endRequestRecord,
  type Script,
  ScriptedServer,
  stderrRecord,
  stdoutRecord,
} from "../../../support/scripted_server.ts";

const BATCH = "X-Fervo-Outcome: batch\r\n\r\n\n";
const POST_MORTEM = "X-Fervo-Outcome: post-mortem\r\n\r\n\n";
const NEVER = new AbortController().signal;
const FAILURE: JobFailure = { id: "f1", code: "JOB_CRASHED", message: "killed" };
/** Of any bytes, those that frame records among them. */
const BODY = Uint8Array.of(0x1e, 0x0a, 0x00, 0xff);

const say = (id: string, outcome: string, more = {}) => `\x1e${JSON.stringify({ id, outcome, ...more })}\n`;
const jobOf = (id: string, fields: Partial<Job> = {}): Job => ({
  id,
  queue: "a b",
  payload: BODY,
  attempt: 1,
  maxAttempts: 5,
  enqueuedAtMs: 5,
  deadlineMs: 1_000,
  framework: { format: "messenger", headers: { type: "Mail" } },
  ...fields,
});

/** A server that does what `scripts` say, and an executor before it. */
async function start(
  scripts: Script | Script[],
  fpm: Partial<FastCgiExecutorDeps["fpm"]> = {},
  killOnTimeout = true,
) {
  const clock = new FakeClock();
  const server = await ScriptedServer.start(scripts);
  const pool = new Pool({ address: parseAddress(server.address), clock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 1,
  });
  const received = Promise.withResolvers<void>();
  const executor = new FastCgiExecutor({
    pool: {
      request: (request, signal, how) => {
        const onBody: typeof request.onBody = (piece, answer) => {
          request.onBody?.(piece, answer);
          received.resolve();
        };
        return pool.request({ ...request, onBody }, signal, how);
      },
      close: () => pool.close(),
    },
    clock,
    observe: () => {},
    fpm: {
      hasLeftWithin: () => Promise.resolve(false),
      isRunning: () => Promise.resolve(false),
      endChild: () => assert.fail("no child runs"),
      ping: () => Promise.resolve(),
      ask: () => assert.fail("nobody probes"),
      ...fpm,
    },
  }, { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script: "/srv/app/fervo.php", killOnTimeout });
  const told: string[] = [];
  const run = (jobs: readonly Job[], signal: AbortSignal) =>
    executor.executeBatch({
      jobs,
      timeoutMs: 60_000,
      onBegun: ({ id }) => told.push(`${id} begun`),
      onOutcome: ({ kind }, { id }) => told.push(`${id} ${kind}`),
    }, signal);
  return {
    told,
    /** The first part of an answer has come. */
    received: received.promise,
    run: (...jobs: Job[]) => run(jobs, NEVER),
    runUntil: (signal: AbortSignal, ...jobs: Job[]) => run(jobs, signal),
    tell: (signal = NEVER) => executor.tellFailure(jobOf("7"), FAILURE, signal),
    async [Symbol.asyncDispose]() {
      await executor.close();
      await server.scriptsEnded();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** Answers so, and closes the connection. */
const answering = (...parts: (string | Uint8Array)[]): Script => async (peer) => {
  await peer.readRequest();
  await peer.write(concat(...parts.map((part) => typeof part === "string" ? stdoutRecord(part) : part)));
};
const END = endRequestRecord();

/** In a test's words, as `release misconfigured APPLICATION_NOT_STARTED`. */
function wordsOf(outcome: Outcome | undefined): string {
  if (outcome === undefined || outcome.kind === "ack") return String(outcome?.kind);
  return [outcome.kind, ...(outcome.kind === "release" ? [outcome.reason] : []), outcome.error.code].join(
    " ",
  );
}

// --- how a batch ends

Deno.test("A batch of a framework whose jobs had all begun, and some their outcomes, failed for the others", async () => {
  for (const end of [[END], []] as Uint8Array[][]) {
    const begun = ["1", "2", "3"].map((id) => say(id, "begun")).join("");
    await using t = await start(answering(BATCH + begun + say("2", "handled"), ...end));
    const last = await t.run(jobOf("1"), jobOf("2"), jobOf("3"), jobOf("4"));
    assert.deepEqual(t.told, ["1 begun", "2 begun", "3 begun", "2 handled"]);
    assert.deepEqual([last?.jobs.map(({ id }) => id), last?.hasEnded], [["1", "3"], true]);
    assert.equal(wordsOf(last?.outcome), end.length > 0 ? "retry JOB_NO_OUTCOME" : "retry JOB_CRASHED");
  }
});

Deno.test("A batch of a framework that ends between two jobs has failed for none", async () => {
  await using t = await start(answering(BATCH + say("1", "begun") + say("1", "ack"), END));
  assert.equal(await t.run(jobOf("1"), jobOf("2")), undefined);
});

Deno.test("A batch of a framework that ends before a job has begun has run none, however it ended", async () => {
  const ends: Readonly<Record<string, (string | Uint8Array)[]>> = {
    "the script ended": [BATCH, stderrRecord("PHP Fatal error: boot"), END],
    "it answered in another way": ["Status: 500\r\n\r\nno", stderrRecord("PHP Fatal error: boot"), END],
    "its child died": [BATCH, stderrRecord("PHP Fatal error: boot")],
    "it sent outcomes of jobs that had not begun": [
      BATCH + say("1", "ack"),
      stderrRecord("PHP Fatal error: boot"),
      END,
    ],
  };
  for (const [name, parts] of Object.entries(ends)) {
    await using t = await start(answering(...parts));
    const last = await t.run(jobOf("1"), jobOf("2"));
    assert.equal(wordsOf(last?.outcome), "release misconfigured APPLICATION_NOT_STARTED", name);
    assert.deepEqual([last?.jobs.map(({ id }) => id), t.told], [["1"], []], name);
    const { error } = last!.outcome as Extract<Outcome, { kind: "release" }>;
    assert.equal(error.details.stderr, "PHP Fatal error: boot", name);
  }
});

Deno.test("A batch of a framework that was lost with php-fpm is nobody's fault", async () => {
  await using t = await start(answering(BATCH + say("1", "begun")), {
    hasLeftWithin: () => Promise.resolve(true),
  });
  const last = await t.run(jobOf("1"));
  assert.equal(wordsOf(last?.outcome), "release unavailable FASTCGI_CONNECTION_LOST");
});

Deno.test("A batch of a framework says that its child has ended only when that is known", async () => {
  const cases: readonly (readonly [boolean | undefined, number | undefined, boolean])[] = [
    [false, undefined, true],
    [true, 4711, true],
    [true, undefined, false],
    [undefined, undefined, false],
  ];
  for (const [runs, pid, expected] of cases) {
    await using t = await start(answering(BATCH + say("1", "begun"), END), {
      isRunning: () => Promise.resolve(runs),
      endChild: () => Promise.resolve(pid),
    });
    assert.equal((await t.run(jobOf("1")))?.hasEnded, expected, `${runs} ${pid}`);
  }
});

Deno.test("A single job of a framework travels as a batch of one, whatever its bytes are", async () => {
  let stdin: Uint8Array = new Uint8Array(0);
  let params: Record<string, string> = {};
  await using t = await start(async (peer) => {
    const request = await peer.readRequest();
    [stdin, params] = [request.stdin, Object.fromEntries(request.params)];
    await peer.write(concat(stdoutRecord(BATCH + say("7", "begun") + say("7", "ack")), END));
  });
  await t.run(jobOf("7"));
  assert.deepEqual(
    stdin,
    concat(
      bytesOf(
        `{"id":"7","queue":"a b","attempt":1,"max_attempts":5,"enqueued_at":5,"timeout_ms":60000,` +
          `"format":"messenger","headers":{"type":"Mail"},"bytes":4}\n`,
      ),
      BODY,
      bytesOf("\n"),
    ),
  );
  assert.equal(params["FERVO_BATCH"], "1");
  assert.ok(!Object.keys(params).some((name) => /type|Mail/.test(name) && !name.startsWith("CONTENT_")));
  assert.deepEqual(t.told, ["7 begun", "7 ack"]);
});

// --- what is told of a death

Deno.test("What is told of a death has no param by which a script could take it for a job", async () => {
  let stdin: Uint8Array = new Uint8Array(0);
  let params: Record<string, string> = {};
  await using t = await start(async (peer) => {
    const request = await peer.readRequest();
    [stdin, params] = [request.stdin, Object.fromEntries(request.params)];
    await peer.write(concat(stdoutRecord(POST_MORTEM + say("7", "begun") + say("7", "handled")), END));
  });
  assert.equal(wordsOf(await t.tell()), "handled JOB_FAILED");
  assert.deepEqual(
    stdin,
    concat(
      bytesOf(
        `{"id":"7","queue":"a b","attempt":1,"max_attempts":5,"enqueued_at":5,"format":"messenger",` +
          `"headers":{"type":"Mail"},"failure":{"id":"f1","code":"JOB_CRASHED","message":"killed"},"bytes":4}\n`,
      ),
      BODY,
      bytesOf("\n"),
    ),
  );
  assert.deepEqual(Object.keys(params).filter((name) => name.startsWith("FERVO_")), ["FERVO_POST_MORTEM"]);
  assert.deepEqual(
    [params["CONTENT_TYPE"], params["REQUEST_URI"]],
    ["application/x-fervo-post-mortem", "/a%20b/7/post-mortem"],
  );
});

Deno.test("A death is answered by handled, replace, retry or bury, and by nothing else", async () => {
  const begun = POST_MORTEM + say("7", "begun");
  const answers: Readonly<Record<string, string>> = {
    handled: "handled JOB_FAILED",
    retry: "retry JOB_FAILED",
    bury: "bury JOB_FAILED",
    ack: "undefined",
    release: "undefined",
    done: "undefined",
  };
  for (const [word, expected] of Object.entries(answers)) {
    await using t = await start(answering(begun + say("7", word), END));
    assert.equal(wordsOf(await t.tell()), expected, word);
  }
  await using t = await start(
    answering(
      begun + say("7", "replace", { headers_bytes: 9, bytes: 4 }) + '{"a":"b"}',
      stdoutRecord(BODY),
      END,
    ),
  );
  const outcome = await t.tell();
  assert.ok(outcome?.kind === "replace");
  assert.deepEqual(outcome.message, { body: BODY, headers: { a: "b" } });
});

Deno.test("A death that was told and had no word has died of it; one that nobody took up is told later", async () => {
  const begun = POST_MORTEM + say("7", "begun");
  const cases: readonly (readonly [(string | Uint8Array)[], string])[] = [
    [[begun, END], "undefined"],
    [[begun], "undefined"],
    // One byte of its answer is lost.
    [[begun + say("7", "handled").slice(0, -1)], "undefined"],
    [[begun + say("7", "replace", { bytes: 4 }) + "xyz"], "undefined"],
    [[POST_MORTEM, END], "release misconfigured APPLICATION_NOT_STARTED"],
    [[POST_MORTEM], "release misconfigured APPLICATION_NOT_STARTED"],
    // A front controller that knows nothing of it.
    [
      ["Status: 403\r\n\r\nThis script is for fervo-worker.", END],
      "release misconfigured APPLICATION_NOT_STARTED",
    ],
    [[BATCH + say("7", "begun") + say("7", "handled"), END], "release misconfigured APPLICATION_NOT_STARTED"],
  ];
  for (const [parts, expected] of cases) {
    await using t = await start(answering(...parts));
    assert.equal(wordsOf(await t.tell()), expected, parts.join(" "));
  }
});

Deno.test("A death that takes too long to tell has its child ended", async () => {
  const ended: string[] = [];
  await using t = await start(async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord(POST_MORTEM + say("7", "begun")));
    await peer.clientCloses();
  }, {
    isRunning: () => Promise.resolve(ended.length === 0),
    endChild: (uri) => Promise.resolve(ended.push(uri)),
  });
  const late = new AbortController();
  const telling = t.tell(late.signal);
  await t.received;
  late.abort(new JobError("JOB_TIMEOUT", "too slow"));
  assert.equal(await telling, undefined);
  assert.deepEqual(ended, ["/a%20b/7/post-mortem"]);
});

Deno.test("A death that is cut off by a shutdown is no answer", async () => {
  const asked = Promise.withResolvers<void>();
  await using t = await start(async (peer) => {
    await peer.readRequest();
    asked.resolve();
    await peer.clientCloses();
  }, { endChild: () => Promise.resolve(undefined) });
  const cut = new AbortController();
  const telling = t.tell(cut.signal);
  await asked.promise;
  cut.abort(new FervoError("SHUTDOWN", "The worker shuts down"));
  assert.equal(wordsOf(await telling), "release shutdown SHUTDOWN");
});

Deno.test("A batch of a framework is given up only when its child cannot begin any more what is put back", async () => {
  const error = {
    JOB_TIMEOUT: new JobError("JOB_TIMEOUT", "too slow"),
    SHUTDOWN: new FervoError("SHUTDOWN", "The worker shuts down"),
  };
  const cases: readonly (readonly [string, keyof typeof error])[] = [
    [BATCH, "JOB_TIMEOUT"],
    [BATCH, "SHUTDOWN"],
    [BATCH + say("1", "begun") + say("1", "ack"), "JOB_TIMEOUT"],
    [BATCH + say("1", "begun") + say("1", "ack"), "SHUTDOWN"],
  ];
  for (const [answer, code] of cases) {
    const ending = Promise.withResolvers<number>();
    const asked = Promise.withResolvers<void>();
    let hasEnded = false;
    await using t = await start(async (peer) => {
      await peer.readRequest();
      await peer.write(stdoutRecord(answer));
      await peer.clientCloses();
    }, {
      isRunning: () => Promise.resolve(!hasEnded),
      endChild: () => {
        asked.resolve();
        return ending.promise;
      },
    });
    const late = new AbortController();
    let isGivenUp = false;
    const run = t.runUntil(late.signal, jobOf("1"), jobOf("2")).then((end) => {
      isGivenUp = true;
      return end;
    });
    await t.received;
    late.abort(error[code]);
    await asked.promise;
    await settlePromises();
    const wasGivenUp = isGivenUp;
    hasEnded = true;
    ending.resolve(4711);
    await run;
    assert.equal(wasGivenUp, false, `${code} ${answer}`);
  }
});

Deno.test("A death that was told has its child ended when that goes on for too long", async () => {
  const ended: string[] = [];
  await using t = await start(async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord(POST_MORTEM + say("7", "begun") + say("7", "handled")));
    await peer.clientCloses();
  }, { endChild: (uri) => Promise.resolve(ended.push(uri)) });
  const late = new AbortController();
  const telling = t.tell(late.signal);
  await t.received;
  late.abort(new JobError("JOB_TIMEOUT", "too slow"));
  assert.equal(wordsOf(await telling), "handled JOB_FAILED");
  assert.deepEqual(ended, ["/a%20b/7/post-mortem"]);
});

Deno.test("A batch of a framework says that its child has ended when it does so by itself just then", async () => {
  const looks = [true, false];
  await using t = await start(answering(BATCH + say("1", "begun"), END), {
    isRunning: () => Promise.resolve(looks.shift()),
    endChild: () => Promise.resolve(undefined),
  });
  assert.equal((await t.run(jobOf("1")))?.hasEnded, true);
});
