/** The two ends of the control socket. */
import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { command } from "../../../src/control/control_client.ts";
import { type ControlHandlers, ControlServer } from "../../../src/control/control_server.ts";
import type { ControlAnswer, ControlRequest } from "../../../src/control/protocol.ts";
import { FervoError } from "../../../src/core/errors.ts";
import { soon } from "../../support/soon.ts";

async function tempFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "fervo-control-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** What a worker leaves behind that was killed. */
async function staleSocket(path: string): Promise<void> {
  const listener = Deno.listen({ transport: "unix", path: `${path}.new` });
  // Closing does not remove the file of a socket that was moved.
  await Deno.rename(`${path}.new`, path);
  listener.close();
}

/** Handlers of which each says its own name and what it was given, and `stop` never ends. */
const HANDLERS: ControlHandlers = {
  async *status(options) {
    yield { command: "status", ...options };
  },
  async *quiet(options) {
    yield { command: "quiet", ...options };
    yield { step: 2 };
  },
  async *stop() {
    yield { state: "stopping" };
    await new Promise(() => {});
  },
  async *reload() {
    yield* [];
    throw new FervoError("CONFIG_INVALID", "a:1:1: x\na:2:1: y", { details: { problems: 2 } });
  },
};

function start(path: string, handlers: ControlHandlers): Promise<ControlServer> {
  return ControlServer.start(path, {
    clock: systemClock,
    handlers,
    onUnavailable: (error) => assert.fail(String(error)),
  });
}

async function all(path: string, request: ControlRequest): Promise<ControlAnswer[]> {
  return await Array.fromAsync(command(path, request));
}

function refusal(code: string, message: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof FervoError);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };
}

Deno.test("ControlServer answers a command with all that its handler yields", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/w.sock`;
  await using _server = await start(path, HANDLERS);
  assert.deepEqual(await all(path, { command: "status" }), [{ command: "status", wait: false, now: false }]);
  assert.deepEqual(await all(path, { command: "quiet", wait: true }), [
    { command: "quiet", wait: true, now: false },
    { step: 2 },
  ]);
});

Deno.test("command() rejects with the error that a handler has thrown, problems included", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/w.sock`;
  await using _server = await start(path, HANDLERS);
  await assert.rejects(all(path, { command: "reload" }), (error) => {
    refusal("CONFIG_INVALID", /^a:1:1: x\na:2:1: y$/)(error);
    assert.equal((error as FervoError).details["problems"], 2);
    return true;
  });
});

Deno.test("ControlServer refuses what is no command, and goes on after nonsense", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/w.sock`;
  await using _server = await start(path, HANDLERS);
  const refused = [
    "{}",
    '{"command":"toString"}',
    '{"command":"stop","wait":1}',
    "[]",
    "7",
    "",
    "GET / HTTP/1.1\r\n",
  ];
  for (const text of refused) {
    using connection = await Deno.connect({ transport: "unix", path });
    await connection.write(new TextEncoder().encode(`${text}\n`));
    const answer = await new Response(connection.readable).text();
    assert.match(answer, /^\{"error":\{"code":"CONTROL_REFUSED",/, text);
  }
  for (const text of ['{"command":"status"}', "GET", ""]) {
    using connection = await Deno.connect({ transport: "unix", path });
    await connection.write(new TextEncoder().encode(text));
    await connection.closeWrite();
    assert.equal(await new Response(connection.readable).text(), "");
  }
  assert.equal((await all(path, { command: "status" })).length, 1);
});

Deno.test("The control socket belongs to its owner alone, whatever the umask, and is gone at the end", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/w.sock`;
  const umask = Deno.umask(0);
  try {
    await using _server = await start(path, HANDLERS);
    assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
    assert.deepEqual(Array.from(Deno.readDirSync(folder.path), ({ name }) => name), ["w.sock"]);
  } finally {
    Deno.umask(umask);
  }
  await assert.rejects(Deno.lstat(path), Deno.errors.NotFound);
});

Deno.test("ControlServer.start() leaves a living worker its socket, and any other file what it is", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/w.sock`;
  await using _server = await start(path, HANDLERS);
  await assert.rejects(
    start(path, HANDLERS),
    refusal(
      "LISTEN_FAILED",
      /^Cannot take commands at ".*w\.sock": another worker uses this socket/,
    ),
  );
  assert.equal((await all(path, { command: "status" })).length, 1);
  await Deno.writeTextFile(`${folder.path}/file`, "precious");
  await assert.rejects(start(`${folder.path}/file`, HANDLERS), refusal("LISTEN_FAILED", /./));
  assert.equal(await Deno.readTextFile(`${folder.path}/file`), "precious");
});

Deno.test("ControlServer.start() replaces the socket of a worker that was killed, and makes the last folder", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/made/w.sock`;
  await Deno.mkdir(`${folder.path}/made`);
  await staleSocket(path);
  await assert.rejects(
    all(path, { command: "status" }),
    refusal("WORKER_UNAVAILABLE", /a killed worker left/),
  );
  await using _server = await start(path, HANDLERS);
  assert.equal((await all(path, { command: "status" })).length, 1);
  await using _other = await start(`${folder.path}/new/w.sock`, HANDLERS);
  await assert.rejects(
    start(`${folder.path}/a/b/w.sock`, HANDLERS),
    refusal("LISTEN_FAILED", /no such folder/),
  );
});

Deno.test("of several workers that start in the same instant over an old socket, one has it", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/w.sock`;
  for (let round = 0; round < 20; round++) {
    await staleSocket(path);
    const starts = await Promise.allSettled(
      Array.from({ length: 8 }, () => start(path, HANDLERS)),
    );
    const started = starts.flatMap((start) => start.status === "fulfilled" ? [start.value] : []);
    assert.equal(started.length, 1);
    assert.equal((await all(path, { command: "status" })).length, 1);
    await started[0]![Symbol.asyncDispose]();
    await assert.rejects(Deno.lstat(path), Deno.errors.NotFound);
  }
  // Nothing is left of those that came too late.
  assert.deepEqual([...Deno.readDirSync(folder.path)], []);
});

Deno.test("ControlServer.leave() takes no more commands, and keeps those who wait until the end", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/w.sock`;
  const server = await start(path, HANDLERS);
  const answers = command(path, { command: "stop", wait: true });
  assert.deepEqual((await answers.next()).value, { state: "stopping" });
  await server.leave();
  await assert.rejects(all(path, { command: "status" }), refusal("WORKER_UNAVAILABLE", /no such socket/));
  const end = answers.next();
  await server[Symbol.asyncDispose]();
  assert.equal((await soon("the connection has ended", end)).done, true);
});

Deno.test("ControlServer removes its own socket only, not that of a worker that came after it", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/w.sock`;
  const first = await start(path, HANDLERS);
  await Deno.remove(path);
  await using _second = await start(path, HANDLERS);
  await first[Symbol.asyncDispose]();
  assert.equal((await all(path, { command: "status" })).length, 1);
});
