import assert from "node:assert/strict";
import { type Clock, systemClock } from "../../../src/core/time/clock.ts";
import { FervoError, JobError } from "../../../src/core/errors.ts";
import { type FastCgiAddress, parseAddress } from "../../../src/fastcgi/address.ts";
import {
  Connection,
  ConnectionLostError,
  type ConnectionOptions,
  type FastCgiRequest,
} from "../../../src/fastcgi/connection.ts";
import { encodeParams } from "../../../src/fastcgi/params.ts";
import { DEFAULT_RESPONSE_LIMITS, type FastCgiResponse } from "../../../src/fastcgi/response.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FullQueue } from "../../support/full_queue.ts";
import {
  bytesOf,
  concat,
  endRequestRecord,
  record,
  type Script,
  type ScriptedPeer,
  ScriptedServer,
  stderrRecord,
  stdoutRecord,
} from "../../support/scripted_server.ts";

const OPTIONS: ConnectionOptions = {
  ...DEFAULT_RESPONSE_LIMITS,
  connectTimeoutMs: 10_000,
  firstByteTimeoutMs: 0,
  keepaliveMs: 30_000,
};
const NEVER = new AbortController().signal;
const GET: FastCgiRequest = { params: [["REQUEST_METHOD", "GET"]], body: new Uint8Array(0) };
const TRANSPORTS = ["unix", "tcp"] as const;

function open(
  server: ScriptedServer,
  options: ConnectionOptions = OPTIONS,
  clock: Clock = systemClock,
): Promise<Connection> {
  return Connection.open(parseAddress(server.address), clock, options);
}

/** Sends one request to a server that reads it and then does what `script` says. */
async function exchange(
  script: Script,
  o: { request?: FastCgiRequest; options?: ConnectionOptions } = {},
): Promise<FastCgiResponse> {
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await script(peer);
  }]);
  const connection = await open(server, o.options);
  try {
    return await connection.request(o.request ?? GET, true, NEVER);
  } finally {
    connection.destroy();
    await server.scriptsEnded();
  }
}

function textOf(response: FastCgiResponse): string {
  return new TextDecoder().decode(response.body);
}

function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  }
  return bytes;
}

for (const transport of TRANSPORTS) {
  Deno.test(`Connection.request() sends role, flags, params and STDIN as the specification says (${transport})`, async () => {
    await using server = await ScriptedServer.start([async (peer) => {
      const request = await peer.readRequest();
      assert.equal(request.requestId, 1);
      assert.equal(request.role, 1);
      assert.equal(request.keep, true);
      assert.deepEqual([...request.params], [["SHARED", "s"], ["A", "1"], ["Ä", "ü😀"], ["EMPTY", ""]]);
      assert.equal(new TextDecoder().decode(request.stdin), "the body");
      await peer.answer("Status: 201 Created\r\nX-A: b\r\n\r\nhello");
      await peer.clientCloses();
    }], { transport });
    const connection = await open(server);
    const response = await connection.request(
      {
        sharedParams: encodeParams({ SHARED: "s" }),
        params: [["A", "1"], ["Ä", "ü😀"], ["EMPTY", ""]],
        body: bytesOf("the body"),
      },
      true,
      NEVER,
    );
    assert.equal(response.status, 201);
    assert.equal(response.headers.get("x-a"), "b");
    assert.equal(textOf(response), "hello");
    assert.equal(response.stderr, "");
    assert.equal(response.isTruncated, false);
    assert.equal(response.appStatus, 0);
    assert.equal(connection.isReusable, true);
    connection.destroy();
    await server.scriptsEnded();
  });

  Deno.test(`Connection.request() sends bodies of every size around its limits unchanged (${transport})`, async () => {
    const sizes = [0, 1, 32_767, 32_768, 32_769, 65_527, 65_528, 65_529, 65_536, 131_056, 131_057, 3_000_000];
    const bodies = sizes.map(randomBytes);
    await using server = await ScriptedServer.start([async (peer) => {
      for (const body of bodies) {
        const { stdin } = await peer.readRequest();
        assert.ok(
          stdin.length === body.length && stdin.every((byte, i) => byte === body[i]),
          `${body.length}`,
        );
        await peer.answer("A: 1\n\n");
      }
    }], { transport });
    const connection = await open(server);
    for (const body of bodies) await connection.request({ params: [], body }, true, NEVER);
    connection.destroy();
    await server.scriptsEnded();
  });
}

Deno.test("Connection.request() asks to close, and closes, without keep", async () => {
  await using server = await ScriptedServer.start([async (peer) => {
    assert.equal((await peer.serve("A: 1\n\n")).keep, false);
    await peer.clientCloses();
  }]);
  const connection = await open(server);
  await connection.request(GET, false, NEVER);
  assert.equal(connection.isReusable, false);
  await server.scriptsEnded();
});

Deno.test("Connection.request() closes without keep also when it rejects", async () => {
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await peer.write(endRequestRecord({ protocolStatus: 2 }));
    await peer.clientCloses();
  }]);
  const connection = await open(server);
  await assert.rejects(connection.request(GET, false, NEVER), { code: "FASTCGI_OVERLOADED" });
  await server.scriptsEnded();
});

Deno.test("Connection.request() splits many params into records, each pair whole", async () => {
  const params = Array.from({ length: 30 }, (_, i): [string, string] => [`N${i}`, "v".repeat(20_000)]);
  await using server = await ScriptedServer.start([async (peer) => {
    const request = await peer.serve("A: 1\n\n");
    assert.deepEqual([...request.params], params);
    assert.deepEqual(
      request.paramRecordBytes,
      [...Array(10).fill(request.paramRecordBytes[0]), 0].map(
        (_, i) => params.slice(3 * i, 3 * i + 3).reduce((sum, [name]) => sum + 5 + name.length + 20_000, 0),
      ),
    );
  }]);
  const connection = await open(server);
  await connection.request({ params, body: new Uint8Array(0) }, false, NEVER);
  await server.scriptsEnded();
});

Deno.test("Connection.request() reads an answer that comes one byte at a time, padding included", async () => {
  const answer = concat(
    stdoutRecord("X-A: 1\r\n", { padding: 5 }),
    stderrRecord("warning", { padding: 1 }),
    stdoutRecord("\r\nbody", { padding: 255 }),
    stdoutRecord("", { padding: 3 }),
    endRequestRecord({ appStatus: 0x01020304, padding: 7 }),
  );
  const response = await exchange(async (peer) => {
    for (const byte of answer) await peer.write(Uint8Array.of(byte));
  });
  assert.equal(response.headers.get("x-a"), "1");
  assert.equal(textOf(response), "body");
  assert.equal(response.stderr, "warning");
  assert.equal(response.appStatus, 0x01020304);
});

Deno.test("Connection.request() keeps STDOUT and STDERR apart that come interleaved", async () => {
  const response = await exchange((peer) =>
    peer.write(
      stderrRecord("one "),
      stdoutRecord("X-A: 1\n\nbo"),
      stderrRecord("two "),
      stdoutRecord("dy"),
      stderrRecord("three"),
      endRequestRecord(),
    )
  );
  assert.equal(textOf(response), "body");
  assert.equal(response.stderr, "one two three");
});

Deno.test("Connection.request() cuts megabytes of STDERR at the limit and still reads the answer", async () => {
  const piece = stderrRecord("e".repeat(60_000));
  const half = "e".repeat(35_000);
  const response = await exchange(async (peer) => {
    for (let i = 0; i < 50; i++) await peer.write(piece);
    await peer.answer("A: 1\n\ndone");
  }, { options: { ...OPTIONS, maxStderrBytes: 70_000 } });
  assert.equal(response.stderr, `${half}\n… ${50 * 60_000 - 70_000} bytes left out …\n${half}`);
  assert.equal(response.isTruncated, true);
  assert.equal(textOf(response), "done");
});

Deno.test("Connection.request() cuts STDOUT at the limit", async () => {
  const response = await exchange(
    (peer) => peer.write(stdoutRecord("A: 1\n\n0123"), stdoutRecord("456789"), endRequestRecord()),
    { options: { ...OPTIONS, maxResponseBytes: 12 } },
  );
  assert.equal(textOf(response), "012345");
  assert.equal(response.isTruncated, true);
});

Deno.test("Connection.request() ignores management records and records of unknown type", async () => {
  const response = await exchange((peer) =>
    peer.write(
      record(11, new Uint8Array(8), { requestId: 0 }),
      record(200, bytesOf("?")),
      stdoutRecord("A: 1\n\nbody"),
      endRequestRecord(),
    )
  );
  assert.equal(textOf(response), "body");
});

Deno.test("Connection.request() reads the first 8 bytes of a longer END_REQUEST", async () => {
  const response = await exchange((peer) =>
    peer.write(record(3, Uint8Array.of(0, 0, 0, 9, 0, 0, 0, 0, 5, 5)))
  );
  assert.equal(response.appStatus, 9);
});

const PROTOCOL_ERRORS: [what: string, answer: Uint8Array, code: string, message: RegExp][] = [
  [
    "a record of another request",
    stdoutRecord("x", { requestId: 2 }),
    "FASTCGI_PROTOCOL",
    /^Cannot read the answer: a record of type 6 for request "2" came, and request "1" is under way$/,
  ],
  [
    "END_REQUEST of another request",
    endRequestRecord({ requestId: 258 }),
    "FASTCGI_PROTOCOL",
    /^Cannot read the answer: a record of type 3 for request "258" came/,
  ],
  [
    "version 0",
    Uint8Array.of(0, 6, 0, 1, 0, 0, 0, 0),
    "FASTCGI_PROTOCOL",
    /a record of version "0" came instead of 1$/,
  ],
  ["HTTP", bytesOf("HTTP/1.1 400 Bad Request\r\n\r\n"), "FASTCGI_PROTOCOL", /a record of version "72" came/],
  [
    "END_REQUEST of 7 bytes",
    record(3, new Uint8Array(7)),
    "FASTCGI_PROTOCOL",
    /^Cannot read END_REQUEST: it has 7 bytes, not 8$/,
  ],
  [
    "END_REQUEST of 0 bytes",
    record(3, new Uint8Array(0)),
    "FASTCGI_PROTOCOL",
    /^Cannot read END_REQUEST: it has 0 bytes, not 8$/,
  ],
  [
    "cannot multiplex",
    endRequestRecord({ protocolStatus: 1 }),
    "FASTCGI_PROTOCOL",
    /^".*" refused the request with protocol status 1$/,
  ],
  [
    "overloaded",
    endRequestRecord({ protocolStatus: 2 }),
    "FASTCGI_OVERLOADED",
    /^".*" says it is overloaded$/,
  ],
  [
    "unknown role",
    endRequestRecord({ protocolStatus: 3 }),
    "FASTCGI_PROTOCOL",
    /^".*" refused the request with protocol status 3$/,
  ],
];

for (const [what, answer, code, message] of PROTOCOL_ERRORS) {
  Deno.test(`Connection.request() rejects with ${code} on ${what}`, async () => {
    await assert.rejects(exchange((peer) => peer.write(answer)), { name: "FastCgiError", code, message });
  });
}

const LOST: [when: string, pieces: Uint8Array[], responseBytes: number][] = [
  ["before the answer", [], 0],
  ["inside a record's header", [stdoutRecord("A: 1\n\n").slice(0, 3)], 3],
  ["inside a record's content", [stdoutRecord("A: 1\n\nbody").slice(0, -2)], 16],
  ["inside a record's padding", [stdoutRecord("A: 1\n\n", { padding: 9 }).slice(0, -1)], 22],
  ["between two records", [stdoutRecord("A: 1\n\nbody"), stdoutRecord("")], 26],
  ["inside END_REQUEST", [endRequestRecord().slice(0, -1)], 15],
];

for (const [when, pieces, responseBytes] of LOST) {
  Deno.test(`Connection.request() rejects with FASTCGI_CONNECTION_LOST when the stream ends ${when}`, async () => {
    await assert.rejects(exchange((peer) => peer.write(...pieces)), (error: unknown) => {
      assert.ok(error instanceof ConnectionLostError);
      assert.equal(error.code, "FASTCGI_CONNECTION_LOST");
      assert.match(
        error.message,
        /^Lost the connection to ".*" before the answer was complete: the other side closed it$/,
      );
      assert.equal(error.responseBytes, responseBytes);
      assert.equal(error.isReused, false);
      return true;
    });
  });
}

Deno.test("ConnectionLostError carries STDERR, the time it took and whether the connection was used before", async () => {
  const clock = new FakeClock();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\n");
    await peer.readRequest();
    await peer.write(stderrRecord("PHP Fatal error: x\n", peer));
    clock.jump(123);
  }]);
  const connection = await open(server, OPTIONS, clock);
  clock.jump(1_000);
  await connection.request(GET, true, NEVER);
  await assert.rejects(connection.request(GET, true, NEVER), (error: unknown) => {
    assert.ok(error instanceof ConnectionLostError);
    assert.equal(error.isReused, true);
    assert.equal(error.afterMs, 123);
    assert.deepEqual(error.details, { responseBytes: 27, stderr: "PHP Fatal error: x" });
    return true;
  });
});

Deno.test("Connection.request() rejects with FASTCGI_CONNECTION_LOST on a reset", async () => {
  // Closing with unread bytes resets the connection.
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRecord();
  }], { transport: "tcp" });
  const connection = await open(server);
  const body = new Uint8Array(5_000_000);
  await assert.rejects(connection.request({ params: [], body }, true, NEVER), {
    name: "ConnectionLostError",
    code: "FASTCGI_CONNECTION_LOST",
  });
  assert.equal(connection.isReusable, false);
});

for (const transport of TRANSPORTS) {
  Deno.test(`Connection.request() takes an answer that comes before STDIN was read, and is not reused (${transport})`, async () => {
    await using server = await ScriptedServer.start([async (peer) => {
      await peer.readHead();
      await peer.answer("Status: 413\n\ntoo long");
      await peer.drain();
    }], { transport });
    const connection = await open(server);
    const response = await connection.request({ params: [], body: new Uint8Array(20_000_000) }, true, NEVER);
    assert.equal(response.status, 413);
    assert.equal(textOf(response), "too long");
    assert.equal(connection.isReusable, false);
    connection.destroy();
    await server.scriptsEnded();
  });
}

Deno.test("Connection.request() rejects with the signal's reason on abort, whatever that is, and closes", async () => {
  for (const reason of [new Error("job timeout"), "a text", new DOMException("x", "AbortError")]) {
    const controller = new AbortController();
    await using server = await ScriptedServer.start([async (peer) => {
      await peer.readRequest();
      await peer.write(stdoutRecord("A: 1\n\n"));
      controller.abort(reason);
      await peer.clientCloses();
    }]);
    const connection = await open(server);
    const error = await connection.request(GET, true, controller.signal).catch((error) => error);
    assert.equal(error, reason);
    assert.equal(connection.isReusable, false);
    await server.scriptsEnded();
  }
});

Deno.test("Connection.request() rejects with STDERR so far on abort, and beside all that the reason tells", async () => {
  const controller = new AbortController();
  const reason = new JobError("JOB_TIMEOUT", "The job's time was up", { details: { pid: 7 } });
  const request: FastCgiRequest = {
    ...GET,
    onOutput: {
      stdout: () => controller.abort(reason),
      stderr: () => {},
    },
  };
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await peer.write(stderrRecord("PHP message: stuck at the gate\n"), stdoutRecord("A: 1\n\n"));
    await peer.clientCloses();
  }]);
  const connection = await open(server);
  const error = await connection.request(request, true, controller.signal).catch((error) => error);
  assert.ok(error instanceof FervoError);
  assert.deepEqual([error.code, error.message, error.details, error.cause], [
    "JOB_TIMEOUT",
    "The job's time was up",
    { pid: 7, stderr: "PHP message: stuck at the gate" },
    reason,
  ]);
  await server.scriptsEnded();
});

Deno.test("Connection.request() sends nothing when its signal has aborted before", async () => {
  await using server = await ScriptedServer.start([async (peer) => assert.equal(await peer.drain(), 0)]);
  const connection = await open(server);
  await assert.rejects(connection.request(GET, true, AbortSignal.abort(new Error("early"))), {
    message: "early",
  });
  assert.equal(connection.isReusable, true);
  connection.destroy();
  await server.scriptsEnded();
});

Deno.test("Connection.request() refuses a param that is too large by name, sends nothing and stays usable", async () => {
  await using server = await ScriptedServer.start([async (peer) => {
    assert.equal((await peer.serve("A: 1\n\n")).params.get("OK"), "1");
  }]);
  const connection = await open(server);
  const params: [string, string][] = [["OK", "1"], ["DEFERRED_DATA", "x".repeat(65_528)]];
  await assert.rejects(connection.request({ params, body: new Uint8Array(0) }, true, NEVER), {
    code: "FASTCGI_PARAM_TOO_LARGE",
    message: /^Cannot send the param "DEFERRED_DATA"/,
  });
  await connection.request({ params: [["OK", "1"]], body: new Uint8Array(0) }, true, NEVER);
  connection.destroy();
  await server.scriptsEnded();
});

Deno.test("Connection.request() throws a TypeError while a request is under way, and FASTCGI_CONNECT_FAILED after the end", async () => {
  const answer = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await answer.promise;
    await peer.answer("A: 1\n\n");
    await peer.clientCloses();
  }]);
  const connection = await open(server);
  const first = connection.request(GET, true, NEVER);
  await assert.rejects(connection.request(GET, true, NEVER), TypeError);
  answer.resolve();
  await first;
  connection.destroy();
  await assert.rejects(connection.request(GET, true, NEVER), { code: "FASTCGI_CONNECT_FAILED" });
  await server.scriptsEnded();
});

Deno.test("Connection.onIdleClose tells once that the other side has left between two requests", async () => {
  const leave = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\n");
    await leave.promise;
  }]);
  const connection = await open(server);
  let closes = 0;
  const closed = new Promise<void>((resolve) => {
    connection.onIdleClose = () => {
      closes++;
      resolve();
    };
  });
  await connection.request(GET, true, NEVER);
  assert.equal(connection.isReusable, true);
  leave.resolve();
  await closed;
  assert.equal(connection.isReusable, false);
  connection.destroy();
  assert.equal(closes, 1);
});

Deno.test("Connection closes when a record comes that no request has asked for", async () => {
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await peer.write(concat(stdoutRecord("A: 1\n\nbody"), endRequestRecord(), stdoutRecord("more")));
    await peer.clientCloses();
  }]);
  const connection = await open(server);
  assert.equal(textOf(await connection.request(GET, true, NEVER)), "body");
  assert.equal(connection.isReusable, false);
  await server.scriptsEnded();
});

Deno.test("Connection.open() says that there is no socket", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/none.sock`;
  await assert.rejects(Connection.open({ transport: "unix", path }, systemClock, OPTIONS), {
    code: "FASTCGI_CONNECT_FAILED",
    message: `Cannot connect to php-fpm at "${path}": no such socket; is php-fpm running?`,
  });
  await Deno.remove(directory);
});

for (const transport of TRANSPORTS) {
  Deno.test(`Connection.open() says that nobody listens any more (${transport})`, async () => {
    const directory = await Deno.makeTempDir();
    const path = `${directory}/left.sock`;
    const listener = transport === "unix"
      ? Deno.listen({ transport, path: `${directory}/bound.sock` })
      : Deno.listen({ transport, hostname: "127.0.0.1", port: 0 });
    // Closing the listener removes the name it was bound to; after a SIGKILL it would stay.
    if (transport === "unix") await Deno.link(`${directory}/bound.sock`, path);
    const address: FastCgiAddress = listener.addr.transport === "tcp"
      ? { transport: "tcp", hostname: "127.0.0.1", port: listener.addr.port }
      : { transport: "unix", path };
    listener.close();
    await assert.rejects(Connection.open(address, systemClock, OPTIONS), {
      code: "FASTCGI_CONNECT_FAILED",
      message: /^Cannot connect to php-fpm at ".*": connection refused; is php-fpm running\?$/,
    });
    await Deno.remove(directory, { recursive: true });
  });
}

Deno.test("Connection.open() says that it may not use the socket", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/closed.sock`;
  using _listener = Deno.listen({ transport: "unix", path });
  await Deno.chmod(path, 0);
  const opening = () => Connection.open({ transport: "unix", path }, systemClock, OPTIONS);
  await assert.rejects(asOrdinaryUser(opening), {
    code: "FASTCGI_CONNECT_FAILED",
    message: `Cannot connect to php-fpm at "${path}": permission denied; ` +
      `see listen.owner, listen.group and listen.mode of the pool`,
  });
  await Deno.remove(directory, { recursive: true });
});

Deno.test("Connection.open() rejects with FASTCGI_OVERLOADED when a unix socket's listen queue is full", async () => {
  await using queue = await FullQueue.fill("unix");
  await assert.rejects(Connection.open(queue.address, systemClock, OPTIONS), {
    code: "FASTCGI_OVERLOADED",
    message: /^Cannot connect to php-fpm at ".*": its listen queue is full$/,
  });
});

Deno.test("Connection.open() gives up after connectTimeoutMs", async () => {
  await using queue = await FullQueue.fill("tcp");
  const clock = new FakeClock();
  const opening = Connection.open(queue.address, clock, { ...OPTIONS, connectTimeoutMs: 2_000 });
  const failure = assert.rejects(opening, {
    code: "FASTCGI_CONNECT_FAILED",
    message: /^Cannot connect to php-fpm at ".*": no answer in 2000 ms$/,
  });
  assert.equal(clock.pendingTimers, 1);
  await clock.advance(2_000);
  await failure;
});

Deno.test("Connection.open() takes its timer back when it has connected, and when it could not", async () => {
  const clock = new FakeClock();
  await using server = await ScriptedServer.start(async (peer) => void await peer.drain());
  const connection = await open(server, OPTIONS, clock);
  assert.equal(clock.pendingTimers, 0);
  connection.destroy();
  await assert.rejects(Connection.open({ transport: "unix", path: "/nonexistent" }, clock, OPTIONS));
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("Connection says again that STDIN has ended while an answer is awaited over TCP, takes it, and no further request", async () => {
  const clock = new FakeClock();
  const begun = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    begun.resolve();
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(await peer.readRecord(), { type: 5, requestId: 1, content: new Uint8Array(0) });
    }
    await peer.answer("A: 1\n\nlate");
    await peer.clientCloses();
  }], { transport: "tcp" });
  const connection = await open(server, OPTIONS, clock);
  const response = connection.request(GET, true, NEVER);
  await begun.promise;
  for (let i = 0; i < 4; i++) await clock.advance(OPTIONS.keepaliveMs / 2);
  assert.equal(textOf(await response), "late");
  assert.equal(connection.isReusable, false);
  connection.destroy();
  assert.equal(clock.pendingTimers, 0);
  await server.scriptsEnded();
});

Deno.test("Connection adds nothing where there is traffic, and over a unix socket", async () => {
  for (const transport of TRANSPORTS) {
    const clock = new FakeClock();
    const pieces = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
    await using server = await ScriptedServer.start([async (peer) => {
      await peer.readRequest();
      for (const piece of transport === "tcp" ? pieces : []) {
        await piece.promise;
        await peer.write(stdoutRecord("x"));
      }
      await pieces.at(-1)!.promise;
      await peer.answer("");
      await peer.clientCloses();
    }], { transport });
    const connection = await open(server, OPTIONS, clock);
    let came = 0;
    const onOutput = { stdout: () => came++, stderr: () => {} };
    const response = connection.request({ ...GET, onOutput }, true, NEVER);
    for (const [i, piece] of pieces.entries()) {
      await clock.advance(OPTIONS.keepaliveMs / 2);
      piece.resolve();
      if (transport === "tcp") await eventually("a piece has come", () => came > i);
    }
    await response;
    assert.equal(connection.isReusable, true);
    connection.destroy();
    await server.scriptsEnded();
  }
});

Deno.test("Connection closes itself when it had nothing to do for keepaliveMs over TCP", async () => {
  const clock = new FakeClock();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\n");
    await peer.clientCloses();
  }], { transport: "tcp" });
  const connection = await open(server, OPTIONS, clock);
  let closed = 0;
  connection.onIdleClose = () => closed++;
  await connection.request(GET, true, NEVER);
  await clock.advance(OPTIONS.keepaliveMs);
  assert.deepEqual([connection.isReusable, closed, clock.pendingTimers], [false, 1, 0]);
  await server.scriptsEnded();
});

Deno.test("Connection.open() rejects with the signal's reason on abort, without waiting for the connect", async () => {
  await using queue = await FullQueue.fill("tcp");
  const clock = new FakeClock();
  const controller = new AbortController();
  const opening = Connection.open(queue.address, clock, OPTIONS, controller.signal);
  controller.abort(new Error("not any more"));
  await assert.rejects(opening, { message: "not any more" });
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("Connection.open() closes a connection that comes about after it has given up", async () => {
  await using server = await ScriptedServer.start([async (peer) => assert.equal(await peer.drain(), 0)]);
  const controller = new AbortController();
  const opening = Connection.open(parseAddress(server.address), systemClock, OPTIONS, controller.signal);
  controller.abort(new Error("not any more"));
  await assert.rejects(opening, { message: "not any more" });
  await eventually("the connection has come about", () => server.connections === 1);
  await server.scriptsEnded();
});

/** Runs `action` with the file permissions of a user that owns nothing: root may connect to any socket. */
async function asOrdinaryUser<T>(action: () => Promise<T>): Promise<T> {
  if (Deno.uid() !== 0) return await action();
  const nobody = 65_534;
  const libc = Deno.dlopen("libc.so.6", { setfsuid: { parameters: ["u32"], result: "i32" } });
  // Only for this thread, which is the one that connects.
  libc.symbols.setfsuid(nobody);
  try {
    return await action();
  } finally {
    libc.symbols.setfsuid(0);
    libc.close();
  }
}

Deno.test("Connection.request() rejects with FASTCGI_CONNECT_FAILED when the other side has closed it before anything was sent", async () => {
  for (const transport of TRANSPORTS) {
    await using server = await ScriptedServer.start((peer) => peer.close(), { transport });
    const connection = await open(server);
    const closed = Promise.withResolvers<void>();
    connection.onIdleClose = () => closed.resolve();
    await closed.promise;
    await assert.rejects(connection.request(GET, true, NEVER), {
      name: "FastCgiError",
      code: "FASTCGI_CONNECT_FAILED",
      message: /it accepted the connection and closed it at once; does listen\.allowed_clients/,
    });
    await server.scriptsEnded();
  }
});

Deno.test("Connection.request() tells a listener's mistake as it is, not as a connection that was lost", async () => {
  const thrown = new TypeError("broken");
  const request = {
    ...GET,
    onBody() {
      throw thrown;
    },
  };
  const answering = exchange((peer) => peer.answer("A: 1\r\n\r\nbody"), { request });
  await assert.rejects(answering, { code: "WORKER_FAULT", cause: thrown });
});

/** Answers the first request, and lets a test see how the second one fares. */
async function afterTheAnswer(script: (peer: ScriptedPeer) => Promise<void>) {
  const server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\r\n\r\n");
    await script(peer);
  }]);
  const connection = await open(server);
  const late: unknown[] = [];
  connection.onLateOutput = (params) => late.push(params);
  await connection.request({ ...GET, params: [["N", "1"]] }, true, NEVER);
  let notBegun = 0;
  const run = { notBegun: () => void notBegun++ };
  return {
    connection,
    late,
    notBegun: () => notBegun,
    request: () => connection.request({ ...GET, params: [["N", "2"]], run }, true, NEVER),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

Deno.test("Connection.request() passes over late output of the request before, which tells that its own has not begun", async () => {
  const o = { requestId: 1 };
  await using t = await afterTheAnswer(async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord("late", o), stderrRecord("late, too", o));
    await peer.answer("A: 2\r\n\r\nmine");
  });
  const { headers, body, stderr, hasWaited } = await t.request();
  assert.deepEqual([headers.get("a"), new TextDecoder().decode(body), stderr, hasWaited], [
    "2",
    "mine",
    "",
    true,
  ]);
  assert.ok(t.notBegun() > 0);
  assert.deepEqual(t.late[0], [["N", "1"]]);
});

Deno.test("Connection.request() that is lost after late output of the one before has had no byte of an answer, and waited", async () => {
  await using t = await afterTheAnswer(async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord("late", { requestId: 1 }));
  });
  await assert.rejects(t.request(), { responseBytes: 0, isReused: true, isWaiting: true });
});

Deno.test("Connection is closed by late output while it is idle: its child is not free", async () => {
  await using t = await afterTheAnswer(async (peer) => {
    await peer.write(stdoutRecord("late", { requestId: 1 }));
    await peer.clientCloses();
  });
  await eventually("it is closed", () => !t.connection.isReusable);
  assert.deepEqual(t.late[0], [["N", "1"]]);
});

Deno.test("Connection.request() still refuses a record of a request that never was, and a second END_REQUEST", async () => {
  for (const bytes of [stdoutRecord("x", { requestId: 3 }), endRequestRecord({ requestId: 1 })]) {
    await using t = await afterTheAnswer(async (peer) => {
      await peer.readRequest();
      await peer.write(bytes);
      await peer.clientCloses();
    });
    await assert.rejects(t.request(), { code: "FASTCGI_PROTOCOL" });
  }
});

Deno.test("Connection.silentFor() is the request under way that has had no byte, and not the first one", async () => {
  const go = Promise.withResolvers<void>();
  await using t = await afterTheAnswer(async (peer) => {
    await peer.readRequest();
    await go.promise;
    await peer.answer("A: 2\r\n\r\n");
  });
  assert.equal(t.connection.silentFor(0), undefined);
  const answering = t.request();
  const silent = t.connection.silentFor(0)!;
  assert.deepEqual([silent.params, silent.previousParams], [[["N", "2"]], [["N", "1"]]]);
  assert.equal(t.connection.silentFor(60_000), undefined);
  silent.setBegun(false);
  silent.setBegun(false);
  // It begins: its time begins once more, and then no more.
  silent.setBegun(true);
  silent.setBegun(true);
  assert.equal(t.notBegun(), 3);
  go.resolve();
  assert.equal((await answering).hasWaited, true);
  silent.setBegun(false);
  assert.equal(t.notBegun(), 3);
});
