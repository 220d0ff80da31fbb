/** FastCGI servers that are not PHP: what they do differently from php-fpm is no error. */
import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { ACK, type Outcome } from "../../../src/core/outcome.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  FastCgiExecutor,
} from "../../../src/executors/fastcgi/executor.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import type { FastCgiRequest } from "../../../src/fastcgi/connection.ts";
import { DEFAULT_POOL_OPTIONS, Pool, type PoolOptions } from "../../../src/fastcgi/pool.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FCGIWRAP, NET_ASYNC_FASTCGI, OtherServer, UWSGI } from "../../support/other_server.ts";

const EMPTY = new Uint8Array(0);
const MEGABYTE = 1_000_000;

/** A request that should have ended fails then, instead of holding up the run. */
function deadline(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

/** Its clock stands: however slow the machine is, no connection is so old that it is not kept. */
function poolOf(server: OtherServer, options: Partial<PoolOptions> = {}): Pool {
  return new Pool({ address: parseAddress(server.address), clock: new FakeClock() }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 4,
    maxResponseBytes: 2 * MEGABYTE,
    idleMs: 60_000,
    ...options,
  });
}

/** A request that the application answers as these params say; see tests/support/answer.sh. */
function requestOf(
  server: OtherServer,
  body: Uint8Array,
  answer: Record<string, string> = {},
): FastCgiRequest {
  return {
    params: [
      ["REQUEST_METHOD", "POST"],
      ["SCRIPT_FILENAME", server.script],
      ["SCRIPT_NAME", "/job"],
      ["REQUEST_URI", "/job"],
      ["QUERY_STRING", ""],
      ["SERVER_PROTOCOL", "HTTP/1.1"],
      ["CONTENT_LENGTH", String(body.length)],
      ...Object.entries(answer),
    ],
    body,
  };
}

function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** What a job on this server comes to, when any 2xx is success. */
async function outcomeOf(
  server: OtherServer,
  params: Record<string, string>,
  script = server.script,
): Promise<Outcome> {
  await using executor = new FastCgiExecutor({
    pool: poolOf(server),
    fpm: {
      hasLeftWithin: () => Promise.resolve(false),
      isRunning: () => Promise.resolve(undefined),
      endChild: () => assert.fail("kill_on_timeout is off"),
      ping: () => Promise.resolve(),
      ask: () => assert.fail("nobody probes"),
    },
    clock: systemClock,
    observe: () => {},
  }, { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script, params, ackOn: "status" });
  return await executor.execute({
    id: "17",
    queue: "mail",
    payload: randomBytes(100),
    attempt: 1,
    maxAttempts: 5,
    enqueuedAtMs: 1_700_000_000_000,
    deadlineMs: 1_700_000_060_000,
  }, deadline());
}

for (const kind of [FCGIWRAP, NET_ASYNC_FASTCGI, UWSGI]) {
  Deno.test(`Pool.request() sends bodies of 0 B, 1 B and 1 MB to ${kind.name} and gets them back unchanged`, async () => {
    await using server = await OtherServer.start(kind);
    await using pool = poolOf(server);
    for (const length of [0, 1, MEGABYTE, 0]) {
      const body = randomBytes(length);
      const response = await pool.request(requestOf(server, body), deadline());
      assert.equal(response.status, 200);
      assert.match(response.headers.get("x-pid")!, /^\d+$/);
      assert.ok(isEqual(response.body, body), `${length} bytes`);
      assert.deepEqual([response.isTruncated, response.stderr, response.appStatus], [false, "", 0]);
    }
  });

  Deno.test(`Pool.request() gets 1 B and 1 MB from ${kind.name} for a request without a body`, async () => {
    await using server = await OtherServer.start(kind);
    await using pool = poolOf(server);
    for (const length of [1, MEGABYTE]) {
      const request = requestOf(server, EMPTY, { ANSWER_BYTES: String(length) });
      assert.ok(isEqual((await pool.request(request, deadline())).body, new Uint8Array(length)));
    }
  });

  Deno.test(`Pool.request() cuts 1 MB from ${kind.name} at the limit, and goes on with the next request`, async () => {
    await using server = await OtherServer.start(kind);
    await using pool = poolOf(server, { maxResponseBytes: 10_000 });
    const { isTruncated, body } = await pool.request(
      requestOf(server, EMPTY, { ANSWER_BYTES: String(MEGABYTE) }),
      deadline(),
    );
    assert.ok(isTruncated && body.length < 10_000);
    assert.equal((await pool.request(requestOf(server, randomBytes(9)), deadline())).body.length, 9);
  });

  Deno.test(`Pool.request() takes status, STDERR and the exit status from ${kind.name} as it passes them on`, async () => {
    await using server = await OtherServer.start(kind);
    await using pool = poolOf(server);
    const answer = { ANSWER_STDERR: "a warning", ANSWER_EXIT: "3", ANSWER_HEADER: "Status: 503 Try later" };
    const response = await pool.request(requestOf(server, randomBytes(5), answer), deadline());
    assert.deepEqual([response.status, response.body.length], [503, 5]);
    assert.equal(response.stderr, kind.sendsStderr ? "a warning" : "");
    assert.equal(response.appStatus, kind.sendsExitStatus ? 3 : 0);
    const next = await pool.request(requestOf(server, EMPTY), deadline());
    assert.deepEqual([next.status, next.stderr, next.appStatus], [200, "", 0]);
    assert.equal((await server.stop()).includes("a warning"), !kind.sendsStderr);
  });

  Deno.test(`Pool.request() asks ${kind.name} to keep the connection, and does without where it does not`, async () => {
    await using server = await OtherServer.start(kind);
    await using pool = poolOf(server);
    for (let i = 0; i < 10; i++) await pool.request(requestOf(server, EMPTY), deadline());
    assert.equal(pool.stats.opened, kind.keepsConnections ? 1 : 10);
    await using without = poolOf(server, { idleMs: 0 });
    for (let i = 0; i < 3; i++) await without.request(requestOf(server, EMPTY), deadline());
    assert.deepEqual([without.stats.opened, without.stats.resent], [3, 0]);
  });

  Deno.test(`Pool.request() gets 200 answers from ${kind.name} over 4 connections, each its own`, async () => {
    await using server = await OtherServer.start(kind);
    await using pool = poolOf(server);
    await Promise.all(Array.from({ length: 200 }, async (_, i) => {
      const body = randomBytes(i * 37);
      const { status, body: echo } = await pool.request(requestOf(server, body), deadline());
      assert.ok(status === 200 && isEqual(echo, body), `request ${i}`);
      assert.ok(pool.stats.busy + pool.stats.idle <= 4);
    }));
    assert.equal(pool.stats.answered, 200);
    assert.equal(pool.stats.opened, kind.keepsConnections ? 4 : 200);
  });

  Deno.test(`Pool.request() rejects with FASTCGI_CONNECT_FAILED while ${kind.name} is stopped, and goes on after a restart`, async () => {
    await using server = await OtherServer.start(kind);
    await using pool = poolOf(server);
    const isAnswered = async () => (await pool.request(requestOf(server, EMPTY), deadline())).status === 200;
    assert.ok(await isAnswered());
    // With a kept connection that has just been left.
    await server.restart();
    assert.ok(await isAnswered());
    await server.stop();
    await assert.rejects(isAnswered(), { code: "FASTCGI_CONNECT_FAILED" });
    await server.restart();
    assert.ok(await isAnswered());
    assert.equal(pool.stats.opened, 3);
  });

  Deno.test(`FastCgiExecutor.execute() with ackOn = status runs a job on ${kind.name}`, async () => {
    await using server = await OtherServer.start(kind);
    assert.equal(await outcomeOf(server, {}), ACK);
    assert.equal(await outcomeOf(server, { ANSWER_HEADER: "Status: 204 No Content" }), ACK);
    const failed = await outcomeOf(server, { ANSWER_HEADER: "Status: 500 Oops", ANSWER_STDERR: "why" });
    assert.equal(failed.kind === "retry" && failed.error.code, "JOB_NO_OUTCOME");
    assert.equal(
      failed.kind === "retry" && failed.error.details.stderr,
      kind.sendsStderr ? "why" : undefined,
    );
    const buried = await outcomeOf(server, { ANSWER_HEADER: "X-Fervo-Outcome: bury" });
    assert.equal(buried.kind, "bury");
  });
}

Deno.test("FastCgiExecutor.execute() with ackOn = status takes a script that fcgiwrap does not find for a failed attempt", async () => {
  await using server = await OtherServer.start(FCGIWRAP);
  const outcome = await outcomeOf(server, {}, "/nonexistent/job.sh");
  assert.equal(outcome.kind === "retry" && outcome.error.code, "JOB_NO_OUTCOME");
});

Deno.test("FastCgiExecutor.execute() with ackOn = status takes no empty answer of uWSGI without an application for success", async () => {
  // It ends such a request with no output at all.
  await using server = await OtherServer.start({
    ...UWSGI,
    command: (files) => {
      const [command, ...args] = UWSGI.command(files);
      return [command, ...args.filter((arg) => !arg.startsWith("--fastcgi-modifier1"))];
    },
  });
  const outcome = await outcomeOf(server, {});
  assert.equal(outcome.kind === "retry" && outcome.error.code, "JOB_NO_OUTCOME");
});
