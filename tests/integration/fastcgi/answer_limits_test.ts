/** Answers without an end or a beginning: what a Connection keeps of them, and when it gives them up. */
import assert from "node:assert/strict";
import { type Clock, systemClock } from "../../../src/core/time/clock.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { Connection, type ConnectionOptions, type FastCgiRequest } from "../../../src/fastcgi/connection.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../../src/fastcgi/pool.ts";
import type { FastCgiResponse } from "../../../src/fastcgi/response.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import {
  concat,
  endRequestRecord,
  record,
  type Script,
  ScriptedServer,
  stderrRecord,
  stdoutRecord,
} from "../../support/scripted_server.ts";

const OPTIONS: ConnectionOptions = { ...DEFAULT_POOL_OPTIONS, connectTimeoutMs: 10_000 };
const GET: FastCgiRequest = { params: [["REQUEST_METHOD", "GET"]], body: new Uint8Array(0) };

/** A request that should have ended fails then, instead of holding up the run. */
function deadline(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

function open(
  server: ScriptedServer,
  options: Partial<ConnectionOptions> = {},
  clock: Clock = systemClock,
): Promise<Connection> {
  return Connection.open(parseAddress(server.address), clock, { ...OPTIONS, ...options });
}

/** Sends one request to a server that reads it and then does what `script` says. */
async function exchange(options: Partial<ConnectionOptions>, script: Script): Promise<FastCgiResponse> {
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await script(peer);
  }]);
  const connection = await open(server, options);
  try {
    return await connection.request(GET, true, deadline());
  } finally {
    connection.destroy();
    await server.scriptsEnded();
  }
}

function textOf(response: FastCgiResponse): string {
  return new TextDecoder().decode(response.body);
}

/** STDOUT in records of these sizes, the rest in a last one. */
function inPieces(stdout: string, ...sizes: number[]): Uint8Array {
  const records: Uint8Array[] = [];
  let at = 0;
  for (const size of [...sizes, stdout.length]) {
    if (at < stdout.length) records.push(stdoutRecord(stdout.slice(at, at + size)));
    at += size;
  }
  return concat(...records);
}

// --- headers

/** A header block of exactly `bytes`, its empty line included. */
function headersOf(bytes: number): string {
  const frame = "X-Fervo-Outcome: ack\r\nX-Long: \r\n\r\n";
  return frame.replace("X-Long: ", `X-Long: ${"h".repeat(bytes - frame.length)}`);
}

const CUTS: [how: string, sizes: number[]][] = [
  ["in one record", []],
  ["cut before the last byte", [99]],
  ["cut inside the empty line", [98]],
  ["byte by byte", Array(110).fill(1)],
];

for (const [how, sizes] of CUTS) {
  Deno.test(`Connection.request() reads headers that end exactly at maxHeaderBytes (${how})`, async () => {
    const stdout = headersOf(100) + "x".repeat(500);
    const response = await exchange(
      { maxHeaderBytes: 100 },
      (peer) => peer.write(inPieces(stdout, ...sizes), endRequestRecord()),
    );
    assert.equal(response.headers.get("x-fervo-outcome"), "ack");
    assert.deepEqual([textOf(response), response.isTruncated], ["x".repeat(500), false]);
  });

  Deno.test(`Connection.request() rejects with FASTCGI_PROTOCOL when headers are one byte longer than maxHeaderBytes (${how})`, async () => {
    await assert.rejects(
      exchange({ maxHeaderBytes: 100 }, async (peer) => {
        await peer.write(concat(inPieces(headersOf(101), ...sizes), endRequestRecord()));
        await peer.clientCloses();
      }),
      { code: "FASTCGI_PROTOCOL", message: /longer than.*\b100\b/ },
    );
  });
}

Deno.test("Connection.request() rejects with FASTCGI_PROTOCOL at headers that never end, and closes", async () => {
  const line = stdoutRecord("X-More: and more\r\n".repeat(100));
  await assert.rejects(
    exchange({ maxHeaderBytes: 10_000 }, async (peer) => {
      // Writing fails when the client has closed; there is no other end.
      await assert.rejects(async () => {
        for (;;) await peer.write(line);
      }, Error);
    }),
    { code: "FASTCGI_PROTOCOL", message: /longer than.*\b10000\b/ },
  );
});

Deno.test("Connection.request() rejects headers longer than 65,536 bytes by default", async () => {
  assert.equal(OPTIONS.maxHeaderBytes, 65_536);
  const fits = await exchange(
    {},
    (peer) => peer.write(inPieces(headersOf(65_536), 40_000), endRequestRecord()),
  );
  assert.equal(fits.headers.get("x-fervo-outcome"), "ack");
  await assert.rejects(
    exchange({}, (peer) => peer.write(concat(inPieces(headersOf(65_537), 40_000), endRequestRecord()))),
    { code: "FASTCGI_PROTOCOL", message: /longer than.*\b65536\b/ },
  );
});

Deno.test("Connection.request() rejects headers longer than maxHeaderBytes also when it keeps fewer bytes of the answer", async () => {
  await assert.rejects(
    exchange(
      { maxHeaderBytes: 100, maxResponseBytes: 50 },
      (peer) =>
        peer.write(concat(stdoutRecord(`Status: 500\n${"X-More: 1\n".repeat(20)}`), endRequestRecord())),
    ),
    { code: "FASTCGI_PROTOCOL", message: /longer than/ },
  );
});

Deno.test("Connection.request() takes output whose first line has no colon for body, however long", async () => {
  for (const stdout of [`no header\n${"A: 1\n".repeat(100)}`, "x".repeat(500), `\n${"A: 1\n".repeat(100)}`]) {
    for (const [, sizes] of CUTS) {
      const response = await exchange(
        { maxHeaderBytes: 100 },
        (peer) => peer.write(inPieces(stdout, ...sizes), endRequestRecord()),
      );
      assert.deepEqual([response.headers.size, textOf(response)], [0, stdout]);
    }
  }
});

Deno.test("Connection.request() counts headers anew for each request", async () => {
  await using server = await ScriptedServer.start([async (peer) => {
    for (let i = 0; i < 3; i++) await peer.serve(headersOf(80) + "b".repeat(100));
    const { requestId } = await peer.readRequest();
    await peer.write(stdoutRecord(headersOf(101), { requestId }));
    await peer.clientCloses();
  }]);
  const connection = await open(server, { maxHeaderBytes: 100 });
  for (let i = 0; i < 3; i++) assert.equal((await connection.request(GET, true, deadline())).headers.size, 2);
  await assert.rejects(connection.request(GET, true, deadline()), { message: /longer than.*\b100\b/ });
  await server.scriptsEnded();
});

Deno.test("Connection.request() does not count STDERR and management records as headers", async () => {
  const response = await exchange({ maxHeaderBytes: 40 }, (peer) =>
    peer.write(
      stderrRecord("Notice: x\n".repeat(50)),
      record(11, new Uint8Array(500), { requestId: 0 }),
      stdoutRecord(headersOf(40)),
      endRequestRecord(),
    ));
  assert.equal(response.headers.get("x-fervo-outcome"), "ack");
});

// --- without an end

const MEBIBYTE = 1_048_576;

for (const [stream, type] of [["STDOUT", 6], ["STDERR", 7]] as const) {
  Deno.test(`Connection.request() keeps ${stream} up to its limit while 128 MiB of it go by, and reads the end`, async () => {
    const piece = record(type, new Uint8Array(65_528).fill(0x65));
    let heldBytes = 0;
    const response = await exchange({ maxResponseBytes: 5_000, maxStderrBytes: 5_000 }, async (peer) => {
      await peer.write(stdoutRecord("A: 1\n\n"));
      const before = Deno.memoryUsage().external;
      for (let sent = 0; sent < 128 * MEBIBYTE; sent += piece.length) await peer.write(piece);
      // Buffers that are reachable are counted here; those that are not may be.
      heldBytes = Deno.memoryUsage().external - before;
      await peer.write(endRequestRecord({ appStatus: 9 }));
    });
    const kept = stream === "STDOUT" ? textOf(response) : response.stderr;
    const half = "e".repeat(2_500);
    assert.equal(
      kept.replace(/\n… \d+ bytes left out …\n/, "|"),
      stream === "STDOUT" ? "e".repeat(5_000 - "A: 1\n\n".length) : `${half}|${half}`,
    );
    assert.deepEqual([response.isTruncated, response.appStatus], [true, 9]);
    assert.ok(heldBytes < 64 * MEBIBYTE, `${heldBytes} bytes are held`);
  });
}

Deno.test("Connection.request() ends an answer without an end only by its signal, and then closes", async () => {
  const controller = new AbortController();
  const piece = stdoutRecord("x".repeat(60_000));
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord("A: 1\n\n"));
    for (let i = 0; i < 50; i++) await peer.write(piece);
    controller.abort(new Error("time is up"));
    await assert.rejects(async () => {
      for (;;) await peer.write(piece);
    }, Error);
  }]);
  const connection = await open(server);
  await assert.rejects(connection.request(GET, true, controller.signal), { message: "time is up" });
  await server.scriptsEnded();
});

// --- silence

const FIRST_BYTE = { firstByteTimeoutMs: 5_000 };

Deno.test("Connection.request() rejects with FASTCGI_FIRST_BYTE_TIMEOUT when nothing has come for so long, and closes", async () => {
  const clock = new FakeClock();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await peer.clientCloses();
  }]);
  const connection = await open(server, FIRST_BYTE, clock);
  let isSettled = false;
  const request = connection.request(GET, true, deadline()).finally(() => isSettled = true);
  const failure = assert.rejects(request, { code: "FASTCGI_FIRST_BYTE_TIMEOUT", message: /\b5000 ms\b/ });
  await eventually("the request is written", () => clock.pendingTimers === 1);
  await clock.advance(4_999);
  assert.equal(isSettled, false);
  await clock.advance(1);
  await failure;
  assert.equal(connection.isReusable, false);
  assert.equal(clock.pendingTimers, 0);
  await server.scriptsEnded();
});

Deno.test("Connection.request() waits for ever for the first byte when firstByteTimeoutMs is 0", async () => {
  const clock = new FakeClock();
  const waited = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await waited.promise;
    await peer.answer("A: 1\n\nbody");
  }]);
  const connection = await open(server, { firstByteTimeoutMs: 0 }, clock);
  const request = connection.request(GET, true, deadline());
  await clock.advance(365 * 24 * 3_600_000);
  assert.equal(clock.pendingTimers, 0);
  waited.resolve();
  assert.equal(textOf(await request), "body");
  connection.destroy();
});

for (
  const [what, bytes] of [
    ["one byte of a header", stdoutRecord("A: 1\n\n").slice(0, 1)],
    ["STDERR", stderrRecord("Notice: still there")],
    ["a management record", record(11, new Uint8Array(8), { requestId: 0 })],
  ] as const
) {
  Deno.test(`Connection.request() gives an answer all the time it needs after ${what}`, async () => {
    const clock = new FakeClock();
    const waited = Promise.withResolvers<void>();
    const rest = what.startsWith("one byte") ? stdoutRecord("A: 1\n\n").slice(1) : stdoutRecord("A: 1\n\n");
    await using server = await ScriptedServer.start([async (peer) => {
      await peer.readRequest();
      await eventually("the request is written", () => clock.pendingTimers === 1);
      await peer.write(bytes);
      await eventually("the byte is read", () => clock.pendingTimers === 0);
      await clock.advance(3_600_000);
      waited.resolve();
      await peer.write(rest, stdoutRecord("body"), endRequestRecord());
    }]);
    const connection = await open(server, FIRST_BYTE, clock);
    const request = connection.request(GET, true, deadline());
    await waited.promise;
    assert.equal(textOf(await request), "body");
    connection.destroy();
    await server.scriptsEnded();
  });
}

Deno.test("Connection.request() counts the time to the first byte from when the whole request was written", async () => {
  const clock = new FakeClock();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readHead();
    // More than a socket holds: the client is still writing, as long as this takes.
    await clock.advance(3_600_000);
    assert.equal(clock.pendingTimers, 0);
    for (let bytes = 1; bytes > 0;) bytes = (await peer.readRecord())?.content.length ?? assert.fail();
    await eventually("the request is written", () => clock.pendingTimers === 1);
    await clock.advance(5_000);
    await peer.clientCloses();
  }]);
  const connection = await open(server, FIRST_BYTE, clock);
  await assert.rejects(
    connection.request({ params: [], body: new Uint8Array(5_000_000) }, true, deadline()),
    {
      code: "FASTCGI_FIRST_BYTE_TIMEOUT",
    },
  );
  await server.scriptsEnded();
});

Deno.test("Connection takes the first byte's timer back however a request ends, and sets one for each request", async () => {
  const clock = new FakeClock();
  const controller = new AbortController();
  await using server = await ScriptedServer.start([async (peer) => {
    for (let i = 0; i < 3; i++) {
      await peer.readRequest();
      await eventually("the request is written", () => clock.pendingTimers === 1);
      await peer.answer("A: 1\n\nbody");
    }
    await peer.readRequest();
    await eventually("the request is written", () => clock.pendingTimers === 1);
    controller.abort(new Error("not any more"));
    await peer.clientCloses();
  }, async (peer) => {
    await peer.readRequest();
    await eventually("the request is written", () => clock.pendingTimers === 1);
  }]);
  const first = await open(server, FIRST_BYTE, clock);
  for (let i = 0; i < 3; i++) {
    await first.request(GET, true, deadline());
    assert.equal(clock.pendingTimers, 0);
    await clock.advance(60_000);
    assert.equal(first.isReusable, true);
  }
  await assert.rejects(first.request(GET, true, controller.signal), { message: "not any more" });
  assert.equal(clock.pendingTimers, 0);
  const second = await open(server, FIRST_BYTE, clock);
  await assert.rejects(second.request(GET, true, deadline()), { code: "FASTCGI_CONNECTION_LOST" });
  assert.equal(clock.pendingTimers, 0);
  await server.scriptsEnded();
});

Deno.test("Pool.request() frees the place of a request whose first byte did not come in time, and sends nothing again", async () => {
  const clock = new FakeClock();
  const silence = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\n");
    await peer.readRequest();
    silence.resolve();
    await peer.clientCloses();
  }, async (peer) => {
    await peer.serve("A: 1\n\nbody");
    await peer.clientCloses();
  }]);
  const pool = new Pool({ address: parseAddress(server.address), clock }, {
    ...DEFAULT_POOL_OPTIONS,
    ...FIRST_BYTE,
    idleMs: 60_000,
    maxConnections: 1,
  });
  await pool.request(GET, deadline());
  const silent = pool.request(GET, deadline());
  const waiting = pool.request(GET, deadline());
  const failure = assert.rejects(silent, { code: "FASTCGI_FIRST_BYTE_TIMEOUT" });
  await silence.promise;
  await eventually("the request is written", () => clock.pendingTimers === 2);
  await clock.advance(5_000);
  await failure;
  assert.equal(textOf(await waiting), "body");
  assert.deepEqual([pool.stats.busy, pool.stats.opened, pool.stats.resent], [0, 2, 0]);
  await pool.close();
  await server.scriptsEnded();
});
