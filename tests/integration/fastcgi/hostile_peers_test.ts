/**
 * Servers that break the protocol, each as one script: what a Connection makes of them. The everyday faults (another
 * request's record, a short END_REQUEST, a stream that ends) are in connection_test.ts; limits and silence in
 * answer_limits_test.ts.
 */
import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import {
  Connection,
  ConnectionLostError,
  type ConnectionOptions,
  type FastCgiRequest,
} from "../../../src/fastcgi/connection.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../../src/fastcgi/pool.ts";
import type { FastCgiResponse } from "../../../src/fastcgi/response.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeClock } from "../../support/fake_clock.ts";
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

const OPTIONS: ConnectionOptions = { ...DEFAULT_POOL_OPTIONS, connectTimeoutMs: 10_000 };
const GET: FastCgiRequest = { params: [["REQUEST_METHOD", "GET"]], body: new Uint8Array(0) };
const BODY = stdoutRecord("A: 1\n\nbody");

/** A request that should have ended fails then, instead of holding up the run. */
function deadline(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

function open(server: ScriptedServer): Promise<Connection> {
  return Connection.open(parseAddress(server.address), systemClock, OPTIONS);
}

/** Sends one request to a server that reads it and then does what `script` says. */
async function exchange(script: Script): Promise<FastCgiResponse> {
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await script(peer);
  }]);
  const connection = await open(server);
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

/** A record whose header claims `contentBytes` and `paddingBytes`, and what really follows it. */
function lyingRecord(type: number, contentBytes: number, paddingBytes: number, really: Uint8Array) {
  const header = [1, type, 0, 1, contentBytes >> 8, contentBytes & 255, paddingBytes, 0];
  return concat(Uint8Array.from(header), really);
}

// --- lengths that lie

const SWALLOWED = concat(bytesOf("A: 1\n\nbody"), stdoutRecord(""), endRequestRecord());

for (
  const [what, answer] of [
    ["content", lyingRecord(6, 65_535, 0, SWALLOWED)],
    ["content, by one byte", lyingRecord(6, SWALLOWED.length + 1, 0, SWALLOWED)],
    ["padding", lyingRecord(6, 10, 255, SWALLOWED)],
    ["an END_REQUEST", lyingRecord(3, 9, 0, new Uint8Array(8))],
  ] as const
) {
  Deno.test(`Connection.request() rejects with FASTCGI_CONNECTION_LOST when the length of ${what} is longer than what comes`, async () => {
    await assert.rejects(exchange((peer) => peer.write(answer)), (error: unknown) => {
      assert.ok(error instanceof ConnectionLostError);
      assert.equal(error.responseBytes, answer.length);
      return true;
    });
  });
}

for (
  const [what, answer, message] of [
    ["content", lyingRecord(6, 4, 0, concat(bytesOf("A: 1\n\nbody"), endRequestRecord())), /version "10"/],
    ["padding", concat(stdoutRecord("A: 1\n\n"), Uint8Array.of(0xee)), /version "238"/],
    ["an END_REQUEST", lyingRecord(3, 7, 0, new Uint8Array(8)), /END_REQUEST: it has 7 bytes, not 8$/],
  ] as const
) {
  Deno.test(`Connection.request() rejects with FASTCGI_PROTOCOL when the length of ${what} is shorter than what comes`, async () => {
    await assert.rejects(
      exchange(async (peer) => {
        await peer.write(answer);
        await peer.clientCloses();
      }),
      { code: "FASTCGI_PROTOCOL", message },
    );
  });
}

Deno.test("Connection.request() takes an END_REQUEST that claims 65,535 bytes for one when it is whole", async () => {
  const content = new Uint8Array(65_535).fill(0xaa);
  content.set([0, 0, 0, 5, 0, 0, 0, 0]);
  const response = await exchange((peer) => peer.write(BODY, record(3, content)));
  assert.deepEqual([textOf(response), response.appStatus], ["body", 5]);
});

Deno.test("Connection.request() puts END_REQUEST together that comes one byte at a time, each time anew", async () => {
  const statuses = [0x01020304, 7];
  await using server = await ScriptedServer.start([async (peer) => {
    for (const appStatus of statuses) {
      const { requestId } = await peer.readRequest();
      for (const byte of endRequestRecord({ requestId, appStatus })) await peer.write(Uint8Array.of(byte));
    }
    await peer.clientCloses();
  }]);
  const connection = await open(server);
  for (const appStatus of statuses) {
    assert.equal((await connection.request(GET, true, deadline())).appStatus, appStatus);
  }
  connection.destroy();
  await server.scriptsEnded();
});

// --- the stream ends anywhere

Deno.test("Connection.request() rejects with FASTCGI_CONNECTION_LOST wherever the stream ends before its last byte", async () => {
  const answer = concat(
    stderrRecord("warning", { padding: 1 }),
    stdoutRecord("X-Fervo-Outcome: ack\n\n", { padding: 2 }),
    record(11, new Uint8Array(8), { requestId: 0 }),
    stdoutRecord(""),
    endRequestRecord({ padding: 3 }),
  );
  await using server = await ScriptedServer.start(async (peer) => {
    await peer.readRequest();
    await peer.write(answer.subarray(0, peer.index));
  });
  for (let bytes = 0; bytes < answer.length; bytes++) {
    const connection = await open(server);
    await assert.rejects(connection.request(GET, true, deadline()), {
      name: "ConnectionLostError",
      responseBytes: bytes,
      isReused: false,
    });
  }
  const response = await (await open(server)).request(GET, false, deadline());
  assert.equal(response.headers.get("x-fervo-outcome"), "ack");
});

// --- records that do not belong there

for (const version of [0, 2]) {
  Deno.test(`Connection.request() rejects with FASTCGI_PROTOCOL at a record of version ${version}, also after a good one`, async () => {
    const bad = endRequestRecord();
    bad[0] = version;
    for (const before of [[], [BODY], [BODY, stdoutRecord("")]]) {
      await assert.rejects(
        exchange(async (peer) => {
          await peer.write(...before, bad);
          await peer.clientCloses();
        }),
        {
          code: "FASTCGI_PROTOCOL",
          message:
            `Cannot read the answer: it is not FastCGI, a record of version "${version}" came instead of 1`,
        },
      );
    }
  });
}

Deno.test("Connection.request() skips records of types that an application does not send, for its request", async () => {
  // 1 to 5 are a web server's, 8 is FCGI_DATA of the role of a filter; the others do not exist.
  for (const type of [0, 1, 2, 4, 5, 8, 9, 10, 11, 12, 255]) {
    const odd = record(type, bytesOf("X-Fervo-Outcome: ack\n\n"), { padding: 3 });
    const response = await exchange((peer) =>
      peer.write(odd, BODY, odd, stdoutRecord("!"), odd, endRequestRecord())
    );
    assert.deepEqual([response.headers.size, textOf(response)], [1, "body!"], `type ${type}`);
  }
});

Deno.test("Connection.request() skips every record of request id 0, STDOUT and END_REQUEST among them", async () => {
  for (const type of [0, 3, 6, 7, 9, 10, 11, 12, 255]) {
    const odd = record(type, new Uint8Array(8).fill(0x41), { requestId: 0, padding: 9 });
    const response = await exchange((peer) =>
      peer.write(odd, BODY, odd, stdoutRecord("!"), odd, endRequestRecord())
    );
    assert.deepEqual(
      [textOf(response), response.stderr, response.appStatus],
      ["body!", "", 0],
      `type ${type}`,
    );
  }
});

Deno.test("Connection.request() does not take END_REQUEST of request id 0 for the end", async () => {
  await assert.rejects(exchange((peer) => peer.write(BODY, endRequestRecord({ requestId: 0 }))), {
    code: "FASTCGI_CONNECTION_LOST",
  });
});

Deno.test("Connection.request() reads an answer with FCGI_GET_VALUES_RESULT and FCGI_UNKNOWN_TYPE between its records", async () => {
  const management = [
    record(10, bytesOf("\x0f\x01FCGI_MPXS_CONNS0"), { requestId: 0, padding: 1 }),
    record(10, new Uint8Array(0), { requestId: 0 }),
    record(11, Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0), { requestId: 0 }),
  ];
  const pieces = [
    stderrRecord("warn"),
    stdoutRecord("A: 1\n"),
    stdoutRecord("\nbo"),
    stderrRecord("ing"),
    stdoutRecord("dy"),
  ];
  const response = await exchange(async (peer) => {
    for (const piece of [...pieces, stdoutRecord(""), endRequestRecord()]) {
      await peer.write(...management, piece);
    }
  });
  assert.deepEqual([textOf(response), response.stderr], ["body", "warning"]);
});

Deno.test("Connection stays usable when a management record comes while it is idle", async () => {
  const sent = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\nfirst");
    await peer.write(record(11, new Uint8Array(8), { requestId: 0 }));
    sent.resolve();
    await peer.serve("A: 1\n\nsecond");
    await peer.clientCloses();
  }]);
  const connection = await open(server);
  await connection.request(GET, true, deadline());
  await sent.promise;
  assert.equal(textOf(await connection.request(GET, true, deadline())), "second");
  connection.destroy();
  await server.scriptsEnded();
});

for (const requestId of [2, 256, 65_535]) {
  Deno.test(`Connection.request() rejects with FASTCGI_PROTOCOL at records of request ${requestId}, whatever their type`, async () => {
    for (const type of [0, 3, 6, 7, 11, 255]) {
      await assert.rejects(
        exchange(async (peer) => {
          await peer.write(BODY, record(type, new Uint8Array(8), { requestId }), endRequestRecord());
          await peer.clientCloses();
        }),
        {
          code: "FASTCGI_PROTOCOL",
          message: `Cannot read the answer: a record of type ${type} for request "${requestId}" came, ` +
            `and request "1" is under way`,
        },
      );
    }
  });
}

// --- more after END_REQUEST

const STRAY: [what: string, bytes: Uint8Array][] = [
  ["END_REQUEST", endRequestRecord()],
  ["STDOUT", stdoutRecord("X-Fervo-Outcome: ack\n\n")],
  ["STDERR", stderrRecord("late")],
  ["an empty STDOUT", stdoutRecord("")],
];

for (const [what, stray] of STRAY) {
  Deno.test(`Connection gives the answer and closes when ${what} comes in one packet with END_REQUEST`, async () => {
    await using server = await ScriptedServer.start([async (peer) => {
      await peer.readRequest();
      await peer.write(concat(BODY, endRequestRecord(), stray));
      await peer.clientCloses();
    }]);
    const connection = await open(server);
    assert.equal(textOf(await connection.request(GET, true, deadline())), "body");
    assert.equal(connection.isReusable, false);
    await server.scriptsEnded();
  });

  Deno.test(`Connection closes when ${what} comes while it is idle, and Pool takes another one`, async () => {
    const answered = Promise.withResolvers<void>();
    const served: Script = async (peer: ScriptedPeer) => {
      await peer.readRequest();
      await peer.write(BODY, endRequestRecord());
      await answered.promise;
      if (peer.index === 0) await peer.write(stray);
      await peer.clientCloses();
    };
    await using server = await ScriptedServer.start([served, served]);
    const pool = new Pool(
      { address: parseAddress(server.address), clock: new FakeClock() },
      { ...DEFAULT_POOL_OPTIONS, maxConnections: 1 },
    );
    await pool.request(GET, deadline());
    assert.equal(pool.stats.idle, 1);
    answered.resolve();
    await eventually("the connection has closed", () => pool.stats.idle === 0);
    assert.equal(textOf(await pool.request(GET, deadline())), "body");
    assert.deepEqual([pool.stats.opened, pool.stats.resent], [2, 0]);
    await pool.close();
    await server.scriptsEnded();
  });

  const isOutput = what !== "END_REQUEST";
  const does = isOutput ? "passes over" : "rejects with FASTCGI_PROTOCOL at";

  Deno.test(`Connection.request() ${does} ${what} of the last answer that comes while the next request is under way`, async () => {
    await using server = await ScriptedServer.start([async (peer) => {
      const last = await peer.serve("A: 1\n\nfirst");
      const { requestId } = await peer.readRequest();
      const late = stray.slice();
      late.set([last.requestId >> 8, last.requestId & 255], 2);
      const answer = [stdoutRecord("A: 1\n\nsecond", { requestId }), endRequestRecord({ requestId })];
      await peer.write(concat(late, ...answer));
      await peer.clientCloses();
    }]);
    const connection = await open(server);
    await connection.request(GET, true, deadline());
    const answering = connection.request(GET, true, deadline());
    if (isOutput) assert.equal(textOf(await answering), "second");
    else await assert.rejects(answering, { code: "FASTCGI_PROTOCOL" });
    connection.destroy();
    await server.scriptsEnded();
  });
}

Deno.test("Pool.request() opens another connection when the kept one that it waited for is closed in the same moment", async () => {
  await using server = await ScriptedServer.start(async (peer) => void await peer.serve("A: 1\n\nbody"));
  const pool = new Pool(
    { address: parseAddress(server.address), clock: new FakeClock() },
    { ...DEFAULT_POOL_OPTIONS, maxConnections: 2 },
  );
  const requests = Array.from({ length: 300 }, () => pool.request(GET, deadline()));
  for (const response of await Promise.all(requests)) assert.equal(textOf(response), "body");
  assert.equal(pool.stats.opened, 300);
  await pool.close();
});
