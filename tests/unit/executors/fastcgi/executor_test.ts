import assert from "node:assert/strict";
import fc from "fast-check";
import { FervoError, JobError } from "../../../../src/core/errors.ts";
import type { Job } from "../../../../src/core/job.ts";
import { ACK, type Outcome } from "../../../../src/core/outcome.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  FastCgiExecutor,
  type FastCgiExecutorDeps,
  type FastCgiExecutorOptions,
} from "../../../../src/executors/fastcgi/executor.ts";
import { checkRequest, RESERVED_PARAMS } from "../../../../src/executors/fastcgi/requests.ts";
import { outcomeOf } from "../../../../src/executors/fastcgi/answer.ts";
import { ConnectionLostError, type FastCgiRequest } from "../../../../src/fastcgi/connection.ts";
import { FastCgiError } from "../../../../src/fastcgi/errors.ts";
import { decodeParams } from "../../../support/cgi.ts";
import type { FastCgiResponse } from "../../../../src/fastcgi/response.ts";
import { EventLog } from "../../../support/event_log.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";

const SCRIPT = "/srv/app/fervo.php";
const NEVER = new AbortController().signal;
const bytesOf = (text: string) => new TextEncoder().encode(text);

function responseOf(
  headers: Record<string, string> = {},
  rest: { status?: number; body?: string; stderr?: string } = {},
): FastCgiResponse {
  return {
    status: rest.status ?? 200,
    headers: new Map(Object.entries(headers)),
    body: bytesOf(rest.body ?? ""),
    stderr: rest.stderr ?? "",
    isTruncated: false,
    appStatus: 0,
  };
}

const jobOf = (fields: Partial<Job> = {}): Job => ({
  id: "17",
  queue: "mail",
  payload: bytesOf("payload"),
  attempt: 2,
  maxAttempts: 5,
  enqueuedAtMs: 1_700_000_000_000,
  deadlineMs: 1_700_000_060_000,
  ...fields,
});

/** A php-fpm that is there, and knows nothing. */
const FPM: FastCgiExecutorDeps["fpm"] = {
  hasLeftWithin: () => Promise.resolve(false),
  isRunning: () => Promise.resolve(undefined),
  endChild: () => Promise.reject(new Error("nobody asked for it")),
  ping: () => Promise.resolve(),
  ask: () => Promise.reject(new Error("nobody asked for it")),
};

/** An executor on a pool that answers as it is told, and what it asked the pool for. */
function build(
  answer: FastCgiResponse | Error,
  options: Partial<FastCgiExecutorOptions> = {},
  fpm: Partial<FastCgiExecutorDeps["fpm"]> = {},
) {
  const log = new EventLog();
  const clock = new FakeClock();
  const requests: FastCgiRequest[] = [];
  const pool = {
    closed: 0,
    request(request: FastCgiRequest) {
      requests.push(request);
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    close() {
      this.closed++;
      return Promise.resolve();
    },
  };
  const deps = { pool, fpm: { ...FPM, ...fpm }, clock, observe: log.observe };
  const executor = new FastCgiExecutor(deps, {
    ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
    script: SCRIPT,
    ...options,
  });
  return { executor, requests, pool, log, clock };
}

/** The params of the only request, as php-fpm gets them. */
async function paramsOf(job: Job, options: Partial<FastCgiExecutorOptions> = {}) {
  const { executor, requests } = build(responseOf({ "x-fervo-outcome": "ack" }), options);
  assert.deepEqual(await executor.execute(job, NEVER), ACK);
  assert.equal(requests.length, 1);
  const { sharedParams, params, body } = requests[0]!;
  const all = [...decodeParams(sharedParams!.bytes), ...params];
  assert.equal(new Set(all.map(([name]) => name)).size, all.length, "a param was sent twice");
  return { params: Object.fromEntries(all), body };
}

function errorOf(outcome: Outcome): FervoError {
  assert.ok(outcome.kind !== "ack");
  return outcome.error;
}

const byOutcome = { ackOn: "outcome", script: SCRIPT } as const;
const byStatus = { ackOn: "status", script: SCRIPT } as const;

// --- the answer

Deno.test("outcomeOf() takes the word ack for success, whatever else the answer says", () => {
  const word = { "x-fervo-outcome": "ack", "x-fervo-error": "x", "x-fervo-delay-ms": "5" };
  assert.equal(outcomeOf(responseOf(word, { body: "output", stderr: "Deprecated" }), byOutcome), ACK);
});

Deno.test("outcomeOf() reads a retry with its reason and STDERR", () => {
  const outcome = outcomeOf(
    responseOf({ "x-fervo-outcome": "retry", "x-fervo-error": "no route to host" }, {
      stderr: "PHP message",
    }),
    byOutcome,
  );
  assert.equal(outcome.kind, "retry");
  assert.equal("delayMs" in outcome, false);
  const { code, message, details } = errorOf(outcome);
  assert.deepEqual([code, message, details], ["JOB_FAILED", "The job failed: no route to host", {
    stderr: "PHP message",
  }]);
});

Deno.test("outcomeOf() reads which process a failed job names, when that can be one", () => {
  const pidOf = (pid: string) => {
    const outcome = outcomeOf(responseOf({ "x-fervo-outcome": "bury", "x-fervo-pid": pid }), byOutcome);
    return errorOf(outcome).details.pid;
  };
  assert.equal(pidOf("4711"), 4_711);
  for (const pid of ["", "0", "-1", "1e3", "12345678901", "4711\u0000"]) assert.equal(pidOf(pid), undefined);
});

Deno.test("outcomeOf() reads a retry's delay when it is a whole number of milliseconds", () => {
  const delayOf = (delay: string) => {
    const outcome = outcomeOf(
      responseOf({ "x-fervo-outcome": "retry", "x-fervo-delay-ms": delay }),
      byOutcome,
    );
    return outcome.kind === "retry" ? outcome.delayMs : assert.fail(outcome.kind);
  };
  assert.deepEqual(["0", "1500", "999999999999"].map(delayOf), [0, 1_500, 999_999_999_999]);
  const others = ["", "-5", "1.5", "1e3", "soon", "0x10", "5, 6", "1000000000000", "Infinity", " 5"];
  assert.deepEqual(others.map(delayOf), others.map(() => undefined));
});

Deno.test("outcomeOf() reads a burial, which has no delay", () => {
  const outcome = outcomeOf(
    responseOf({ "x-fervo-outcome": "bury", "x-fervo-error": "no handler", "x-fervo-delay-ms": "5" }),
    byOutcome,
  );
  assert.deepEqual([outcome.kind, "delayMs" in outcome], ["bury", false]);
  assert.deepEqual([errorOf(outcome).code, errorOf(outcome).message], [
    "JOB_FAILED",
    "The job failed: no handler",
  ]);
});

Deno.test("outcomeOf() says so when a failure came without a reason", () => {
  const outcome = outcomeOf(responseOf({ "x-fervo-outcome": "bury" }), byOutcome);
  assert.equal(errorOf(outcome).message, "The job failed: the job gave no reason");
  assert.equal("stderr" in errorOf(outcome).details, false);
});

Deno.test("outcomeOf() takes an answer without a word for a failed attempt, with its status and STDERR", () => {
  for (const status of [200, 204, 302, 404, 403, 500]) {
    const outcome = outcomeOf(responseOf({}, { status, stderr: "PHP Fatal error" }), byOutcome);
    assert.equal(outcome.kind, "retry");
    const { code, message, details } = errorOf(outcome);
    assert.deepEqual([code, details], ["JOB_NO_OUTCOME", { status, stderr: "PHP Fatal error" }]);
    assert.ok(
      message.startsWith(`The script ended without an outcome: it answered status ${status}; `),
      message,
    );
  }
});

Deno.test("outcomeOf() takes no other word for success, and quotes it, shortened", () => {
  for (const word of ["", "ok", "ACK", "ack, ack", "ack;", "release", "x".repeat(500)]) {
    for (const options of [byOutcome, byStatus]) {
      const outcome = outcomeOf(responseOf({ "x-fervo-outcome": word }), options);
      assert.equal(outcome.kind, "retry");
      const { code, message } = errorOf(outcome);
      assert.equal(code, "JOB_NO_OUTCOME");
      assert.ok(message.includes(`unknown outcome "${word.slice(0, 40)}"`), message);
      assert.ok(message.length < 300);
    }
  }
});

Deno.test("outcomeOf() by status takes any 2xx for success, and nothing else", () => {
  for (
    const [status, kind] of [[200, "ack"], [204, "ack"], [299, "ack"], [199, "retry"], [
      300,
      "retry",
    ]] as const
  ) {
    assert.equal(outcomeOf(responseOf({}, { status }), byStatus).kind, kind, String(status));
  }
  for (const status of [404, 403, 500]) {
    assert.equal(outcomeOf(responseOf({}, { status }), byStatus).kind, "retry");
  }
});

Deno.test("outcomeOf() by status obeys a word that came all the same", () => {
  for (const kind of ["ack", "retry", "bury"] as const) {
    const status = kind === "ack" ? 500 : 200;
    assert.equal(outcomeOf(responseOf({ "x-fervo-outcome": kind }, { status }), byStatus).kind, kind);
  }
});

Deno.test("outcomeOf() takes php-fpm's own 404 and 403 for a misconfiguration, and names the script", () => {
  const cases = [
    [404, "File not found.\n", "file not found"],
    [403, "Access denied.\n", "access denied"],
    [404, "No input file specified.\n", "it cannot be opened"],
  ] as const;
  for (const [status, body, reason] of cases) {
    for (const options of [byOutcome, byStatus]) {
      const outcome = outcomeOf(responseOf({}, { status, body }), options);
      assert.ok(outcome.kind === "release");
      assert.equal(outcome.reason, "misconfigured");
      assert.equal(outcome.error.code, "FPM_MISCONFIGURED");
      assert.ok(outcome.error.message.includes(`"${SCRIPT}": ${reason}`), outcome.error.message);
    }
  }
});

Deno.test("outcomeOf() takes a script's own 404 or 403 for a failed attempt", () => {
  const cases = [
    [404, "Not found"],
    [404, "File not found. Sorry!"],
    [404, "File not found."],
    [404, "File not found.\n\n"],
    [403, "Access denied."],
    [404, "No input file specified."],
    [200, "File not found.\n"],
    [403, "File not found.\n"],
    [404, "Access denied.\n"],
    [403, "<h1>Access denied.</h1>"],
  ] as const;
  for (const [status, body] of cases) {
    assert.equal(outcomeOf(responseOf({}, { status, body }), byOutcome).kind, "retry", `${status} ${body}`);
  }
  const worded = responseOf({ "x-fervo-outcome": "bury" }, { status: 404, body: "File not found.\n" });
  assert.equal(outcomeOf(worded, byOutcome).kind, "bury");
});

Deno.test("outcomeOf() never takes an answer without the word ack for success, whatever it is", () => {
  const headers = fc.dictionary(
    fc.constantFrom("x-fervo-outcome", "x-fervo-error", "x-fervo-delay-ms", "status", "content-type"),
    fc.string().filter((text) => text !== "ack"),
  );
  const rest = fc.record({ status: fc.nat(999), body: fc.string(), stderr: fc.string() });
  fc.assert(fc.property(headers, rest, (headers, rest) => {
    assert.notEqual(outcomeOf(responseOf(headers, rest), byOutcome).kind, "ack");
  }));
});

// --- requests that fail

Deno.test("FastCgiExecutor puts a job back and pauses when php-fpm is down or full", async () => {
  for (const code of ["FASTCGI_CONNECT_FAILED", "FASTCGI_OVERLOADED"] as const) {
    const error = new FastCgiError(code, "no such socket");
    assert.deepEqual(await build(error).executor.execute(jobOf(), NEVER), {
      kind: "release",
      reason: "unavailable",
      error,
    });
  }
});

const CUT = new FervoError("SHUTDOWN", "The worker shuts down");

Deno.test("FastCgiExecutor says of a job that a shutdown has cut off that PHP may run on", async () => {
  const { executor } = build(CUT);
  assert.equal(executor.abortMs, 0);
  assert.deepEqual(await executor.execute(jobOf(), NEVER), {
    kind: "release",
    reason: "shutdown",
    error: CUT,
    mayRunOn: true,
  });
});

Deno.test("FastCgiExecutor with kill_on_timeout ends the child of a job that is cut off, before the job goes back", async () => {
  const ending = Promise.withResolvers<number>();
  const uris: string[] = [];
  const { executor, log } = build(CUT, { killOnTimeout: true }, {
    endChild: (uri) => {
      uris.push(uri);
      return ending.promise;
    },
  });
  assert.equal(executor.abortMs, 8_000);
  let outcome: Outcome | undefined;
  const running = executor.execute(jobOf(), NEVER).then((result) => outcome = result);
  await settlePromises();
  assert.deepEqual([outcome, uris], [undefined, ["/mail/17"]]);
  ending.resolve(4711);
  await running;
  assert.deepEqual(outcome, { kind: "release", reason: "shutdown", error: CUT });
  const job = { queue: "mail", id: "17", attempt: 2 };
  assert.deepEqual(log.events, [{ type: "child_ended", after: "shutdown", ...job, pid: 4711 }]);
});

Deno.test("FastCgiExecutor says that PHP may run on where its child was not found, or not ended", async () => {
  const refused = () => Promise.reject(new FervoError("FPM_KILL_FAILED", "not permitted"));
  for (const endChild of [refused, () => Promise.resolve(undefined)]) {
    const { executor } = build(CUT, { killOnTimeout: true }, { endChild });
    const outcome = await executor.execute(jobOf(), NEVER);
    assert.equal(outcome.kind === "release" && outcome.mayRunOn, true);
  }
});

Deno.test("FastCgiExecutor takes a job for failed whose time was up", async () => {
  const error = new JobError("JOB_TIMEOUT", "The job took longer than timeout_ms = 5 allows");
  assert.deepEqual(await build(error).executor.execute(jobOf(), NEVER), { kind: "retry", error });
});

Deno.test("FastCgiExecutor takes a lost connection for a crash of the job, with its STDERR", async () => {
  const facts = { responseBytes: 10, isReused: false, afterMs: 5, isReset: false, stderr: "PHP message" };
  const lost = new ConnectionLostError(
    { transport: "unix", path: "/run/fpm.sock" },
    "the other side closed it",
    facts,
  );
  const outcome = await build(lost).executor.execute(jobOf(), NEVER);
  assert.equal(outcome.kind, "retry");
  const error = errorOf(outcome);
  assert.ok(error instanceof JobError);
  assert.deepEqual([error.code, error.cause, error.details], ["JOB_CRASHED", lost, {
    responseBytes: 10,
    stderr: "PHP message",
  }]);
  assert.match(
    error.message,
    /^The PHP process died while it ran the job: Lost the connection to "\/run\/fpm.sock"/,
  );
});

Deno.test("FastCgiExecutor takes an answer that breaks the protocol for a failed attempt", async () => {
  const error = new FastCgiError("FASTCGI_PROTOCOL", "Cannot read the answer");
  assert.deepEqual(await build(error).executor.execute(jobOf(), NEVER), { kind: "retry", error });
});

Deno.test("FastCgiExecutor buries a job with a param that is too large for a record", async () => {
  const error = new FastCgiError("FASTCGI_PARAM_TOO_LARGE", `Cannot send the param "FERVO_JOB_ID"`);
  assert.deepEqual(await build(error).executor.execute(jobOf(), NEVER), { kind: "bury", error });
});

/** Puts back, uncounted, and told as ours. */
function assertFault(outcome: Outcome, cause: unknown): void {
  assert.equal(outcome.kind === "release" && outcome.reason, "unavailable");
  const { code, message, details } = errorOf(outcome);
  assert.equal(code, "WORKER_FAULT");
  assert.match(message, /^This is a fault in fervo-worker itself; please report it: /);
  assert.equal(errorOf(outcome).cause, cause);
  assert.match(details.stack!, /executor_test\.ts/);
}

Deno.test("FastCgiExecutor puts a job back after an unforeseen error, and tells it as a fault of ours", async () => {
  const thrown = new TypeError("broken");
  assertFault(await build(thrown).executor.execute(jobOf(), NEVER), thrown);
  const batch = { jobs: [jobOf()], timeoutMs: 1_000, onOutcome: () => {} };
  assertFault((await build(thrown).executor.executeBatch(batch, NEVER))!.outcome, thrown);
});

Deno.test("FastCgiExecutor puts a job back after an unforeseen error of its own questions to php-fpm", async () => {
  const thrown = new TypeError("broken");
  const broken = () => Promise.reject(thrown);
  const outcomes = [
    await build(LOST, {}, { hasLeftWithin: broken }).executor.execute(jobOf(), NEVER),
    await build(SILENT, {}, { isRunning: broken }).executor.execute(jobOf(), NEVER),
    await build(NONSENSE, {}, { ping: broken }).executor.execute(jobOf(), NEVER),
  ];
  for (const outcome of outcomes) assertFault(outcome, thrown);
});

Deno.test("FastCgiExecutor runs a job whose id has a lone surrogate, which stands for no bytes", async () => {
  const { params } = await paramsOf(jobOf({ id: "\ud800" }));
  assert.equal(params["REQUEST_URI"], "/mail/%EF%BF%BD");
});

// --- the request

Deno.test("FastCgiExecutor sends exactly the documented params, and the payload on STDIN", async () => {
  const job = jobOf({ traceparent: "00-abc-def-01" });
  const { params, body } = await paramsOf(job, { params: { APP_ENV: "prod" } });
  assert.deepEqual(params, {
    GATEWAY_INTERFACE: "CGI/1.1",
    SERVER_PROTOCOL: "HTTP/1.1",
    SERVER_SOFTWARE: "fervo-worker",
    REQUEST_METHOD: "POST",
    SCRIPT_FILENAME: SCRIPT,
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
  assert.equal(body, job.payload, "the payload was copied or changed");
});

Deno.test("FastCgiExecutor sends no HTTP_TRACEPARENT when the producer sent none", async () => {
  assert.equal("HTTP_TRACEPARENT" in (await paramsOf(jobOf())).params, false);
});

Deno.test("FastCgiExecutor escapes queue and id in REQUEST_URI, and sends them as they are beside it", async () => {
  const { params } = await paramsOf(jobOf({ queue: "a/b c", id: "../?x=1&é\n" }));
  assert.equal(params["SCRIPT_NAME"], params["REQUEST_URI"]);
  assert.equal(params["REQUEST_URI"], "/a%2Fb%20c/..%2F%3Fx%3D1%26%C3%A9%0A");
  assert.deepEqual([params["FERVO_QUEUE"], params["FERVO_JOB_ID"]], ["a/b c", "../?x=1&é\n"]);
});

Deno.test("FastCgiExecutor lets no message choose a param's name, the script or PHP's settings", async () => {
  const { params: usual } = await paramsOf(jobOf({ traceparent: "00" }));
  const fixed = RESERVED_PARAMS.filter((name) =>
    !["REQUEST_URI", "SCRIPT_NAME", "CONTENT_LENGTH", "HTTP_TRACEPARENT"].includes(name)
  );
  const hostile = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.constantFrom(...RESERVED_PARAMS).map((name) => `\u0000${name}\n${name}=auto_prepend_file=/etc/passwd`),
  );
  const job = fc.record({ id: hostile, queue: hostile, traceparent: hostile, payload: fc.uint8Array() });
  await fc.assert(fc.asyncProperty(job, async (fields) => {
    const { params } = await paramsOf(jobOf(fields));
    assert.deepEqual(Object.keys(params), Object.keys(usual));
    for (const name of fixed) assert.equal(params[name], usual[name]);
  }));
});

Deno.test("FastCgiExecutor sends the payload as the configured param, exactly, and nothing on STDIN", async () => {
  for (const text of ["payload", "", "\ufeffwith a mark", "é\r\n𝄞"]) {
    const { params, body } = await paramsOf(jobOf({ payload: bytesOf(text) }), {
      payloadParam: "DEFERRED_DATA",
    });
    assert.deepEqual([params["DEFERRED_DATA"], params["CONTENT_LENGTH"], body.length], [text, "0", 0]);
  }
});

Deno.test("FastCgiExecutor buries a payload that a param would change: not UTF-8, or with a NUL byte", async () => {
  for (const payload of [Uint8Array.of(0x61, 0xff), Uint8Array.of(0x61, 0x00, 0x62)]) {
    const { executor, requests } = build(responseOf({ "x-fervo-outcome": "ack" }), { payloadParam: "DATA" });
    const outcome = await executor.execute(jobOf({ payload }), NEVER);
    assert.equal(outcome.kind, "bury");
    assert.equal(errorOf(outcome).code, "JOB_MALFORMED");
    assert.match(
      errorOf(outcome).message,
      /"DATA": it (is not UTF-8|has a NUL byte); only STDIN takes any bytes$/,
    );
    assert.equal(requests.length, 0);
  }
});

Deno.test("FastCgiExecutor refuses configured params that do not fit one record", () => {
  assert.throws(() => build(responseOf(), { params: { BIG: "x".repeat(70_000) } }), {
    code: "FASTCGI_PARAM_TOO_LARGE",
  });
});

Deno.test("FastCgiExecutor.close() closes its pool, as does the end of its scope", async () => {
  const { executor, pool } = build(responseOf());
  await executor.close();
  await executor[Symbol.asyncDispose]();
  assert.equal(pool.closed, 2);
});

Deno.test("checkRequest() asks the front controller without a job", () => {
  const { sharedParams, params, body } = checkRequest(SCRIPT, { APP_ENV: "prod" });
  const all = Object.fromEntries([...decodeParams(sharedParams!.bytes), ...params]);
  assert.deepEqual([all["FERVO_CHECK"], all["SCRIPT_FILENAME"], all["APP_ENV"]], ["1", SCRIPT, "prod"]);
  assert.deepEqual([all["CONTENT_LENGTH"], body.length, "FERVO_JOB_ID" in all], ["0", 0, false]);
});

Deno.test("checkRequest() comes too late, for a front controller that knows deadlines and not the check", () => {
  const { params } = checkRequest(SCRIPT, {});
  assert.equal(Object.fromEntries(params)["FERVO_DEADLINE"], "0");
});

/** What the probe of an executor says after `cause`, and what it has asked php-fpm. */
async function probe(
  cause: FervoError,
  answer: FastCgiResponse | Error,
  options: Partial<FastCgiExecutorOptions> = {},
) {
  const asked: string[] = [];
  const answered = <T>(what: string, value: T | Error): Promise<T> => {
    asked.push(what);
    return value instanceof Error ? Promise.reject(value) : Promise.resolve(value);
  };
  const { executor } = build(responseOf(), options, {
    ping: () => answered("ping", answer instanceof Error ? answer : undefined),
    ask: ({ params }) => answered(Object.fromEntries(params)["FERVO_CHECK"] === "1" ? "check" : "?", answer),
  });
  return { error: await executor.probe(cause, NEVER), asked };
}

const NO_SCRIPT = new FervoError("FPM_MISCONFIGURED", "php-fpm cannot find the script");
const NO_FPM = new FastCgiError("FASTCGI_CONNECT_FAILED", "refused");
const notFound = () => responseOf({}, { status: 404, body: "File not found.\n" });

Deno.test("FastCgiExecutor.probe() asks php-fpm itself when that was not there, and calls no script", async () => {
  assert.deepEqual(await probe(NO_FPM, notFound()), { error: undefined, asked: ["ping"] });
  assert.deepEqual(await probe(NO_FPM, NO_FPM), { error: NO_FPM, asked: ["ping"] });
});

Deno.test("FastCgiExecutor.probe() asks for the script by the check when php-fpm did not find it", async () => {
  const { error, asked } = await probe(NO_SCRIPT, notFound());
  assert.deepEqual([error?.code, asked], ["FPM_MISCONFIGURED", ["check"]]);
  assert.match(error!.message, /cannot find the script "\/srv/);
  assert.deepEqual(await probe(NO_SCRIPT, NO_FPM), { error: NO_FPM, asked: ["check"] });
});

Deno.test("FastCgiExecutor.probe() takes any answer of a script for one that jobs can be given to", async () => {
  // One that does not know the check may answer anything; it was called once, and no more.
  const answers = [
    responseOf({ "x-fervo-outcome": "ack" }),
    responseOf({ "x-fervo-outcome": "retry" }),
    responseOf({}, { status: 500, body: "" }),
    responseOf(),
  ];
  for (const answer of answers) {
    assert.deepEqual(await probe(NO_SCRIPT, answer), { error: undefined, asked: ["check"] });
  }
});

Deno.test("FastCgiExecutor.probe() never calls a script that need not know the check", async () => {
  assert.deepEqual(await probe(NO_SCRIPT, notFound(), { ackOn: "status" }), {
    error: undefined,
    asked: ["ping"],
  });
});

Deno.test("FastCgiExecutor.probe() never rejects", async () => {
  const { error } = await probe(NO_SCRIPT, new Error("unforeseen"));
  assert.equal(error?.code, "WORKER_FAULT");
});

/** What becomes of a job that is answered `first`, by an executor that gets `again` for what it asks, and what it asks. */
async function confirmed(
  first: FastCgiResponse,
  again: FastCgiResponse | Error,
  options: Partial<FastCgiExecutorOptions> = {},
) {
  const asked: string[] = [];
  const { executor } = build(first, options, {
    ask: ({ params }) => {
      const names = Object.fromEntries(params);
      asked.push(names["FERVO_CHECK"] === "1" ? "check" : names["SCRIPT_FILENAME"]!);
      return again instanceof Error ? Promise.reject(again) : Promise.resolve(again);
    },
  });
  const outcome = await executor.execute(jobOf(), NEVER);
  return [outcome.kind === "release" ? outcome.reason : outcome.kind, errorOf(outcome).code, ...asked];
}

const OWN = { "status": "404 Not Found", "content-type": "text/html; charset=UTF-8" };
const fpmSays = (stderr: string, headers: Record<string, string> = OWN) =>
  responseOf(headers, { status: 404, body: "File not found.\n", stderr });

Deno.test("FastCgiExecutor asks by the check before it takes a script for misconfigured, also where php-fpm says so on STDERR", async () => {
  for (const stderr of ["Primary script unknown", ""]) {
    const same = await confirmed(fpmSays(stderr), fpmSays(stderr));
    assert.deepEqual(same, ["misconfigured", "FPM_MISCONFIGURED", "check"]);
    const answers = await confirmed(fpmSays(stderr), responseOf({ "x-fervo-outcome": "ack" }));
    assert.deepEqual(answers, ["retry", "JOB_NO_OUTCOME", "check"]);
  }
});

Deno.test("FastCgiExecutor never asks a script that need not know the check: php-fpm shows its own answer to another one", async () => {
  const byStatus = { ackOn: "status" } as const;
  const missing = "/fervo-check";
  const misconfigured = ["misconfigured", "FPM_MISCONFIGURED"];
  const failed = ["retry", "JOB_NO_OUTCOME"];
  const cases: [FastCgiResponse, FastCgiResponse, string[]][] = [
    // fastcgi.logging is on: php-fpm's own answers say so.
    [fpmSays("Primary script unknown"), fpmSays(""), misconfigured],
    [fpmSays(""), fpmSays("Primary script unknown"), [...failed, missing]],
    // It is off: the headers tell.
    [fpmSays(""), fpmSays(""), [...misconfigured, missing]],
    [fpmSays(""), fpmSays("", { ...OWN, "x-powered-by": "PHP/9" }), [...failed, missing]],
    [fpmSays("", { ...OWN, "content-type": "text/plain" }), fpmSays(""), [...failed, missing]],
  ];
  for (const [first, again, expected] of cases) {
    assert.deepEqual(await confirmed(first, again, byStatus), expected);
  }
});

Deno.test("FastCgiExecutor puts the job back when php-fpm goes away while it is asked, and believes its STDERR while it is busy", async () => {
  assert.deepEqual(await confirmed(fpmSays(""), REFUSED), ["unavailable", REFUSED.code, "check"]);
  const logged = await confirmed(fpmSays("Primary script unknown"), BUSY);
  assert.deepEqual(logged, ["misconfigured", "FPM_MISCONFIGURED", "check"]);
  assert.deepEqual(await confirmed(fpmSays(""), BUSY), ["retry", "JOB_NO_OUTCOME", "check"]);
});

const LOST = new ConnectionLostError(
  { transport: "unix", path: "/run/fpm.sock" },
  "the other side closed it",
  {
    responseBytes: 0,
    isReused: false,
    afterMs: 5,
    isReset: false,
    stderr: "",
  },
);

Deno.test("FastCgiExecutor releases a job whose connection is lost because php-fpm itself has left", async () => {
  const asked: number[] = [];
  const { executor, clock, pool } = build(LOST, {}, {
    hasLeftWithin: (ageMs) => {
      asked.push(ageMs);
      return Promise.resolve(true);
    },
  });
  const { request } = pool;
  pool.request = async (...args) => {
    await clock.advance(1_234);
    return await request.apply(pool, args);
  };
  const outcome = await executor.execute(jobOf(), NEVER);
  assert.ok(outcome.kind === "release" && outcome.reason === "unavailable");
  assert.equal(outcome.error.code, "FASTCGI_CONNECTION_LOST");
  assert.match(
    outcome.error.message,
    /^php-fpm was stopped, restarted or reloaded, or does not serve this machine/,
  );
  assert.deepEqual(asked, [1_234]);
});

const NONSENSE = new FastCgiError("FASTCGI_PROTOCOL", "it is not FastCGI");
const REFUSED = new FastCgiError("FASTCGI_CONNECT_FAILED", "refused");
const BUSY = new FastCgiError("FASTCGI_OVERLOADED", "no answer in 3 s");

for (
  const [answer, error, kind] of [
    ["a ping", undefined, "retry"],
    ["a ping too late", BUSY, "retry"],
    ["a ping with nonsense, too", NONSENSE, "release"],
    ["no more", REFUSED, "release"],
  ] as const
) {
  Deno.test(`FastCgiExecutor answers ${kind} to nonsense from what answers ${answer}`, async () => {
    const ping = () => error === undefined ? Promise.resolve() : Promise.reject(error);
    const outcome = await build(NONSENSE, {}, { ping }).executor.execute(jobOf(), NEVER);
    assert.deepEqual([outcome.kind, errorOf(outcome)], [kind, NONSENSE]);
  });
}

Deno.test("FastCgiExecutor sends a job that was lost with php-fpm again when php-fpm answers, and counts no loss before", async () => {
  let away: FervoError | undefined;
  const { executor, requests } = build(LOST, {}, {
    hasLeftWithin: () => Promise.resolve(true),
    ping: () => away === undefined ? Promise.resolve() : Promise.reject(away),
  });
  const run = async (job = jobOf()) => (await executor.execute(job, NEVER)).kind;
  assert.equal(await run(), "release");
  away = REFUSED;
  for (let i = 0; i < 5; i++) assert.equal(await run(), "release");
  assert.equal(requests.length, 1, "it was sent while php-fpm was away");
  // Other jobs find out for themselves.
  assert.deepEqual([await run(jobOf({ id: "other" })), requests.length], ["release", 2]);
  away = BUSY;
  assert.deepEqual([await run(), await run(), await run()], ["release", "release", "retry"]);
});

Deno.test("FastCgiExecutor tells PHP that a job may be a repeat which was lost with php-fpm", async () => {
  const { executor, requests } = build(LOST, {}, { hasLeftWithin: () => Promise.resolve(true) });
  for (let i = 0; i < 2; i++) await executor.execute(jobOf(), NEVER);
  assert.deepEqual(requests.map(({ params }) => Object.fromEntries(params)["FERVO_REPEAT"]), [
    undefined,
    "1",
  ]);
});

const SILENT = new FastCgiError("FASTCGI_FIRST_BYTE_TIMEOUT", "nothing came");

for (const [running, kind] of [[true, "retry"], [undefined, "retry"], [false, "release"]] as const) {
  Deno.test(`FastCgiExecutor answers ${kind} to silence when the status page says of the job: ${running}`, async () => {
    const uris: string[] = [];
    const { executor } = build(SILENT, {}, {
      isRunning: (uri) => {
        uris.push(uri);
        return Promise.resolve(running);
      },
    });
    const outcome = await executor.execute(jobOf({ queue: "a b", id: "1/2" }), NEVER);
    assert.equal(outcome.kind, kind);
    assert.equal(errorOf(outcome), SILENT);
    assert.deepEqual(uris, ["/a%20b/1%2F2"]);
  });
}

const TIMED_OUT = new JobError("JOB_TIMEOUT", "too slow");

Deno.test("FastCgiExecutor ends the child of a job whose time is up, does not wait for it, and close() does", async () => {
  const ending = Promise.withResolvers<number>();
  const { executor, log } = build(TIMED_OUT, { killOnTimeout: true }, { endChild: () => ending.promise });
  assert.deepEqual(await executor.execute(jobOf(), NEVER), { kind: "retry", error: TIMED_OUT });
  const closing = executor.close().then(() => log.types);
  assert.deepEqual(log.events, []);
  ending.resolve(4711);
  assert.deepEqual(await closing, ["child_ended"]);
  assert.deepEqual(log.events, [{
    type: "child_ended",
    after: "timeout",
    queue: "mail",
    id: "17",
    attempt: 2,
    pid: 4711,
  }]);
});

Deno.test("FastCgiExecutor tells that a child could not be ended", async () => {
  const refused = new FervoError("FPM_KILL_FAILED", "not permitted");
  for (const [thrown, code] of [[refused, refused.code], [new TypeError("odd"), "WORKER_FAULT"]] as const) {
    const { executor, log } = build(SILENT, { killOnTimeout: true }, {
      endChild: () => Promise.reject(thrown),
    });
    await executor.execute(jobOf(), NEVER);
    await executor.close();
    const [event] = log.of("child_not_ended");
    assert.deepEqual([event!.id, event!.error.code], ["17", code]);
  }
});

Deno.test("FastCgiExecutor ends no child unless it is told to", async () => {
  const { executor, log } = build(TIMED_OUT);
  await executor.execute(jobOf(), NEVER);
  await executor.close();
  assert.deepEqual(log.events, []);
});

Deno.test("outcomeOf() with ackOn = status takes another application's status that is not 0 for a failure", () => {
  const response = { ...responseOf(), appStatus: 3 };
  assert.equal(outcomeOf(response, { ackOn: "status", script: SCRIPT }).kind, "retry");
  assert.equal(outcomeOf({ ...response, appStatus: 0 }, { ackOn: "status", script: SCRIPT }), ACK);
});

Deno.test("FastCgiExecutor counts a job that php-fpm goes away with again and again", async () => {
  const { executor } = build(LOST, {}, { hasLeftWithin: () => Promise.resolve(true) });
  const kinds = [];
  for (let i = 0; i < 5; i++) kinds.push((await executor.execute(jobOf(), NEVER)).kind);
  assert.deepEqual(kinds, ["release", "release", "release", "retry", "release"]);
  assert.equal((await executor.execute(jobOf({ id: "other" }), NEVER)).kind, "release");
});

Deno.test("FastCgiExecutor tells PHP until when to begin where the first byte has a time limit", async () => {
  const deadlineMs = new FakeClock().nowMs() + 1_000;
  const startBy = async (firstByteTimeoutMs: number) =>
    (await paramsOf(jobOf({ deadlineMs }), { firstByteTimeoutMs })).params["FERVO_START_BY"];
  assert.deepEqual([await startBy(0), await startBy(400), await startBy(5_000)], [
    undefined,
    String(deadlineMs - 600),
    String(deadlineMs),
  ]);
});

Deno.test("FastCgiExecutor puts a job back that began too late and did nothing, where its child was seen at work on another", async () => {
  const { executor, clock } = build({ ...responseOf(), hasWaited: true });
  const run = (deadlineMs: number) => executor.execute(jobOf({ deadlineMs }), NEVER);
  const late = await run(clock.nowMs() - 1);
  assert.equal(late.kind === "release" && late.reason, "unavailable");
  // In time, it has begun and said nothing.
  assert.equal(errorOf(await run(clock.nowMs() + 1)).code, "JOB_NO_OUTCOME");
  const { executor: other } = build(responseOf());
  assert.equal(errorOf(await other.execute(jobOf({ deadlineMs: 0 }), NEVER)).code, "JOB_NO_OUTCOME");
});

Deno.test("FastCgiExecutor buries a framework's job that cannot be sent, and does not blame its application", async () => {
  const { executor } = build(new FastCgiError("FASTCGI_PARAM_TOO_LARGE", "The param is too long"));
  const job = jobOf({ framework: { format: "messenger", headers: {} } });
  const end = await executor.executeBatch({ jobs: [job], timeoutMs: 1_000, onOutcome: () => {} }, NEVER);
  const failure = { id: "f1", code: "JOB_CRASHED", message: "killed" } as const;
  const told = await executor.tellFailure(job, failure, NEVER);
  for (const outcome of [end!.outcome, told!]) {
    assert.deepEqual([outcome.kind, errorOf(outcome).code], ["bury", "FASTCGI_PARAM_TOO_LARGE"]);
  }
});
