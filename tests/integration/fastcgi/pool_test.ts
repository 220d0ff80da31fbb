import assert from "node:assert/strict";
import { FervoError } from "../../../src/core/errors.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import type { FastCgiRequest } from "../../../src/fastcgi/connection.ts";
import { DEFAULT_POOL_OPTIONS, Pool, type PoolOptions } from "../../../src/fastcgi/pool.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import {
  bytesOf,
  type Script,
  type ScriptedPeer,
  ScriptedServer,
  stdoutRecord,
} from "../../support/scripted_server.ts";

const NEVER = new AbortController().signal;

/** A request that the server can tell from others. */
function job(id: number | string): FastCgiRequest {
  return { params: [["ID", String(id)]], body: new Uint8Array(0) };
}

function poolOf(server: ScriptedServer, clock: FakeClock, options: Partial<PoolOptions> = {}): Pool {
  return new Pool({ address: parseAddress(server.address), clock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 4,
    ...options,
  });
}

/** Serves requests one after the other until the client closes, as an FPM child with kept connections does. */
function child(onRequest: (id: string, peer: ScriptedPeer) => void | Promise<void> = () => {}): Script {
  return async (peer) => {
    for (let begin = await peer.readRecord(); begin !== undefined; begin = await peer.readRecord()) {
      let params = "";
      for (let ends = 0; ends < 2;) {
        const record = await peer.readRecord();
        if (record === undefined) return;
        if (record.type === 4) params += new TextDecoder().decode(record.content);
        if (record.content.length === 0) ends++;
      }
      // One pair: two lengths, "ID", the value.
      await onRequest(params.slice(4), peer);
      await peer.answer("A: 1\n\nok");
    }
  };
}

Deno.test("Pool.request() reuses a kept connection for the next request", async () => {
  const ids: string[] = [];
  await using server = await ScriptedServer.start([child((id) => void ids.push(id))]);
  const pool = poolOf(server, new FakeClock());
  for (const id of ["1", "2", "3"]) await pool.request(job(id), NEVER);
  assert.deepEqual(ids, ["1", "2", "3"]);
  assert.deepEqual(pool.stats, { busy: 0, idle: 1, waiting: 0, opened: 1, answered: 3, resent: 0 });
  await pool.close();
  await server.scriptsEnded();
});

Deno.test("Pool.request() opens a connection for each request, without keep, when idleMs is 0", async () => {
  const serveOnce: Script = async (peer) => {
    assert.equal((await peer.serve("A: 1\n\n")).keep, false);
    await peer.clientCloses();
  };
  await using server = await ScriptedServer.start([serveOnce, serveOnce]);
  const pool = poolOf(server, new FakeClock(), { idleMs: 0 });
  await pool.request(job(1), NEVER);
  await pool.request(job(2), NEVER);
  assert.deepEqual(pool.stats, { busy: 0, idle: 0, waiting: 0, opened: 2, answered: 2, resent: 0 });
  await server.scriptsEnded();
});

Deno.test("Pool closes a connection that has been idle for idleMs, not before", async () => {
  await using server = await ScriptedServer.start([child()]);
  const clock = new FakeClock();
  const pool = poolOf(server, clock, { idleMs: 200 });
  await pool.request(job(1), NEVER);
  await clock.advance(150);
  await pool.request(job(2), NEVER);
  await clock.advance(199);
  assert.equal(pool.stats.idle, 1);
  await clock.advance(1);
  assert.equal(pool.stats.idle, 0);
  // The script returns when the client has closed.
  await server.scriptsEnded();
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("Pool forgets an idle connection that the other side closes, and sends nothing twice", async () => {
  const leave = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\n");
    await leave.promise;
  }, child()]);
  const pool = poolOf(server, new FakeClock());
  await pool.request(job(1), NEVER);
  leave.resolve();
  await eventually("the pool has noticed", () => pool.stats.idle === 0);
  await pool.request(job(2), NEVER);
  assert.equal(pool.stats.opened, 2);
  assert.equal(pool.stats.resent, 0);
  await pool.close();
});

Deno.test("Pool.request() sends a request once more when a kept connection closes without a byte, and counts it", async () => {
  const resentIds: string[] = [];
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\n");
    await peer.readRequest();
  }, child((id) => void resentIds.push(id))]);
  const pool = poolOf(server, new FakeClock());
  await pool.request(job("first"), NEVER);
  const response = await pool.request(job("second"), NEVER);
  assert.equal(new TextDecoder().decode(response.body), "ok");
  assert.deepEqual(resentIds, ["second"]);
  assert.deepEqual(pool.stats, { busy: 0, idle: 1, waiting: 0, opened: 2, answered: 2, resent: 1 });
  await pool.close();
});

Deno.test("Pool.request() sends a request once more at the end of the leaving window, and not later", async () => {
  for (const [afterMs, resent] of [[1_000, 1], [1_000.1, 0]] as const) {
    const clock = new FakeClock();
    const scripts: Script[] = [async (peer) => {
      await peer.serve("A: 1\n\n");
      await peer.readRequest();
      clock.jump(afterMs);
    }];
    if (resent === 1) scripts.push(child());
    await using server = await ScriptedServer.start(scripts);
    const pool = poolOf(server, clock);
    await pool.request(job(1), NEVER);
    const second = pool.request(job(2), NEVER);
    if (resent === 1) await second;
    else {
      await assert.rejects(second, {
        name: "ConnectionLostError",
        code: "FASTCGI_CONNECTION_LOST",
        isReused: true,
        responseBytes: 0,
      });
    }
    assert.equal(pool.stats.resent, resent);
    await pool.close();
  }
});

Deno.test("Pool.request() sends a request at most twice", async () => {
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\n");
    await peer.readRequest();
  }, async (peer) => void await peer.readRequest()]);
  const pool = poolOf(server, new FakeClock());
  await pool.request(job(1), NEVER);
  await assert.rejects(pool.request(job(2), NEVER), { code: "FASTCGI_CONNECTION_LOST", isReused: false });
  assert.deepEqual(pool.stats, { busy: 0, idle: 0, waiting: 0, opened: 2, answered: 1, resent: 1 });
});

Deno.test("Pool.request() rejects with FASTCGI_CONNECTION_LOST when a fresh connection closes without a byte", async () => {
  await using server = await ScriptedServer.start([async (peer) => void await peer.readRequest()]);
  const pool = poolOf(server, new FakeClock());
  await assert.rejects(pool.request(job(1), NEVER), { code: "FASTCGI_CONNECTION_LOST", isReused: false });
  assert.equal(pool.stats.resent, 0);
  assert.equal(pool.stats.busy, 0);
});

for (const [what, bytes] of [["content", 8 + 4], ["a lone record header", 8], ["one byte", 1]] as const) {
  Deno.test(`Pool.request() does not send again when a kept connection closes after ${what}`, async () => {
    await using server = await ScriptedServer.start([async (peer) => {
      await peer.serve("A: 1\n\n");
      await peer.readRequest();
      await peer.write(stdoutRecord("some", peer).slice(0, bytes));
    }]);
    const pool = poolOf(server, new FakeClock());
    await pool.request(job(1), NEVER);
    await assert.rejects(pool.request(job(2), NEVER), {
      code: "FASTCGI_CONNECTION_LOST",
      responseBytes: bytes,
    });
    assert.equal(pool.stats.resent, 0);
  });
}

Deno.test("Pool.request() also sends again for a request that had waited for its kept connection", async () => {
  const running = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    running.resolve();
    await answer.promise;
    await peer.answer("A: 1\n\n");
    await peer.readRequest();
  }, child()]);
  const pool = poolOf(server, new FakeClock(), { maxConnections: 1 });
  const first = pool.request(job(1), NEVER);
  await running.promise;
  const second = pool.request(job(2), NEVER);
  assert.equal(pool.stats.waiting, 1);
  answer.resolve();
  await Promise.all([first, second]);
  assert.equal(pool.stats.resent, 1);
  assert.equal(pool.stats.opened, 2);
  await pool.close();
});

Deno.test("Pool.request() sends again before the requests that wait", async () => {
  const ids: string[] = [];
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\n");
    await peer.readRequest();
  }, child((id) => void ids.push(id))]);
  const pool = poolOf(server, new FakeClock(), { maxConnections: 1 });
  await pool.request(job("0"), NEVER);
  await Promise.all(["1", "2", "3"].map((id) => pool.request(job(id), NEVER)));
  assert.deepEqual(ids, ["1", "2", "3"]);
  assert.equal(pool.stats.opened, 2);
  await pool.close();
});

Deno.test("Pool.request() never takes more than maxConnections, and uses them all", async () => {
  let running = 0;
  let peak = 0;
  const threeRun = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start(child(async () => {
    peak = Math.max(peak, ++running);
    if (running === 3) threeRun.resolve();
    await threeRun.promise;
    running--;
  }));
  const pool = poolOf(server, new FakeClock(), { maxConnections: 3 });
  await Promise.all(Array.from({ length: 50 }, async (_, id) => {
    const answered = pool.request(job(id), NEVER);
    const { busy, idle } = pool.stats;
    assert.ok(busy + idle <= 3, `${busy} busy and ${idle} idle`);
    await answered;
  }));
  assert.equal(peak, 3);
  assert.equal(server.connections, 3);
  assert.deepEqual(pool.stats, { busy: 0, idle: 3, waiting: 0, opened: 3, answered: 50, resent: 0 });
  await pool.close();
});

Deno.test("Pool.watch() collects the requests that are under way and those that are sent, and ends with its scope", async () => {
  const started = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const waiting = child(async (id) => {
    if (id !== "1") return;
    started.resolve();
    await gate.promise;
  });
  await using server = await ScriptedServer.start([waiting, child()]);
  const pool = poolOf(server, new FakeClock());
  const [first, second, third] = [job(1), job(2), job(3)];
  const running = pool.request(first, NEVER);
  await started.promise;
  const seen = await (async () => {
    using watch = pool.watch();
    await pool.request(second, NEVER);
    return watch.requests;
  })();
  await pool.request(third, NEVER);
  assert.deepEqual([...seen], [first, second]);
  assert.deepEqual([...pool.underWay], [first]);
  gate.resolve();
  await running;
  await pool.close();
  await server.scriptsEnded();
});

Deno.test("Pool.resize() lets more requests run at once, and fewer from when those that run have ended", async () => {
  const running = new Map<string, () => void>();
  await using server = await ScriptedServer.start(child(async (id) => {
    await new Promise<void>((resolve) => running.set(id, resolve));
    running.delete(id);
  }));
  const runs = (ids: string) =>
    eventually(`of the requests, ${ids} run`, () => [...running.keys()].sort().join("") === ids);
  const pool = poolOf(server, new FakeClock(), { maxConnections: 1 });
  const all = Promise.all(["1", "2", "3", "4", "5"].map((id) => pool.request(job(id), NEVER)));
  await runs("1");
  pool.resize(3);
  await runs("123");
  pool.resize(2);
  running.get("1")!();
  await eventually("one place is gone", () => pool.stats.busy === 2);
  assert.deepEqual([pool.stats.waiting, pool.maxConnections], [2, 2]);
  running.get("2")!();
  await runs("34");
  running.get("3")!();
  running.get("4")!();
  await runs("5");
  running.get("5")!();
  await all;
  assert.deepEqual([pool.stats.idle, pool.stats.waiting], [2, 0]);
  pool.resize(1);
  assert.equal(pool.stats.idle, 1);
  await pool.close();
  await server.scriptsEnded();
});

for (const idleMs of [0, 200]) {
  Deno.test(`Pool.request() serves those who wait in order, and nobody overtakes them (idleMs ${idleMs})`, async () => {
    const ids: string[] = [];
    await using server = await ScriptedServer.start(child((id) => void ids.push(id)));
    const pool = poolOf(server, new FakeClock(), { maxConnections: 1, idleMs });
    // Each slot asks for its next request in the moment in which its last one ends.
    const slot = async (name: string) => {
      for (let i = 1; i <= 4; i++) await pool.request(job(`${name}${i}`), NEVER);
    };
    await Promise.all([slot("a"), slot("b"), slot("c")]);
    assert.deepEqual(ids, ["a1", "b1", "c1", "a2", "b2", "c2", "a3", "b3", "c3", "a4", "b4", "c4"]);
    assert.equal(pool.stats.opened, idleMs === 0 ? 12 : 1);
    await pool.close();
  });
}

Deno.test("Pool.request() rejects with the signal's reason while it waits for a connection, and lets the next one on", async () => {
  const ids: string[] = [];
  const answer = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([child(async (id) => {
    ids.push(id);
    await answer.promise;
  })]);
  const pool = poolOf(server, new FakeClock(), { maxConnections: 1 });
  const controller = new AbortController();
  const first = pool.request(job(1), NEVER);
  const second = pool.request(job(2), controller.signal);
  const third = pool.request(job(3), NEVER);
  assert.equal(pool.stats.waiting, 2);
  controller.abort(new Error("not any more"));
  await assert.rejects(second, { message: "not any more" });
  assert.equal(pool.stats.waiting, 1);
  answer.resolve();
  await Promise.all([first, third]);
  assert.deepEqual(ids, ["1", "3"]);
  await pool.close();
});

Deno.test("Pool.request() gives its place on when its signal aborts in the moment in which it gets it", async () => {
  const controller = new AbortController();
  await using server = await ScriptedServer.start(child());
  const pool = poolOf(server, new FakeClock(), { maxConnections: 1 });
  const first = pool.request(job(1), NEVER).then(() => controller.abort(new Error("too late")));
  const second = pool.request(job(2), controller.signal);
  const third = pool.request(job(3), NEVER);
  await Promise.all([first, second.catch((error) => assert.equal(error.message, "too late")), third]);
  assert.equal(pool.stats.busy, 0);
  await pool.close();
});

Deno.test("Pool.request() rejects at once while it waits with a signal that has aborted before", async () => {
  const answer = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([child(() => answer.promise)]);
  const pool = poolOf(server, new FakeClock(), { maxConnections: 1 });
  const first = pool.request(job(1), NEVER);
  await assert.rejects(pool.request(job(2), AbortSignal.abort(new Error("early"))), { message: "early" });
  assert.equal(pool.stats.waiting, 0);
  answer.resolve();
  await first;
  await pool.close();
});

Deno.test("Pool.request() rejects with the signal's reason while it connects, and frees its place", async () => {
  const ids: string[] = [];
  await using server = await ScriptedServer.start(child((id) => void ids.push(id)));
  const pool = poolOf(server, new FakeClock(), { maxConnections: 1 });
  const controller = new AbortController();
  const connecting = pool.request(job(1), controller.signal);
  assert.deepEqual([pool.stats.busy, pool.stats.opened], [1, 0]);
  controller.abort(new Error("not any more"));
  await assert.rejects(connecting, { message: "not any more" });
  assert.deepEqual([pool.stats.busy, pool.stats.opened], [0, 0]);
  await pool.request(job(2), NEVER);
  assert.deepEqual(ids, ["2"]);
  await pool.close();
});

Deno.test("Pool.request() rejects with the signal's reason while it runs, closes, and lets the next one on", async () => {
  const controller = new AbortController();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    controller.abort(new Error("job timeout"));
    await peer.clientCloses();
  }, child()]);
  const pool = poolOf(server, new FakeClock(), { maxConnections: 1 });
  const first = pool.request(job(1), controller.signal);
  const second = pool.request(job(2), NEVER);
  await assert.rejects(first, { message: "job timeout" });
  await second;
  assert.deepEqual(pool.stats, { busy: 0, idle: 1, waiting: 0, opened: 2, answered: 1, resent: 0 });
  await pool.close();
  await server.scriptsEnded();
});

Deno.test("Pool.request() frees its place when it cannot connect, for everybody who waits", async () => {
  const pool = new Pool(
    { address: { transport: "unix", path: "/nonexistent/fpm.sock" }, clock: new FakeClock() },
    { ...DEFAULT_POOL_OPTIONS, maxConnections: 1 },
  );
  const results = await Promise.allSettled([1, 2, 3].map((id) => pool.request(job(id), NEVER)));
  for (const result of results) {
    assert.equal(result.status === "rejected" && result.reason.code, "FASTCGI_CONNECT_FAILED");
  }
  assert.deepEqual(pool.stats, { busy: 0, idle: 0, waiting: 0, opened: 0, answered: 0, resent: 0 });
});

Deno.test("Pool keeps no connection for longer than a second, so that others get its child", async () => {
  await using server = await ScriptedServer.start([child(), child()]);
  const clock = new FakeClock();
  const pool = poolOf(server, clock, { maxConnections: 1, idleMs: 5_000 });
  await pool.request(job(1), NEVER);
  clock.jump(900);
  await pool.request(job(2), NEVER);
  assert.deepEqual([pool.stats.idle, pool.stats.opened], [1, 1]);
  clock.jump(100);
  await pool.request(job(3), NEVER);
  assert.deepEqual([pool.stats.idle, pool.stats.opened], [0, 1]);
  await pool.request(job(4), NEVER);
  assert.equal(pool.stats.opened, 2);
  await pool.close();
  await server.scriptsEnded();
});

Deno.test("Pool.request() rejects with FASTCGI_PARAM_TOO_LARGE, sends nothing, and frees its place", async () => {
  await using server = await ScriptedServer.start(async (peer) => assert.equal(await peer.drain(), 0));
  for (const idleMs of [0, 200]) {
    const clock = new FakeClock();
    const pool = poolOf(server, clock, { maxConnections: 1, idleMs });
    await assert.rejects(pool.request(job("x".repeat(70_000)), NEVER), {
      code: "FASTCGI_PARAM_TOO_LARGE",
      message: /^Cannot send the param "ID"/,
    });
    assert.deepEqual([pool.stats.busy, pool.stats.idle], [0, idleMs === 0 ? 0 : 1]);
    await clock.advance(idleMs);
    assert.equal(pool.stats.idle, 0);
  }
  await server.scriptsEnded();
});

Deno.test("Pool.request() does not reuse a connection whose answer came before STDIN was read", async () => {
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readHead();
    await peer.answer("Status: 413\n\n");
    await peer.drain();
  }, child()]);
  const pool = poolOf(server, new FakeClock());
  const response = await pool.request({ params: [], body: new Uint8Array(20_000_000) }, NEVER);
  assert.equal(response.status, 413);
  assert.equal(pool.stats.idle, 0);
  await pool.request(job(2), NEVER);
  assert.equal(pool.stats.opened, 2);
  await pool.close();
  await server.scriptsEnded();
});

Deno.test("Pool.close() waits for the requests under way and for those that wait, and takes no more", async () => {
  const ids: string[] = [];
  const running = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start(child(async (id) => {
    ids.push(id);
    running.resolve();
    await answer.promise;
  }));
  const clock = new FakeClock();
  const pool = poolOf(server, clock, { maxConnections: 1 });
  const requests = ["1", "2"].map((id) => pool.request(job(id), NEVER));
  await running.promise;
  const closed = pool.close();
  assert.equal(pool.close(), closed);
  await assert.rejects(pool.request(job(3), NEVER), { code: "SHUTDOWN" });
  answer.resolve();
  await closed;
  assert.equal(pool.stats.answered, 2);
  await Promise.all(requests);
  assert.deepEqual(ids, ["1", "2"]);
  assert.equal(pool.stats.idle, 0);
  assert.equal(clock.pendingTimers, 0);
  await server.scriptsEnded();
});

Deno.test("Pool.close() closes the connection of the last request under way, though it was asked to be kept", async () => {
  const running = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    assert.equal((await peer.readRequest()).keep, true);
    running.resolve();
    await answer.promise;
    await peer.answer("A: 1\n\n");
    await peer.clientCloses();
  }]);
  const pool = poolOf(server, new FakeClock());
  const request = pool.request(job(1), NEVER);
  await running.promise;
  const closed = pool.close();
  answer.resolve();
  await Promise.all([request, closed]);
  await server.scriptsEnded();
});

Deno.test("Pool.close() closes idle connections and their timer at once", async () => {
  await using server = await ScriptedServer.start(child());
  const clock = new FakeClock();
  {
    await using pool = poolOf(server, clock);
    await Promise.all([1, 2, 3].map((id) => pool.request(job(id), NEVER)));
    assert.equal(pool.stats.idle, 3);
  }
  assert.equal(clock.pendingTimers, 0);
  await server.scriptsEnded();
});

Deno.test("Pool.destroy() rejects what runs, what connects and what waits with its error, and closes", async () => {
  const shutdown = new FervoError("SHUTDOWN", "The worker stops");
  const running = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start(async (peer) => {
    if (peer.index > 0) return assert.equal(await peer.drain(), 0);
    await peer.readRequest();
    running.resolve();
    await peer.clientCloses();
  });
  const pool = poolOf(server, new FakeClock(), { maxConnections: 2 });
  const requests = [pool.request(job("runs"), NEVER)];
  await running.promise;
  requests.push(pool.request(job("connects"), NEVER), pool.request(job("waits"), NEVER));
  assert.deepEqual([pool.stats.busy, pool.stats.opened, pool.stats.waiting], [2, 1, 1]);
  pool.destroy(shutdown);
  pool.destroy(new FervoError("SHUTDOWN", "Another one"));
  for (const result of await Promise.allSettled(requests)) {
    assert.equal(result.status === "rejected" && result.reason, shutdown);
  }
  await pool.close();
  assert.deepEqual([pool.stats.busy, pool.stats.idle, pool.stats.waiting], [0, 0, 0]);
  await server.scriptsEnded();
  assert.ok(server.connections <= 2, "the one that waits has connected");
});

Deno.test("Pool.destroy() rejects a request that was just given a kept connection", async () => {
  const shutdown = new FervoError("SHUTDOWN", "The worker stops");
  const ids: string[] = [];
  await using server = await ScriptedServer.start([child((id) => void ids.push(id))]);
  const pool = poolOf(server, new FakeClock(), { maxConnections: 1 });
  const first = pool.request(job(1), NEVER).then(() => pool.destroy(shutdown));
  const second = pool.request(job(2), NEVER).catch((error) => error);
  await first;
  assert.equal(await second, shutdown);
  await pool.close();
  await server.scriptsEnded();
});

Deno.test("Pool keeps the last used connection busy, so that surplus ones fall idle and close", async () => {
  const threeRun = Promise.withResolvers<void>();
  let running = 0;
  await using server = await ScriptedServer.start(child(async () => {
    if (++running === 3) threeRun.resolve();
    await threeRun.promise;
  }));
  const clock = new FakeClock();
  const pool = poolOf(server, clock, { idleMs: 200 });
  await Promise.all([1, 2, 3].map((id) => pool.request(job(id), NEVER)));
  for (let i = 0; i < 5; i++) {
    await clock.advance(50);
    await pool.request(job(i), NEVER);
  }
  assert.deepEqual([pool.stats.idle, pool.stats.opened], [1, 3]);
  await pool.close();
});

Deno.test("Pool passes the answer's bytes on as they came", async () => {
  const body = crypto.getRandomValues(new Uint8Array(50_000));
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.readRequest();
    await peer.write(stdoutRecord(bytesOf("A: 1\r\n\r\n")), stdoutRecord(body));
    await peer.answer("");
    await peer.clientCloses();
  }]);
  await using pool = poolOf(server, new FakeClock());
  assert.deepEqual((await pool.request(job(1), NEVER)).body, body);
});

Deno.test("Pool.onSilence is given what gets no answer on kept connections, and nothing else; Pool.keepNone() keeps none", async () => {
  const go = Promise.withResolvers<void>();
  await using server = await ScriptedServer.start([async (peer) => {
    await peer.serve("A: 1\n\n");
    await peer.readRequest();
    await go.promise;
    await peer.answer("A: 1\n\n");
    await peer.clientCloses();
  }, async (peer) => {
    await peer.readRequest();
    await go.promise;
    await peer.answer("A: 1\n\n");
  }]);
  const clock = new FakeClock();
  const pool = poolOf(server, clock, { maxConnections: 2 });
  const silent: unknown[] = [];
  pool.onSilence = (all) => silent.push(all.map(({ params }) => params));
  const request = (name: string) => pool.request({ params: [["N", name]], body: new Uint8Array(0) }, NEVER);
  await request("1");
  // The second one is on the kept connection, the third on a new one.
  const answers = [request("2"), request("3")];
  await clock.advance(99);
  assert.deepEqual(silent, []);
  await clock.advance(101);
  assert.deepEqual(silent, [[[["N", "2"]]], [[["N", "2"]]]]);
  pool.keepNone();
  go.resolve();
  await Promise.all(answers);
  assert.deepEqual([pool.stats.idle, pool.stats.busy], [0, 0]);
  await pool.close();
  assert.equal(clock.pendingTimers, 0);
  await server.scriptsEnded();
});
