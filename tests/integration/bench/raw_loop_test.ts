import assert from "node:assert/strict";
import { benchJob, FIRST_JOB_ID } from "../../../src/bench/load.ts";
import { openMode, type Target } from "../../../src/bench/modes.ts";
import type { ModeName } from "../../../src/bench/result.ts";
import { FervoError } from "../../../src/core/errors.ts";
import { DEFAULT_FASTCGI_EXECUTOR_OPTIONS } from "../../../src/executors/fastcgi/executor.ts";
import { DEFAULT_POOL_OPTIONS } from "../../../src/fastcgi/pool.ts";
import { encodeRecord, RecordType } from "../../../src/fastcgi/record.ts";
import { FakeClock, settlePromises } from "../../support/fake_clock.ts";

const NEVER = new AbortController().signal;
const OPTIONS = {
  concurrency: 1,
  queue: "bench",
  payload: new TextEncoder().encode("payload"),
  timeoutMs: 60_000,
};
const END = encodeRecord(RecordType.endRequest, 1, new Uint8Array(8));
const ACK = encodeRecord(RecordType.stdout, 1, new TextEncoder().encode("X-Fervo-Outcome: ack\r\n\r\n"));
const EMPTY_STDIN = encodeRecord(RecordType.stdin, 1);

/** Listens on a socket in a folder of its own; `serve` gets each connection. */
function server(serve: (connection: Deno.Conn) => Promise<void>) {
  const directory = Deno.makeTempDirSync({ prefix: "fervo-raw-" });
  const path = `${directory}/fpm.sock`;
  const listener = Deno.listen({ transport: "unix", path });
  const served = (async () => {
    for await (const connection of listener) await serve(connection);
  })();
  const target: Target = {
    pool: {
      ...DEFAULT_POOL_OPTIONS,
      address: { transport: "unix", path },
      statusAddress: undefined,
      statusPath: undefined,
      pingPath: undefined,
    },
    request: { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script: "/srv/job.php", params: { APP_ENV: "prod" } },
    process: undefined,
  };
  return {
    target,
    [Symbol.asyncDispose]: async () => {
      listener.close();
      await served;
      await Deno.remove(directory, { recursive: true });
    },
  };
}

/** Reads one request: up to the empty STDIN record. */
async function readRequest(connection: Deno.Conn): Promise<Uint8Array> {
  let all = new Uint8Array(0);
  const buffer = new Uint8Array(65_536);
  while (all.length < 8 || !EMPTY_STDIN.every((byte, i) => all.at(i - 8) === byte)) {
    const bytes = await connection.read(buffer);
    if (bytes === null) break;
    const joined = new Uint8Array(all.length + bytes);
    joined.set(all);
    joined.set(buffer.subarray(0, bytes), all.length);
    all = joined;
  }
  return all;
}

const job = (clock: FakeClock) => benchJob(FIRST_JOB_ID, OPTIONS, clock.nowMs());

/** The bytes that a mode sends for the job. */
async function bytesOf(mode: ModeName): Promise<Uint8Array> {
  const seen: Uint8Array[] = [];
  await using peer = server(async (connection) => {
    seen.push(await readRequest(connection));
    await connection.write(ACK);
    await connection.write(END);
    connection.close();
  });
  const clock = new FakeClock();
  await using executor = await openMode(mode, peer.target, { clock }, OPTIONS);
  assert.equal((await executor.execute(job(clock), NEVER)).kind, "ack");
  return seen[0]!;
}

Deno.test("RawLoop sends byte for byte what the executor sends for the same job", async () => {
  assert.deepEqual(await bytesOf("raw"), await bytesOf("fastcgi"));
});

Deno.test("RawLoop reads on until END_REQUEST is whole, however it is cut", async () => {
  await using peer = server(async (connection) => {
    await readRequest(connection);
    for (const byte of [...ACK, ...END]) {
      await connection.write(Uint8Array.of(byte));
      // A turn of the event loop, in which the other side reads it.
      await settlePromises();
    }
    await readRequest(connection);
    await connection.write(END);
    connection.close();
  });
  const clock = new FakeClock();
  await using executor = await openMode("raw", peer.target, { clock }, OPTIONS);
  for (let i = 0; i < 2; i++) assert.equal((await executor.execute(job(clock), NEVER)).kind, "ack");
});

Deno.test("RawLoop connects anew when the connection was closed after an answer", async () => {
  let connections = 0;
  await using peer = server(async (connection) => {
    connections++;
    await readRequest(connection);
    await connection.write(END);
    connection.close();
  });
  const clock = new FakeClock();
  await using executor = await openMode("raw", peer.target, { clock }, OPTIONS);
  for (let i = 0; i < 3; i++) assert.equal((await executor.execute(job(clock), NEVER)).kind, "ack");
  assert.equal(connections, 3);
});

Deno.test("RawLoop sends a request again that crossed with the end of its connection", async () => {
  let requests = 0;
  await using peer = server(async (connection) => {
    for (let answered = 0; answered < 2; answered++) {
      await readRequest(connection);
      // php-fpm at pm.max_requests: it takes the next one, and leaves without a word.
      if (++requests === 2) break;
      await connection.write(END);
    }
    connection.close();
  });
  const clock = new FakeClock();
  await using executor = await openMode("raw", peer.target, { clock }, OPTIONS);
  for (let i = 0; i < 3; i++) assert.equal((await executor.execute(job(clock), NEVER)).kind, "ack");
  assert.equal(requests, 4);
});

Deno.test("RawLoop tells a connection that ends without an answer, a timeout, and nobody there", async () => {
  const clock = new FakeClock();
  await using peer = server(async (connection) => {
    await readRequest(connection);
    connection.close();
  });
  await using executor = await openMode("raw", peer.target, { clock }, OPTIONS);
  const crashed = await executor.execute(job(clock), NEVER);
  assert.equal(crashed.kind === "retry" && crashed.error.code, "JOB_CRASHED");

  const abort = new AbortController();
  await using silent = server(async (connection) => {
    await readRequest(connection);
    abort.abort(new FervoError("JOB_TIMEOUT", "Too slow"));
    await connection.read(new Uint8Array(1)).catch(() => {});
    connection.close();
  });
  await using waiting = await openMode("raw", silent.target, { clock }, OPTIONS);
  const late = await waiting.execute(job(clock), abort.signal);
  assert.equal(late.kind === "retry" && late.error.code, "JOB_TIMEOUT");

  const pool = { ...peer.target.pool, address: { transport: "unix", path: "/nowhere.sock" } as const };
  await using nobody = await openMode("raw", { ...peer.target, pool }, { clock }, OPTIONS);
  const away = await nobody.execute(job(clock), NEVER);
  assert.equal(away.kind === "release" && away.error.code, "FASTCGI_CONNECT_FAILED");
});

Deno.test("RawLoop lets go of connections that nobody uses", async () => {
  const ended = Promise.withResolvers<void>();
  await using peer = server(async (connection) => {
    await readRequest(connection);
    await connection.write(END);
    if (await connection.read(new Uint8Array(1)) === null) ended.resolve();
    connection.close();
  });
  const clock = new FakeClock();
  await using executor = await openMode("raw", peer.target, { clock }, OPTIONS);
  await executor.execute(job(clock), NEVER);
  await clock.advance(400);
  await ended.promise;
});
