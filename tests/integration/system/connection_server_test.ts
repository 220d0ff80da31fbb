import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { ConnectionServer, type ServedConnection } from "../../../src/system/connection_server.ts";
import { eventually } from "../../support/eventually.ts";
import { MovableClock } from "../../support/movable_clock.ts";
import { soon } from "../../support/soon.ts";

const IDLE_LIMIT_MS = 5_000;
const ANSWER_LIMIT_MS = 60_000;
const HELLO = new TextEncoder().encode("hello");

/** Says all it is told; "big" is answered with more than any buffer takes. */
async function echo(connection: ServedConnection): Promise<void> {
  const bytes = new Uint8Array(64);
  const length = await connection.read(bytes);
  if (length === null) return;
  connection.isIdle = false;
  connection.endsWithin(ANSWER_LIMIT_MS);
  const isBig = new TextDecoder().decode(bytes.subarray(0, length)) === "big";
  await connection.write(isBig ? new Uint8Array(100_000_000) : bytes.slice(0, length));
  await connection.read(bytes);
}

function start(maxConnections: number, clock = new MovableClock()) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const onUnavailable = (error: unknown) => assert.fail(String(error));
  const server = new ConnectionServer({ clock, listener, serve: echo, onUnavailable }, {
    maxConnections,
    idleLimitMs: IDLE_LIMIT_MS,
  });
  return {
    clock,
    connect: () => Deno.connect({ hostname: "127.0.0.1", port }),
    [Symbol.dispose]: () => server[Symbol.dispose](),
  };
}

async function ask(connection: Deno.Conn): Promise<string> {
  await connection.write(HELLO);
  const bytes = new Uint8Array(64);
  const length = await soon("an answer", connection.read(bytes));
  return new TextDecoder().decode(bytes.subarray(0, length ?? 0));
}

/** Resolves when the server has closed it. */
async function end(connection: Deno.Conn): Promise<void> {
  const isOver = async () => {
    try {
      while (await connection.read(new Uint8Array(65_536)) !== null);
    } catch (error) {
      assert.ok(error instanceof Deno.errors.ConnectionReset, String(error));
    }
  };
  await soon("the end of the connection", isOver());
}

async function connectAll(connect: () => Promise<Deno.Conn>, count: number) {
  const all: Deno.Conn[] = [];
  for (let i = 0; i < count; i++) all.push(await connect());
  return { all, [Symbol.dispose]: () => all.forEach((connection) => connection.close()) };
}

Deno.test("ConnectionServer serves who speaks, however many others connect and are silent", async () => {
  using server = start(8);
  using silent = await connectAll(server.connect, 100);
  using speaker = await server.connect();
  assert.equal(await ask(speaker), "hello");
  // Of the silent ones the last are there; those before had to go.
  for (const connection of silent.all.slice(0, 92)) await end(connection);
  assert.equal(await ask(silent.all.at(-1)!), "hello");
});

Deno.test("ConnectionServer lets those go first who are silent, then who is served for longest", async () => {
  using server = start(4);
  using served = await connectAll(server.connect, 3);
  for (const connection of served.all) assert.equal(await ask(connection), "hello");
  using silent = await connectAll(server.connect, 2);
  await end(silent.all[0]!);
  assert.equal(await ask(silent.all[1]!), "hello");
  using last = await server.connect();
  await end(served.all[0]!);
  assert.equal(await ask(last), "hello");
});

Deno.test("ConnectionServer ends who is silent, and who does not read, when their time is up", async () => {
  using server = start(8);
  using silent = await server.connect();
  using reader = await server.connect();
  await reader.write(new TextEncoder().encode("big"));
  assert.notEqual(await reader.read(new Uint8Array(1)), null);
  server.clock.moveAhead(IDLE_LIMIT_MS);
  await end(silent);
  using served = await server.connect();
  assert.equal(await ask(served), "hello", "the one that is served has more time");
  server.clock.moveAhead(ANSWER_LIMIT_MS);
  await Promise.all([end(served), end(reader)]);
});

Deno.test("ConnectionServer goes on when nothing can be accepted: tells it once, and makes room", async () => {
  const clock = new MovableClock();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  let [isOut, tries] = [false, 0];
  const scarce: Deno.Listener = Object.create(listener, {
    accept: {
      value: async () => {
        // As the kernel does without file descriptors, but for an hour of its own.
        const accepted = await listener.accept();
        if (!isOut) return accepted;
        accepted.close();
        tries++;
        throw new Error("Too many open files (os error 24)");
      },
    },
    close: { value: () => listener.close() },
  });
  const told: string[] = [];
  using _server = new ConnectionServer(
    { clock, listener: scarce, serve: echo, onUnavailable: (error) => told.push(String(error)) },
    { maxConnections: 8, idleLimitMs: IDLE_LIMIT_MS },
  );
  const connect = () => Deno.connect({ hostname: "127.0.0.1", port });
  using silent = await connectAll(connect, 2);
  using served = await connect();
  assert.equal(await ask(served), "hello");
  isOut = true;
  for (let round = 1; round <= 2; round++) {
    using refused = await connect();
    await end(refused);
    await eventually("it has failed", () => tries === round);
    await end(silent.all[round - 1]!);
    clock.moveAhead(100);
  }
  isOut = false;
  using next = await connect();
  assert.equal(await ask(next), "hello");
  assert.deepEqual(told, ["Error: Too many open files (os error 24)"]);
});

Deno.test("ConnectionServer ends all at the end, and before that only takes no more", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const server = new ConnectionServer({
    clock: systemClock,
    listener,
    serve: echo,
    onUnavailable: (error) => assert.fail(String(error)),
  }, { maxConnections: 8, idleLimitMs: IDLE_LIMIT_MS });
  using one = await Deno.connect({ hostname: "127.0.0.1", port });
  using other = await Deno.connect({ hostname: "127.0.0.1", port });
  assert.equal(await ask(one), "hello");
  server.leave();
  server.leave();
  assert.equal(await ask(other), "hello");
  await assert.rejects(Deno.connect({ hostname: "127.0.0.1", port }), Deno.errors.ConnectionRefused);
  server[Symbol.dispose]();
  await Promise.all([end(one), end(other)]);
});
